"""Gradient strategies for tests."""

from __future__ import annotations

from typing import Any

from nas.core.fields import read
from nas.core.relaxation import Relaxation
from one_shot.gradient import GradientStrategy
from one_shot.gradient_config import GradientConfig
from support.smooth_supernet import TOY
from support.strategy_suite import seeded


def config_of(**values: Any) -> GradientConfig:
    (config,) = read({"arch_learning_rate": 0.1, **values}, GradientConfig)
    assert isinstance(config, GradientConfig)
    return config


def make(relaxation: Relaxation = TOY, **values: Any) -> GradientStrategy:
    return GradientStrategy(relaxation, config_of(**values), seeded(0))
