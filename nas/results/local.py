"""Experiments of the local engine, and single runs, read from their folders; one that runs is not disturbed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.trial import FrozenTrial

from nas.config import load as configs
from nas.config.search_space import search_space
from nas.core.errors import ConfigError
from nas.core.files import read_json
from nas.core.secrets import driver_reason, without_password
from nas.results.experiment import UNREADABLE, ExperimentResult, MetricCurves, Point, TrialResult
from nas.runs.run_folder import RunFolder, scores_in
from nas.runs.study_schema import (
    BRACKET,
    ERRORS,
    HYPERPARAMETERS,
    METADATA,
    OUTCOME,
    RESTARTS,
    SEED,
    storage_url,
)


def read_local(folder: Path) -> ExperimentResult:
    """Read an experiment that the engine runs or ran, or a run of one trial.

    Raises:
        ConfigError: if the folder is neither, or damaged, or its study cannot be read.
    """
    opened, config = RunFolder.open(folder)
    for section in ("searcher", "hyperparameters"):
        if not isinstance(config.get(section, {}), dict):
            raise ConfigError([f"{folder}/config.yaml is damaged: {section} must be fields"])
    try:
        return _single(opened, config) if HYPERPARAMETERS in opened.run else _experiment(opened, config)
    except ConfigError:
        raise
    except UNREADABLE as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigError([f"{folder} cannot be read: its run.json or config.yaml is damaged ({what})"]) from error


def _experiment(opened: RunFolder, config: dict[str, Any]) -> ExperimentResult:
    run, folder = opened.run, opened.path
    if "study" not in run:
        raise ConfigError([f"{folder} is not the folder of an experiment that has begun: run.json names no study"])
    url, searched = storage_url(folder, run), list(search_space(config["hyperparameters"]))
    trials = _study_trials(url, str(run["study"]), folder)
    time_metric = str(run.get("unit", "epochs"))
    return ExperimentResult(
        **_common(opened, config),
        time_metric=time_metric,
        length=int(run.get("length", 0)),
        rungs=list(run.get("rungs", [])),
        trials=[_trial(trial, searched, folder / "trials" / str(trial.number), time_metric) for trial in trials],
        storage=without_password(url),
        trial=run.get("trial"),
        program_folder=run.get("program_folder"),
        sampler=run.get("sampler"),
    )


def _common(opened: RunFolder, config: Mapping[str, Any]) -> dict[str, Any]:
    """What an experiment and a single run have in common."""
    section, run = config["searcher"], opened.run
    return {
        "name": str(config.get("name", opened.path.name)),
        "folder": str(opened.path),
        "status": str(run.get("status", "")),
        "config": dict(config),
        "metric": section["metric"],
        "smaller_is_better": configs.smaller_is_better(config),
        "reference": str(opened.path),
        "processes": int((config.get("resources") or {}).get("slots_per_trial", 1) or 1),
        "created": run.get("created"),
        "versions": dict(run.get("versions") or {}),
    }


def _single(opened: RunFolder, config: dict[str, Any]) -> ExperimentResult:
    """A run that no engine started, such as one of `python3 model_def.py`."""
    run = opened.run
    unit, length = configs.training_length(config, (run[HYPERPARAMETERS] or {}).get("train_epochs"))
    latest = run.get("latest") or {}
    about = {**_common(opened, config), "processes": (run.get("device") or {}).get("processes", 1)}
    metric = about["metric"]
    curves = _curves(opened, unit)
    trial = TrialResult(
        number=0,
        outcome=run["status"] if run.get("status") in ("completed", "diverged") else "",
        hyperparameters=run[HYPERPARAMETERS],
        chosen={},
        seed=run.get("seed"),
        validations=curves.get("validation", {}).get(metric, []),
        **_of_folder(opened, unit),
    )
    status = "completed" if trial.outcome else "stopped" if latest else "new"
    return ExperimentResult(
        **{**about, "status": status},
        time_metric=unit,
        length=length,
        rungs=[],
        trials=[trial],
        storage="",
    )


def _study_trials(url: str, name: str, folder: Path) -> list[FrozenTrial]:
    hint = f"nas run --resume {folder} makes it anew from the folders of the trials where it is gone"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.load_study(study_name=name, storage=_readable(url)).get_trials(deepcopy=False)
    except Exception as error:  # of SQLAlchemy, its drivers, Alembic: each has its own
        what = f"study {name} cannot be read from {without_password(url)}: {driver_reason(error, url)}; {hint}"
    raise ConfigError([what])  # the driver's own error may quote the password


def _readable(url: str) -> str:
    """The URL of a database that is there: SQLite would make an empty one where there is none."""
    path = url.removeprefix("sqlite:///")
    if path == url or path in ("", ":memory:") or path.startswith("file:") or "?" in path:
        return url
    return f"sqlite:///file:{quote(path)}?mode=rw&uri=true"


def _trial(trial: FrozenTrial, searched: list[str], folder: Path, time_metric: str) -> TrialResult:
    known = trial.user_attrs
    hyperparameters = known[HYPERPARAMETERS]
    told = {name: known[name] for name in METADATA if known.get(name) is not None}
    try:
        found = _of_folder(RunFolder.open(folder)[0], time_metric)
    except UNREADABLE:  # it has not begun, or its files are damaged or gone: the study says enough
        found = {"folder": str(folder)}
    return TrialResult(
        number=trial.number,
        outcome=str(known.get(OUTCOME, "")) if trial.state.is_finished() else "",
        hyperparameters=hyperparameters,
        chosen={name: by_name(hyperparameters, name) for name in searched},
        seed=known.get(SEED),
        validations=[(float(time), value) for time, value in sorted(trial.intermediate_values.items())],
        errors=list(known.get(ERRORS, [])),
        bracket=known.get(BRACKET),
        restarts=known.get(RESTARTS, 0),
        **{**told, **found},
    )


def _of_folder(opened: RunFolder, time_metric: str) -> dict[str, Any]:
    """What a trial itself left."""
    run, path = opened.run, opened.path
    metadata = run.get("metadata") or {}
    trace = _json(path / "search.json") or []
    size = trace[-1] if trace else metadata  # of a search: that of the architecture, not of the supernet
    kept = [(run.get(which) or {}).get("uuid") for which in ("best", "latest")]
    found = {
        "folder": str(path),
        "reference": str(path),
        "architecture": metadata.get("architecture"),
        "space": metadata.get("space"),
        "genotype": _json(path / "genotype.json"),
        "parameters": size.get("parameters"),
        "macs": size.get("macs"),
        "seconds": run.get("seconds"),
        "curves": _curves(opened, time_metric),
        "test": _test(opened),
        "search": trace,
        "front": _front(path),
        "checkpoint": next((uuid for uuid in kept if uuid and (opened.checkpoints / uuid).is_dir()), None),
        "versions": dict(run.get("versions") or {}),
        "device": (run.get("device") or {}).get("name"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _front(path: Path) -> dict[str, Any] | None:
    """Of a search for all budgets; None without one, and for what is no mapping."""
    found = _json(path / "front.json")
    return found if isinstance(found, dict) else None


def _curves(opened: RunFolder, time_metric: str) -> MetricCurves:
    """Training and validation; an epoch that was not whole counts in part."""
    latest = opened.run.get("latest") or {}
    rate = 1.0
    if time_metric == "epochs" and latest.get("batches"):
        rate = latest["epochs"] / latest["batches"]
    return curves_of(opened.metrics(), time_metric, rate)


def curves_of(records: Iterable[Mapping[str, Any]], time_metric: str, rate: float) -> MetricCurves:
    """The curves of all groups but "test".

    Args:
        records: reports, each with its group, the step and metrics.
        time_metric: what validations are timed in.
        rate: of these units, how many a batch is.
    """
    curves: MetricCurves = {}
    for record in records:
        if record["group"] == "test":
            continue
        whole = time_metric in record and record["group"] == "validation"
        time = float(record[time_metric]) if whole else record.get("batches", record["step"]) * rate
        for name, value in scores_in(record).items():
            points: list[Point] = curves.setdefault(record["group"], {}).setdefault(name, [])
            points.append((time, value))
    return curves


def _test(opened: RunFolder) -> dict[str, float]:
    """The last scores; there are no others."""
    records = opened.metrics("test")
    return scores_in(records[-1]) if records else {}


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def by_name(hyperparameters: Mapping[str, Any], name: str) -> Any:
    """A value by its full name, such as `head.width`."""
    value: Any = hyperparameters
    for part in name.split("."):
        value = value[part]
    return value
