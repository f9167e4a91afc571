"""Experiments of a Determined master, read through its API; and the checkpoints of their trials.

A handful of requests whatever the number of trials: the experiment, pages of trials, the validations of many trials at once;
then, of the best trials only, their other metrics and the metadata of each.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.results.determined_master import Master, connected, find_experiment
from nas.results.determined_trial import Experiment, Record, Reports, seconds, status
from nas.results.experiment import ExperimentResult, TrialResult
from nas.runs.checkpoint_files import DIGESTS, damage
from nas.runs.ranking import best_value, rank

DETAILED = 20
"""Of how many of the best trials everything is read."""

_AT_ONCE = 100  # trials in a request, whose ids stand in its address
_GROUPS = {"avg_metrics": "training", "validation_metrics": "validation"}  # as a trial's summary of metrics calls them
_OURS = ("training", "test", "search", "architectures")  # of trials whose summary is not there


def read_determined(reference: str, detailed: int = DETAILED) -> ExperimentResult:
    """Read an experiment by its id, such as `17`, or by the address of its page in the web UI.

    Args:
        reference: which experiment; an id is one of the master that `det` would ask.
        detailed: of how many of the best trials all metrics, the architecture and the scores on the test split are read.

    Raises:
        ConfigError: if the master cannot be asked, or does not have it.
    """
    place = find_experiment(reference)
    if place is None:
        raise ConfigError([f"{reference!r} is neither the id of an experiment nor the address of its page"])
    from determined.common.api import bindings

    with connected(place[0]) as master:
        found = master.ask(f"experiment {place[1]}", bindings.get_GetExperiment, experimentId=place[1]).experiment
        experiment = Experiment(found)
        trials = _trials(master, found.id, experiment, detailed)
    return ExperimentResult(
        name=str(found.name),
        folder="",
        status=status(found.state.name, bool(trials)),
        config=experiment.config,
        metric=experiment.metric,
        smaller_is_better=experiment.smaller_is_better,
        time_metric=experiment.time_metric,
        length=experiment.length,
        rungs=experiment.rungs,
        trials=trials,
        storage="",
        trial=experiment.trial_class,
        program_folder=experiment.program_folder,
        source="determined",
        reference=reference,
        processes=experiment.processes,
        created=seconds(found.startTime),
        versions=next((each.versions for each in trials if each.versions), {}),
    )


def download(experiment: ExperimentResult, trial: TrialResult, folder: Path) -> Path:
    """Fetch the best checkpoint of a trial, whole or not at all, into a folder of its own below `folder`; returns that.

    Raises:
        ConfigError: if the trial has none, or it cannot be fetched.
    """
    place, uuid = find_experiment(experiment.reference), trial.checkpoint
    if place is None or uuid is None:
        raise ConfigError([f"trial {trial.number} of {experiment.reference} has no checkpoint on a master"])
    path = folder / uuid
    if path.is_dir() and not ((path / DIGESTS).is_file() and damage(path)):
        return path
    shutil.rmtree(path, ignore_errors=True)  # a copy that was damaged here
    with connected(place[0]) as master:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f"{uuid}.", dir=folder))
        except OSError as error:
            raise ConfigError([f"checkpoint {uuid} cannot be written to {folder}: {error.strerror}"]) from error
        try:
            master.ask(f"checkpoint {uuid}", partial(_fetch, uuid=uuid, part=part))
            os.replace(part, path)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return path


def _fetch(session: Any, uuid: str, part: Path) -> None:
    from determined.experimental.client import Checkpoint

    checkpoint = Checkpoint(session, uuid)
    checkpoint.reload()
    try:
        checkpoint.download(str(part))
    except Exception as error:  # of S3, of Google's and Azure's storage, of a shared folder: each has its own
        reason = " ".join(str(error.__cause__ or error).split())
        raise ConfigError([f"checkpoint {uuid} cannot be downloaded: {reason}"]) from error


def _trials(master: Master, number: int, experiment: Experiment, detailed: int) -> list[TrialResult]:
    """All trials in the order of creation, the best ones in full."""
    told = _list(master, number)
    validations = _records(master, "validation", [each.id for each in told])
    best = _ranked(told, validations, experiment)[:detailed]
    others, metadata = _other_records(master, best), _metadata(master, best)
    seeds = experiment.seeds([each.hparams for each in told])
    return [
        experiment.trial(
            place,
            each,
            seed,
            Reports(validations.get(each.id, ()), others.get(each.id, ()), metadata.get(each.id)),
        )
        for place, (each, seed) in enumerate(zip(told, seeds, strict=True))
    ]


def _list(master: Master, number: int) -> list[Any]:
    from determined.common import api
    from determined.common.api import bindings

    def pages(session: Any) -> Iterable[Any]:
        def page(offset: int) -> Any:
            order, by = bindings.v1OrderBy.ASC, bindings.v1GetExperimentTrialsRequestSortBy.ID
            place = {"offset": offset, "limit": _AT_ONCE}
            return bindings.get_GetExperimentTrials(session, experimentId=number, orderBy=order, sortBy=by, **place)

        return api.read_paginated(page)  # type: ignore[no-any-return]

    return [each for page in master.ask_all(f"experiment {number}", pages) for each in page.trials]


def _records(master: Master, group: str, trials: Sequence[int]) -> dict[int, list[Record]]:
    """What each of these trials reported in a group, in the order of steps."""
    from determined.common.api import bindings

    key = "validation_metrics" if group == "validation" else "avg_metrics"
    records: dict[int, list[Record]] = {}
    for start in range(0, len(trials), _AT_ONCE):
        some = trials[start : start + _AT_ONCE]
        what = f"metrics of trials {some[0]} to {some[-1]}"
        for part in master.ask_all(what, bindings.get_GetMetrics, group=group, trialIds=some):
            for report in part.metrics:
                if not report.archived:  # made again after a restart
                    values = {name: _number(value) for name, value in (report.metrics.get(key) or {}).items()}
                    record = {"group": group, "step": report.totalBatches, **values}
                    records.setdefault(report.trialId, []).append(record)
    return {trial: sorted(found, key=lambda record: int(record["step"])) for trial, found in records.items()}


def _ranked(trials: Sequence[Any], validations: Mapping[int, Sequence[Record]], experiment: Experiment) -> list[Any]:
    """From the best to the worst; those that measured nothing come last."""
    smaller = experiment.smaller_is_better

    def value(trial: Any) -> float | None:
        measured = (record.get(experiment.metric) for record in validations.get(trial.id, ()))
        return best_value((each for each in measured if isinstance(each, int | float)), smaller_is_better=smaller)

    ranked = rank(trials, value, smaller_is_better=smaller)
    known = {each.id for each in ranked}
    return [*ranked, *(each for each in trials if each.id not in known)]


def _other_records(master: Master, trials: Sequence[Any]) -> dict[int, list[Record]]:
    """All that they reported but validations."""
    told = {_GROUPS.get(name, name) for each in trials for name in each.summaryMetrics or {}}
    records: dict[int, list[Record]] = {}
    for group in sorted(told - {"validation"}) if told else _OURS:
        for trial, found in _records(master, group, [each.id for each in trials]).items():
            records.setdefault(trial, []).extend(found)
    return records


def _metadata(master: Master, trials: Sequence[Any]) -> dict[int, dict[str, Any]]:
    """Those of their runs, which have the ids of the trials."""
    from determined.common.api import bindings

    ids = [each.id for each in trials]
    found = {each: master.ask(f"run {each}", bindings.get_GetRunMetadata, runId=each) for each in ids}
    return {each: dict(answer.metadata or {}) for each, answer in found.items()}


def _number(value: Any) -> Any:
    """JSON has no NaN and no infinities: a master writes them as text."""
    return float(value) if value in ("NaN", "Infinity", "-Infinity") else value
