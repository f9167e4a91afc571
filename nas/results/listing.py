"""What ran: the experiments and single runs below a folder, each in a line; no study is opened where one need not be."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.core.files import read_json
from nas.results.experiment import ExperimentResult
from nas.runs.ranking import is_measurement
from nas.runs.run_folder import RunFolder
from nas.runs.study_schema import FAILURES, HYPERPARAMETERS, SUMMARY

_DEEPEST = 6  # folders below the one that was asked for
_PARTS = ("metrics.jsonl", "study.db", "checkpoints", "trials")  # what only a run leaves
_METRIC = re.compile(r"^searcher:\n(?:[ ]+.*\n)*?[ ]+metric: ([\w.-]+)$", re.MULTILINE)
"""As we write it. A YAML parser takes a hundred times as long; it is asked where this finds nothing."""


@dataclass(frozen=True)
class Listed:
    """An experiment, or a run of one trial.

    Attributes:
        folder: of it.
        kind: experiment or run.
        status: new, running, interrupted (it says running, but nobody works on it), stopped, completed, failed, ...; "damaged"
            if nothing can be said but what is wrong.
        metric: which decides.
        best: its best value.
        best_trial: number of the trial that has it.
        ended: trials that have ended.
        trials: of which there are so many.
        created: in seconds since 1970.
        problem: what is wrong with the folder.
    """

    folder: str
    kind: str = ""
    status: str = "damaged"
    metric: str | None = None
    best: float | None = None
    best_trial: int | None = None
    ended: int | None = None
    trials: int | None = None
    created: float | None = None
    problem: str | None = None


def summary_of(experiment: ExperimentResult) -> dict[str, Any]:
    """What is worth knowing of an experiment without opening its study."""
    from nas.results.leaderboard import best_metric, leaderboard

    leaders = leaderboard(experiment)
    return {
        "metric": experiment.metric,
        "trials": max(len(experiment.trials), int(experiment.config["searcher"].get("max_trials") or 0)),
        "outcomes": dict(Counter(trial.outcome for trial in experiment.trials)),
        "best": best_metric(experiment, leaders[0]) if leaders else None,
        "best_trial": leaders[0].number if leaders else None,
    }


def list_runs(folders: Sequence[Path]) -> list[Listed]:
    """Everything below these folders, the newest first.

    Raises:
        ConfigError: with every folder that is not there.
    """
    if missing := [folder for folder in folders if not folder.is_dir()]:
        what = "there is no folder {}; nas run CONFIG.yaml makes experiments, or name the folder that holds yours"
        raise ConfigError([what.format(folder) for folder in missing])
    found = {path.resolve(): path for folder in folders for path in _run_folders(folder)}
    listed = [_listed(path) for path in found.values()]
    return sorted(listed, key=lambda each: (-(each.created or 0), each.folder))


def _run_folders(folder: Path, depth: int = 0) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            inside = {entry.name: entry.is_dir() for entry in entries}
    except OSError:  # not ours to read
        return
    if "run.json" in inside or any(part in inside for part in _PARTS):
        yield folder
    elif depth < _DEEPEST:
        for name in sorted(name for name, is_folder in inside.items() if is_folder and not name.startswith(".")):
            yield from _run_folders(folder / name, depth + 1)


def _listed(path: Path) -> Listed:
    created = None
    try:
        created = path.stat().st_mtime
        run = read_json(path / "run.json")
        if not isinstance(run, dict):
            raise ValueError("it holds no fields")
        created = float(run.get("created") or (path / "run.json").stat().st_mtime)
        listed = _run(path, run, created) if HYPERPARAMETERS in run else _experiment(path, run, created)
    except FileNotFoundError as error:
        return Listed(str(path), created=created, problem=f"{Path(error.filename or '').name or path} is missing")
    except ConfigError as error:
        problem = " ".join(error.problems).removeprefix(f"{path} is not the folder of a run: ")
        return Listed(str(path), created=created, problem=problem)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return Listed(str(path), created=created, problem=f"run.json cannot be read: {error}")
    return listed


def _run(path: Path, run: dict[str, Any], created: float) -> Listed:
    status = _status(path, run)
    value = (run.get("best") or {}).get("value")
    best = float(value) if value is not None and is_measurement(value) else None
    ended = int(status not in ("new", "running", "interrupted", "stopped"))
    return Listed(str(path), "run", status, _metric(path), best, None if best is None else 0, ended, 1, created)


def _experiment(path: Path, run: dict[str, Any], created: float) -> Listed:
    status = _status(path, run)
    known = run.get(SUMMARY) if status in ("completed", "stopped") else None
    if not isinstance(known, dict) or not {"metric", "trials", "outcomes", "best", "best_trial"} <= known.keys():
        known = None
    if known is None and "study" not in run:  # it never came to its first trial
        return Listed(str(path), "experiment", status, _metric(path), ended=0, created=created)
    if known is None:
        from nas.results.local import read_local  # which knows Optuna

        known = summary_of(read_local(path))
    outcomes, total = known["outcomes"], int(known["trials"])
    ended = sum(count for outcome, count in outcomes.items() if outcome)
    if status == "completed" and ended and sum(outcomes.get(name, 0) for name in FAILURES) == ended:
        status = "failed"
    best = (known["best"], known["best_trial"])
    return Listed(str(path), "experiment", status, known["metric"], *best, ended, total, created)


def _status(path: Path, run: dict[str, Any]) -> str:
    status = str(run.get("status") or "new")
    return "interrupted" if status == "running" and not RunFolder(path, run).is_held() else status


def _metric(path: Path) -> str:
    text = (path / "config.yaml").read_text(encoding="utf-8")
    if found := _METRIC.search(text):
        return found[1]
    _, config = RunFolder.open(path)
    searcher = config.get("searcher")
    if not isinstance(searcher, dict) or "metric" not in searcher:
        raise ConfigError(["config.yaml names no searcher.metric"])
    return str(searcher["metric"])
