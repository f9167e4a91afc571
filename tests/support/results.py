"""Experiments that were never run, as results read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nas.core.space import load_space
from nas.results.experiment import ExperimentResult, Point, TrialResult


def cell(seed: int, package: str = "randomNAS_files") -> dict[str, Any]:
    """A genotype as JSON."""
    found: dict[str, Any] = load_space(package).sample(seed).to_json()
    return found


def trial(number: int, values: Sequence[float | Point], outcome: str = "completed", **more: Any) -> TrialResult:
    """A trial that was validated after each epoch, or at the times of the points."""
    validations = [each if isinstance(each, tuple) else (epoch, each) for epoch, each in enumerate(values, start=1)]
    known = {"hyperparameters": {}, "chosen": {}, "seed": number, "folder": ""}
    return TrialResult(number=number, outcome=outcome, validations=validations, **{**known, **more})


def experiment(
    *trials: TrialResult, name: str = "search", seed: int = 0, searcher: str = "adaptive_asha", **more: Any
) -> ExperimentResult:
    """A search of these trials; `hyperparameters` are those of its config."""
    metric, smaller = more.pop("metric", "loss"), more.pop("smaller_is_better", True)
    config = {
        "name": name,
        "entrypoint": "python3 model_def.py",
        "reproducibility": {"experiment_seed": seed},
        "searcher": {"name": searcher, "metric": metric, "smaller_is_better": smaller},
        "hyperparameters": more.pop("hyperparameters", {"depth": 1}),
    }
    known = {
        "folder": "",
        "status": "completed",
        "time_metric": "epochs",
        "length": 4,
        "rungs": [],
        "storage": "sqlite://",
    }
    return ExperimentResult(
        name=name,
        config=config,
        metric=metric,
        smaller_is_better=smaller,
        trials=list(trials),
        **{**known, "reference": f"{name}-{seed}", **more},
    )
