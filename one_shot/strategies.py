"""The strategies by name: what an experiment may say, the hyperparameters of each, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

from nas.core.relaxation import Relaxation
from one_shot.budget import BudgetStrategy
from one_shot.budget_config import BudgetConfig
from one_shot.counted import Counted
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
        build: makes it of a search space, a `config`, a generator on the CPU for what starts at random, the cost of each
            operation, or None where no costs are known, and what the networks that are retrained cost, or None where it
            does not ask for that. It raises ConfigError for what does not fit the space.
        counts: whether it asks what these networks cost, and finds some of all sizes.
        draws_cells: whether it draws whole cells.
        one_mixture: whether it learns the weights of one mixture of operations, which ways to select and to stop look at.
        not_in: the spaces in which it cannot search, and why.
    """

    config: type
    learns: bool
    meaning: tuple[str, ...]
    build: Callable[..., Strategy]
    counts: bool = False
    draws_cells: bool = False
    one_mixture: bool = False
    not_in: Mapping[str, str] = field(default_factory=dict)


def _random(
    relaxation: Relaxation, config: RandomConfig, generator: torch.Generator, costs: Costs | None, counted: None = None
) -> RandomSearch:
    return RandomSearch(relaxation, config)


def _gradient(
    relaxation: Relaxation,
    config: GradientConfig,
    generator: torch.Generator,
    costs: Costs | None,
    counted: None = None,
) -> GradientStrategy:
    return GradientStrategy(relaxation, config, generator, costs)


def _enas(
    relaxation: Relaxation, config: EnasConfig, generator: torch.Generator, costs: Costs | None, counted: None = None
) -> Enas:
    return Enas(relaxation, config, generator)


def _budget(
    relaxation: Relaxation,
    config: BudgetConfig,
    generator: torch.Generator,
    costs: Costs | None,
    counted: Counted | None = None,
) -> BudgetStrategy:
    return BudgetStrategy(relaxation, config, generator, counted)


_ENAS_MEANING = (
    *("controller", "controller_hidden", "temperature", "tanh_constant"),
    *("response", "joint_horizon"),
)
STRATEGIES = {
    "gradient": Entry(GradientConfig, GradientStrategy.learns, ("sampler", "edge_norm"), _gradient, one_mixture=True),
    "random": Entry(RandomConfig, RandomSearch.learns, (), _random, draws_cells=True),
    "enas": Entry(
        EnasConfig,
        Enas.learns,
        _ENAS_MEANING,
        _enas,
        draws_cells=True,
        not_in={"convolutional": "as its controller draws recurrent cells"},
    ),
    "budget": Entry(
        BudgetConfig,
        BudgetStrategy.learns,
        ("mixing", "edge_norm", "knots", "hidden", "level"),
        _budget,
        counts=True,
        not_in={"recurrent": "as all its cells cost the same, so that there is nothing to search for"},
    ),
}
