"""The trials of an experiment, best first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from nas.results.experiment import ExperimentResult, TrialResult
from nas.runs.ranking import best_value, rank


def best_metric(experiment: ExperimentResult, trial: TrialResult) -> float | None:
    """The best of a trial's validations; None if none is finite."""
    return best_value((value for _, value in trial.validations), smaller_is_better=experiment.smaller_is_better)


def leaderboard(experiment: ExperimentResult) -> list[TrialResult]:
    """All trials that were validated, best first; of equal ones the one with the smaller number."""
    smaller = experiment.smaller_is_better
    return rank(experiment.trials, lambda trial: best_metric(experiment, trial), smaller_is_better=smaller)


def table(experiment: ExperimentResult, leaders: Sequence[TrialResult]) -> Table:
    """These trials, with rank, metric and what was chosen for them."""
    shown = Table(title_justify="left")
    for name in ("rank", "trial", f"best {experiment.metric}", experiment.time_metric, "ended", "hyperparameters"):
        shown.add_column(name)
    for place, trial in enumerate(leaders, start=1):
        chosen = ", ".join(f"{name} {value}" for name, value in trial.chosen.items())
        cells = [
            str(place),
            str(trial.number),
            f"{best_metric(experiment, trial):.6g}",
            f"{trial.validations[-1][0]:g}",
        ]
        cells += [trial.outcome or "running", chosen if len(chosen) <= 60 else f"{chosen[:57]}..."]
        shown.add_row(*cells)
    return shown
