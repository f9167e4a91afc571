"""A comparison in the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from nas.core.wording import plural
from nas.results.compare.comparison import Comparison, budget_text
from nas.results.compare.correlation import RankAgreement
from nas.results.compare.tables import Pair, Table
from nas.results.statistics import LEVEL, RESAMPLES, Correlation

Rows = list[list[str]]

_KINDS = {"validation": "Best validation", "test": "Test of the best trial"}
BAND = f"Bands: {LEVEL:.0%} percentile bootstrap of the mean over replicates ({RESAMPLES:,} resamples), from three on"


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print tables of scores and of pairs, what may be said, and what to know."""
    for table in comparison.tables:
        say(console, heading(comparison, table))
        print_rows(console, score_rows(comparison, table))
        if table.pairs:
            print_rows(console, pair_rows(table.pairs))
            say(console, *(f"{pair.first} and {pair.second}: {pair.verdict}" for pair in table.pairs))
        say(console, "")
    if comparison.agreement is not None:
        say(console, *agreement_lines(comparison.agreement), "")
    say(console, *(f"note: {note}" for note in comparison.notes))


def markdown(comparison: Comparison, picture: str) -> str:
    """The same as a page with its picture beside it."""
    parts = [
        f"# Comparison by {escaped(comparison.metric)}",
        f"![best value so far, and scores]({picture})",
        f"*{BAND}.*",
    ]
    for table in comparison.tables:
        parts += [f"## {escaped(heading(comparison, table))}", md_table(score_rows(comparison, table))]
        if table.pairs:
            parts.append(md_table(pair_rows(table.pairs)))
            parts.append(bullets(f"{pair.first} and {pair.second}: {pair.verdict}" for pair in table.pairs))
    if comparison.agreement is not None:
        parts.append("## Search-time scores against training")
        parts.append(bullets(agreement_lines(comparison.agreement)))
        pairs = [[words, f"{one:.6g}", f"{other:.6g}"] for words, one, other in comparison.agreement.pairs]
        header = ["architecture", comparison.agreement.searched_by, f"{comparison.agreement.retrained_by}, retrained"]
        parts.append(md_table([header, *pairs]))
    parts += ["## To know", bullets(comparison.notes), "## Replicates", md_table(replicate_rows(comparison))]
    return "\n\n".join(parts) + "\n"


def csv_text(comparison: Comparison) -> str:
    """One line a replicate and kind of score, for other programs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["group", "experiment", "seed", "kind", "metric", "value", "budget", "budget_unit", "total", "trials", "random"]
    )
    for table in comparison.tables:
        for name, scores in table.scores.items():
            for each, value in zip(comparison.groups[name], scores.values, strict=True):
                told = [
                    name,
                    each.reference,
                    each.seed,
                    table.kind,
                    table.metric,
                    value,
                    comparison.budget,
                    comparison.unit,
                ]
                writer.writerow([*told, each.total, each.trials, name in comparison.random])
    return buffer.getvalue()


def heading(comparison: Comparison, table: Table) -> str:
    """What the scores of a table are."""
    direction = "smaller" if comparison.smaller_is_better else "larger"
    within = f"within {budget_text(comparison)}"
    when = within if table.kind == "validation" else "chosen by validation, at the end of its training"
    return f"{_KINDS[table.kind]} ({table.metric}, {direction} is better), {when}"


def score_rows(comparison: Comparison, table: Table) -> Rows:
    """A header, and a row a group."""
    rows = [["group", "n", "mean", f"{LEVEL:.0%} t interval", "median", "values"]]
    for name, scores in table.scores.items():
        interval = "none of one" if scores.interval is None else "{:.5g} to {:.5g}".format(*scores.interval)
        values = ", ".join(f"{value:.5g}" for value in scores.values[:8]) + (", ..." if len(scores.values) > 8 else "")
        label = f"{name} (random search)" if name in comparison.random else name
        rows.append([label, str(len(scores.values)), f"{scores.mean:.5g}", interval, f"{scores.median:.5g}", values])
    return rows


def pair_rows(pairs: Sequence[Pair]) -> Rows:
    """A header, and a row a pair."""
    rows = [["pair", "Mann-Whitney p", "p after Holm", "smallest possible", "A12 (share of pairs won)"]]
    for pair in pairs:
        p = f"{pair.p:.3g} ({pair.method})"
        rows.append(
            [f"{pair.first} / {pair.second}", p, f"{pair.adjusted:.3g}", f"{pair.smallest:.3g}", f"{pair.a12:.3g}"]
        )
    return rows


def replicate_rows(comparison: Comparison) -> Rows:
    """A header, and a row an experiment."""
    rows = [["group", "experiment", "seed", "trials", f"total, {comparison.unit}", f"best {comparison.metric} in all"]]
    for name, group in comparison.groups.items():
        for each in group:
            seed = "" if each.seed is None else str(each.seed)
            rows.append([name, each.reference, seed, str(each.trials), f"{each.total:.4g}", f"{each.best:.6g}"])
    return rows


def agreement_lines(found: RankAgreement) -> list[str]:
    """Rank correlations with their intervals, and what may be said."""
    lines = [
        f"search-time {found.searched_by} against retrained {found.retrained_by}, "
        f"{plural(len(found.pairs), 'architecture')}: {_correlation('Spearman', found.spearman)}, "
        f"{_correlation('Kendall', found.kendall)}",
        found.says,
    ]
    if found.unmatched:
        lines.append(f"{plural(found.unmatched, 'retrained architecture')} that no search had, left out")
    return lines


def _correlation(name: str, found: Correlation | None) -> str:
    if found is None:
        return f"{name} not defined"
    interval = "" if found.low is None else f" ({LEVEL:.0%} interval {found.low:.2f} to {found.high:.2f})"
    return f"{name} {found.value:.2f}{interval}"


def print_rows(console: Console, rows: Rows) -> None:
    """Print a table whose first row is the header."""
    shown = RichTable()
    for name in rows[0]:
        shown.add_column(Text(name), overflow="fold")
    for row in rows[1:]:
        shown.add_row(*map(Text, row))
    console.print(shown)


def say(console: Console, *lines: str) -> None:
    """Print lines as they are."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def md_table(rows: Rows) -> str:
    """A table in Markdown whose first row is the header."""
    lines = [f"| {' | '.join(map(escaped, row))} |" for row in rows]
    return "\n".join([lines[0], f"|{'---|' * len(rows[0])}", *lines[1:]])


def bullets(lines: Sequence[str] | Iterator[str]) -> str:
    """A list in Markdown."""
    return "\n".join(f"- {escaped(line)}" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown shows as it is: names may hold anything."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
