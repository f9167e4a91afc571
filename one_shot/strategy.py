"""The contract of what chooses architectures in a supernet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.relaxation import Paths, Relaxation

Objective = Callable[[ArchWeights], torch.Tensor]
"""The mean loss of the supernet on one batch as a function of the architecture weights. Batch, dropout masks and the state that
it starts from are fixed: two calls with the same weights give the same value. It changes nothing.
"""


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
        max_norm: of the whole gradient, to which it is clipped before the decay is added.
        momenta: m of each parameter; None where there is none yet.
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    max_norm: float
    momenta: Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class Problem:
    """What one update of the architecture is computed from.

    Attributes:
        train_loss: on the batch that the weights are trained on next.
        valid_loss: on a batch of the architecture's data.
        parameters: the supernet's weights.
        weight_step: how they are trained.
        average: replaces tensors by their means over all processes, in place.
    """

    train_loss: Objective
    valid_loss: Objective
    parameters: Sequence[nn.Parameter]
    weight_step: WeightStep
    average: Callable[[Sequence[torch.Tensor]], None]


class Strategy(nn.Module, ABC):
    """What chooses architectures. All that it learns is in its `state_dict`; it is the same on every process.

    A training step of a search first calls `update`, if the strategy learns, and steps `optimizer`, then trains the weights
    with what `sample` returns. Randomness comes from the generators it is given, which depend on the step only.
    """

    learns = True
    """Whether it has an `update`, and needs data of its own for it."""

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

    def update(self, problem: Problem, generator: torch.Generator, progress: Progress) -> dict[str, torch.Tensor]:
        """Put the gradient of each parameter into its `.grad`, averaged over the processes; None where there is none.

        Returns:
            What to report, as scalars on the device: `arch_loss` at least; nothing while the architecture is held as it is.
        """
        raise NotImplementedError

    def optimizer(self) -> torch.optim.Optimizer | None:
        """A new optimiser of this strategy's parameters; None if it does not learn."""
        return None

    def expected(self) -> ArchWeights | None:
        """The architecture weights without noise, as constants, to score the mixture with; None if there is no mixture."""
        return None

    def probabilities(self) -> dict[str, torch.Tensor]:
        """What derived architectures are ranked by, `(edges, operations)` for each kind of cell; {} if it does not learn."""
        return {}

    @abstractmethod
    def derive(self) -> Paths | None:
        """The architecture that it would choose now; None if that takes scoring, as for random search."""

    def report(self) -> dict[str, float]:
        """Numbers to follow it by, such as `arch_entropy`; computed once an epoch."""
        return {}
