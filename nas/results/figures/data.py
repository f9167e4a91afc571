"""What several figures ask of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nas.results.curve_data import NO_MEASUREMENT
from nas.results.experiment import ExperimentResult, Point, TrialResult
from nas.runs import ranking

_FENCE = 4.0
"""Spreads of the middle half beyond which a value is not shown at its place."""
_LOG_RATIO = 20.0


def measured(points: Sequence[Point]) -> list[Point]:
    """Those that measured something, in the order of time."""
    finite = [(time, value) for time, value in points if math.isfinite(time) and math.isfinite(value)]
    return sorted(point for point in finite if abs(point[1]) < NO_MEASUREMENT)


def best_point(experiment: ExperimentResult, points: Sequence[Point]) -> Point | None:
    """The first of the best of them; None if none measured anything."""
    smaller = experiment.smaller_is_better
    return ranking.best(measured(points), lambda point: point[1], smaller_is_better=smaller)


def winner(experiment: ExperimentResult) -> TrialResult | None:
    """The trial with the best validation, however it ended; of equal ones the first."""
    found = {trial.number: best_point(experiment, trial.validations) for trial in experiment.trials}

    def value(trial: TrialResult) -> float | None:
        point = found[trial.number]
        return None if point is None else point[1]

    return ranking.best(experiment.trials, value, smaller_is_better=experiment.smaller_is_better)


def thinned(points: Sequence[Point], most: int) -> list[Point]:
    """At most so many of the points, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = (len(points) - 1) / (most - 1)
    return [points[round(i * step)] for i in range(most)]


def joined(lines: Sequence[Sequence[Point]]) -> tuple[list[float], list[float]]:
    """Many lines as one, with gaps: a thousand paths would make a large file."""
    gap = (math.nan, math.nan)
    points = [point for line in lines for point in (*line, gap)]
    return [x for x, _ in points], [y for _, y in points]


def logarithmic(values: Sequence[float], ratio: float = _LOG_RATIO) -> bool:
    """Whether an axis for them is logarithmic: all above 0 and the middle nine tenths far apart."""
    ordered = sorted(values)
    if len(ordered) < 2 or ordered[0] <= 0:
        return False
    tenth = len(ordered) // 20
    return ordered[-1 - tenth] > ratio * ordered[tenth]


def fence(values: Sequence[float], smaller_is_better: bool) -> float | None:
    """Of one value a trial, the worst that keeps its place; None if all do. Those beyond would squeeze the rest."""
    log = smaller_is_better and logarithmic(values)

    def scaled(value: float) -> float:
        return math.log(value) if log else value

    if len(values) < 4:
        return None
    ordered = sorted(values)
    low, high = scaled(ordered[len(ordered) // 4]), scaled(ordered[(3 * len(ordered)) // 4])
    spread = _FENCE * max(high - low, 1e-9 * max(abs(low), abs(high)))
    if smaller_is_better:
        inside = [value for value in ordered if scaled(value) <= high + spread]
    else:
        inside = [value for value in ordered if scaled(value) >= low - spread]
    if len(inside) == len(ordered):
        return None
    return inside[-1] if smaller_is_better else inside[0]


def limit_axis(axes: Any, lines: Sequence[Sequence[float]], smaller_is_better: bool) -> float | None:
    """Scale the axis of the metric for the values of each trial; returns the fence, if something lies beyond it."""
    values = [value for line in lines for value in line]
    worst = max if smaller_is_better else min
    edge = fence([worst(line) for line in lines if line], smaller_is_better)
    inside = [value for value in values if edge is None or (value <= edge if smaller_is_better else value >= edge)]
    if not inside:
        return None
    low, high = min(inside), max(inside)
    log = smaller_is_better and low > 0 and high > _LOG_RATIO * low
    if log:
        margin = (high / low) ** 0.06
        axes.set_yscale("log")
        axes.set_ylim(low / margin, high * margin)
    else:
        margin = 0.07 * (high - low) or 0.05 * abs(high) or 1.0
        axes.set_ylim(low - margin, high + margin)
    plain_ticks(axes.yaxis, log, low, high)
    return edge


def plain_ticks(axis: Any, log: bool, low: float, high: float) -> None:
    """Numbers as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if log:
        wide = high > 1000 * low
        axis.set_major_locator(LogLocator(10, (1,) if wide else (1, 2, 5)))
        axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(number: float) -> str:
    """A number in at most four digits, with k, M or G behind large ones."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{number:.4g}"
