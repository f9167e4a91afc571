"""The contract of what chooses architectures in a supernet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.budget import Decoder
from nas.core.relaxation import Paths, Relaxation
from one_shot.front import Front

Objective = Callable[[ArchWeights], torch.Tensor]
"""The mean loss of the supernet on one batch as a function of the architecture weights. Batch, dropout masks and the state that
it starts from are fixed: two calls with the same weights give the same value. It changes nothing.
"""


ArchGradient = tuple[list[torch.Tensor], torch.Tensor]
"""What `bilevel.gradient` returns."""

Scores = Callable[[Sequence[ArchWeights]], torch.Tensor]
"""The mean losses `(K,)` of so many architectures on one batch, in evaluation mode, from the state that a text begins with;
constants, so that they can be computed together.
"""


def one_by_one(loss: Objective) -> Scores:
    """Scores by a loss of one architecture."""

    def scores(architectures: Sequence[ArchWeights]) -> torch.Tensor:
        with torch.no_grad():
            return torch.stack([loss(each) for each in architectures])

    return scores


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        step: batches trained before this one.
        steps: batches of the whole search.
        epoch_length: batches of an epoch.
    """

    step: int
    steps: int
    epoch_length: int

    @property
    def epoch(self) -> int:
        """The epoch of this step, counted from 0."""
        return self.step // self.epoch_length

    @property
    def fraction(self) -> float:
        """0 at the first step, 1 after the last."""
        return self.step / self.steps


@dataclass(frozen=True)
class WeightStep:
    """The step that the optimiser of the supernet's weights w takes next, as a function of their gradient g.

    With c = min(1, max_norm / (|g| + 1e-6)), d = c g + weight_decay w and m' = momentum m + d, it is w - learning_rate m'.

    Attributes:
        learning_rate: a tensor in a CUDA graph.
        max_norm: of the whole gradient, to which it is clipped before the decay is added.
        momenta: m of each parameter; None where there is none yet.
        last: the clipped gradient of each parameter in the step before this one, None where it had none; nothing before
            the first step. Given to strategies with `keeps_gradient`.
    """

    learning_rate: float | torch.Tensor
    momentum: float
    weight_decay: float
    max_norm: float
    momenta: Sequence[torch.Tensor | None]
    last: Sequence[torch.Tensor | None] = ()


@dataclass(frozen=True)
class Problem:
    """What one update of the architecture is computed from.

    Attributes:
        train_loss: on the batch that the weights are trained on next.
        valid_loss: on a batch of the architecture's data.
        parameters: the supernet's weights.
        weight_step: how they are trained.
        average: replaces tensors by their means over all processes, in place.
        valid_scores: on a batch of the architecture's data; given to strategies with `scores_cells`.
        scored_loss: what `valid_scores` has of one architecture, on this process's part of the batch, differentiable by the
            parameters.
        all_digits: within it, losses are computed in fp32 even where training is not, for differences of gradients.
        captured: takes the place of `bilevel.gradient`, which it has captured as a CUDA graph.
    """

    train_loss: Objective
    valid_loss: Objective
    parameters: Sequence[nn.Parameter]
    weight_step: WeightStep
    average: Callable[[Sequence[torch.Tensor]], None]
    valid_scores: Scores | None = None
    scored_loss: Objective | None = None
    all_digits: Callable[[], AbstractContextManager[None]] = nullcontext
    captured: Callable[[ArchWeights], ArchGradient] | None = None


