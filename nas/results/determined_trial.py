"""What a Determined master says of an experiment and its trials, in the words of `nas.results.experiment`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.config import load as configs
from nas.config.brackets import brackets
from nas.config.entrypoint import resolve
from nas.config.search_space import search_space, trial_sampler
from nas.config.yaml_text import parse
from nas.core.errors import ConfigError
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.results.experiment import Point, TrialResult
from nas.results.local import by_name, curves_of
from nas.runs.ranking import is_measurement
from nas.runs.run_folder import scores_in

GENOTYPE = "whole genotype"
"""Where a run's metadata have the genotype's line, see nas/trial/metadata.py."""

Record = dict[str, Any]
"""One report: its group, the step and its metrics, as in the metrics of a run's folder."""

_RUNNING = ("ACTIVE", "QUEUED", "PULLING", "STARTING", "RUNNING")


@dataclass(frozen=True)
class Reports:
    """What was read of one trial besides itself. Of a trial that is not among the best only the validations are."""

    validations: Sequence[Record]
    others: Sequence[Record] = ()
    metadata: Mapping[str, Any] | None = None


class Experiment:
    """The experiment's config, read for what its trials need.

    Args:
        found: the master's `v1Experiment`.
    """

    def __init__(self, found: Any) -> None:
        filled = found.config
        if not all(isinstance(filled.get(name), Mapping) for name in ("searcher", "hyperparameters")):
            raise ConfigError([f"experiment {found.id} has no searcher or no hyperparameters, so there are no results"])
        self.filled: dict[str, Any] = filled  # by the master, with its defaults
        self.config = _as_submitted(found)
        self.section: dict[str, Any] = filled["searcher"]
        self.metric = str(self.section.get("metric"))
        self.smaller_is_better = configs.smaller_is_better(filled)
        self.searched = list(search_space(filled["hyperparameters"]))
        self.time_metric, self.length = _length(filled)
        self.program_folder, self.trial_class = _program(self.config)

    @property
    def rungs(self) -> list[int]:
        """Times at which ASHA compares trials."""
        if self.section.get("name") not in ("adaptive_asha", "async_halving"):
            return []
        return sorted({rung for bracket in brackets(self.section) for rung in bracket.rungs})

    @property
    def processes(self) -> int:
        """Of a trial, one a slot."""
        return int((self.filled.get("resources") or {}).get("slots_per_trial") or 1)

    def seeds(self, hparams: Sequence[Mapping[str, Any]]) -> list[int | None]:
        """The trials' seeds, drawn again as the master drew them, if the draws have the hyperparameters of all trials."""
        seed = (self.filled.get("reproducibility") or {}).get("experiment_seed")
        unknown: list[int | None] = [None] * len(hparams)
        if seed is None:
            return unknown
        try:
            drawn = [each for _, each in zip(hparams, trial_sampler(self.filled, int(seed)), strict=False)]
        except ConfigError:
            return unknown
        found: list[int | None] = []
        for each in hparams:  # trials are not always in the order of the draws
            place = next((i for i, trial in enumerate(drawn) if trial.hparams == each), None)
            if place is None:
                return unknown
            found.append(drawn.pop(place).seed)
        return found

    def trial(self, number: int, told: Any, seed: int | None, reports: Reports) -> TrialResult:
        """One trial, from the master's `trialv1Trial` and what it reported."""
        about = told.metadata or {} if reports.metadata is None else reports.metadata
        validations, others = reports.validations, reports.others
        test = next((record for record in reversed(others) if record["group"] == "test"), {})
        points = self._points(validations)
        sizes = {**about, **(validations[-1] if validations else {})}  # of a search: those of what it found
        outcome = self._outcome(told, validations, points, test)
        best, genotype = told.bestCheckpoint, self._genotype(about)
        detailed = reports.metadata is not None
        rate = _rate(validations, self.time_metric)
        return TrialResult(
            number=number,
            outcome=outcome,
            hyperparameters=dict(told.hparams),
            chosen={name: by_name(told.hparams, name) for name in self.searched},
            seed=about.get("seed", seed),
            validations=points,
            folder="",
            errors=_errors(outcome, told),
            architecture=None if genotype is None else str(genotype),
            space=about.get("space"),
            genotype=None if genotype is None else genotype.to_json(),
            parameters=_whole(sizes.get("parameters")),
            macs=_whole(sizes.get("macs")),
            seconds=_work(told),
            curves=curves_of([*others, *validations], self.time_metric, rate) if detailed else {},
            test=scores_in(test),
            checkpoint=best.uuid if best and best.state.name == "COMPLETED" else None,
            restarts=told.restarts,
            versions=dict(about.get("versions") or {}),
            device=about.get("device"),
            reference=str(told.id),
        )

    def _points(self, validations: Sequence[Record]) -> list[Point]:
        """Time and searcher's metric of each."""
        time, metric = self.time_metric, self.metric
        return [
            (float(record[time if time in record else "step"]), float(record[metric]))
            for record in validations
            if isinstance(record.get(metric), int | float)
        ]

    def _outcome(self, told: Any, validations: Sequence[Record], points: Sequence[Point], test: Record) -> str:
        """A master calls completed what its searcher stopped, what gave up on NaN, and what refused its hyperparameters."""
        state = told.state.name
        if state != "COMPLETED":
            return "error" if state == "ERROR" else ""  # it runs, or somebody canceled it
        if not told.totalBatchesProcessed and not validations:
            return "invalid"
        scores = list(scores_in(test).values())
        if not all(map(is_measurement, scores)) or (points and not is_measurement(points[-1][1])):
            return "diverged"
        trained = validations[-1].get(self.time_metric, 0) if validations else self.length
        return "pruned" if self.section.get("max_time") and trained < self.length else "completed"

    def _genotype(self, metadata: Mapping[str, Any]) -> Any:
        try:
            with importing_from(self.program_folder):
                return load_space(str(metadata["space"])).from_text(str(metadata[GENOTYPE]))
        except (KeyError, ConfigError):  # a trial of somebody's own says what it likes
            return None


