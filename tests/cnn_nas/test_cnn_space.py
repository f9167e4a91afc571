"""The convolutional space through the contract that everything outside it uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.space_suite import SpaceSuite

from cnn_nas.architecture import sample
from cnn_nas.model import Network
from cnn_nas.space import SPACE
from nas.core.space import Size

SETTINGS: dict[str, Any] = {"init_channels": 4, "layers": 3, "classes": 5, "input_size": (1, 12, 10)}


class TestConvolutionalSpace(SpaceSuite):
    space = SPACE
    settings = SETTINGS


def test_samples_are_those_of_the_architecture() -> None:
    assert SPACE.sample(3, "some label") == sample(3, "some label") != SPACE.sample(3)


def test_the_network_is_the_plain_one_without_an_auxiliary_head() -> None:
    net = SPACE.network(SPACE.sample(0), 0, **SETTINGS)
    assert type(net) is Network and net.auxiliary is None and net.config.drop_path_prob == 0
    assert net(torch.zeros(2, 1, 12, 10)).logits.shape == (2, 5)


def test_other_settings_are_refused() -> None:
    with pytest.raises(TypeError, match="the settings must be classes, init_channels, input_size, layers, got"):
        SPACE.network(SPACE.sample(0), 0, **SETTINGS, depth=3)


def test_sizes_add_up() -> None:
    assert Size(1, 2) + Size(3, 4) == Size(4, 6)
