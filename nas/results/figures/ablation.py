"""The difference that each change of a cell makes: a dot a change with its interval, kind by kind, the most harmful first."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from nas.core.variants import KINDS
from nas.results.ablation import Ablation, Row
from nas.results.figures import style
from nas.results.figures.data import fence
from nas.results.statistics import LEVEL

_ROW, _HEAD = 0.2, 1.3  # inches of height
_DPI = 110
_HARM, _HELP, _UNCLEAR = style.ORANGE, style.GREEN, style.GREY


def draw(found: Ablation) -> Mapping[str, bytes]:
    """The picture by the ending of its file's name, `png` and `svg`; empty if nothing was scored."""
    groups = {kind: [row for row in found.rows if row.kind == kind and _drawn(row)] for kind in KINDS}
    groups = {kind: rows for kind, rows in groups.items() if rows}
    if not groups:
        return {}
    with style.drawing("ablation"):
        figure = style.new_figure(_HEAD + _ROW * sum(len(rows) + 1.6 for rows in groups.values()))
        ratios = [len(rows) + 0.6 for rows in groups.values()]
        all_axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        edge = fence([_difference(row) for rows in groups.values() for row in rows], found.smaller_is_better)
        for axes, (kind, rows) in zip(all_axes, groups.items(), strict=True):
            _group(axes, KINDS[kind], rows, found.smaller_is_better, edge)
        better = "left" if found.smaller_is_better else "right"
        all_axes[-1].set_xlabel(f"validation {found.metric} less that of the cell itself ({better} is better)")
        style.legend(figure, _legend(found, groups))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=_DPI)
        svg = style.svg_of(figure, f"Differences in {found.metric} that changes of a cell make")
    return {"png": buffer.getvalue(), "svg": svg.encode()}


def _drawn(row: Row) -> bool:
    return row.score.difference is not None


def _difference(row: Row) -> float:
    assert row.score.difference is not None
    return row.score.difference


def _group(axes: Any, title: str, rows: Sequence[Row], smaller: bool, edge: float | None) -> None:
    """One kind of change; what lies far beyond all others, past `edge`, is an arrow with its number at the margin."""
    for place, row in enumerate(rows):
        colour, value = _colour(row, smaller), _difference(row)
        look = {"color": colour, "markerfacecolor": style.PAPER if row.unused or row.same_as else colour}
        if edge is not None and (value > edge if smaller else value < edge):
            axes.plot(edge, place, marker=">" if smaller else "<", markersize=5.5, **look)
            side, gap = ("right", -8) if smaller else ("left", 8)
            axes.annotate(f"{value:+.3g}", (edge, place), (gap, 0), textcoords="offset points", ha=side, va="center")
            continue
        if row.score.low is not None and row.score.high is not None:
            axes.plot([row.score.low, row.score.high], [place, place], color=colour, linewidth=1.6)
        axes.plot(value, place, marker="o", markersize=4.5, **look)
    axes.axvline(0, color=style.INK, linewidth=1)
    axes.set_yticks(
        range(len(rows)), [style.cut(f"{row.change}{' (unused)' if row.unused else ''}", 44) for row in rows]
    )
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.set_title(title)


def _colour(row: Row, smaller: bool) -> str:
    """Grey where the interval has 0, or where there is none."""
    low, high = row.score.low, row.score.high
    if low is None or high is None or low <= 0 <= high:
        return _UNCLEAR if low is not None else style.BLUE
    return _HARM if (low > 0) == smaller else _HELP


def _legend(found: Ablation, groups: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    rows = [row for each in groups.values() for row in each]
    colours = {_colour(row, found.smaller_is_better) for row in rows}
    labels = {
        style.BLUE: "one score, no interval",
        _UNCLEAR: f"{LEVEL:.0%} interval with 0",
        _HARM: "worse",
        _HELP: "better",
    }
    dot = {"linestyle": "", "marker": "o", "markersize": 4.5}
    entries = [{**dot, "color": colour, "label": label} for colour, label in labels.items() if colour in colours]
    if any(row.unused or row.same_as for row in rows):
        hollow = {"color": style.INK, "markerfacecolor": style.PAPER}
        entries.append({**dot, **hollow, "label": "unused node, or the same network as another"})
    return entries
