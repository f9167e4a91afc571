"""The architecture's half of a training step: what an update is computed from, and the optimiser that takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.seeds import torch_generator
from one_shot.averaging import average_over_processes
from one_shot.record import on_cpu
from one_shot.strategy import ArchGradient, Objective, Problem, Progress, Scores, Strategy, WeightStep
from one_shot.task import Step, Task


class ArchitectureTraining:
    """Updates a strategy, if it learns.

    Its state is the optimiser's, and the gradient of the last step where the strategy asks for it.

    Args:
        sgd: the optimiser of the supernet's weights.
        looks_ahead: whether an update looks at the weights after a step, so that it needs their momenta.
    """

    captured: Callable[[Step, ArchWeights], ArchGradient] | None = None
    """What differentiates, with CUDA graphs."""

    def __init__(
        self, strategy: Strategy, task: Task, sgd: torch.optim.Optimizer, seed: int, looks_ahead: bool
    ) -> None:
        self._strategy, self._task, self._sgd, self._seed = strategy, task, sgd, seed
        self._parameters: Sequence[nn.Parameter] = list(task.net.parameters())
        self._looks_ahead = looks_ahead or strategy.looks_ahead
        self._optimizer = strategy.optimizer()
        self._last_gradient: list[torch.Tensor | None] = []  # of each parameter, clipped

    def update(self, step: Step, progress: Progress) -> list[dict[str, torch.Tensor]]:
        """All updates before this step of the weights; what each of them reports."""
        if self._optimizer is None or step.valid_loss is None:
            return []
        found = []
        for number in self._strategy.updates(progress):
            losses, rates = (step.train_loss, step.valid_loss), self.weight_step(step.learning_rate)
            scored, captured = self._scored_on(number), self.captured and partial(self.captured, step)
            problem = Problem(
                *losses, self._parameters, rates, average_over_processes, *scored, self._task.all_digits, captured
            )
            generator = torch_generator("cpu", self._seed, "architecture update", number)
            found.append(self._strategy.update(problem, generator, progress))
            self._optimizer.step()
            self._optimizer.zero_grad()
        return [each for each in found if each]

    def _scored_on(self, number: int) -> tuple[Scores | None, Objective | None]:
        """What the update of that number scores cells by, if it does."""
        if not self._strategy.scores_cells:
            return None, None
        return self._task.scores_on(number), self._task.scored_loss_on(number)

    def weight_step(self, rate: float | torch.Tensor) -> WeightStep:
        """What the optimiser of the weights would do next at this learning rate."""
        group, momenta = self._sgd.param_groups[0], []
        if self._looks_ahead:
            momenta = [self._sgd.state[each].get("momentum_buffer") for each in self._parameters]
        rates = rate, group["momentum"], group["weight_decay"]
        return WeightStep(*rates, self._task.max_norm, momenta, self._last_gradient)

    def clip(self, parameters: Any) -> None:
        """Clip the gradient of the weights, and remember it where the strategy asks for it."""
        torch.nn.utils.clip_grad_norm_(parameters, self._task.max_norm)
        if self._strategy.keeps_gradient:
            self._last_gradient = [None if each.grad is None else each.grad.clone() for each in self._parameters]

    def to_state(self) -> dict[str, Any]:
        """Plain types and CPU tensors."""
        optimizer = None if self._optimizer is None else on_cpu(self._optimizer.state_dict())
        return {"optimizer": optimizer, "last_gradient": on_cpu(self._last_gradient)}

    def load_state(self, state: Mapping[str, Any], device: torch.device) -> None:
        """The inverse of `to_state`."""
        if self._optimizer is not None:
            self._optimizer.load_state_dict(state["optimizer"])
        last = state.get("last_gradient", [])
        self._last_gradient = [None if each is None else each.to(device) for each in last]
