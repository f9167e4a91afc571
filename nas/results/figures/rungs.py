"""The brackets and rungs of ASHA as a diagram: how many trials came to each, and what became of them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.core.wording import plural
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.figures import style
from nas.results.figures.style import Picture

_PARTS = {  # what became of trials after they had come to a rung, in the order of drawing
    "passed": ("went on, or completed", style.BLUE),
    "stopped": ("stopped there", style.GREY),
    "running": ("not finished", style.GREEN),
    "failed": ("diverged or failed later", style.PURPLE),
}


@dataclass
class Rung:
    """Trials of a bracket that came to a rung, by what became of them before the next one."""

    time: int
    passed: int = 0
    stopped: int = 0
    running: int = 0
    failed: int = 0

    @property
    def reached(self) -> int:
        """All of them."""
        return self.passed + self.stopped + self.running + self.failed


@dataclass
class Bracket:
    """One run of successive halving.

    Attributes:
        trials: how many it created.
        before: how many of them never came to its first rung: they failed, diverged or are on the way.
    """

    number: int
    rungs: list[Rung]
    trials: int = 0
    before: int = 0


def brackets(experiment: ExperimentResult) -> list[Bracket]:
    """Those that have trials, by number; none if the experiment has no rungs."""
    if not experiment.rungs:
        return []
    made: dict[int, Bracket] = {}
    for trial in experiment.trials:
        number = trial.bracket or 0
        bracket = made.setdefault(number, Bracket(number, [Rung(time) for time in _rungs(experiment, number)]))
        bracket.trials += 1
        _count(bracket, trial)
    return [made[number] for number in sorted(made)]


def _rungs(experiment: ExperimentResult, bracket: int) -> list[int]:
    """A bracket has the last of the experiment's rungs: each one fewer than the bracket before, if the config says no more."""
    rungs, given = sorted(experiment.rungs), experiment.config.get("searcher", {}).get("bracket_rungs")
    if isinstance(given, list) and bracket < len(given):
        return rungs[-max(1, sorted(given, reverse=True)[bracket]) :]
    return rungs[min(bracket, len(rungs) - 1) :]


def _count(bracket: Bracket, trial: TrialResult) -> None:
    end = max((time for time, _ in trial.validations), default=0)
    reached = [rung for rung in bracket.rungs if rung.time <= end]
    if not reached:
        bracket.before += 1
        return
    for rung in reached[:-1]:
        rung.passed += 1
    last = reached[-1]
    if trial.outcome == "completed":
        last.passed += 1
    elif trial.outcome == "pruned":
        last.stopped += 1
    elif trial.outcome == "":
        last.running += 1
    else:
        last.failed += 1


def rung_diagram(experiment: ExperimentResult) -> Picture | None:
    """A panel for each bracket, a bar for each of its rungs; None for searches without rungs."""
    found = brackets(experiment)
    if not found:
        return None
    if not any(rung.reached for bracket in found for rung in bracket.rungs):
        return Picture("rungs", "Brackets and rungs", "No trial has come to a rung.")
    most = max(bracket.trials for bracket in found)
    rungs = max(len(bracket.rungs) for bracket in found)
    with style.drawing("rungs"):
        figure = style.new_figure(1.5 + 0.42 * rungs)
        panels = figure.subplots(1, len(found), squeeze=False, sharey=True)[0]
        times = sorted({rung.time for bracket in found for rung in bracket.rungs})
        for axes, bracket in zip(panels, found, strict=True):
            _panel(axes, bracket, times, most)
        panels[0].set_yticks(range(len(times)), [f"{time:,g}" for time in times])
        panels[0].set_ylim(len(times) - 0.5, -0.5)
        panels[0].set_ylabel(f"rung ({style.cut(experiment.time_metric, 20)})")
        style.legend(figure, _entries(found))
        svg = style.svg_of(figure, f"Brackets and rungs of {experiment.name}")
    return Picture("rungs", "Brackets and rungs", _caption(experiment, found), svg)


def _panel(axes: Any, bracket: Bracket, times: Sequence[int], most: int) -> None:
    for rung in bracket.rungs:
        row, left = times.index(rung.time), 0
        for part, (_, colour) in _PARTS.items():
            width = getattr(rung, part)
            if width:
                axes.barh(row, width, left=left, height=0.62, color=colour, edgecolor=style.PAPER, linewidth=1)
                if width >= 0.09 * most:
                    axes.text(left + width / 2, row, f"{width:,}", ha="center", va="center", color=style.PAPER)
            left += width
        axes.text(left + 0.015 * most, row, f" {rung.reached:,}", va="center", color=style.INK)
    axes.set_xlim(0, most * 1.18)
    axes.set_title(f"bracket {bracket.number}: {plural(bracket.trials, 'trial')}")
    axes.set_xlabel("trials")
    axes.grid(visible=False, axis="y")
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def _entries(found: Sequence[Bracket]) -> list[dict[str, Any]]:
    look = {"linestyle": "", "marker": "s", "markersize": 8}
    rungs = [rung for bracket in found for rung in bracket.rungs]
    return [
        {**look, "label": label, "color": colour}
        for part, (label, colour) in _PARTS.items()
        if any(getattr(rung, part) for rung in rungs)
    ]


def _caption(experiment: ExperimentResult, found: Sequence[Bracket]) -> str:
    says = [
        "Trials that came to each rung (number behind the bar), and what became of them before the next one; "
        f"a rung is at so many {experiment.time_metric} of training."
    ]
    if before := sum(bracket.before for bracket in found):
        says.append(f"{plural(before, 'trial')} did not come to the first rung of their bracket.")
    return " ".join(says)
