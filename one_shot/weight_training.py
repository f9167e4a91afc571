"""The weights' half of a training step: forward, backward, clipping and descent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from nas.core.arch_weights import ArchWeights
from nas.core.optimizers import at_rate, set_rate
from one_shot.averaging import average_over_processes
from one_shot.task import Step, Trained

Rate = float | torch.Tensor


class WeightTraining:
    """Trains the supernet's weights.

    Args:
        sgd: their optimiser.
        backward: the backward pass of an objective.
        descend: steps an optimiser with the gradients, clipped by what `clip_grads` does, and leaves none behind.
        clip: see `ArchitectureTraining.clip`.
    """

    captured: Callable[[Step, ArchWeights], Trained] | None = None
    """In the place of what is here, with CUDA graphs."""

    def __init__(
        self,
        sgd: torch.optim.Optimizer,
        parameters: Sequence[torch.Tensor],
        backward: Callable[[torch.Tensor], None],
        descend: Callable[..., None],
        clip: Callable[[Any], None],
    ) -> None:
        self._sgd, self._parameters = sgd, parameters
        self._backward, self._descend, self._clip = backward, descend, clip

    def update(self, step: Step, weights: ArchWeights) -> Trained:
        """Train with these weights of the architecture."""
        set_rate(self._sgd, step.learning_rate)
        if self.captured is not None:
            return self.captured(step, weights)
        return self.train(step.train, weights, step.learning_rate)

    def train(self, forward: Callable[[ArchWeights], Trained], weights: ArchWeights, rate: Rate) -> Trained:
        """The step itself, which waits for nothing; what it returns needs no gradient."""
        trained = forward(weights)
        self._backward(trained.objective)
        average_over_processes([each.grad for each in self._parameters if each.grad is not None])
        with at_rate(self._sgd, rate):
            self._descend(self._sgd, clip_grads=self._clip)
        return trained._replace(objective=trained.objective.detach())
