"""Experiments made up as plain data."""

from __future__ import annotations

from typing import Any

from nas.core.space import load_space
from nas.results.experiment import ExperimentResult, TrialResult

CONFIG: dict[str, Any] = {
    "name": "search",
    "entrypoint": "python3 model_def.py",
    "searcher": {"name": "random", "metric": "loss", "max_trials": 4},
    "hyperparameters": {"arch_seed": {"type": "int", "minval": 0, "maxval": 9}, "train_epochs": 3},
    "data": {"corpus": "pydoc"},
}


def cell(seed: int, package: str = "randomNAS_files") -> dict[str, Any]:
    """A genotype as JSON."""
    found: dict[str, Any] = load_space(package).sample(seed).to_json()
    return found


def made_trial(number: int, values: list[float], outcome: str = "completed", **more: Any) -> TrialResult:
    """A trial that was validated after each epoch."""
    chosen = more.pop("chosen", {"arch_seed": number})
    hyperparameters = {"train_epochs": 3, **chosen}
    about: dict[str, Any] = {"space": "randomNAS_files", "genotype": cell(number), "seed": 10 + number, "folder": ""}
    return TrialResult(
        number=number,
        outcome=outcome,
        hyperparameters=hyperparameters,
        chosen=chosen,
        validations=[(float(epoch), value) for epoch, value in enumerate(values, start=1)],
        **{**about, **more},
    )


def made_experiment(*trials: TrialResult, **more: Any) -> ExperimentResult:
    """Of these trials; smaller losses are better."""
    config = {**CONFIG, **more.pop("config", {})}
    about: dict[str, Any] = {
        **{"name": config["name"], "folder": "", "status": "completed", "metric": "loss", "smaller_is_better": True},
        **{"time_metric": "epochs", "length": 3, "rungs": [], "storage": "sqlite:///x.db", "reference": "search-1"},
        "trial": "model_def:RecurrentTrial",
    }
    return ExperimentResult(config=config, trials=list(trials), **{**about, **more})
