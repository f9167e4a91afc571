"""Random against trained controllers as one picture: all cells by controller, their densities, and the best of n."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.core.contenders import GROUPS, TRAINED, UNIFORM
from nas.results.compare.contest import Outcome
from nas.results.compare.figure import COLOURS, INK, NORMAL, RANDOM, SMALL, frame, save, short
from nas.results.statistics import LEVEL

_COLOUR = {TRAINED: COLOURS[0], UNIFORM: RANDOM}
_MARKER = {TRAINED: "o", UNIFORM: "X"}
_PLACE = {TRAINED: -0.17, UNIFORM: 0.17}
_NAMES_UP_TO = 20  # controllers
_FEWEST = 3  # values for a density
_POINTS = 300
_LOG_FROM = 10  # trainings


def draw_outcome(outcome: Outcome, paths: Sequence[Path]) -> None:
    """Write the picture, in the format that each path's ending names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = min(10.0, 3.5 + 0.45 * len(outcome.controllers))
    figure = Figure(figsize=(width + 8, 6), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(1, 3, width_ratios=[width, 2.2, 5.8])
    cells = figure.add_subplot(grid[0])
    _cells(cells, outcome)
    _densities(figure.add_subplot(grid[1], sharey=cells), outcome)
    _best_of(figure.add_subplot(grid[2]), outcome)
    handles, labels = cells.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=SMALL)
    save(figure, paths)


def _values(outcome: Outcome, group: str) -> list[list[float]]:
    """Of each controller, without trainings that diverged."""
    return [[cell.value for cell in each.cells[group] if cell.value is not None] for each in outcome.controllers]


def _cells(axes: Any, outcome: Outcome) -> None:
    """Every cell as a dot, with a bar at the mean of each controller's."""
    for group in GROUPS:
        summary = outcome.groups[group]
        lost = f", {summary.diverged} diverged and not drawn" if summary.diverged else ""
        label = f"{'cells of trained controllers' if group == TRAINED else 'uniform cells'} (n = {summary.count}{lost})"
        dots: dict[str, Any] = {"color": _COLOUR[group], "marker": _MARKER[group], "linestyle": "", "markersize": 6}
        for place, values in enumerate(_values(outcome, group)):
            offsets = np.linspace(-0.09, 0.09, len(values)) if len(values) > 1 else np.zeros(len(values))
            named = {"label": label} if place == 0 else {}
            axes.plot(place + _PLACE[group] + offsets, values, alpha=0.75, markeredgewidth=0, **dots, **named)
            if values:
                ends = [place + _PLACE[group] - 0.14, place + _PLACE[group] + 0.14]
                axes.plot(ends, [np.mean(values)] * 2, color=INK, linewidth=2)
    count = len(outcome.controllers)
    if count <= _NAMES_UP_TO:
        axes.set_xticks(range(count), range(1, count + 1))
    axes.set_xlim(-0.6, count - 0.4)
    axes.set_xlabel("controller, in the order of the table", fontsize=NORMAL)
    axes.set_ylabel(short(f"validation {outcome.metric}"), fontsize=NORMAL, parse_math=False)
    axes.set_title("all cells; bars: means", loc="left", fontsize=SMALL, color=INK)
    frame(axes)


def _densities(axes: Any, outcome: Outcome) -> None:
    """Gaussian kernels with Scott's bandwidth, of all cells of a group together; the line at its mean."""
    stats = importlib.import_module("scipy.stats")
    everything = [value for group in GROUPS for values in _values(outcome, group) for value in values]
    room = 0.25 * (max(everything) - min(everything)) if everything else 0.0
    for group in GROUPS:
        values = [value for each in _values(outcome, group) for value in each]
        if len(set(values)) < _FEWEST:
            continue
        grid = np.linspace(min(everything) - room, max(everything) + room, _POINTS)
        height = stats.gaussian_kde(values)(grid)
        axes.plot(height, grid, color=_COLOUR[group], linewidth=2)
        axes.fill_betweenx(grid, height, color=_COLOUR[group], alpha=0.18, linewidth=0)
        axes.axhline(float(np.mean(values)), color=_COLOUR[group], linestyle=":", linewidth=1.4)
    axes.set_xlim(left=0)
    axes.set_xticks([])
    axes.set_xlabel("density", fontsize=NORMAL)
    axes.tick_params(labelleft=False)
    title = f"P(trained better) = {outcome.superiority:.2f}"
    axes.set_title(title, loc="left", fontsize=SMALL, color=INK)
    frame(axes)


def _best_of(axes: Any, outcome: Outcome) -> None:
    """Curves of the expected best of n; shifted by what a search costs, where that is known."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    trained = outcome.best_of[TRAINED]
    for group in GROUPS:
        curve = outcome.best_of[group]
        counts = np.arange(1, len(curve.values) + 1)
        label = "cells of one controller" if group == TRAINED else "uniform cells, as many"
        style: dict[str, Any] = {"color": _COLOUR[group], "marker": _MARKER[group], "markersize": 4}
        axes.plot(counts, _drawable(curve.values), linewidth=2.2, label=label, zorder=4, **style)
        if curve.low is not None and curve.high is not None:
            axes.fill_between(counts, curve.low, curve.high, color=_COLOUR[group], alpha=0.15, linewidth=0, zorder=1)
    last = len(trained.values)
    if outcome.search_cost is not None:
        paid = np.arange(1, last + 1) + outcome.search_cost
        label = f"cells of one controller and its search (+{outcome.search_cost:.3g})"
        axes.plot(paid, _drawable(trained.values), color=_COLOUR[TRAINED], linestyle="--", linewidth=2, label=label)
        pooled = _drawable(outcome.pooled)
        axes.plot(
            np.arange(1, len(pooled) + 1),
            pooled,
            color=RANDOM,
            linestyle=":",
            linewidth=2,
            label="uniform cells, all together",
        )
        if len(pooled) >= _LOG_FROM:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.6g}"))
    if axes.get_xscale() == "linear":
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel("n, trainings of a cell", fontsize=NORMAL)
    axes.set_ylabel(short(f"expected best {outcome.metric} of n"), fontsize=NORMAL, parse_math=False)
    band = f"; {LEVEL:.0%} bands over controllers" if trained.low is not None else ""
    axes.set_title(f"best of n by validation{band}", loc="left", fontsize=SMALL, color=INK)
    axes.legend(frameon=False, fontsize=SMALL - 1)
    frame(axes)


def _drawable(values: Sequence[float]) -> list[float]:
    return [value if math.isfinite(value) else math.nan for value in values]
