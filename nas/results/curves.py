"""The learning curves of a search as one picture."""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from nas.core.files import write_atomically
from nas.results.curve_data import (
    Curve,
    Line,
    Point,
    best,
    best_so_far,
    caption,
    drawable,
    logarithmic_metric,
    logarithmic_time,
    plain,
    training_of,
)
from nas.runs.study_schema import in_words

_FEW = 4  # trials that need no second panel
_MOST = 6  # entries in a row of the legend
_GREY, _BLUE, _ORANGE, _GREEN, _PURPLE = "#999999", "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito's
_INK, _PALE = "#444444", "#E5E5E5"
_THICK = 3
_BIG, _NORMAL, _SMALL = 17, 14, 12.5  # points


class _Look(NamedTuple):
    endings: tuple[str, ...]
    colour: str
    width: float
    marker: str
    hollow: bool = False

    def dots(self, size: float, colour: str = "") -> dict[str, Any]:
        colour = colour or self.colour
        face = "white" if self.hollow else colour
        return {"linestyle": "", "marker": self.marker, "markersize": size, "color": colour, "markerfacecolor": face}


_LOOKS = (  # later ones are drawn over earlier ones
    _Look(("pruned",), _GREY, 0.9, "o"),
    _Look(("completed",), _BLUE, 1.6, "o"),
    _Look(("",), _GREEN, 1.6, "o", hollow=True),
    _Look(("diverged", "error", "invalid"), _PURPLE, 1.6, "X"),
)


LOGARITHMIC = " (logarithmic)"


