"""Scores of groups of replicates, tests between all pairs of groups, and what may be said of each."""

from __future__ import annotations

import statistics as plain
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from nas.results import statistics

SIGNIFICANT = 0.05
"""Largest adjusted p of a difference that is called one."""


@dataclass(frozen=True)
class Scores:
    """One value a replicate, in the order of the group's replicates; the interval is Student's, of the mean."""

    values: list[float]
    mean: float
    median: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Pair:
    """Two groups against each other.

    Attributes:
        first, second: their names.
        p: two-sided, of the rank test.
        adjusted: the same, corrected for the number of pairs.
        method: how p was found.
        a12: share of pairs of replicates in which the first is the better.
        smallest: the smallest adjusted p that is possible with so few replicates.
        verdict: what may be said, in a sentence.
    """

    first: str
    second: str
    p: float
    adjusted: float
    method: str
    a12: float
    smallest: float
    verdict: str


@dataclass(frozen=True)
class Table:
    """Scores of one kind ("validation" or "test") of all groups, by name, and all pairs."""

    kind: str
    metric: str
    scores: dict[str, Scores]
    pairs: list[Pair]


def make_table(kind: str, metric: str, values: Mapping[str, list[float]], smaller: bool) -> Table:
    """The scores of each group, one a replicate, with all that follows from them."""
    scores = {
        name: Scores(each, plain.fmean(each), plain.median(each), statistics.t_interval(each))
        for name, each in values.items()
    }
    return Table(kind, metric, scores, _pairs(values, smaller))


def _pairs(values: Mapping[str, list[float]], smaller: bool) -> list[Pair]:
    both = list(combinations(values, 2))
    tested = [statistics.rank_test(values[one], values[other]) for one, other in both]
    adjusted = statistics.holm([p for p, _ in tested])
    possible = statistics.holm([statistics.smallest_p(len(values[one]), len(values[other])) for one, other in both])
    pairs = []
    for (one, other), (p, method), corrected, smallest in zip(both, tested, adjusted, possible, strict=True):
        effect = statistics.a12(values[one], values[other], smaller_is_better=smaller)
        counts = (len(values[one]), len(values[other]))
        says = verdict(one, other, counts, corrected, smallest, effect, len(both))
        pairs.append(Pair(one, other, p, corrected, method, effect, smallest, says))
    return pairs


def verdict(
    first: str,
    second: str,
    counts: tuple[int, int],
    adjusted: float,
    smallest: float,
    effect: float,
    comparisons: int = 1,
) -> str:
    """What may be said of two groups; nothing of a difference that so few replicates could not show."""
    if smallest > SIGNIFICANT:
        corrected = f", in {comparisons} comparisons" if comparisons > 1 else ""
        needed = statistics.fewest_replicates(comparisons, SIGNIFICANT)
        return (
            f"too few replicates to say anything: with {counts[0]} and {counts[1]}{corrected}, p cannot be below "
            f"{smallest:.2g}; {needed} of each could show a difference"
        )
    if adjusted > SIGNIFICANT:
        return f"no difference shown (p = {adjusted:.2g}); that does not make them equal"
    better, worse = (first, second) if effect > 0.5 else (second, first)
    if effect == 0.5:
        return f"they differ (p = {adjusted:.2g}), but neither is better in most pairs"
    return f"{better} is better than {worse} (p = {adjusted:.2g}, in {max(effect, 1 - effect):.0%} of all pairs)"
