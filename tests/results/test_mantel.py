"""Mantel's test against all permutations written out, with SciPy's correlations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from nas.results.mantel import Floats, Mantel, mantel, mean_ranks


def table(count: int, seed: int, values: int = 0) -> Floats:
    """Symmetric, at random; of whole numbers below `values`, with ties, if that is not 0."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(values, size=(count, count)) if values else generator.normal(size=(count, count))
    upper = np.triu(drawn.astype(np.float64), 1)
    return upper + upper.T


@pytest.mark.parametrize("ranks", [False, True])
@pytest.mark.parametrize("values", [0, 3])
def test_all_arrangements_of_five(ranks: bool, values: int) -> None:
    one, other = table(5, 0, values), table(5, 1, values)
    above = np.triu_indices(5, 1)
    correlation = stats.spearmanr if ranks else stats.pearsonr
    seen = correlation(one[above], other[above]).statistic
    found = [
        correlation(one[np.ix_(order, order)][above], other[above]).statistic
        for order in map(list, itertools.permutations(range(5)))
    ]
    (test,) = mantel(one, [other], ranks=ranks)
    assert test is not None and test.value == pytest.approx(seen)
    assert test.p == pytest.approx(np.mean(np.abs(found) >= abs(seen) - 1e-9))


def test_random_arrangements_come_near_all_of_them() -> None:
    one, other = table(7, 2), table(7, 3)
    (exact,), (drawn,) = mantel(one, [other], permutations=5040), mantel(one, [other], permutations=2000)
    assert exact is not None and drawn is not None and exact.value == pytest.approx(drawn.value)
    assert exact.p != drawn.p and exact.p == pytest.approx(drawn.p, abs=4 * np.sqrt(exact.p * (1 - exact.p) / 2000))
    assert mantel(one, [other], permutations=2000) == [drawn], "the same seed"


def test_what_depends_is_found_and_p_is_no_smaller_than_the_permutations_allow() -> None:
    places = np.random.default_rng(0).normal(size=(20, 2))
    near = np.linalg.norm(places[:, None] - places[None], axis=-1)
    noise = table(20, 4)
    same, unrelated = mantel(near, [near**2, noise], permutations=499)
    assert same is not None and unrelated is not None
    assert same.value > 0.9 and same.p == 1 / 500 and unrelated.p > 0.05


def test_under_the_null_p_is_uniform_though_pairs_depend() -> None:
    """Rows have effects of their own, by which a test over pairs would find far too much."""
    generator, below = np.random.default_rng(5), 0
    for seed in range(100):
        effects = generator.normal(size=(2, 12))
        one, other = (
            noise + 3 * np.abs(each[:, None] - each[None])
            for noise, each in zip((table(12, seed), table(12, 100 + seed)), effects, strict=True)
        )
        (test,) = mantel(one, [other], permutations=99, seed=seed)
        assert test is not None
        below += test.p <= 0.1
    assert 2 <= below <= 21, "ten are expected, with a standard deviation of 3"


def test_what_is_not_defined() -> None:
    one = table(6, 0)
    assert mantel(one, [np.zeros((6, 6)), one])[0] is None
    assert mantel(np.ones((6, 6)), [one]) == [None] and mantel(one[:3, :3], [one[:3, :3]]) == [None]
    assert isinstance(mantel(one, [np.zeros((6, 6)), one])[1], Mantel)


def test_ranks() -> None:
    values = np.array([3.0, 1.0, 3.0, 2.0, 2.0, 2.0])
    assert mean_ranks(values).tolist() == stats.rankdata(values).tolist()
