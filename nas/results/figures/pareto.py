"""The metric against the size of the network, and the trials that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nas.core.wording import plural
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.figures import style
from nas.results.figures.data import best_point, limit_axis, logarithmic, plain_ticks
from nas.results.figures.style import LOOKS, Picture, look_of

_LABELS = {"parameters": "parameters", "macs": "multiply-accumulates for one input"}
_NAMED = 8
"""Trials of the front that are labelled, if there are no more."""


class Sized(NamedTuple):
    """A trial with the size of its network and its best validation."""

    size: int
    value: float
    trial: TrialResult


def front(points: Sequence[Sized], smaller_is_better: bool) -> list[Sized]:
    """Those that no other beats: none is smaller and at least as good, none better and at most as large. By size."""
    sign = 1 if smaller_is_better else -1
    kept: list[Sized] = []
    for point in sorted(points, key=lambda point: (point.size, sign * point.value, point.trial.number)):
        if not kept or sign * point.value < sign * kept[-1].value:
            kept.append(point)
    return kept


def pareto(experiment: ExperimentResult) -> Picture | None:
    """A panel for parameters, and one for multiply-accumulates; None where fewer than two sizes are known."""
    sized = {name: _sized(experiment, name) for name in _LABELS}
    panels = {name: found for name, found in sized.items() if len({point.size for point in found}) > 1}
    if not panels:
        return None
    smaller = experiment.smaller_is_better
    with style.drawing("pareto"):
        figure = style.new_figure(3.9)
        values = {point.trial.number: [point.value] for found in panels.values() for point in found}
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        edge = limit_axis(all_axes[0], list(values.values()), smaller)
        for axes, (name, found) in zip(all_axes, panels.items(), strict=True):
            _panel(axes, found, smaller, edge)
            axes.set_xlabel(_LABELS[name])
        all_axes[0].set_ylabel(style.cut(f"validation {experiment.metric}", 40))
        _legend(figure, [point.trial for found in panels.values() for point in found])
        svg = style.svg_of(figure, f"Validation metric against size of {experiment.name}")
    return Picture("pareto", "Metric against size", _caption(experiment, panels, edge), svg)


def _sized(experiment: ExperimentResult, name: str) -> list[Sized]:
    found = [(getattr(trial, name), best_point(experiment, trial.validations), trial) for trial in experiment.trials]
    return [Sized(size, point[1], trial) for size, point, trial in found if size and size > 0 and point is not None]


def _panel(axes: Any, points: Sequence[Sized], smaller: bool, edge: float | None) -> None:
    sizes = [point.size for point in points]
    log = logarithmic(sizes, ratio=10)
    if log:
        axes.set_xscale("log")
    plain_ticks(axes.xaxis, log, min(sizes), max(sizes))
    best = front(points, smaller)
    for z, look in enumerate(LOOKS, start=2):
        own = [p for p in points if look_of(p.trial.outcome) is look and not _beyond(p.value, edge, smaller)]
        if own:
            dots = look.dots(4.5 if len(points) <= 100 else 2.5)
            axes.plot([p.size for p in own], [p.value for p in own], **dots, alpha=0.75, zorder=z)
    axes.step(
        [p.size for p in best], [p.value for p in best], where="post", color=style.ORANGE, linewidth=1.8, zorder=7
    )
    ring = {"marker": "o", "markerfacecolor": "none", "color": style.ORANGE, "linestyle": "", "markersize": 8}
    axes.plot([p.size for p in best], [p.value for p in best], **ring, zorder=8)
    for p in best if len(best) <= _NAMED and len(points) <= 100 else ():
        up = (5, 6 if not smaller else -11)
        axes.annotate(f"{p.trial.number}", (p.size, p.value), up, textcoords="offset points", zorder=9)


def _beyond(value: float, edge: float | None, smaller: bool) -> bool:
    return edge is not None and (value > edge if smaller else value < edge)


def _legend(figure: Any, trials: Sequence[TrialResult]) -> None:
    entries: list[dict[str, Any]] = [
        {"label": "Pareto front", "color": style.ORANGE, "marker": "o", "markerfacecolor": "none", "markersize": 7}
    ]
    entries += [
        {**look.dots(4.5), "label": look.label}
        for look in LOOKS
        if any(look_of(trial.outcome) is look for trial in trials)
    ]
    style.legend(figure, entries)


def _caption(experiment: ExperimentResult, panels: dict[str, list[Sized]], edge: float | None) -> str:
    numbers = {
        name: [point.trial.number for point in front(found, experiment.smaller_is_better)]
        for name, found in panels.items()
    }
    says = [f"Best {experiment.metric} on the validation data of each trial against the size of its network."]
    for name, found in numbers.items():
        if len(found) <= _NAMED:
            says.append(f"Pareto front over {_LABELS[name]}: {_list(found)}.")
    if any(trial.outcome == "pruned" for trial in experiment.trials):
        says.append("Trials that were stopped early trained for less, and might have come to more.")
    values = {point.trial.number: point.value for found in panels.values() for point in found}
    beyond = sum(_beyond(value, edge, experiment.smaller_is_better) for value in values.values())
    if beyond:
        says.append(f"{plural(beyond, 'trial')} far worse than the rest are not drawn.")
    return " ".join(says)


def _list(numbers: Sequence[int]) -> str:
    return f"trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
