"""The trials of an experiment, best first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from nas.core.errors import ConfigError
from nas.core.wording import plural
from nas.results.experiment import ExperimentResult, TrialResult, device_seconds
from nas.results.fitting import fitted
from nas.results.quantities import duration, short_count
from nas.results.same import same_as
from nas.runs.ranking import best, best_value, is_measurement, rank
from nas.runs.study_schema import in_words


@dataclass(frozen=True)
class LeaderboardRow:
    """A trial's place, plain enough for JSON and CSV. What is not known is None.

    Attributes:
        rank: from 1.
        trial: its number.
        architecture: in words.
        last: metric of its last validation, at the last rung it reached; None if that was no measurement.
        best: of all its validations.
        best_time: when it reached that first, in epochs or batches.
        time: for which it was trained, likewise.
        parameters: of the network.
        macs: multiply-accumulates for one input.
        seconds: at work.
        device_hours: of all its devices together.
        outcome: how it ended; "" while it has not.
        chosen: hyperparameters that the searcher chose.
        same_as: number of the best trial whose architecture is the same, if that is another one.
    """

    rank: int
    trial: int
    architecture: str | None
    last: float | None
    best: float
    best_time: float
    time: float
    parameters: int | None
    macs: int | None
    seconds: float | None
    device_hours: float | None
    outcome: str
    chosen: dict[str, Any]
    same_as: int | None


def best_metric(experiment: ExperimentResult, trial: TrialResult) -> float | None:
    """The best of a trial's validations; None if none is finite."""
    return best_value((value for _, value in trial.validations), smaller_is_better=experiment.smaller_is_better)


def leaderboard(experiment: ExperimentResult) -> list[TrialResult]:
    """All trials that were validated, best first; of equal ones the one with the smaller number."""
    smaller = experiment.smaller_is_better
    return rank(experiment.trials, lambda trial: best_metric(experiment, trial), smaller_is_better=smaller)


def trial_of(experiment: ExperimentResult, number: int) -> TrialResult:
    """A trial by its number. Raises ConfigError if there is none."""
    for trial in experiment.trials:
        if trial.number == number:
            return trial
    has = f"it has {plural(len(experiment.trials), 'trial')}, counted from 0" if experiment.trials else "it has none"
    raise ConfigError([f"{experiment.reference} has no trial {number}; {has}"])


def leaderboard_rows(experiment: ExperimentResult) -> list[LeaderboardRow]:
    """The leaderboard as plain data."""
    leaders = leaderboard(experiment)
    same = same_as(experiment, leaders)
    return [_row(experiment, trial, place, same.get(trial.number)) for place, trial in enumerate(leaders, start=1)]


def _row(experiment: ExperimentResult, trial: TrialResult, place: int, same: int | None) -> LeaderboardRow:
    smaller = experiment.smaller_is_better
    winner = best(trial.validations, lambda point: point[1], smaller_is_better=smaller)
    assert winner is not None  # else it had no rank
    time, last = trial.validations[-1]
    spent = device_seconds(experiment, trial)
    return LeaderboardRow(
        rank=place,
        trial=trial.number,
        architecture=trial.architecture,
        last=last if is_measurement(last) else None,
        best=winner[1],
        best_time=winner[0],
        time=time,
        parameters=trial.parameters,
        macs=trial.macs,
        seconds=trial.seconds,
        device_hours=None if spent is None else spent / 3600,
        outcome=trial.outcome,
        chosen=trial.chosen,
        same_as=same,
    )


def table(experiment: ExperimentResult, leaders: Sequence[TrialResult], width: int) -> Table:
    """These trials, with rank, metric and what was chosen for them, in so many characters if possible."""
    columns = {
        "rank": [str(place) for place in range(1, len(leaders) + 1)],
        "trial": [str(trial.number) for trial in leaders],
        f"best {experiment.metric}": [f"{best_metric(experiment, trial):.6g}" for trial in leaders],
        experiment.time_metric: [f"{trial.validations[-1][0]:g}" for trial in leaders],
        "ended": [in_words(trial.outcome) for trial in leaders],
        "hyperparameters": [_chosen(trial.chosen) for trial in leaders],
    }
    return fitted(columns, width, ("hyperparameters", "ended", "rank"), "hyperparameters")


def full_table(experiment: ExperimentResult, rows: Sequence[LeaderboardRow], width: int) -> Table:
    """These rows with all that is known of them; a column of which nothing is known is left out."""
    unit = experiment.time_metric
    columns = {
        "rank": [str(row.rank) for row in rows],
        "trial": [str(row.trial) for row in rows],
        f"best {experiment.metric}": [f"{row.best:.6g}" for row in rows],
        "at": [f"{row.best_time:g}" for row in rows],
        "last": ["not finite" if row.last is None else f"{row.last:.6g}" for row in rows],
        unit: [f"{row.time:g}" for row in rows],
        "parameters": [short_count(row.parameters) for row in rows],
        "MACs": [short_count(row.macs) for row in rows],
        "time": [duration(row.seconds) for row in rows],
        "ended": [in_words(row.outcome) for row in rows],
        "same cell": ["" if row.same_as is None else f"= trial {row.same_as}" for row in rows],
        "hyperparameters": [_chosen(row.chosen, 40) for row in rows],
    }
    known = {name: cells for name, cells in columns.items() if any(cells)}
    last = ("same cell", "hyperparameters", "MACs", "last", "time", "ended", "parameters", "at", "rank")
    return fitted(known, width, last, "hyperparameters")


def _chosen(chosen: dict[str, Any], most: int = 60) -> str:
    plain = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in chosen.items()}
    text = ", ".join(f"{name} {value}" for name, value in plain.items())
    return text if len(text) <= most else f"{text[: most - 3]}..."
