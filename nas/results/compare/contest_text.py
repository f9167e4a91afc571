"""Random against trained controllers in the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math

from rich.console import Console

from nas.core.contenders import GROUPS, TRAINED, UNIFORM
from nas.core.wording import plural
from nas.results.compare.contest import GroupSummary, Outcome
from nas.results.compare.superiority import FEWEST, Interval
from nas.results.compare.text import Rows, bullets, escaped, md_table, print_rows, say
from nas.results.statistics import LEVEL, RESAMPLES

BAND = f"Intervals and bands: {LEVEL:.0%} percentile bootstrap over controllers ({RESAMPLES:,} resamples), from {FEWEST} on"


def print_outcome(console: Console, outcome: Outcome) -> None:
    """Print the groups, what may be said, the best of n, and what to know."""
    say(console, heading(outcome))
    print_rows(console, group_rows(outcome))
    say(console, *test_lines(outcome), "")
    print_rows(console, best_of_rows(outcome))
    say(console, *cost_lines(outcome), "")
    say(console, *(f"note: {note}" for note in outcome.notes))


def markdown_page(outcome: Outcome, picture: str) -> str:
    """The same as a page with its picture beside it."""
    parts = [
        "# Random against trained controllers",
        f"![all cells by controller, their densities, and the best of n]({picture})",
        f"*{BAND}.*",
        f"## {escaped(heading(outcome))}",
        md_table(group_rows(outcome)),
        bullets(test_lines(outcome)),
        "## Best of n",
        md_table(best_of_rows(outcome)),
        bullets(cost_lines(outcome)),
        "## To know",
        bullets(outcome.notes),
        "## Controllers",
        md_table(controller_rows(outcome)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_page(outcome: Outcome) -> str:
    """One line a cell, for other programs."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["controller", "search", "search_seed", "group", "pair", "trial", "metric", "value", "seconds"])
    for each in outcome.controllers:
        for group in GROUPS:
            for cell in each.cells[group]:
                value = "diverged" if cell.value is None else cell.value
                told = [each.reference, each.about.search, each.about.search_seed, group, cell.pair, cell.trial]
                writer.writerow([*told, outcome.metric, value, cell.seconds])
    return buffer.getvalue()


def heading(outcome: Outcome) -> str:
    """What is compared."""
    direction = "smaller" if outcome.smaller_is_better else "larger"
    count = plural(len(outcome.controllers), "controller")
    return f"Cells of {count} against uniform cells, last validation {outcome.metric}, {direction} is better"


def group_rows(outcome: Outcome) -> Rows:
    """A header, and a row a group."""
    rows = [["cells", "n", "mean", f"{LEVEL:.0%} interval", "sd", "diverged", "different", "best", "its test score"]]
    for group, each in outcome.groups.items():
        best = "" if each.best is None or each.best.value is None else f"{each.best.value:.5g}"
        told = [group, str(each.count), _number(each.mean), _interval(each.interval), _number(each.sd, 3)]
        rows.append([*told, str(each.diverged), _distinct(each), best, _number(each.test)])
    return rows


def test_lines(outcome: Outcome) -> list[str]:
    """The confirmatory test first, then what describes."""
    asked = "trained and uniform differ" if outcome.two_sided else "trained better than uniform"
    lines = [
        outcome.verdict,
        f"confirmatory, named before the cells were trained: permutation over controllers ({asked}), p = {outcome.p:.3g}, "
        f"the smallest possible with {len(outcome.controllers)} being {outcome.smallest:.3g}",
        f"P(trained better than uniform) = {outcome.superiority:.3g}{_with(outcome.superiority_interval)}",
    ]
    if outcome.difference is not None:
        lines.append(
            f"difference of means, trained less uniform: {outcome.difference:+.4g}{_with(outcome.difference_interval)}"
        )
    lines.append(
        f"as if all cells were independent, which those of one controller are not: p = {outcome.cells_p:.3g}, two-sided "
        f"({outcome.cells_test})"
    )
    for group, each in outcome.groups.items():
        if each.best is not None:
            where = f"{each.best.reference}, trial {each.best.trial}"
            lines.append(f"best {group} cell by validation: {where}: {each.best.architecture or 'not known'}")
    if outcome.in_both is not None:
        repeats = ", ".join(
            f"{each.count - (each.distinct or 0)} of {each.count} {group}" for group, each in outcome.groups.items()
        )
        lines.append(
            f"duplicates: {repeats} cells compute the same as another one; {outcome.in_both} are in both groups"
        )
    return lines


def best_of_rows(outcome: Outcome) -> Rows:
    """A header, and a row for n = 1, 2, 5, 10, ... and all."""
    most = len(outcome.best_of[TRAINED].values)
    rows = [
        [
            f"expected best {outcome.metric} of n cells",
            *(f"{group} of one controller" if group == TRAINED else group for group in GROUPS),
        ]
    ]
    for n in _steps(most):
        cells = []
        for group in GROUPS:
            curve = outcome.best_of[group]
            band = None if curve.low is None or curve.high is None else (curve.low[n - 1], curve.high[n - 1])
            cells.append(_number(curve.values[n - 1]) + _with(band))
        rows.append([str(n), *cells])
    return rows


def cost_lines(outcome: Outcome) -> list[str]:
    """The best of n at equal cost, where the cost of the searches is known."""
    if outcome.search_cost is None:
        return []
    lines = [f"a search costs as much device time as {outcome.search_cost:.3g} trainings of a cell, counted here:"]
    for row in outcome.equal_cost:
        lack = f" (all there are; {row.paid_for} would be paid for)" if row.paid_for > row.uniform_count else ""
        lines.append(
            f"search and best of {row.count}: {_number(row.trained)}; best of {row.uniform_count} uniform cells{lack}: "
            f"{_number(row.uniform)}"
        )
    return lines


def controller_rows(outcome: Outcome) -> Rows:
    """A header, and a row a controller."""
    rows = [["", "experiment", "search", "seed", "strategy", "pairs", *(f"mean, {group}" for group in GROUPS)]]
    for number, each in enumerate(outcome.controllers, start=1):
        means = []
        for group in (TRAINED, UNIFORM):
            values = [cell.value for cell in each.cells[group] if cell.value is not None]
            means.append(_number(sum(values) / len(values) if values else None))
        about = each.about
        told = [
            str(number),
            each.reference,
            about.search,
            str(about.search_seed),
            about.strategy,
            str(len(each.cells[TRAINED])),
        ]
        rows.append([*told, *means])
    return rows


def _steps(most: int) -> list[int]:
    return sorted({n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, most) if n <= most})


def _distinct(each: GroupSummary) -> str:
    return "not known" if each.distinct is None else str(each.distinct)


def _number(value: float | None, digits: int = 5) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}g}" if math.isfinite(value) else "may all diverge"


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.5g} to {interval[1]:.5g}"


def _with(interval: Interval | None) -> str:
    return "" if interval is None else f" ({interval[0]:.4g} to {interval[1]:.4g})"
