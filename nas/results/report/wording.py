"""Numbers and endings in words."""

from __future__ import annotations

import math

from nas.results.experiment import TrialResult
from nas.runs.ranking import is_measurement
from nas.runs.study_schema import in_words


def number_of(value: object) -> float:
    """The number that a trace holds; NaN if it is none."""
    return float(value) if isinstance(value, int | float) else math.nan


def plain(number: float | None) -> str:
    """A number; nothing if it is not known."""
    return "" if number is None else f"{number:,.6g}"


def whole(number: int | None) -> str:
    """A count; nothing if it is not known."""
    return "" if number is None else f"{number:,}"


def ending(trial: TrialResult) -> str:
    """How a trial ended."""
    return in_words(trial.outcome) if trial.outcome else "not finished"


def reason(trial: TrialResult) -> str:
    """Why a trial has no good end."""
    words = {"error": "failed", "invalid": "invalid hyperparameters", "diverged": "diverged"}
    says = words.get(trial.outcome, trial.outcome)
    bad = next((time for time, value in trial.validations if not is_measurement(value)), None)
    reasons = trial.errors or (
        [f"its metric was not finite at {bad:g}"] if bad is not None else ["no reason was noted"]
    )
    return f"{says}: {'; '.join(reasons)}"
