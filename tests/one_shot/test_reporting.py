"""Random architectures that explode are counted, and do not spoil the mean; processes that differ are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nas.core.errors import ConfigError
from one_shot.averaging import average_over_processes, check_same_everywhere
from one_shot.random_search import RandomConfig, RandomSearch
from one_shot.reporting import best_of, mean_of_sane, of_policy
from randomNAS_files.architecture import Genotype
from randomNAS_files.relaxation import RELAXATION
from randomNAS_files.space import RecurrentSpace


def test_the_mean_is_over_what_is_a_number() -> None:
    scores = [
        {"loss": 2.0, "perplexity": 7.0},
        {"loss": math.nan, "perplexity": math.inf},
        {"loss": 1.0, "perplexity": 3.0},
    ]
    mean, extra = mean_of_sane(scores)
    assert mean == {"loss": 1.5, "perplexity": 5.0} and extra == {"exploded": 1.0}
    assert best_of(scores) == 2


def test_if_all_explode_the_mean_says_so() -> None:
    mean, extra = mean_of_sane([{"loss": math.inf}, {"loss": math.nan}])
    assert math.isnan(mean["loss"]) and extra == {"exploded": 2.0}


def test_different_weights_are_refused() -> None:
    state = {"operations": torch.ones(3)}
    check_same_everywhere(state, lambda own: [own, own])
    with pytest.raises(ConfigError, match="the processes have different architecture weights"):
        check_same_everywhere(state, lambda own: [own, "another"])


def test_one_process_is_its_own_mean() -> None:
    tensors = [torch.ones(2), torch.zeros(3)]
    average_over_processes(tensors)
    assert torch.equal(tensors[0], torch.ones(2))


def test_cells_that_are_the_same_but_for_their_numbering_count_once() -> None:
    first = Genotype((("tanh", 0), ("relu", 0)), (1, 2))
    second, other = Genotype((("relu", 0), ("tanh", 0)), (1, 2)), Genotype((("relu", 0), ("tanh", 1)), (1, 2))
    strategy = _Policy([first, second, other, first])
    found = of_policy(strategy, _Space(), [torch.full((3,), 2.0), torch.full((4,), 1.0)])
    assert found == {"distinct_cells": 0.5, "controller_norm": 5.0, "weights_norm": 4.0}
    assert of_policy(_Policy([]), _Space(), []) == {}


class _Space(RecurrentSpace):
    def genotype_of(self, paths: Any) -> Genotype:
        return paths  # type: ignore[no-any-return]


class _Policy(RandomSearch):
    def __init__(self, drawn: list[Any]) -> None:
        super().__init__(RELAXATION, RandomConfig())
        self.drawn_cells = drawn
        self.weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))

    def followed(self) -> list[Any]:
        return self.drawn_cells
