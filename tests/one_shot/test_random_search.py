"""Random search: what it draws, and that it keeps the best of what it is told."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations, product

import pytest
import torch
from support.strategy_suite import SPACES, check_architecture, progress, seeded

from cnn_nas.relaxation import genotype_of as convolutional_genotype
from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.fields import read
from nas.core.relaxation import complete_cell
from one_shot.random_search import RandomConfig, RandomSearch, draw, ranked
from one_shot.strategies import STRATEGIES
from randomNAS_files.relaxation import genotype_of as recurrent_genotype

TINY = {"cell": complete_cell(2, 2, ("none", "a", "b"), kept=2)}
GENOTYPES = {"convolutional": convolutional_genotype, "recurrent": recurrent_genotype}


def test_every_architecture_is_equally_likely() -> None:
    """Node 1 has one pair of edges and node 2 three, with two operations an edge: 4 * 12, by the chi-squared test."""
    generator, count = seeded(0), 9600
    found = Counter(draw(TINY, generator)["cell"] for _ in range(count))
    expected = set()
    for pair, operations in product(combinations(range(2, 5), 2), product((1, 2), repeat=4)):
        path: list[tuple[int, ...]] = [(operations[0],), (operations[1],), (), (), ()]
        path[pair[0]], path[pair[1]] = (operations[2],), (operations[3],)
        expected.add(tuple(path))
    assert set(found) == expected and len(expected) == 48
    mean = count / 48
    chi_squared = sum((found[path] - mean) ** 2 / mean for path in expected)
    assert chi_squared < 47 + 4 * math.sqrt(2 * 47)


@pytest.mark.parametrize("space", SPACES)
def test_what_is_drawn_is_a_genotype(space: str) -> None:
    for paths in RandomSearch(SPACES[space], RandomConfig()).candidates(seeded(0), 50):
        check_architecture(SPACES[space], paths)
        GENOTYPES[space](paths)  # type: ignore[operator]


def test_none_is_trained_if_it_is_asked_for_and_never_scored() -> None:
    strategy = RandomSearch(TINY, RandomConfig(sample_none=True))
    trained = [strategy.sample(seeded(k), progress(k)).paths for k in range(40)]
    for paths in trained:
        assert paths is not None
        check_architecture(TINY, paths, excluded=True)
    none = [paths is not None and (0,) in paths["cell"] for paths in trained]
    assert 20 < sum(none) < 40  # each of four edges with probability 1/3: 80 % have one
    assert not any((0,) in paths["cell"] for paths in strategy.candidates(seeded(0), 100))


def test_more_candidates_begin_with_the_same() -> None:
    strategy = RandomSearch(TINY, RandomConfig())
    assert strategy.candidates(seeded(4), 3) == strategy.candidates(seeded(4), 8)[:3]


def test_the_best_told_is_derived_and_bad_scores_are_survived_and_counted() -> None:
    strategy = RandomSearch(TINY, RandomConfig())
    candidates = strategy.candidates(seeded(1), 6)
    assert strategy.derive() is None
    strategy.tell(candidates[0], math.nan)
    assert strategy.derive() == candidates[0]  # nothing better is known
    for paths, score in zip(candidates[1:], (math.inf, 5.0, 4.0, 4.0), strict=False):
        strategy.tell(paths, score)
    assert strategy.derive() == candidates[3] and float(strategy.best_score) == 4.0  # of two equal ones the first
    strategy.tell(candidates[5], -math.inf)
    assert strategy.derive() == candidates[3]
    assert strategy.report() == {"scores_not_finite": 3.0}
    strategy.new_round()
    assert strategy.derive() is None
    strategy.tell(candidates[1], 100.0)
    assert strategy.derive() == candidates[1]
    assert strategy.report() == {"scores_not_finite": 3.0}


def test_the_state_goes_to_a_fresh_one() -> None:
    strategy, fresh = (RandomSearch(SPACES["convolutional"], RandomConfig()) for _ in range(2))
    candidates = strategy.candidates(seeded(1), 3)
    for paths, score in zip(candidates, (2.0, 1.0, 3.0), strict=True):
        strategy.tell(paths, score)
    fresh.load_state_dict(strategy.state_dict())
    assert fresh.derive() == candidates[1]
    fresh.tell(candidates[2], 1.5)
    assert fresh.derive() == candidates[1]


def test_ranking() -> None:
    assert ranked([3.0, math.nan, 1.0, math.inf, 1.0, -math.inf]) == [2, 4, 0, 1, 3, 5]


def test_it_does_not_learn() -> None:
    strategy = STRATEGIES["random"].build(TINY, RandomConfig(), torch.Generator(), None)
    assert not strategy.learns and strategy.optimizer() is None and strategy.expected() is None


def test_the_best_of_few_batches_need_not_win() -> None:
    """Of candidates 0 to 4 three are scored again: the best of one batch comes out second."""
    strategy = RandomSearch(TINY, RandomConfig(score_archs=5, score_batches=1, rescore=3))
    first, again = [3.0, 1.0, math.nan, 2.0, 1.5], {1: 6.0, 4: 7.0, 3: 5.0}
    drawn = strategy.candidates(seeded(1), 5)

    def score(entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        if batches == 1:
            return [{"loss": loss} for loss in first]
        assert [each.paths for each in entrants] == [drawn[k] for k in (1, 4, 3)]
        return [{"loss": loss} for loss in again.values()]

    choice = strategy.choose(score, seeded(1))
    assert choice.paths == drawn[3] and choice.scores == {"loss": 5.0}
    assert [paths for paths, _ in choice.others] == [drawn[k] for k in (3, 1, 4)]
    assert choice.summary["first_best_rank"] == 2 and choice.summary["exploded"] == 1


def test_hyperparameters() -> None:
    with pytest.raises(ConfigError, match=r"hyperparameters.rescore must be at most score_archs 5, got 10"):
        read({"score_archs": 5}, RandomConfig)
