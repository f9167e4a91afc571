"""Cells of trained controllers against uniform ones: how often they win, bootstrap over controllers, and the best of n.

Arrays hold costs: smaller is better, and a training that diverged costs infinity, so that all such tie as the worst.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nas.results.compare.tables import SIGNIFICANT
from nas.results.statistics import LEVEL, RESAMPLES, Floats, rank_test

Interval = tuple[float, float]
FEWEST = 3
"""Controllers for an interval; of two there are three different resamples."""


def wins(trained: Floats, uniform: Floats) -> float:
    """Pairs in which the trained cell is the better, ties counted half: Mann and Whitney's U (1947)."""
    one, other = trained[:, None], uniform[None, :]
    return float((one < other).sum() + 0.5 * (one == other).sum())


def superiority(trained: Sequence[Floats], uniform: Sequence[Floats], seed: int = 0) -> tuple[float, Interval | None]:
    """P(a trained cell is better than a uniform one) = U / (n1 n2), and its percentile bootstrap interval over controllers.

    Args:
        trained, uniform: costs of the cells of each controller, and of the uniform cells trained beside them.
        seed: of the resamples.
    """
    won = np.array([[wins(one, other) for other in uniform] for one in trained])
    pairs = np.array([[len(one) * len(other) for other in uniform] for one in trained], dtype=np.float64)

    def share(counts: Floats) -> Floats:
        found = np.einsum("ri,ij,rj->r", counts, won, counts) / np.einsum("ri,ij,rj->r", counts, pairs, counts)
        return np.asarray(found)

    return float(won.sum() / pairs.sum()), over_controllers(len(trained), share, seed)


def mean(values: Sequence[Floats], seed: int = 0) -> tuple[float, Interval | None]:
    """The mean of all cells, and its percentile bootstrap interval over controllers."""
    sums, sizes = np.array([each.sum() for each in values]), np.array([len(each) for each in values])
    interval = over_controllers(len(values), lambda counts: (counts @ sums) / (counts @ sizes), seed)
    return float(sums.sum() / sizes.sum()), interval


def over_controllers(count: int, statistic: Callable[[Floats], Floats], seed: int) -> Interval | None:
    """The percentile bootstrap interval (Efron 1979) of what is computed from how often each controller was drawn.

    Args:
        statistic: of counts `(resamples, controllers)`.

    Returns:
        None for fewer than three controllers.
    """
    if count < FEWEST:
        return None
    found = statistic(resamples(count, seed))
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def resamples(count: int, seed: int) -> Floats:
    """How often each controller was drawn, `(resamples, controllers)`."""
    drawn = np.random.default_rng(seed).multinomial(count, [1 / count] * count, size=RESAMPLES)
    return np.asarray(drawn, dtype=np.float64)


def rank_differences(trained: Sequence[Floats], uniform: Sequence[Floats]) -> list[float]:
    """For each controller the rank sum of its uniform cells less that of its own, among all cells of all; 1 is the best.

    As both groups have equally many cells, U is half their sum plus a constant: a test of one is a test of the other.
    """
    ranks = _stats().rankdata(np.concatenate([*trained, *uniform]))
    places = np.cumsum([len(each) for each in [*trained, *uniform]])[:-1]
    sums = [float(each.sum()) for each in np.split(ranks, places)]
    return [other - one for one, other in zip(sums[: len(trained)], sums[len(trained) :], strict=True)]


def cells_p(trained: Floats, uniform: Floats) -> tuple[float, str]:
    """Two-sided p as if all cells were independent, and by what: it describes, as cells of one controller are not.

    Mann-Whitney's test; Brunner and Munzel's (2000), which allows for it, where spreads differ: where the test of Brown and
    Forsythe (1974) has p <= 0.05. It is not defined where the groups do not overlap.
    """
    stats = _stats()
    one, other = trained[np.isfinite(trained)], uniform[np.isfinite(uniform)]
    differ = min(len(one), len(other)) >= FEWEST and _spreads_differ(one, other)
    if differ and 0 < wins(trained, uniform) < len(trained) * len(uniform):
        ranks = stats.rankdata(np.concatenate([trained, uniform]))  # which know no infinity
        found = stats.brunnermunzel(ranks[: len(trained)], ranks[len(trained) :])
        return float(found.pvalue), "Brunner-Munzel, as spreads differ"
    p, how = rank_test(trained.tolist(), uniform.tolist())
    return p, f"Mann-Whitney, {how}"


def _spreads_differ(one: Floats, other: Floats) -> bool:
    with np.errstate(divide="ignore", invalid="ignore"):  # of groups without any spread
        return float(_stats().levene(one, other, center="median").pvalue) <= SIGNIFICANT


def best_of(costs: Floats, count: int) -> float:
    """The expected best of `count` of the cells, drawn without replacement: sum of x_(j) C(N - j, n - 1) / C(N, n).

    Infinite where all that are drawn may have diverged.
    """
    ordered, total = np.sort(costs), math.comb(len(costs), count)
    weights = [math.comb(len(costs) - j, count - 1) / total for j in range(1, len(costs) - count + 2)]
    return float(np.dot(ordered[: len(weights)], weights))


def best_of_curve(groups: Sequence[Floats], seed: int = 0) -> tuple[Floats, tuple[Floats, Floats] | None]:
    """The expected best of n = 1, 2, ... cells of one controller, as a mean over controllers, with its bootstrap band."""
    most = min(map(len, groups))
    curves = np.array([[best_of(each, n) for n in range(1, most + 1)] for each in groups])
    middle = curves.mean(axis=0)
    if len(groups) < FEWEST or not np.isfinite(curves).all():
        return middle, None
    found = resamples(len(groups), seed) @ curves / len(groups)
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return middle, (low, high)


def _stats() -> Any:
    return importlib.import_module("scipy.stats")