def draw(
    curves: Sequence[Curve],
    path: Path,
    *,
    title: str,
    metric: str,
    time_metric: str,
    smaller_is_better: bool,
    rungs: Sequence[int] = (),
) -> bool:
    """Write the picture as PNG of 1200 x 700 pixels, at once and whole; False if matplotlib is not installed.

    On the left the metric of each trial against time, on the right the best metric of each trial against its number.

    Args:
        curves: of all trials, in any order; those that measured nothing are only counted.
        path: of the picture; its folder is made.
        title: of the picture.
        metric: what was measured.
        time_metric: what time is counted in.
        smaller_is_better: the direction of the metric.
        rungs: times at which trials were compared; those that were reached are drawn.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        return False
    lines = drawable(curves, smaller_is_better)
    points = [point for line in lines for point in line.points]
    reached = [rung for rung in rungs if 0 < rung <= max((point.time for point in points), default=0)]
    layout = ConstrainedLayoutEngine(w_pad=0.14, h_pad=0.09)
    figure = Figure(figsize=(12, 7), dpi=100, layout=layout)
    FigureCanvasAgg(figure)
    ratios = [4, 1] if len(lines) > _FEW else [1]
    axes, *more = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
    _metric_axis(axes, metric, points, smaller_is_better)
    _time_axis(axes, time_metric, points)
    winner = best(lines, smaller_is_better)
    training = training_of(curves, winner) if winner else []
    _validations(axes, lines, winner, training, reached, smaller_is_better)
    for panel in more:
        _progress(panel, lines, winner, smaller_is_better)
    _legend(figure, curves, winner, bool(reached), bool(more), trained=bool(training))
    says = caption(curves, metric=metric, time_metric=time_metric, smaller_is_better=smaller_is_better)
    axes.set_title(_cut(says, 150), loc="left", fontsize=_SMALL, color=_INK, pad=12, parse_math=False)
    layout.execute(figure)  # now it is known where the axes begin
    left = axes.get_position().x0
    figure.suptitle(_cut(title, 72), x=left, ha="left", fontsize=_BIG, fontweight="bold", parse_math=False)
    _write(figure, path)
    return True


def _write(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


def _validations(
    axes: Any,
    lines: Sequence[Line],
    winner: Line | None,
    training: Iterable[tuple[float, float]],
    rungs: Iterable[int],
    smaller_is_better: bool,
) -> None:
    """The panel of all trials, with the training of the best one."""
    _frame(axes)
    if winner is None:
        return _nothing(axes)
    _lines(axes, lines, winner)
    _rungs(axes, rungs)
    _label(axes, winner, smaller_is_better)
    shown = axes.get_ylim()  # of validations: what training begins with may be far above
    axes.plot(*_columns(training), color=_ORANGE, linewidth=1.3, linestyle="--", zorder=7)
    axes.set_ylim(shown)


def _nothing(axes: Any) -> None:
    axes.set(xticks=[], yticks=[])
    text = "there is no validation to draw"
    axes.text(0.5, 0.5, text, ha="center", fontsize=_BIG, color=_INK, transform=axes.transAxes)


def _time_axis(axes: Any, name: str, points: Sequence[Point]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    logarithmic = logarithmic_time(points)
    axes.set_xlabel(_cut(name, 80) + (LOGARITHMIC if logarithmic else ""), fontsize=_NORMAL, parse_math=False)
    axes.margins(x=0.03)
    if logarithmic:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(2))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        whole = all(float(point.time).is_integer() for point in points)
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=whole, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time, _: plain(time)))


def _metric_axis(axes: Any, name: str, points: Sequence[Point], smaller_is_better: bool) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    logarithmic = logarithmic_metric(points, smaller_is_better)
    label = f"validation {_cut(name, 50)}{LOGARITHMIC if logarithmic else ''}"
    axes.set_ylabel(label, fontsize=_NORMAL, parse_math=False)
    axes.margins(y=0.08)
    if logarithmic:
        values = [point.value for point in points]
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(10, (1,) if max(values) > 1000 * min(values) else (1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def _frame(axes: Any) -> None:
    axes.tick_params(labelsize=_SMALL, color=_GREY)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.grid(axis="y", color=_PALE, linewidth=0.8)
    axes.set_axisbelow(True)


def _lines(axes: Any, lines: Sequence[Line], winner: Line) -> None:
    from matplotlib.collections import LineCollection

    for z, look in enumerate(_LOOKS, start=2):
        own = [line for line in lines if line.outcome in look.endings and line is not winner]
        faint = min(0.9, 5 / math.sqrt(len(own) or 1))
        style: dict[str, Any] = {"alpha": faint, "zorder": z}
        axes.add_collection(
            LineCollection([line.points for line in own], linewidths=look.width, colors=look.colour, **style)
        )
        axes.plot(*_columns(line.points[-1] for line in own), **look.dots(_size(lines)), **style)
    axes.plot(*_columns(winner.points), color=_ORANGE, linewidth=_THICK, solid_capstyle="round", zorder=8)
    axes.plot(*winner.points[-1], **_look(winner).dots(9, _ORANGE), zorder=9)
    axes.autoscale_view()


def _rungs(axes: Any, rungs: Iterable[int]) -> None:
    for rung in rungs:
        axes.axvline(rung, color=_INK, linestyle=":", linewidth=1.3, zorder=1)


def _label(axes: Any, winner: Line, smaller_is_better: bool) -> None:
    """On the side of its best value where there are no lines."""
    from matplotlib.patheffects import withStroke

    share = axes.transAxes.inverted().transform(axes.transData.transform(winner.best))[0]
    axes.annotate(
        f"trial {winner.number}",
        winner.best,
        (0, -9 if smaller_is_better else 9),
        textcoords="offset points",
        ha="right" if share > 0.9 else "left" if share < 0.1 else "center",
        va="top" if smaller_is_better else "bottom",
        fontsize=_NORMAL,
        fontweight="bold",
        color=_ORANGE,
        path_effects=[withStroke(linewidth=3, foreground="white")],
        zorder=10,
    )


def _progress(axes: Any, lines: Sequence[Line], winner: Line | None, smaller_is_better: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    _frame(axes)
    axes.set_xlabel("number of the trial", fontsize=_NORMAL)
    axes.margins(x=0.05)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: plain(number)))
    axes.tick_params(labelleft=False, left=False)
    for z, look in enumerate(_LOOKS, start=2):
        own = [(line.number, line.best.value) for line in lines if line.outcome in look.endings and line is not winner]
        axes.plot(*_columns(own), **look.dots(_size(lines)), alpha=0.7, zorder=z)
    axes.step(*_columns(best_so_far(lines, smaller_is_better)), where="post", color=_INK, linewidth=2, zorder=8)
    if winner:
        axes.plot(winner.number, winner.best.value, **_look(winner).dots(7, _ORANGE), zorder=9)


def _legend(
    figure: Any, curves: Sequence[Curve], winner: Line | None, rungs: bool, progress: bool, *, trained: bool
) -> None:
    from matplotlib.lines import Line2D

    counts = Counter(curve.outcome for curve in curves)
    others = Counter(curve.outcome for curve in curves if winner is None or curve.number != winner.number)
    entries: list[dict[str, Any]] = []
    if winner:
        line = {"label": f"best trial ({in_words(winner.outcome)})", "linestyle": "-", "linewidth": _THICK}
        entries.append(_look(winner).dots(8, _ORANGE) | line)
    if trained:
        entries.append({"label": "its training", "color": _ORANGE, "linewidth": 1.3, "linestyle": "--"})
    for look in _LOOKS:
        if any(others[ending] for ending in look.endings):
            says = ", ".join(f"{in_words(ending)} ({counts[ending]:,})" for ending in look.endings if counts[ending])
            entries.append(look.dots(6) | {"label": says, "linestyle": "-", "linewidth": look.width})
    if rungs:
        entries.append({"label": "rungs", "color": _INK, "linestyle": ":"})
    if progress:
        entries.append({"label": "best so far", "color": _INK, "linewidth": 2})
    if entries:
        handles = [Line2D([], [], **entry) for entry in entries]
        columns = math.ceil(len(handles) / math.ceil(len(handles) / _MOST))
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=_SMALL, frameon=False)


def _look(line: Line) -> _Look:
    return next(look for look in _LOOKS if line.outcome in look.endings)


def _columns(points: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    pairs = list(points)
    return [x for x, _ in pairs], [y for _, y in pairs]


def _size(lines: Sequence[Line]) -> float:
    return 5 if len(lines) <= 60 else 3.5


def _cut(text: str, longest: int) -> str:
    """On one line, cut where it would leave the picture."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
