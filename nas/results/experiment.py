"""What an experiment came to, as plain data: read from its folder, and ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.trial import FrozenTrial

from nas.config import load as configs
from nas.config.search_space import search_space
from nas.core.errors import ConfigError
from nas.runs.run_folder import RunFolder
from nas.runs.study_schema import ERRORS, HYPERPARAMETERS, METADATA, OUTCOME, SEED, storage_url


@dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        number: in the order of creation, from 0.
        outcome: completed, pruned, diverged, error or invalid; "" while it has not ended.
        hyperparameters: one value for each, in the sections of the config.
        chosen: those that a searcher chose, by full name such as `head.width`.
        validations: (time, metric) of each, in order; a metric may be NaN or infinite.
        folder: of the trial; it may not be there yet.
        errors: what was wrong, for outcomes invalid and error.
        architecture: in words, as the trial reported it.
    """

    number: int
    outcome: str
    hyperparameters: dict[str, Any]
    chosen: dict[str, Any]
    seed: int
    validations: list[tuple[float, float]]
    folder: str
    errors: list[str] = field(default_factory=list)
    architecture: str | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class ExperimentResult:
    """One experiment.

    Attributes:
        status: new, running, stopped or completed.
        metric: which the searcher looks at.
        time_metric: epochs or batches, in which validations are timed.
        length: of a full training, in these.
        rungs: times at which ASHA compared trials.
        trial: "module:Class" of a trial that follows the contract; None for any other program.
        program_folder: from which the program imports first.
        storage: URL of the Optuna storage.
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

    def to_json(self) -> dict[str, Any]:
        """Lists, dicts, numbers and text, ready for `json.dump`."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExperimentResult:
        """The inverse of `to_json`, from what `json.load` gives."""
        trials = [
            TrialResult(**{**each, "validations": [(time, value) for time, value in each["validations"]]})
            for each in data["trials"]
        ]
        return cls(**{**data, "trials": trials})


def read_local(folder: Path) -> ExperimentResult:
    """Read an experiment that the engine runs or ran; a running one is not disturbed.

    Raises:
        ConfigError: if the folder is not one of an experiment, or its study cannot be read.
    """
    opened, config = RunFolder.open(folder)
    run, section = opened.run, config["searcher"]
    if "study" not in run:
        raise ConfigError([f"{folder} is not the folder of an experiment that has begun: run.json names no study"])
    url = storage_url(folder, run)
    return ExperimentResult(
        name=str(config.get("name", folder.name)),
        folder=str(folder),
        status=str(run.get("status", "")),
        config=config,
        metric=section["metric"],
        smaller_is_better=configs.smaller_is_better(config),
        time_metric=str(run.get("unit", "epochs")),
        length=int(run.get("length", 0)),
        rungs=list(run.get("rungs", [])),
        trials=[_trial(trial, config, folder) for trial in _study(url, str(run["study"])).get_trials(deepcopy=False)],
        storage=url,
        trial=run.get("trial"),
        program_folder=run.get("program_folder"),
    )


def _study(url: str, name: str) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=name, storage=_readable(url))
    except Exception as error:  # of SQLAlchemy, its drivers, Alembic: each has its own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError([f"study {name} cannot be read from {url}: {reason}"]) from error


def _readable(url: str) -> str:
    """The URL of a database that is there: SQLite would make an empty one where there is none."""
    path = url.removeprefix("sqlite:///")
    if path == url or path in ("", ":memory:") or path.startswith("file:") or "?" in path:
        return url
    return f"sqlite:///file:{quote(path)}?mode=rw&uri=true"


def _trial(trial: FrozenTrial, config: Mapping[str, Any], folder: Path) -> TrialResult:
    known = trial.user_attrs
    hyperparameters = known[HYPERPARAMETERS]
    return TrialResult(
        number=trial.number,
        outcome=str(known.get(OUTCOME, "")) if trial.state.is_finished() else "",
        hyperparameters=hyperparameters,
        chosen={name: _by_name(hyperparameters, name) for name in search_space(config["hyperparameters"])},
        seed=known[SEED],
        validations=[(float(time), value) for time, value in sorted(trial.intermediate_values.items())],
        folder=str(folder / "trials" / str(trial.number)),
        errors=list(known.get(ERRORS, [])),
        **{name: known.get(name) for name in METADATA},
    )


def _by_name(hyperparameters: Mapping[str, Any], name: str) -> Any:
    value: Any = hyperparameters
    for part in name.split("."):
        value = value[part]
    return value
