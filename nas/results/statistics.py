"""Statistics of few replicates: intervals, a rank test with effect size and correction, bootstrap bands, rank correlations.

Needs SciPy, which only comparing and ablating do; `require_scipy` says so. The same input gives the same numbers.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from nas.core.errors import ConfigError

LEVEL = 0.95
"""Of intervals and bands."""
RESAMPLES = 2000
"""Of the bootstrap."""

_EXACT_UP_TO = 200  # values of both groups together
_EXACT = 200_000  # ways to divide the pooled values in two groups, up to which all are counted where there are ties
_FEWEST_BAND = 3  # replicates; of two there are three different resamples
_FEWEST_CORRELATION = 5

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its interval, which is None for fewer than five pairs."""

    value: float
    low: float | None
    high: float | None


def require_scipy() -> None:
    """Raises ConfigError, with what to type, if SciPy is not installed."""
    _scipy_stats()


def _scipy_stats() -> Any:
    try:
        return importlib.import_module("scipy.stats")
    except ImportError as error:
        raise ConfigError(["this needs SciPy, which is not installed; pip install -e .[compare]"]) from error


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's interval of the mean; None for a single value, of which the spread is not known."""
    stats = _scipy_stats()
    if len(values) < 2:
        return None
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(values) - 1)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.mean(values))
    return mean - half, mean + half


def bootstrap_band(curves: Floats, seed: int) -> tuple[Floats, Floats] | None:
    """Percentile bootstrap of the mean (Efron 1979) at every point, over replicates.

    Args:
        curves: (replicates, points).
        seed: of the resamples, which are the same at all points.

    Returns:
        The lower and upper ends; None for fewer than three replicates.
    """
    count = len(curves)
    if count < _FEWEST_BAND:
        return None
    chosen = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    means = curves[chosen].mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def rank_test(first: Sequence[float], second: Sequence[float]) -> tuple[float, str]:
    """Two-sided p of the Mann-Whitney U test, and how it was found.

    Exact for small groups, also with ties (then over all ways to divide the values); by the normal distribution for large ones.
    """
    stats = _scipy_stats()
    pooled = [*first, *second]
    if len(set(pooled)) == 1:
        return 1.0, "all values are equal"
    ties = len(set(pooled)) < len(pooled)
    if len(pooled) > _EXACT_UP_TO or (ties and math.comb(len(pooled), len(first)) > _EXACT):
        return float(stats.mannwhitneyu(first, second, method="asymptotic").pvalue), "normal approximation"
    if not ties:
        return float(stats.mannwhitneyu(first, second, method="exact").pvalue), "exact"
    ranks = stats.rankdata(pooled)
    sums = ranks[np.array(list(combinations(range(len(pooled)), len(first))))].sum(axis=1)
    seen = ranks[: len(first)].sum()
    tail = min((sums <= seen).mean(), (sums >= seen).mean())
    return min(1.0, 2 * float(tail)), "exact, with ties"


def smallest_p(first: int, second: int) -> float:
    """The smallest two-sided p that the rank test can give for groups of these sizes."""
    return min(1.0, 2 / math.comb(first + second, first))


def fewest_replicates(comparisons: int, largest_p: float) -> int:
    """How many replicates of each group it takes before so small a p is possible, after Holm's correction."""
    count = 1
    while comparisons * smallest_p(count, count) > largest_p:
        count += 1
    return count


def a12(first: Sequence[float], second: Sequence[float], *, smaller_is_better: bool) -> float:
    """Share of all pairs in which the first group's value is the better; ties count half.

    Vargha and Delaney, A critique and improvement of the CL common language effect size statistics (2000), equation 2.
    """
    sign = -1 if smaller_is_better else 1
    differences = sign * (np.asarray(first)[:, None] - np.asarray(second)[None, :])
    return float(((differences > 0) + 0.5 * (differences == 0)).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values: Holm, A simple sequentially rejective multiple test procedure (1979)."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, so_far = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        so_far = max(so_far, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = so_far
    return adjusted


def spearman(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Spearman's rho; its interval by Fisher's z with the standard error of Bonett and Wright (2000).

    None where it is not defined: fewer than two pairs, or all values of one side equal.
    """
    stats = _scipy_stats()
    if not _varies(first, second):
        return None
    rho = float(stats.spearmanr(first, second).statistic)
    return _fisher(rho, math.sqrt((1 + rho**2 / 2) / max(len(first) - 3, 1)), len(first))


def kendall(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Kendall's tau-b; its interval by Fisher's z with the standard error of Fieller, Hartley and Pearson (1957)."""
    stats = _scipy_stats()
    if not _varies(first, second):
        return None
    tau = float(stats.kendalltau(first, second).statistic)
    return _fisher(tau, math.sqrt(0.437 / max(len(first) - 4, 1)), len(first))


def _varies(first: Sequence[float], second: Sequence[float]) -> bool:
    return len(set(first)) > 1 and len(set(second)) > 1


def _fisher(value: float, error: float, count: int) -> Correlation:
    stats = _scipy_stats()
    if count < _FEWEST_CORRELATION:
        return Correlation(value, None, None)
    if abs(value) >= 1 - 1e-12:  # z is infinite
        return Correlation(value, value, value)
    half, z = float(stats.norm.ppf((1 + LEVEL) / 2)) * error, math.atanh(value)
    return Correlation(value, math.tanh(z - half), math.tanh(z + half))
