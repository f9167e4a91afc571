"""The best value so far of an experiment, by what it cost: device time where that is known of all, else training time.

An experiment's cost is that of all its trials, those that failed too, as if they had run one after another in the order of
their numbers: when trials run at once, nobody knows what each had spent when another reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nas.core.errors import ConfigError
from nas.results.experiment import ExperimentResult, Point, TrialResult, device_seconds
from nas.results.statistics import Floats
from nas.runs.ranking import is_measurement

DEVICE_HOURS = "device hours"


class Step(NamedTuple):
    """A trial improves on all before it."""

    cost: float
    value: float
    trial: int


@dataclass(frozen=True)
class Trajectory:
    """The best value from each cost on, and what the whole experiment cost."""

    steps: list[Step]
    total: float

    def at(self, budget: float) -> Step | None:
        """The best for this budget; None before the first validation."""
        place = int(self._after(np.array([budget]))[0])
        return self.steps[place - 1] if place else None

    def on(self, grid: Floats) -> Floats:
        """The best value for each budget; NaN before the first."""
        values = np.array([math.nan, *(step.value for step in self.steps)])
        return np.asarray(values[self._after(grid)])

    def _after(self, grid: Floats) -> np.ndarray[Any, Any]:
        """How many steps each budget pays for."""
        costs = np.array([step.cost for step in self.steps])
        return np.searchsorted(costs, grid * (1 + 1e-12), side="right")


def choose_unit(experiments: Sequence[ExperimentResult]) -> tuple[str, str]:
    """What budgets are counted in, and why. Raises ConfigError if there is nothing that all count."""
    knows = all(_cost(each, trial, DEVICE_HOURS) is not None for each in experiments for trial in each.trials)
    devices = {trial.device for each in experiments for trial in each.trials if trial.device}
    if knows and len(devices) <= 1:
        on = f" on {devices.pop()}" if devices else ""
        return DEVICE_HOURS, f"budgets are device hours{on}: seconds at work times devices, of all trials together"
    units = sorted({each.time_metric for each in experiments})
    why = f"they ran on different devices ({', '.join(sorted(devices))})" if knows else "not all know their device time"
    if len(units) > 1:
        raise ConfigError([f"budgets cannot be matched: {why}, and some count {units[0]}, others {units[1]}"])
    return units[0], f"budgets are trained {units[0]} of all trials together: {why}"


def trajectory(experiment: ExperimentResult, metric: str, unit: str, *, smaller_is_better: bool) -> Trajectory:
    """The best value so far of all validations, in the order in which they are paid for."""
    spent, steps, sign = 0.0, list[Step](), 1 if smaller_is_better else -1
    for trial in sorted(experiment.trials, key=lambda trial: trial.number):
        cost, length = _cost(experiment, trial, unit) or 0.0, _trained(trial)
        for time, value in validations(experiment, trial, metric):
            if is_measurement(value) and (not steps or sign * value < sign * steps[-1].value):
                steps.append(Step(spent + cost * time / length, value, trial.number))
        spent += cost
    return Trajectory(steps, spent)


def validations(experiment: ExperimentResult, trial: TrialResult, metric: str) -> list[Point]:
    """Of this metric, in order."""
    if metric == experiment.metric:
        return trial.validations
    return trial.curves.get("validation", {}).get(metric, [])


def _trained(trial: TrialResult) -> float:
    times = [time for points in (trial.validations, *trial.curves.get("validation", {}).values()) for time, _ in points]
    return max(times, default=0.0) or 1.0


def _cost(experiment: ExperimentResult, trial: TrialResult, unit: str) -> float | None:
    if unit != DEVICE_HOURS:
        return max((time for time, _ in trial.validations), default=0.0)
    seconds = device_seconds(experiment, trial)
    if seconds is None:
        return None if trial.validations else 0.0
    return seconds / 3600
