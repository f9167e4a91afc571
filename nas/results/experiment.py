"""What an experiment came to, as plain data that is ready for JSON. Where it was read, nobody else has to know.

`source.py` reads one, from a folder or from a Determined master.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from nas.core.errors import ConfigError

UNREADABLE = (ConfigError, ImportError, KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading results raises that somebody edited or cut short, or whose search space is not here."""

Point = tuple[float, float]
"""Time, in the experiment's time metric, and value; a value may be NaN or infinite."""

MetricCurves = dict[str, dict[str, list[Point]]]
"""The points of each metric, by its group ("training", "validation", "test") and name."""


@dataclass(frozen=True)
class TrialResult:
    """One trial. What its source does not know is None, or empty.

    Attributes:
        number: in the order of creation, from 0.
        outcome: completed, pruned, diverged, error or invalid; "" while it has not ended.
        hyperparameters: one value for each, in the sections of the config.
        chosen: those that a searcher chose, by full name such as `head.width`.
        validations: time and searcher's metric of each, in order; a metric may be NaN or infinite.
        folder: of the trial on this machine, which may not be there yet; "" of a trial on a cluster.
        errors: what was wrong, for outcomes invalid and error.
        architecture: in words, as the trial reported it.
        space: package of its search space, such as `cnn_nas`.
        genotype: the architecture as that space's JSON.
        parameters: of the network of that architecture; trainable.
        macs: multiply-accumulates of it for one input (an image, a word).
        seconds: for which it was at work, in all attempts, up to its last checkpoint.
        curves: all metrics that were reported.
        test: the scores on the test split, by name.
        front: of a search for all budgets, what `front.json` has.
        search: of a one-shot search the trace, one entry a validation: `epochs`, `genotype`, `scores`, `weights`, ...
        checkpoint: id of the best checkpoint that is left, or of the latest.
        bracket: of ASHA, from 0.
        restarts: how often it was started again after a failure.
        versions: what ran it: python, torch, ..., commit.
        device: such as `cpu` or `cuda (NVIDIA H200)`.
        reference: number or folder by which its source finds it again.
    """

    number: int
    outcome: str
    hyperparameters: dict[str, Any]
    chosen: dict[str, Any]
    seed: int | None
    validations: list[Point]
    folder: str
    errors: list[str] = field(default_factory=list)
    architecture: str | None = None
    space: str | None = None
    genotype: dict[str, Any] | None = None
    parameters: int | None = None
    macs: int | None = None
    seconds: float | None = None
    curves: MetricCurves = field(default_factory=dict)
    test: dict[str, float] = field(default_factory=dict)
    search: list[dict[str, Any]] = field(default_factory=list)
    front: dict[str, Any] = field(default_factory=dict)
    checkpoint: str | None = None
    bracket: int | None = None
    restarts: int = 0
    versions: dict[str, str | None] = field(default_factory=dict)
    device: str | None = None
    reference: str = ""


@dataclass(frozen=True)
class ExperimentResult:
    """One experiment, or one run of a trial on its own, which is one of a single trial.

    Attributes:
        folder: on this machine; "" of one on a cluster.
        status: new, running, stopped or completed.
        metric: which the searcher looks at.
        time_metric: epochs or batches, in which validations are timed.
        length: of a full training, in these.
        rungs: times at which ASHA compared trials.
        storage: URL of the Optuna storage; "" if there is none.
        trial: "module:Class" of a trial that follows the contract; None for any other program.
        program_folder: from which the program imports first.
        source: "local" or "determined".
        reference: what to type for it: the folder, or the experiment's id.
        processes: of each trial, one a device.
        sampler: what chose hyperparameters in place of the master's draws.
        created: when, in seconds since 1970.
        versions: what ran it: python, torch, ..., commit.
    """

    name: str
    folder: str
    status: str
    config: dict[str, Any]
    metric: str
    smaller_is_better: bool
    time_metric: str
    length: int
    rungs: list[int]
    trials: list[TrialResult]
    storage: str
    trial: str | None = None
    program_folder: str | None = None
    source: Literal["local", "determined"] = "local"
    reference: str = ""
    processes: int = 1
    sampler: str | None = None
    created: float | None = None
    versions: dict[str, str | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Lists, dicts, numbers and text, ready for `json.dump`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExperimentResult:
        """The inverse of `to_json`, from what `json.load` gives. Unknown fields, of a later version, are left out."""
        return cls(**{**_known(cls, data), "trials": [_trial(each) for each in data["trials"]]})


def device_seconds(experiment: ExperimentResult, trial: TrialResult) -> float | None:
    """How long all devices of a trial were at work, added up; None if nobody knows."""
    return None if trial.seconds is None else trial.seconds * experiment.processes


def _trial(data: Mapping[str, Any]) -> TrialResult:
    curves = {
        group: {name: _points(points) for name, points in metrics.items()}
        for group, metrics in data.get("curves", {}).items()
    }
    test = {name: _number(value) for name, value in data.get("test", {}).items()}
    return TrialResult(
        **{**_known(TrialResult, data), "validations": _points(data["validations"]), "curves": curves, "test": test}
    )


def _points(points: list[list[float]]) -> list[Point]:
    return [(time, _number(value)) for time, value in points]


def _number(value: Any) -> Any:
    """Strict JSON has no NaN: there it is a text, such as `NaN` or `-Infinity`."""
    return float(value) if isinstance(value, str) else value


def _known(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    names = {each.name for each in fields(kind)}
    return {name: value for name, value in data.items() if name in names}
