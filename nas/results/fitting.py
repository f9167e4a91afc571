"""Tables that fit the terminal: where it is narrow, columns are left out rather than numbers cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_FOLDED = 12
"""Columns that a text which may be folded gets at least."""


def fitted(columns: Mapping[str, Sequence[str]], width: int, last: Sequence[str], folded: str = "") -> Table:
    """A table of these columns (header -> cells) that is no wider than `width`, if that is possible.

    Args:
        columns: in their order.
        width: of the terminal, in characters.
        last: headers of columns that are left out where there is no room, the first of them first.
        folded: header of a column whose cells may take several lines.
    """
    shown = dict(columns)
    for name in last:
        if _width(shown, folded) > width:
            shown.pop(name, None)
    table = Table(title_justify="left")
    spare = max(0, width - _width(shown, folded))
    for name, cells in shown.items():
        least = _least(name, cells, folded)
        most = least + spare if name == folded else None  # or rich would shrink others first, and then be too wide
        table.add_column(Text(name), overflow="fold", min_width=least, max_width=most)
    for row in zip(*shown.values(), strict=True):
        table.add_row(*map(Text, row))
    return table


def _width(columns: Mapping[str, Sequence[str]], folded: str) -> int:
    """Of a table whose columns are as narrow as may be."""
    return sum(_least(name, cells, folded) + 3 for name, cells in columns.items()) + 1


def _least(name: str, cells: Sequence[str], folded: str) -> int:
    """Characters of a column at least: its longest cell, and the longest word of its header, which may take several lines."""
    longest = max(map(cell_len, cells), default=0)
    return max(min(longest, _FOLDED) if name == folded else longest, *map(cell_len, name.split() or [""]))
