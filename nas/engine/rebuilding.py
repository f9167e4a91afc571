"""The study of a search once more, from the folders of its trials, when its database is gone.

A folder says with which hyperparameters and seed its trial trains, in which bracket, what it reported and how it ended. Lost
are reasons of failures, restarts so far, and a stop of which its trial had not heard: that is decided again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.runs.run_folder import RunFolder
from nas.runs.run_json import read_run
from nas.runs.study_schema import BRACKET, OUTCOMES

if TYPE_CHECKING:
    from nas.engine.searchers import Searcher
    from nas.engine.study_store import StudyStore


@dataclass(frozen=True)
class BegunTrial:
    """What the folder of a trial says.

    Attributes:
        bracket: None if it was begun by a version that did not write it.
        validations: the searcher's metric by time, in units of the time metric.
        outcome: how it ended; None if it has not.
        metadata: what is known of its architecture.
    """

    number: int
    hyperparameters: dict[str, Any]
    seed: int
    bracket: int | None
    validations: Mapping[int, float]
    outcome: str | None
    metadata: Mapping[str, Any]


def known_trials(trials: Path, metric: str, time_metric: str) -> list[BegunTrial]:
    """The trials that have a folder, by number; those whose `run.json` cannot be read are left out."""
    found = (read_begun(path, metric, time_metric) for path in trials.glob("[0-9]*"))
    return sorted((trial for trial in found if trial is not None), key=lambda trial: trial.number)


def rebuild(store: StudyStore, begun: Sequence[BegunTrial]) -> int:
    """Fill an empty study with these trials, and anew with those between them; returns how many are known.

    Raises:
        ConfigError: if they are not those of the store's config and seed.
    """
    known = {trial.number: trial for trial in begun}
    for number, bracket in enumerate(_brackets(known, store.searcher)):
        if number in known:
            store.create_begun(known[number], bracket)
        else:
            store.create(bracket)
    return len(known)


def read_begun(path: Path, metric: str, time_metric: str) -> BegunTrial | None:
    """What a trial's folder says; None if its `run.json` cannot be read."""
    try:
        run = read_run(path)
        folder = RunFolder(path, run)
        # Of a trial that was told to stop nobody knows why: for good, or because the search was interrupted.
        outcome = run.get("outcome") or (run["status"] if run["status"] in ("completed", "diverged") else None)
        if outcome not in (*OUTCOMES, None):
            return None
        _, batches = folder.latest()
        validations = {
            int(record[time_metric]): float(record[metric])
            for record in folder.metrics("validation")
            # What comes after the checkpoint of a trial that goes on will come again.
            if isinstance(record.get(metric), int | float) and (outcome or record["batches"] <= batches)
        }
        about = (run["hyperparameters"], int(run["seed"]), run.get(BRACKET))
        return BegunTrial(int(path.name), *about, validations, outcome, dict(run.get("metadata") or {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _brackets(known: Mapping[int, BegunTrial], searcher: Searcher) -> list[int]:
    """The bracket of each trial up to the last one known; those of which nothing is known take the places that are left."""
    count = max(known, default=-1) + 1
    brackets: list[int | None] = [known[number].bracket if number in known else None for number in range(count)]
    first = [i for i, bracket in enumerate(searcher.brackets) for _ in range(bracket.initial)]
    for number in range(min(count, len(first))):
        brackets[number] = first[number] if brackets[number] is None else brackets[number]
    left = [bracket.trials - brackets.count(i) for i, bracket in enumerate(searcher.brackets)]
    filled: list[int] = []
    for bracket in brackets:
        if bracket is None:
            bracket = max(range(len(left)), key=left.__getitem__)
            left[bracket] -= 1
        filled.append(bracket)
    return filled
