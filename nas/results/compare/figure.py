"""A comparison as one picture: best value so far with bands, scores at the matched budget, and agreement of scores."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nas.core.files import write_atomically
from nas.results.compare.budgets import DEVICE_HOURS, Trajectory
from nas.results.compare.comparison import Comparison, in_seconds
from nas.results.compare.tables import Table
from nas.results.statistics import LEVEL, Floats, bootstrap_band

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito's
_DASHES = ("-", "--", "-.", ":")
_MARKERS = "osD^vP*"
RANDOM = "#777777"
INK, _PALE = "#444444", "#E5E5E5"
NORMAL, SMALL = 13, 11  # points
_POINTS = 400  # of a curve
_LONGEST_TICK = 14
_CROWDED = 4  # groups, beyond which replicates have no lines of their own
_SEED = 0  # of resamples


class _Look(NamedTuple):
    colour: str
    dash: Any
    marker: str
    label: str  # in the legend
    tick: str  # below its dots


def draw(comparison: Comparison, paths: Sequence[Path]) -> None:
    """Write the picture, in the format that each path's ending names."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    looks = _looks(comparison)
    ratios = [
        2.2,
        *(max(1.0, 0.7 + 0.1 * len(comparison.groups)) for _ in comparison.tables),
        *([1.2] if comparison.agreement else []),
    ]
    figure = Figure(figsize=(3.4 * sum(ratios), 6), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    first, *more = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
    _curves(first, comparison, looks)
    for axes, table in zip(more, comparison.tables, strict=False):
        _strip(axes, comparison, table, looks)
    if comparison.agreement is not None:
        _agreement(more[-1], comparison)
    handles, labels = first.get_legend_handles_labels()
    columns = max(1, min(4, len(labels), 130 // max(map(len, labels))))
    place: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": SMALL}
    for text in figure.legend(handles, labels, **place).get_texts():
        text.set_parse_math(False)
    save(figure, paths)


def save(figure: Any, paths: Sequence[Path]) -> None:
    """Write a figure in the format that each path's ending names, the same bytes each time."""
    from matplotlib import rc_context

    for path in paths:
        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": "nas", "svg.fonttype": "path"}):
            kind = path.suffix.removeprefix(".")
            figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
        write_atomically(path, buffer.getvalue())


def mean_curve(paths: Sequence[Trajectory], points: int = _POINTS) -> tuple[Floats, Floats]:
    """Budgets that all replicates have a value for, and those values as (replicates, points)."""
    first, last = max(path.steps[0].cost for path in paths), min(path.total for path in paths)
    grid = np.geomspace(first, last, points) if 0 < first < last else np.linspace(first, max(first, last), points)
    return grid, np.stack([path.on(grid) for path in paths])


def _looks(comparison: Comparison) -> dict[str, _Look]:
    """Colours and names of the groups; names that do not fit below a column of dots are numbered."""
    looks: dict[str, _Look] = {}
    numbered = any(len(name) > _LONGEST_TICK for name in comparison.groups)
    rivals = [name for name in comparison.groups if name not in comparison.random]
    for place, (name, replicates) in enumerate(comparison.groups.items(), start=1):
        number, count = f"{place}: " if numbered else "", f" (n = {len(replicates)})"
        random = " (random search)" if name in comparison.random else ""
        label = f"{number}{short(name, 90)}{random}{count}"
        tick = str(place) if numbered else name
        if name in comparison.random:
            looks[name] = _Look(RANDOM, (0, (5, 2)), "X", label, tick)
            continue
        i = rivals.index(name)
        dash = _DASHES[i // len(COLOURS) % len(_DASHES)]
        looks[name] = _Look(COLOURS[i % len(COLOURS)], dash, _MARKERS[i % len(_MARKERS)], label, tick)
    return looks


def _curves(axes: Any, comparison: Comparison, looks: Mapping[str, _Look]) -> None:
    scale = 3600.0 if in_seconds(comparison) else 1.0
    crowded = len(comparison.groups) > _CROWDED
    for name, paths in comparison.trajectories.items():
        look = looks[name]
        for path in paths if len(paths) > 1 and not crowded else ():
            costs = [*(step.cost * scale for step in path.steps), path.total * scale]
            bests = [*(step.value for step in path.steps), path.steps[-1].value]
            axes.step(costs, bests, where="post", color=look.colour, linewidth=0.8, alpha=0.35, zorder=2)
        grid, values = mean_curve(paths)
        style: dict[str, Any] = {"color": look.colour, "linestyle": look.dash, "label": short(look.label, 130)}
        axes.step(grid * scale, values.mean(axis=0), where="post", linewidth=2.4, zorder=4, **style)
        alpha = 0.07 if crowded else 0.15
        if (band := bootstrap_band(values, _SEED)) is not None:
            axes.fill_between(grid * scale, *band, step="post", color=look.colour, alpha=alpha, linewidth=0, zorder=1)
    axes.axvline(comparison.budget * scale, color=INK, linestyle=":", linewidth=1.4, zorder=3)
    unit = "device seconds" if scale > 1 else comparison.unit
    axes.set_xlabel(f"{unit} of all trials together (dotted: the matched budget)", fontsize=NORMAL)
    axes.set_ylabel(short(f"best validation {comparison.metric} so far"), fontsize=NORMAL, parse_math=False)
    _scales(axes, comparison, scale)
    title = f"mean over replicates, {LEVEL:.0%} bootstrap band from n = 3 on"
    axes.set_title(title, loc="left", fontsize=SMALL, color=INK)
    frame(axes)


def _scales(axes: Any, comparison: Comparison, scale: float) -> None:
    """Logarithmic where values range over more than an order; never where large values are better."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    paths = [path for each in comparison.trajectories.values() for path in each]
    plain = FuncFormatter(lambda number, _: f"{number:,.6g}")
    costs = [path.steps[0].cost for path in paths], [path.total for path in paths]
    if min(costs[0]) > 0 and max(costs[1]) > 20 * min(costs[0]):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5), numticks=9))
        axes.xaxis.set_minor_locator(NullLocator())
    elif comparison.unit != DEVICE_HOURS:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.xaxis.set_major_formatter(plain)
    values = [step.value for path in paths for step in path.steps]
    if comparison.smaller_is_better and min(values) > 0 and max(values) > 10 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(plain)


def _strip(axes: Any, comparison: Comparison, table: Table, looks: Mapping[str, _Look]) -> None:
    """Every replicate as a dot, the mean with its interval beside them."""
    for place, (name, scores) in enumerate(table.scores.items()):
        look, count = looks[name], len(scores.values)
        offsets = np.linspace(-0.18, 0.02, count) if count > 1 else [-0.08]
        dots = {"color": look.colour, "marker": look.marker, "markersize": 6, "linestyle": "", "alpha": 0.8}
        axes.plot([place + offset for offset in offsets], scores.values, markeredgewidth=0, **dots)
        axes.plot(place + 0.2, scores.mean, marker="_", markersize=13, color=INK, markeredgewidth=2.2)
        if scores.interval is not None:
            axes.plot([place + 0.2] * 2, scores.interval, color=INK, linewidth=1.6)
    names = [looks[name].tick for name in table.scores]
    turned: dict[str, Any] = (
        {} if max(map(len, names)) < 4 else {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    )
    axes.set_xticks(range(len(names)), names, parse_math=False, **turned)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylabel(short(f"{table.kind} {table.metric}"), fontsize=NORMAL, parse_math=False)
    axes.set_title(f"{table.kind}, mean, {LEVEL:.0%} t interval", loc="left", fontsize=SMALL, color=INK)
    frame(axes)


def _agreement(axes: Any, comparison: Comparison) -> None:
    found = comparison.agreement
    assert found is not None
    axes.plot(
        [one for _, one, _ in found.pairs],
        [other for _, _, other in found.pairs],
        **{"color": COLOURS[0], "marker": "o", "markersize": 6, "linestyle": "", "alpha": 0.8},
    )
    axes.set_xlabel(short(f"search-time {found.searched_by}", 40), fontsize=NORMAL, parse_math=False)
    axes.set_ylabel(short(f"{found.retrained_by}, retrained", 40), fontsize=NORMAL, parse_math=False)
    rho = "" if found.spearman is None else f"Spearman {found.spearman.value:.2f}, "
    axes.set_title(f"{rho}n = {len(found.pairs)}", loc="left", fontsize=SMALL, color=INK)
    frame(axes)


def frame(axes: Any) -> None:
    """What all axes have alike."""
    axes.tick_params(labelsize=SMALL, color=RANDOM)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RANDOM)
    axes.grid(axis="y", color=_PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def short(text: str, most: int = 60) -> str:
    """Not too long: a name may hold anything."""
    text = text if len(text) <= most else f"{text[: most - 3]}..."
    return f" {text}" if text.startswith("_") else text  # a legend leaves out labels that begin so