def status(state: str, begun: bool) -> str:
    """Of an experiment in that state of the master's."""
    if state in _RUNNING or state.startswith("STOPPING"):
        return "running" if begun else "new"
    return "completed" if state == "COMPLETED" else "stopped"


def seconds(moment: str | None) -> float | None:
    """From 1970 until a moment that the master names."""
    from determined.common.util import parse_protobuf_timestamp

    return parse_protobuf_timestamp(moment).timestamp() if moment else None


def _as_submitted(found: Any) -> dict[str, Any]:
    """The config as it was submitted; as the master filled it in if a template had some of it."""
    try:
        submitted = parse(found.originalConfig)
    except ConfigError:
        submitted = None
    whole = isinstance(submitted, dict) and {"hyperparameters", "searcher", "entrypoint"} <= submitted.keys()
    config: dict[str, Any] = submitted if whole else found.config
    return {**config, "name": found.name}


def _length(config: Mapping[str, Any]) -> tuple[str, int]:
    """Of a full training; 0 if the config of somebody's own program does not say it."""
    epochs = config["hyperparameters"].get("train_epochs")
    epochs = epochs.get("val") if isinstance(epochs, Mapping) else epochs
    try:
        return configs.training_length(config, epochs)
    except (ConfigError, TypeError, ValueError):
        section = config["searcher"]
        return str(section.get("time_metric") or "epochs"), int(section.get("max_time") or 0)


def _program(config: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Folder and class of the trial, if the program is here as well."""
    try:
        program = resolve(config.get("entrypoint"))
    except ConfigError:
        return None, None
    return str(program.folder), program.trial


def _errors(outcome: str, told: Any) -> list[str]:
    policy = f" ({told.logPolicyMatched})" if told.logPolicyMatched else ""
    says = {"invalid": "ended before it trained", "error": f"failed{policy}"}
    return [f"{says[outcome]}; det trial logs {told.id} says why"] if outcome in says else []


def _work(told: Any) -> float | None:
    """Seconds in which the trial had a container."""
    if told.wallClockTime is not None:
        return float(told.wallClockTime)
    begun, ended = seconds(told.startTime), seconds(told.endTime)
    return None if begun is None or ended is None else ended - begun


def _rate(validations: Sequence[Record], time_metric: str) -> float:
    """Units of the time metric for one batch."""
    last = validations[-1] if validations else {}
    return last[time_metric] / last["batches"] if last.get("batches") and last.get(time_metric) else 1.0


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else None
