"""What can be drawn of a search's learning curves, and what is to be said of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from nas.core.wording import plural
from nas.runs import ranking
from nas.runs.ranking import NONFINITE_PLACEHOLDER

NO_MEASUREMENT = NONFINITE_PLACEHOLDER / 10
"""A metric as large as this is no measurement, but holds what diverged trials report in place of NaN."""

_LINEAR_UP_TO = 8  # the largest time that is not drawn on a logarithmic axis
_LINEAR_RATIO = 20  # of the largest to the smallest metric, likewise


@dataclass(frozen=True)
class Curve:
    """What a trial reported.

    Args:
        number: of the trial.
        points: time and metric of each validation.
        outcome: completed, pruned, diverged, error, invalid, or "" while it runs.
        training: time and the same metric while it trained, if it reported that.
    """

    number: int
    points: list[tuple[float, float]]
    outcome: str
    training: Sequence[tuple[float, float]] = ()


class Point(NamedTuple):
    """One validation that measured something."""

    time: float
    value: float


class Line(NamedTuple):
    """What can be drawn of a trial: at least one point, in the order of time, and the best of them."""

    number: int
    points: list[Point]
    outcome: str
    best: Point


def drawable(curves: Iterable[Curve], smaller_is_better: bool) -> list[Line]:
    """What can be drawn of the trials, by number; those that measured nothing are left out."""
    lines = []
    for curve in sorted(curves, key=lambda curve: curve.number):
        finite = [Point(*point) for point in curve.points if math.isfinite(point[0]) and math.isfinite(point[1])]
        if points := sorted(point for point in finite if abs(point.value) < NO_MEASUREMENT):
            first_best = ranking.rank(points, lambda point: point.value, smaller_is_better=smaller_is_better)[0]
            lines.append(Line(curve.number, points, curve.outcome, first_best))
    return lines


def best(lines: Sequence[Line], smaller_is_better: bool) -> Line | None:
    """The trial with the best validation, however it ended; of equal ones the one with the smallest number."""
    by_number = sorted(lines, key=lambda line: line.number)
    return ranking.best(by_number, lambda line: line.best.value, smaller_is_better=smaller_is_better)


def training_of(curves: Iterable[Curve], winner: Line) -> list[tuple[float, float]]:
    """How a trial did while it trained, where it said so."""
    own = next((curve.training for curve in curves if curve.number == winner.number), ())
    return [(time, value) for time, value in own if math.isfinite(value) and abs(value) < NO_MEASUREMENT]


def best_so_far(lines: Sequence[Line], smaller_is_better: bool) -> list[tuple[int, float]]:
    """The number of each trial, and the best value of all trials up to it."""
    better = min if smaller_is_better else max
    steps: list[tuple[int, float]] = []
    for line in lines:
        steps.append((line.number, better([line.best.value, *(value for _, value in steps[-1:])])))
    return steps


def logarithmic_time(points: Sequence[Point]) -> bool:
    """Whether the axis of time is logarithmic; never one that would be without ticks."""
    times = [point.time for point in points]
    return bool(times) and min(times) > 0 and max(times) > _LINEAR_UP_TO and max(times) >= 4 * min(times)


def logarithmic_metric(points: Sequence[Point], smaller_is_better: bool) -> bool:
    """Whether the axis of the metric is; never where large values are better, which it would not tell apart."""
    values = [point.value for point in points]
    return smaller_is_better and bool(values) and min(values) > 0 and max(values) > _LINEAR_RATIO * min(values)


def caption(curves: Sequence[Curve], *, metric: str, time_metric: str, smaller_is_better: bool) -> str:
    """Which trial is the best, and what the picture leaves out."""
    lines = drawable(curves, smaller_is_better)
    drawn = {line.number: len(line.points) for line in lines}
    left_out = [count for curve in curves if (count := len(curve.points) - drawn.get(curve.number, 0))]
    silent = sum(not curve.points for curve in curves)
    says = []
    if winner := best(lines, smaller_is_better):
        time, value = winner.best
        says.append(f"best: {metric} {value:,.5g}, trial {winner.number} after {plain(time)} {time_metric}")
    if left_out:
        says.append(f"not drawn: {plural(sum(left_out), 'diverged value')} of {plural(len(left_out), 'trial')}")
    if silent:
        says.append(f"{plural(silent, 'trial')} without a validation")
    return "; ".join(says)


def plain(number: float) -> str:
    """A number as an axis shows it."""
    return f"{number:,.10g}"
