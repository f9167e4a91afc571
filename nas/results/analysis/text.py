"""Findings of a controller in the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nas.core.wording import plural
from nas.results.analysis.findings import AGAINST, COEFFICIENTS, DISTANCES, TRAINED, UNTRAINED, Findings, Group
from nas.results.mantel import Mantel

Rows = list[list[str]]

NOTES = (
    "The last token is drawn from the last state, which has not seen it; it was read once more: states know whole cells.",
    "A state is computed from the cell's decisions, so that a controller that learned nothing also puts like cells side by "
    "side: what was learned shows in the difference to the untrained controller's states of the same cells. The last two "
    "columns are of cells that it drew itself.",
    "p is two-sided, of Mantel's test: cells, not pairs, are permuted, as pairs are not independent. Of {count} tests one in "
    "20 falls below 0.05 by chance.",
    "The tree edit distance is of ordered trees, with branches in sorted order. Losses are with shared weights, on validation "
    "data: they say little of cells that are retrained.",
)


def print_findings(console: Console, found: Findings) -> None:
    """Print what was drawn, the correlations, and what to know."""
    for name, value in facts(found):
        console.print(f"{name:<12} {value}", highlight=False, markup=False, soft_wrap=True)
    header, *rows = correlation_rows(found)
    table = Table(box=None, pad_edge=False)
    for i, name in enumerate(header):
        table.add_column(name, justify="left" if i < 3 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for note in notes(found):
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def facts(found: Findings) -> Iterator[tuple[str, str]]:
    """What was drawn, in pairs of a name and words."""
    for name, group in ((TRAINED, found.trained), (UNTRAINED, found.fresh)):
        cells = group.cells
        words = [f"{found.source.drawn} cells drawn, {len(cells.counts)} different"]
        if left := len(cells.losses) - len(group.kept):
            words.append(f"{left} left out, whose loss is not finite")
        if group.kept:
            best, median, worst = (math.exp(min(np.quantile(group.losses, q), 700)) for q in (0, 0.5, 1))
            words.append(f"perplexity {best:.4g} to {worst:.4g}, median {median:.4g}")
        words.append(f"the likeliest has {math.exp(max(cells.log_probs)):.2g}")
        yield name, "; ".join(words)


def notes(found: Findings) -> list[str]:
    """What to know."""
    count = sum(len(group.tests) for group in found.groups.values())
    return [note.format(count=count) for note in NOTES]


def correlation_rows(found: Findings) -> Rows:
    """A row for each distance, what it is compared with and coefficient; untrained controllers beside the trained one."""
    header = ["distance", "against", "", *(title for name in found.groups for title in (name, "p"))]
    tests = [(d, a, c) for d in DISTANCES for c in COEFFICIENTS for a in AGAINST]
    rows = [
        [test[0], test[1], test[2], *(text for group in found.groups.values() for text in _texts(group.tests[test]))]
        for test in tests
    ]
    return [header, *rows]


def _texts(test: Mantel | None) -> tuple[str, str]:
    if test is None:
        return "-", "-"
    return f"{test.value:.2f}", f"{test.p:.4f}"


def markdown(found: Findings, pictures: Sequence[tuple[str, str]], drawings: dict[int, str], title: str) -> str:
    """A page.

    Args:
        pictures: file and caption of each.
        drawings: the file of each cell that is drawn.
    """
    parts = [f"# {_md(title)}", "\n".join(f"- {name}: {_md(value)}" for name, value in facts(found))]
    parts += ["## States and cells", _md_table(correlation_rows(found))]
    parts += [f"![{_md(caption)}]({file})\n\n*{_md(caption)}*" for file, caption in pictures]
    for name, pairs in (("nearest", found.nearest), ("farthest", found.farthest)):
        if pairs:
            parts += [
                f"## The {plural(len(pairs), 'pair')} with the {name} states",
                _md_table(_pairs(found, pairs, drawings)),
            ]
    parts += ["## To know", "\n".join(f"- {_md(note)}" for note in notes(found))]
    return "\n\n".join(parts) + "\n"


def _pairs(found: Findings, pairs: Sequence[tuple[int, int]], drawings: dict[int, str]) -> Rows:
    group = found.trained
    rows = [["L2", "common edges", "with activation", "tree edits", "perplexity", "one", "other"]]
    for i, j in pairs:
        one, other = group.kept.index(i), group.kept.index(j)
        counts = [f"{group.against[name][one, other]:g}" for name in AGAINST[:3]]
        perplexities = " and ".join(f"{math.exp(min(group.cells.losses[k], 700)):.5g}" for k in (i, j))
        shown = [f"![cell {k}]({drawings[k]})" if k in drawings else f"cell {k}" for k in (i, j)]
        rows.append([f"{group.distances['L2'][one, other]:.3g}", *counts, perplexities, *shown])
    return rows


def csv_text(found: Findings) -> str:
    """A line for each pair of cells of each controller; cells are numbered as in the JSON."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = [*DISTANCES, *AGAINST]
    writer.writerow(["controller", "cell", "other cell", *names])
    for controller, group in found.groups.items():
        tables = [*group.distances.values(), *group.against.values()]
        for one, other in combinations(range(len(group.kept)), 2):
            values = [f"{table[one, other]:.6g}" for table in tables]
            writer.writerow([controller, group.kept[one], group.kept[other], *values])
    return buffer.getvalue()


def json_text(found: Findings) -> str:
    """Cells, states and tests; tables of pairs are in the CSV."""
    source = found.source
    whole = {
        "drawn": source.drawn,
        "batches": source.batches,
        "decisions": [{"about": name, "options": k} for name, k in zip(source.decisions, source.options, strict=True)],
        "nearest": found.nearest,
        "farthest": found.farthest,
        **{name: _group_json(group) for name, group in found.groups.items()},
    }
    return json.dumps(whole) + "\n"


def _group_json(group: Group) -> dict[str, Any]:
    cells = group.cells
    per_cell = zip(
        cells.genotypes, cells.counts, cells.log_probs, cells.losses, cells.states, cells.largest, strict=True
    )
    tests = [
        {"distance": d, "against": a, "coefficient": c, "value": test and test.value, "p": test and test.p}
        for (d, a, c), test in group.tests.items()
    ]
    described = [
        {
            "genotype": genotype,
            "drawn": count,
            "log_prob": log_prob,
            "loss": loss if math.isfinite(loss) else None,
            "state": [round(value, 6) for value in state],
            "largest_probabilities": [round(value, 6) for value in largest],
        }
        for genotype, count, log_prob, loss, state, largest in per_cell
    ]
    return {"tests": tests, "cells": described}


def _md(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _md_table(rows: Rows) -> str:
    header, *rest = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([header, "|" + "---|" * len(rows[0]), *rest])
