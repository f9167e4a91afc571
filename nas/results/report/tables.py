"""Trials as rows, and the experiment as CSV and JSON that every program reads."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from typing import Any

from nas.results.experiment import ExperimentResult, TrialResult, device_seconds
from nas.results.leaderboard import LeaderboardRow, leaderboard_rows
from nas.runs.ranking import is_measurement


@dataclass(frozen=True)
class Row:
    """A trial, and its place; None for one without a finite validation."""

    trial: TrialResult
    place: LeaderboardRow | None = None


def rows(experiment: ExperimentResult) -> list[Row]:
    """All trials, best first; those without a rank follow in the order of creation."""
    by_number = {trial.number: trial for trial in experiment.trials}
    ranked = [Row(by_number.pop(place.trial), place) for place in leaderboard_rows(experiment)]
    return [*ranked, *(Row(trial) for trial in by_number.values())]


def csv_text(experiment: ExperimentResult, board: list[Row]) -> str:
    """A line for each trial; what is not known is empty, what is not finite is `nan`."""
    chosen = list(dict.fromkeys(name for row in board for name in row.trial.chosen))
    tests = list(dict.fromkeys(name for row in board for name in row.trial.test))
    records = [_record(experiment, row, chosen, tests) for row in board]
    columns = list(records[0]) if records else list(_record(experiment, Row(_NOBODY), chosen, tests))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


_NOBODY = TrialResult(number=0, outcome="", hyperparameters={}, chosen={}, seed=0, validations=[], folder="")


def _record(experiment: ExperimentResult, row: Row, chosen: list[str], tests: list[str]) -> dict[str, Any]:
    trial, place, metric, time = row.trial, row.place, experiment.metric, experiment.time_metric
    end = trial.validations[-1] if trial.validations else (None, None)
    last = end[1] if end[1] is None or is_measurement(end[1]) else math.nan
    spent = device_seconds(experiment, trial)
    return {
        "rank": place and place.rank,
        "trial": trial.number,
        "outcome": trial.outcome or "not finished",
        f"best validation {metric}": place and place.best,
        f"{time} of the best": place and place.best_time,
        f"last validation {metric}": last,
        f"{time} trained": end[0],
        "parameters": trial.parameters,
        "macs": trial.macs,
        "seconds": trial.seconds,
        "device hours": None if spent is None else spent / 3600,
        "seed": trial.seed,
        "bracket": trial.bracket,
        **{f"test {name.removeprefix('test_')}": trial.test.get(name) for name in tests},
        **{f"hyperparameter {name}": trial.chosen.get(name) for name in chosen},
        "architecture": trial.architecture,
        "same architecture as trial": place and place.same_as,
        "errors": " | ".join(trial.errors),
        "reference": trial.reference,
    }


def json_text(experiment: ExperimentResult) -> str:
    """`ExperimentResult.to_json` as text. JSON has no NaN: what is not finite is the text `NaN`, `Infinity` or `-Infinity`."""
    return json.dumps(_strict(experiment.to_json()), ensure_ascii=False, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {str(name): _strict(each) for name, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list | tuple) else value
