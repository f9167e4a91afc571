"""Learning curves of all trials: validation on the left, training on the right, with the rungs of ASHA."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from nas.core.wording import plural
from nas.results.curve_data import Point as CurvePoint
from nas.results.curve_data import logarithmic_time
from nas.results.experiment import ExperimentResult, Point, TrialResult
from nas.results.figures import style
from nas.results.figures.data import best_point, joined, limit_axis, measured, thinned, winner
from nas.results.figures.style import LOOKS, Picture, look_of

_POINTS = 30_000
"""In a panel; longer curves are thinned."""


def learning_curves(experiment: ExperimentResult) -> Picture | None:
    """The curves; None without trials."""
    if not experiment.trials:
        return None
    title = "Learning curves"
    lines = {trial.number: measured(trial.validations) for trial in experiment.trials}
    best = winner(experiment)
    if best is None:
        return Picture("learning_curves", title, "No trial has a validation that is finite yet.")
    name = training_metric(experiment)
    training = {trial.number: measured(_training(trial, name)) for trial in experiment.trials} if name else {}
    with style.drawing("learning_curves"):
        figure = style.new_figure(4.1)
        panels = figure.subplots(1, 1 + bool(name), squeeze=False)[0]
        beyond = _panel(panels[0], experiment, best, lines, f"validation {experiment.metric}")
        if name:
            _panel(panels[1], experiment, best, training, f"training {name}")
        _legend(figure, experiment, best)
        svg = style.svg_of(figure, f"Learning curves of {experiment.name}")
    return Picture("learning_curves", title, _caption(experiment, best, lines, name, beyond), svg)


def training_metric(experiment: ExperimentResult) -> str:
    """What trials report while they train: the searcher's metric, else the loss; "" if neither."""
    reported = {name for trial in experiment.trials for name in trial.curves.get("training", {})}
    return next((name for name in (experiment.metric, "loss") if name in reported), "")


def _training(trial: TrialResult, name: str) -> Sequence[Point]:
    return trial.curves.get("training", {}).get(name, [])


def _panel(
    axes: Any, experiment: ExperimentResult, best: TrialResult, lines: dict[int, list[Point]], label: str
) -> int:
    """Draw one panel; returns how many trials have values beyond its axis."""
    times = [CurvePoint(*point) for line in lines.values() for point in line]
    smaller = experiment.smaller_is_better if label.endswith(f" {experiment.metric}") else True
    edge = limit_axis(axes, [[value for _, value in line] for line in lines.values()], smaller)
    axes.set_ylabel(style.cut(label, 44))
    axes.set_xlabel(style.cut(experiment.time_metric, 40))
    _time_axis(axes, times)
    reached = max((point.time for point in times), default=0)
    for rung in experiment.rungs:
        if 0 < rung <= reached:
            axes.axvline(rung, color=style.MUTED, linestyle=":", linewidth=1.1, zorder=1)
    most = max(8, _POINTS // max(1, len(lines)))
    few = len(lines) <= 60
    for z, look in enumerate(LOOKS, start=2):
        own = [lines[t.number] for t in experiment.trials if look_of(t.outcome) is look and t.number != best.number]
        own = [thinned(line, most) for line in own if line]
        if own:
            axes.plot(
                *joined(own), color=look.colour, linewidth=1 if few else 0.5, alpha=0.8 if few else 0.45, zorder=z
            )
            ends = [line[-1] for line in own]
            axes.plot([x for x, _ in ends], [y for _, y in ends], **look.dots(3.5 if few else 2), alpha=0.8, zorder=z)
    if line := thinned(lines.get(best.number, []), _POINTS):
        axes.plot([x for x, _ in line], [y for _, y in line], color=style.ORANGE, linewidth=2.4, zorder=8)
        axes.plot(*line[-1], marker=look_of(best.outcome).marker, color=style.ORANGE, markersize=6, zorder=9)
    return (
        sum(any((value > edge) == smaller for _, value in line) for line in lines.values()) if edge is not None else 0
    )


def _time_axis(axes: Any, times: Sequence[CurvePoint]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    if logarithmic_time(times):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(2))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: f"{time:,.10g}"))
    axes.margins(x=0.04)


def _legend(figure: Any, experiment: ExperimentResult, best: TrialResult) -> None:
    entries: list[dict[str, Any]] = [{"label": f"best, trial {best.number}", "color": style.ORANGE, "linewidth": 2.4}]
    counts = Counter(look_of(trial.outcome) for trial in experiment.trials if trial.number != best.number)
    entries += [
        {**look.dots(4.5), "label": f"{look.label} ({counts[look]:,})", "linestyle": "-", "linewidth": 1}
        for look in LOOKS
        if counts[look]
    ]
    if experiment.rungs:
        entries.append({"label": "rungs", "color": style.MUTED, "linestyle": ":"})
    style.legend(figure, entries)


def _caption(
    experiment: ExperimentResult, best: TrialResult, lines: dict[int, list[Point]], training: str, beyond: int
) -> str:
    point = best_point(experiment, best.validations)
    assert point is not None  # or it were not the best
    says = [
        f"{experiment.metric} on the validation data of each trial"
        + (f" (left), and {training} in training (right)." if training else "; no training metric was reported."),
        f"The best is trial {best.number}: {point[1]:.6g} after {style.spell(point[0], experiment.time_metric)}.",
    ]
    if experiment.rungs:
        says.append("Dotted lines are the rungs at which trials were compared and all but the best stopped.")
    if beyond:
        says.append(f"{plural(beyond, 'trial')} with far worse values leave the picture.")
    left_out = sum(len(trial.validations) - len(lines[trial.number]) for trial in experiment.trials)
    if left_out:
        says.append(f"Not drawn: {plural(left_out, 'validation')} that diverged or were not finite.")
    if silent := sum(not trial.validations for trial in experiment.trials):
        says.append(f"{plural(silent, 'trial')} without a validation.")
    return " ".join(says)