class Score(Protocol):
    """Scores architectures with the shared weights, on every process alike."""

    def __call__(self, entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        """The metrics of each, `loss` among them, on the first validation batches, or on all."""


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        paths: the architecture.
        scores: its metrics on all validation data, with the shared weights.
        others: what else was scored on all of it, best first, with the one that was chosen.
        summary: of all architectures that were scored, if there were many: how many, mean, standard deviation, best, worst,
            exploded; and as which of those that were scored again the best one came out.
        front: of a search for all budgets, the best cells of all sizes.
    """

    paths: Paths
    scores: dict[str, float]
    others: list[tuple[Paths, dict[str, float]]] = field(default_factory=list)
    summary: dict[str, float] = field(default_factory=dict)
    front: Front | None = None


class Strategy(nn.Module, ABC):
    """What chooses architectures. All that it learns is in its `state_dict`; it is the same on every process.

    A training step of a search first calls `update`, if the strategy learns, once for each of `updates`, and steps
    `optimizer` after each, then trains the weights with what `sample` returns, and calls `trained`. Randomness comes from the
    generators it is given, which depend on the step, or the number of the update, only.
    """

    learns = True
    """Whether it has an `update`, and needs data of its own for it."""

    scores_cells = False
    """Whether `update` takes `Problem.valid_scores` and `scored_loss`."""

    looks_ahead = False
    """Whether `update` looks at weights after a step, and takes `WeightStep.momenta`."""

    keeps_gradient = False
    """Whether `update` takes `WeightStep.last`."""

    update_share = 1.0
    """How many updates there are for a step of the weights, in the long run."""

    entrant_count = 1
    """How many architectures `entrants` gives."""

    drawn = "random"
    """What the architectures are called whose `Choice.summary` is reported."""

    of_updates: tuple[str, ...] = ("arch_loss",)
    """What `update` returns that is reported, as means over an epoch."""

    parameters_of: Callable[[Paths], int]
    """How many parameters the network of one architecture has; set by who builds it."""
    decoder: Decoder | None = None
    """What it derives with, if its architectures must keep limits."""

    def __init__(self, relaxation: Relaxation) -> None:
        super().__init__()
        self.relaxation = relaxation

    @abstractmethod
    def sample(
        self, generator: torch.Generator, progress: Progress, train_loss: Objective | None = None
    ) -> ArchWeights:
        """The architecture weights, as constants, with which the supernet's weights are trained in this step.

        Args:
            generator: of this step, on the CPU.
            train_loss: of this step, for those that look for weights that are bad for it.
        """

    def trained(self, weights: ArchWeights) -> None:
        """Told what the weights were trained with, after each step."""
        return None

    def updates(self, progress: Progress) -> range:
        """The updates before this step, numbered from the start of the search: one, unless it says else."""
        return range(progress.step, progress.step + 1)

    def update(self, problem: Problem, generator: torch.Generator, progress: Progress) -> dict[str, torch.Tensor]:
        """Put the gradient of each parameter into its `.grad`, averaged over the processes; None where there is none.

        Returns:
            What to report, as scalars on the device: all of `of_updates`; nothing while the architecture is held as it is.
        """
        raise NotImplementedError

    def optimizer(self) -> torch.optim.Optimizer | None:
        """A new optimiser of this strategy's parameters; None if it does not learn."""
        return None

    def mixture(self) -> ArchWeights | None:
        """The architecture weights without noise, differentiable by the parameters; None if there is no mixture."""
        return None

    @torch.no_grad()
    def expected(self) -> ArchWeights | None:
        """The same as constants, to score the mixture with."""
        weights = self.mixture()
        return weights and weights.copy()

    def probabilities(self) -> dict[str, torch.Tensor]:
        """What derived architectures are ranked by, `(edges, operations)` for each kind of cell; {} if it does not learn."""
        return {}

    def entrants(self, generator: torch.Generator) -> list[Paths]:
        """The `entrant_count` architectures that are scored after an epoch: what it would choose now, unless it says else."""
        derived = self.derive()
        return [] if derived is None else [derived]

    def candidates(self, generator: torch.Generator, count: int) -> list[Paths]:
        """So many architectures as it draws them now; of strategies that draw whole ones."""
        raise NotImplementedError

    def scored(self, entrants: Sequence[Paths], losses: Sequence[float]) -> None:
        """Told the losses of architectures with the shared weights, which do not compare with any it was told before."""
        return None

    def choose(self, score: Score, generator: torch.Generator) -> Choice | None:
        """The architecture that the search ends with, if that takes scoring more; None: what `derive` says.

        Args:
            generator: on the CPU.
        """
        return None

    @abstractmethod
    def derive(self) -> Paths | None:
        """The architecture that it would choose now, of those that `decoder` allows; None if that takes scoring."""

    def followed(self) -> list[Paths]:
        """Architectures that a policy draws, by which it is reported; none if it has no policy."""
        return []

    def report(self) -> dict[str, float]:
        """Numbers to follow it by, such as `arch_entropy`; computed once an epoch."""
        return {}
