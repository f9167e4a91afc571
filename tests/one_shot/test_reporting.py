"""Random architectures that explode are counted, and do not spoil the mean; processes that differ are refused."""

from __future__ import annotations

import math

import pytest
import torch

from nas.core.errors import ConfigError
from one_shot.averaging import average_over_processes, check_same_everywhere
from one_shot.reporting import best_of, mean_of_sane


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
