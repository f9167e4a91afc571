"""The strategies by name: what an experiment may say, the hyperparameters of each, and how it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from nas.core.relaxation import Relaxation
from one_shot.enas import Enas, EnasConfig
from one_shot.gradient import Costs, GradientStrategy
from one_shot.gradient_config import GradientConfig
from one_shot.random_search import RandomConfig, RandomSearch
from one_shot.strategy import Strategy


@dataclass(frozen=True)
class Entry:
    """A strategy that experiments can name.

    Attributes:
        config: dataclass of its hyperparameters, for `nas.core.fields.read`.
        learns: see `Strategy.learns`.
        meaning: those of them that fix what its parameters mean.
        build: makes it of a search space, a `config`, a generator on the CPU for what starts at random, and the cost of each
            operation, or None where no costs are known. It raises ConfigError for what does not fit the space.
    """

    config: type
    learns: bool
    meaning: tuple[str, ...]
    build: Callable[[Relaxation, Any, torch.Generator, Costs | None], Strategy]


def _random(
    relaxation: Relaxation, config: RandomConfig, generator: torch.Generator, costs: Costs | None
) -> RandomSearch:
    return RandomSearch(relaxation, config)


def _enas(relaxation: Relaxation, config: EnasConfig, generator: torch.Generator, costs: Costs | None) -> Enas:
    return Enas(relaxation, config, generator)


_ENAS_MEANING = (
    *("controller", "controller_hidden", "temperature", "tanh_constant"),
    *("response", "joint_horizon"),
)
STRATEGIES = {
    "gradient": Entry(GradientConfig, GradientStrategy.learns, ("sampler", "edge_norm"), GradientStrategy),
    "random": Entry(RandomConfig, RandomSearch.learns, (), _random),
    "enas": Entry(EnasConfig, Enas.learns, _ENAS_MEANING, _enas),
}
