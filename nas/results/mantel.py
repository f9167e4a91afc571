"""Correlation of two tables of distances, with the permutation test that the dependence of pairs asks for.

Mantel, The detection of disease clustering and a generalized regression approach, Cancer Research 27 (1967). The n (n - 1) / 2
distances between n things are not independent, as each thing is in n - 1 of them; what can be exchanged under the null
hypothesis are the things, so one table's rows and columns are permuted together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations as arrangements
from typing import Any

import numpy as np

FEWEST = 4
"""Things: of three, all arrangements give few different correlations."""
PERMUTATIONS = 4999

_AT_ONCE = 1_000_000  # pairs of some arrangements
_CLOSE = 1e-9

Floats = np.ndarray[Any, np.dtype[np.float64]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Mantel:
    """A correlation over all pairs, and its two-sided p."""

    value: float
    p: float


def mantel(
    one: Floats, others: Sequence[Floats], *, ranks: bool = False, permutations: int = PERMUTATIONS, seed: int = 0
) -> list[Mantel | None]:
    """The correlation of a symmetric table `(n, n)` with each of some others, over the pairs above the diagonal.

    p is the share of arrangements whose correlation is at least as large in absolute value: of all n! where these are no
    more than `permutations`, else of so many random ones and the one that was seen.

    Args:
        ranks: Spearman's correlation in place of Pearson's.
        seed: of the random arrangements, which are the same for all of the others.

    Returns:
        None for fewer than four things, and where all values of a table are equal.
    """
    count = len(one)
    if count < FEWEST:
        return [None] * len(others)
    above = np.triu_indices(count, 1)
    first = standardised(one[above], ranks)
    second = {i: standardised(other[above], ranks) for i, other in enumerate(others)}
    known = {i: each for i, each in second.items() if each is not None}
    found: list[Mantel | None] = [None] * len(others)
    if first is None or not known:
        return found
    square = np.zeros((count, count))
    square[above] = first
    square += square.T
    columns = np.stack(list(known.values()), axis=1)  # (pairs, known)
    seen = first @ columns
    extreme, total = np.zeros(len(known)), 0
    for orders in _orders(count, permutations, seed):  # (some, n)
        moved = square[orders[:, above[0]], orders[:, above[1]]]  # (some, pairs)
        extreme += (np.abs(moved @ columns) >= np.abs(seen) - _CLOSE).sum(axis=0)
        total += len(orders)
    for place, i in enumerate(known):
        found[i] = Mantel(float(seen[place]), float(extreme[place] / total))
    return found


def standardised(values: Floats, ranks: bool) -> Floats | None:
    """Mean 0 and length 1, so that a product of two is their correlation; None if all are equal."""
    chosen = mean_ranks(values) if ranks else np.asarray(values, dtype=np.float64)
    centred = chosen - chosen.mean()
    length = float(np.linalg.norm(centred))
    return None if length <= _CLOSE * max(1.0, float(np.abs(chosen).max())) else centred / length


def mean_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values have the mean of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    means: Floats = last - (sizes - 1) / 2
    return means[group.reshape(-1)]


def _orders(count: int, permutations: int, seed: int) -> Iterator[Numbers]:
    """Arrangements, some at a time, the one that is seen among them."""
    if count < 20 and math.factorial(count) <= permutations:
        yield np.array(list(arrangements(range(count))))
        return
    yield np.arange(count)[None]
    generator = np.random.default_rng(seed)
    most = max(1, _AT_ONCE // count**2)
    for begin in range(0, permutations, most):
        some = min(most, permutations - begin)
        yield generator.permuted(np.tile(np.arange(count), (some, 1)), axis=1)
