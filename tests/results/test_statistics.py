"""Statistics of few replicates against SciPy, worked examples, enumeration and known distributions."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
from scipy import stats

from nas.core.errors import ConfigError
from nas.results import statistics

# Hollander and Wolfe, Nonparametric Statistical Methods (1973), p. 69: permeability constants of the placental membrane at
# term and between 12 and 26 weeks; the example of R's wilcox.test, which prints W = 35 and a one-sided p of 0.1272.
AT_TERM = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
EARLY = [1.15, 0.88, 0.90, 0.74, 1.21]


def test_the_interval_of_the_mean_is_students() -> None:
    low, high = statistics.t_interval(AT_TERM) or (0, 0)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 9, np.mean(AT_TERM), stats.sem(AT_TERM)))
    assert statistics.t_interval([1.0]) is None
    assert statistics.t_interval([2.0, 2.0]) == (2.0, 2.0)


def test_the_rank_test_gives_the_published_p() -> None:
    p, how = statistics.rank_test(AT_TERM, EARLY)
    assert p == pytest.approx(2 * 0.1272, abs=1e-4) and how == "exact"
    assert statistics.a12(AT_TERM, EARLY, smaller_is_better=False) == 35 / 50


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 2, 2], [2, 3, 3]), ([3], [1, 3, 4]), ([1, 1], [1, 2, 3, 3]), ([5, 5, 5, 1], [5, 6]), ([0, 0, 0], [1, 1, 1])],
)
def test_with_ties_all_ways_to_divide_the_values_are_counted(first: list[float], second: list[float]) -> None:
    pooled = first + second
    ranks = [sum(other < value for other in pooled) + (pooled.count(value) + 1) / 2 for value in pooled]
    seen = sum(ranks[: len(first)])
    sums = [sum(ranks[i] for i in chosen) for chosen in itertools.combinations(range(len(pooled)), len(first))]
    tails = [sum(each <= seen for each in sums), sum(each >= seen for each in sums)]
    p, how = statistics.rank_test(first, second)
    assert p == pytest.approx(min(1, 2 * min(tails) / len(sums))) and how == "exact, with ties"


def test_equal_values_and_large_groups() -> None:
    assert statistics.rank_test([1, 1, 1], [1, 1]) == (1.0, "all values are equal")
    generator = np.random.default_rng(0)
    first, second = generator.integers(5, size=40), generator.integers(6, size=50)
    p, how = statistics.rank_test(list(first), list(second))
    pooled = stats.rankdata(np.concatenate([first, second]))
    seen, middle = pooled[:40].sum(), pooled.mean() * 40
    shuffled = generator.permuted(np.tile(pooled, (20_000, 1)), axis=1)[:, :40].sum(axis=1)
    assert how == "normal approximation"
    assert p == pytest.approx((abs(shuffled - middle) >= abs(seen - middle)).mean(), abs=0.015)


@pytest.mark.parametrize(("one", "other"), list(itertools.product(range(1, 6), repeat=2)))
def test_no_p_is_smaller_than_that_of_groups_that_do_not_overlap(one: int, other: int) -> None:
    apart = statistics.rank_test([float(i) for i in range(one)], [10.0 + i for i in range(other)])[0]
    assert statistics.smallest_p(one, other) == pytest.approx(apart)
    if (one, other) == (3, 3):
        assert apart == pytest.approx(0.1)


@pytest.mark.parametrize("comparisons", [1, 3, 10, 36])
def test_the_fewest_replicates_that_could_show_a_difference(comparisons: int) -> None:
    count = statistics.fewest_replicates(comparisons, 0.05)
    apart = [statistics.rank_test([*range(n)], [*range(100, 100 + n)])[0] * comparisons for n in (count - 1, count)]
    assert apart[1] <= 0.05 < apart[0]


def test_the_effect_counts_pairs_and_half_of_the_ties() -> None:
    assert statistics.a12([1, 2], [2, 3], smaller_is_better=True) == (1 + 1 + 0.5 + 1) / 4
    assert statistics.a12([1, 2], [2, 3], smaller_is_better=False) == 0.5 / 4


def test_holm_gives_the_worked_example() -> None:
    """Of Wikipedia, Holm-Bonferroni method: p of four hypotheses; 0.01 and 0.005 are rejected at 0.05, the others are not."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([]) == [] and statistics.holm([0.5, 0.9]) == [1.0, 1.0]


def test_the_bootstrap_of_a_coin_is_binomial() -> None:
    """The mean of a resample of n zeros and ones, k of them ones, is Binomial(n, k / n) / n."""
    curves = np.array([[0.0, 3.0]] * 5 + [[1.0, 3.0]] * 5)
    low, high = statistics.bootstrap_band(curves, 1) or (None, None)
    assert low is not None and high is not None
    assert list(low) == [stats.binom.ppf(0.025, 10, 0.5) / 10, 3]
    assert list(high) == [stats.binom.ppf(0.975, 10, 0.5) / 10, 3]
    assert statistics.bootstrap_band(curves[:2], 1) is None
    again = statistics.bootstrap_band(np.random.default_rng(0).normal(size=(4, 3)), 5)
    same = statistics.bootstrap_band(np.random.default_rng(0).normal(size=(4, 3)), 5)
    assert again is not None and same is not None and (again[0] == same[0]).all() and (again[1] == same[1]).all()


def test_rank_correlations_are_scipys_and_their_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Of the bivariate normal distribution with rho 0.8: Spearman 6/pi asin(rho/2), Kendall 2/pi asin(rho)."""
    generator = np.random.default_rng(3)
    truths = (6 / math.pi * math.asin(0.4), 2 / math.pi * math.asin(0.8))
    held = np.zeros(2)
    for _ in range(400):
        x, noise = generator.normal(size=(2, 25))
        y = 0.8 * x + 0.6 * noise
        found = (statistics.spearman(list(x), list(y)), statistics.kendall(list(x), list(y)))
        assert found[0] is not None and found[1] is not None
        for i, (each, truth) in enumerate(zip(found, truths, strict=True)):
            assert each is not None and each.low is not None and each.high is not None and each.low <= each.value
            held[i] += each.low <= truth <= each.high
    assert found[0].value == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found[1].value == pytest.approx(stats.kendalltau(x, y).statistic)
    assert (held / 400 > 0.92).all() and (held / 400 < 0.985).all()


def test_correlations_of_few_or_equal_values() -> None:
    assert statistics.spearman([1, 1, 1], [1, 2, 3]) is None and statistics.kendall([1], [2]) is None
    few = statistics.spearman([1, 2, 3, 4], [1, 2, 4, 3])
    assert few is not None and few.low is None and few.value == pytest.approx(0.8)
    perfect = statistics.kendall([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])
    assert perfect == statistics.Correlation(pytest.approx(1), pytest.approx(1), pytest.approx(1))


def test_without_scipy_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ConfigError, match=r"needs SciPy.*pip install -e \.\[compare\]"):
        statistics.require_scipy()
