"""The convolutional space through the contract that everything outside it uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.runs import ROOT
from support.space_suite import SpaceSuite

from cnn_nas.architecture import sample
from cnn_nas.model import Network
from cnn_nas.space import SPACE
from cnn_nas.trial import ImageTrial
from nas.config.load import load
from nas.core.budget import Budget
from nas.core.errors import ConfigError
from nas.core.space import Size, load_space

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


def test_a_config_says_how_large_its_network_is() -> None:
    config = load(ROOT / "cnn_nas" / "digits.yaml")
    found = SPACE.size_settings(config)
    assert found == {"init_channels": 16, "layers": 5, "classes": 10, "input_size": (1, 8, 8)}
    genotype = SPACE.by_name("DARTS_V2")
    hparams = config["hyperparameters"]
    assert SPACE.size(genotype, **found) == ImageTrial.network_size(ImageTrial.check(hparams, config["data"], 1))
    with pytest.raises(
        ConfigError, match=r"layers must be a whole number of at least 1 to count by, got \{'type': 'int'"
    ):
        SPACE.size_settings({**config, "hyperparameters": {**hparams, "layers": {"type": "int"}}})
    assert not load_space("randomNAS_files").sized
    with pytest.raises(ConfigError, match="cost the same, so that a budget decides nothing"):
        load_space("randomNAS_files").decoder(Budget(), None, "it")
