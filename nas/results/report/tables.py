"""Trials as rows, and the experiment as CSV and JSON that every program reads."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from typing import Any

from nas.results.experiment import ExperimentResult, TrialResult, device_seconds
from nas.results.figures.data import best_point
from nas.results.leaderboard import leaderboard
from nas.runs.ranking import is_measurement


@dataclass(frozen=True)
class Row:
    """A trial and its place.

    Attributes:
        rank: from 1; None if no validation was finite.
        value: best validation of the searcher's metric.
        time: at which it was.
        trained: time of the last validation.
        last: its value, which may be NaN.
    """

    trial: TrialResult
    rank: int | None = None
    value: float | None = None
    time: float | None = None
    trained: float | None = None
    last: float | None = None
    device_hours: float | None = None


def rows(experiment: ExperimentResult) -> list[Row]:
    """All trials, best first; those without a rank follow in the order of creation."""
    leaders = leaderboard(experiment)
    ranked = {trial.number for trial in leaders}
    ordered = [*leaders, *(trial for trial in experiment.trials if trial.number not in ranked)]
    return [_row(experiment, trial, i if trial.number in ranked else None) for i, trial in enumerate(ordered, start=1)]


def _row(experiment: ExperimentResult, trial: TrialResult, rank: int | None) -> Row:
    best = best_point(experiment, trial.validations) or (None, None)
    end = trial.validations[-1] if trial.validations else (None, None)
    seconds = device_seconds(experiment, trial)
    hours = None if seconds is None else seconds / 3600
    return Row(trial, rank, value=best[1], time=best[0], trained=end[0], last=end[1], device_hours=hours)


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
    trial, metric, time = row.trial, experiment.metric, experiment.time_metric
    last = row.last if row.last is None or is_measurement(row.last) else math.nan
    return {
        **{"rank": row.rank, "trial": trial.number, "outcome": trial.outcome or "not finished"},
        **{f"best validation {metric}": row.value, f"{time} of the best": row.time, f"last validation {metric}": last},
        **{f"{time} trained": row.trained, "parameters": trial.parameters, "macs": trial.macs},
        **{"seconds": trial.seconds, "device hours": row.device_hours, "seed": trial.seed, "bracket": trial.bracket},
        **{f"test {name.removeprefix('test_')}": trial.test.get(name) for name in tests},
        **{f"hyperparameter {name}": trial.chosen.get(name) for name in chosen},
        **{"architecture": trial.architecture, "errors": " | ".join(trial.errors), "reference": trial.reference},
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
