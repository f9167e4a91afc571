"""The best validation so far, against device hours and against the number of trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from nas.core.wording import plural
from nas.results.experiment import ExperimentResult, TrialResult, device_seconds
from nas.results.figures import style
from nas.results.figures.data import best_point, limit_axis, measured, thinned
from nas.results.figures.style import LOOKS, Picture, look_of

_HOUR = 3600.0
_STEPS = 2000


class Moment(NamedTuple):
    """A validation, and the device hours that the experiment had taken by then."""

    hours: float
    value: float
    number: int


def moments(experiment: ExperimentResult) -> list[Moment]:
    """All validations, with trials laid one after the other in the order of creation.

    A validation at time t of a trial that came to time T took t / T of the trial's device seconds. A trial whose seconds
    nobody knows takes none, and its validations are left out.
    """
    found, before = [], 0.0
    for trial in experiment.trials:
        seconds = device_seconds(experiment, trial)
        if seconds is None:
            continue
        end = max((time for time, _ in trial.validations), default=0)
        for time, value in measured(trial.validations):
            found.append(Moment((before + seconds * (time / end if end else 1)) / _HOUR, value, trial.number))
        before += seconds
    return found


def best_so_far(points: Sequence[tuple[float, float]], smaller_is_better: bool) -> list[tuple[float, float]]:
    """Where the best changes, and the end."""
    steps: list[tuple[float, float]] = []
    for x, value in points:
        if not steps or (value < steps[-1][1] if smaller_is_better else value > steps[-1][1]):
            steps.append((x, value))
    return [*steps, (points[-1][0], steps[-1][1])] if steps else []


def progress(experiment: ExperimentResult) -> Picture | None:
    """Best so far; None for fewer than two trials with a validation."""
    points = [(trial, best_point(experiment, trial.validations)) for trial in experiment.trials]
    by_trial = [(trial, point[1]) for trial, point in points if point is not None]
    if len(by_trial) < 2:
        return None
    timed = moments(experiment)
    smaller = experiment.smaller_is_better
    with style.drawing("progress"):
        figure = style.new_figure(3.6)
        panels = list(figure.subplots(1, 1 + bool(timed), sharey=True, squeeze=False)[0])
        edge = limit_axis(panels[-1], [[value] for _, value in by_trial], smaller)
        if timed:
            unit, scale = _unit(timed[-1].hours)
            by_number = {trial.number: trial for trial in experiment.trials}
            dots = [(by_number[each.number], (each.hours * scale, each.value)) for each in _bests(timed, smaller)]
            steps = best_so_far([(each.hours * scale, each.value) for each in timed], smaller)
            _panel(panels[0], steps, dots, edge, smaller)
            panels[0].set_xlabel(unit)
        steps = best_so_far([(trial.number + 1, value) for trial, value in by_trial], smaller)
        own = [(trial, (trial.number + 1.0, value)) for trial, value in by_trial]
        _panel(panels[-1], steps, own, edge, smaller)
        panels[-1].set_xlabel("number of trials")
        panels[0].set_ylabel(style.cut(f"validation {experiment.metric}", 40))
        _legend(figure, [trial for trial, _ in by_trial])
        svg = style.svg_of(figure, f"Best validation so far of {experiment.name}")
    return Picture("progress", "Best so far", _caption(experiment, timed), svg)


def _unit(hours: float) -> tuple[str, float]:
    """Minutes where hours would be small numbers."""
    return ("device hours", 1) if hours >= 0.5 else ("device minutes", 60)


def _bests(timed: Sequence[Moment], smaller: bool) -> list[Moment]:
    """The best of each trial, by number."""
    found: dict[int, Moment] = {}
    for each in timed:
        known = found.get(each.number)
        if known is None or (each.value < known.value if smaller else each.value > known.value):
            found[each.number] = each
    return list(found.values())


Dot = tuple[TrialResult, tuple[float, float]]


def _panel(
    axes: Any, steps: Sequence[tuple[float, float]], dots: Sequence[Dot], edge: float | None, smaller: bool
) -> None:
    from matplotlib.ticker import MaxNLocator

    for z, look in enumerate(LOOKS, start=2):
        own = [point for trial, point in dots if look_of(trial.outcome) is look]
        own = [(x, value) for x, value in own if edge is None or (value <= edge if smaller else value >= edge)]
        if own:
            size = 4 if len(dots) <= 100 else 2
            axes.plot([x for x, _ in own], [y for _, y in own], **look.dots(size), alpha=0.7, zorder=z)
    line = thinned(steps, _STEPS)
    axes.step([x for x, _ in line], [y for _, y in line], where="post", color=style.ORANGE, linewidth=2.2, zorder=8)
    axes.set_xlim(left=0)
    if steps and steps[-1][0] <= 10 and all(float(x).is_integer() for x, _ in steps):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _legend(figure: Any, trials: Sequence[TrialResult]) -> None:
    entries: list[dict[str, Any]] = [{"label": "best so far", "color": style.ORANGE, "linewidth": 2.2}]
    entries += [
        {**look.dots(4.5), "label": f"best of a trial, {look.label}"}
        for look in LOOKS
        if any(look_of(trial.outcome) is look for trial in trials)
    ]
    style.legend(figure, entries)


def _caption(experiment: ExperimentResult, timed: Sequence[Moment]) -> str:
    says = [f"Best {experiment.metric} on the validation data so far, and the best of each trial."]
    unknown = sum(trial.seconds is None for trial in experiment.trials)
    if timed:
        says.append(
            "Device time (seconds times devices of each trial): trials are laid one after the other in the order of "
            "creation, each validation at its share of its trial's seconds, however many ran at once."
        )
    else:
        says.append("Nobody noted how long the trials took, so there is no axis of device hours.")
    if timed and unknown:
        says.append(f"{plural(unknown, 'trial')} without known seconds left out of it.")
    return " ".join(says)
