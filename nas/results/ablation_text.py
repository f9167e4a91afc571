"""An ablation in the terminal, as Markdown, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from nas.core.variants import KINDS
from nas.results.ablation import Ablation, Row
from nas.results.fitting import fitted
from nas.results.statistics import LEVEL

WORST, BEST = 20, 10
"""Rows in the terminal, from both ends; the files have all."""
INTERVAL = f"{LEVEL:.0%} interval"
_LAST = ("network", "seeds", INTERVAL)


def print_ablation(console: Console, found: Ablation) -> None:
    """Print the cell, the table and what to know."""
    lines = [f"{'cell':<12} {found.cell}", f"{'from':<12} {found.origin}", f"{'scored':<12} {base_text(found)}"]
    _say(console, *lines)
    rows = [row for row in found.rows if not row.missing]
    cut = len(rows) > WORST + BEST
    parts = [rows[:WORST], rows[-BEST:]] if cut else [rows]
    cells = columns(found, [row for part in parts for row in part])
    if cut:
        for name, column in cells.items():
            column.insert(WORST, f"... {len(rows) - WORST - BEST} more, see the files" if name == "change" else "")
    if rows:
        console.print(fitted(cells, console.width, _LAST, "network" if "network" in cells else "change"))
    _say(console, *(f"note: {note}" for note in [*counts(found), *found.notes]))


def base_text(found: Ablation) -> str:
    """How the cell itself scores, and by what."""
    how = f"trained with {_seeds(found.base.seeds)}" if found.retrained else "with the shared weights of the search"
    return f"{how}: validation {found.metric} {_number(found.base.value, found.base.not_finite)} for the cell itself"


def columns(found: Ablation, rows: Sequence[Row]) -> dict[str, list[str]]:
    """The table, column by column; those of which nothing is known are left out."""
    cells = {
        "change": [row.change for row in rows],
        found.metric: [_number(row.score.value, row.score.not_finite) for row in rows],
        "difference": [_signed(row.score.difference) for row in rows],
        INTERVAL: [_interval(row) for row in rows],
        "seeds": [_counted(row) for row in rows] if found.retrained else [],
        "network": [_network(row) for row in rows],
    }
    return {name: each for name, each in cells.items() if any(each)}


def counts(found: Ablation) -> list[str]:
    """What cannot be seen in one row, a sentence each."""
    told = []
    unscored: dict[str, int] = {}
    for row in found.rows:
        if row.missing:
            unscored[row.missing] = unscored.get(row.missing, 0) + 1
    told += [f"{count} of {len(found.rows)} changes are not scored: {why}" for why, count in unscored.items()]
    if unused := sorted({row.node for row in found.rows if row.unused and row.node is not None}):
        nodes = ", ".join(map(str, unused))
        told.append(
            f"unused nodes: {nodes}; the output does not depend on them, and removing one changes nothing, exactly"
        )
    return told


def markdown(found: Ablation, picture: str) -> str:
    """The same as a page with its picture beside it."""
    parts = [
        f"# Ablation by validation {_md(found.metric)}",
        f"{_md(found.cell)}, from {_md(found.origin)}; {_md(base_text(found))}.",
        f"![the difference that each change makes]({picture})",
        "\n".join(f"- {_md(note)}" for note in [*counts(found), *found.notes]),
    ]
    for kind, title in KINDS.items():
        rows = [row for row in found.rows if row.kind == kind]
        if rows:
            cells = columns(found, rows)
            lines = [" | ".join(map(_md, line)) for line in (list(cells), *zip(*cells.values(), strict=True))]
            table = [f"| {lines[0]} |", f"|{'---|' * len(cells)}", *(f"| {line} |" for line in lines[1:])]
            parts.append(f"## {title[0].upper()}{title[1:]}\n\n" + "\n".join(table))
    return "\n\n".join(parts) + "\n"


def csv_text(found: Ablation) -> str:
    """One line a change, the cell itself first."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ["value", "difference", "low", "high", "seeds", "pairs", "not_finite"]
    writer.writerow(["kind", "node", "change", "metric", *names, "unused", "same_as", "alike", "missing", "genotype"])
    base = asdict(found.base)
    writer.writerow(["", "", "", found.metric, *(base[name] for name in names), "", "", "", "", found.genotype])
    for row in found.rows:
        score, rest = asdict(row.score), [row.unused, row.same_as, row.alike, row.missing, row.genotype]
        writer.writerow([row.kind, row.node, row.change, found.metric, *(score[name] for name in names), *rest])
    return buffer.getvalue()


def json_text(found: Ablation) -> str:
    """All of it."""
    return json.dumps(asdict(found), indent=1, allow_nan=False) + "\n"


def _seeds(count: int) -> str:
    return f"{count} seed" if count == 1 else f"{count} seeds"


def _number(value: float | None, not_finite: int = 0) -> str:
    return f"{value:.5g}" if value is not None else "not finite" if not_finite else ""


def _signed(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:+.4g}"


def _interval(row: Row) -> str:
    low, high = row.score.low, row.score.high
    return "" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"


def _counted(row: Row) -> str:
    bad = f", {row.score.not_finite} not finite" if row.score.not_finite else ""
    return "" if row.missing else f"{row.score.seeds}{bad}"


def _network(row: Row) -> str:
    said = [f"same as {row.same_as}"] if row.same_as else []
    said += [f"as {row.alike}, other matrices"] if row.alike else []
    said += ["unused node"] if row.unused else []
    said += ["not scored"] if row.missing else []
    return ", ".join(said)


def _say(console: Console, *lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _md(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
