"""The cells that one search found for all budgets, beside random cells of their sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nas.core.wording import plural
from nas.results.experiment import ExperimentResult
from nas.results.figures import style
from nas.results.figures.data import logarithmic, plain_ticks, winner
from nas.results.figures.style import Picture

_LABELS = {"parameters": "parameters of the network that is trained", "macs": "multiply-accumulates for one input"}
_WORDS = {"parameters": "parameters", "macs": "MACs"}
_Point = tuple[int, float]
"""Size and score."""


def budget_front(experiment: ExperimentResult) -> Picture | None:
    """Of the best trial, or the first that has one; None if there is none, or somebody edited it."""
    best = winner(experiment)
    for trial in (*([best] if best else []), *experiment.trials):
        found = _points(trial.front)
        if found is not None:
            return _drawn(experiment, trial.front, *found)
    return None


def _points(front: Mapping[str, Any]) -> tuple[list[_Point], list[_Point], list[_Point]] | None:
    """The front, the other cells that levels derive, and random ones."""
    try:
        measure = front["measure"]
        rows, levels, others = (
            [(int(row[measure]), float(row["score"])) for row in front[name] if row["score"] is not None]
            for name in ("rows", "levels", "random")
        )
    except (KeyError, TypeError, ValueError):
        return None
    points = [*rows, *levels, *others]
    sound = measure in _LABELS and all(size > 0 and math.isfinite(score) for size, score in points)
    return (sorted(rows), levels, others) if sound and rows else None


def _drawn(
    experiment: ExperimentResult,
    front: Mapping[str, Any],
    rows: Sequence[_Point],
    levels: Sequence[_Point],
    others: Sequence[_Point],
) -> Picture:
    metric = str(front.get("metric", "score"))
    sizes = [size for size, _ in (*rows, *levels, *others)]
    with style.drawing("budget_front"):
        figure = style.new_figure(3.9)
        axes = figure.subplots()
        log = logarithmic(sizes, ratio=10)
        if log:
            axes.set_xscale("log")
        plain_ticks(axes.xaxis, log, min(sizes), max(sizes))
        looks = (
            (others, {"marker": "x", "color": style.GREY}, "random cell of about the same size"),
            (levels, {"marker": "o", "color": style.BLUE}, "derived at a level"),
            (rows, {"marker": "o", "color": style.ORANGE, "markerfacecolor": "none"}, "on the front"),
        )
        for z, (points, look, _) in enumerate(looks, start=2):
            x, y = [size for size, _ in points], [score for _, score in points]
            axes.plot(x, y, linestyle="", markersize=8 if points is rows else 4.5, zorder=z, **look)
        axes.step(
            [size for size, _ in rows], [score for _, score in rows], where="post", color=style.ORANGE, linewidth=1.8
        )
        axes.set_xlabel(_LABELS[front["measure"]])
        axes.set_ylabel(style.cut(f"validation {metric}, shared weights", 40))
        style.legend(
            figure, [{**look, "linestyle": "", "label": label} for points, look, label in reversed(looks) if points]
        )
        svg = style.svg_of(figure, f"Score against size of the cells of {experiment.name}")
    return Picture(
        "budget_front", "A network for every budget", _caption(metric, str(front["measure"]), rows, levels, others), svg
    )


def _caption(
    metric: str, measure: str, rows: Sequence[_Point], levels: Sequence[_Point], others: Sequence[_Point]
) -> str:
    says = [
        f"{plural(len(rows), 'cell')} of which no smaller one has a better {metric} with the shared weights, "
        f"of {rows[0][0]:,} to {rows[-1][0]:,} {_WORDS[measure]}; {plural(len(levels), 'cell')} derived along the levels."
    ]
    if others:
        mean = sum(score for _, score in others) / len(others)
        says.append(f"{plural(len(others), 'random cell')} of sizes on the front have {mean:.4g} in the mean.")
    says.append(
        "Shared weights favour what the search preferred, and what trains quickly: compare retrained networks before you "
        "conclude."
    )
    return " ".join(says)
