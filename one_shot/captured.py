"""The steps of a search as CUDA graphs: what of them can be captured, and which searches have such steps.

Two pieces of a step are graphs: the training of the weights, and the gradient of the architecture (`bilevel.gradient`, of any
order). Both are functions of tensors, the architecture's weights among them, that repeat the same operations: so it is where
all operations are mixed, and not where a path is sampled, which is no tensor. What is between the pieces is small, and runs as
it is: samplers, the architecture's optimiser, the bound of carried states, and the passes of an adversary (`perturb.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from nas.core.arch_weights import ArchWeights
from one_shot import bilevel
from one_shot.architecture_training import ArchitectureTraining
from one_shot.averaging import average_over_processes
from one_shot.strategy import ArchGradient, Problem, Strategy
from one_shot.task import Inputs, Step, Task, Trained
from one_shot.weight_training import Rate, WeightTraining

Work = Callable[..., tuple[torch.Tensor, ...]]


class CapturedSteps:
    """Both pieces, as one `nas.trial.capture.CapturedStep`, whose graphs share their memory.

    Args:
        settings: see `one_shot.settings.Settings`, without `graph_problems`.
        capture: makes the captured form of a piece of work.
    """

    def __init__(
        self,
        settings: Any,
        task: Task,
        strategy: Strategy,
        weights: WeightTraining,
        architecture: ArchitectureTraining,
        capture: Callable[[Work], Work],
    ) -> None:
        like = strategy.mixture()
        assert like is not None  # strategies that mix have one
        self._like, self._count = like.detach(), len(like.tensors())
        self._order, self._r = settings.order, settings.strategy.finite_difference
        self._task, self._weights, self._architecture = task, weights, architecture
        self._given = 0  # how many tensors the weights are trained with; the same in all steps
        self._call = capture(self._work)

    def _work(self, train: Rate | None, look: Rate | None, *tensors: Any) -> tuple[torch.Tensor, ...]:
        """What a graph holds. The learning rate is given once, in the place that says which piece is meant."""
        weights, inputs = self._like.with_tensors(list(tensors[: self._count])), tensors[self._count :]
        if train is not None:
            return self._train_work(train, weights, inputs)
        assert look is not None
        return self._gradient_work(look, weights, inputs)

    def train(self, step: Step, weights: ArchWeights) -> Trained:
        """See `WeightTraining.update`."""
        objective, *rest = self._call(step.learning_rate, None, *weights.tensors(), *step.given)
        names = self._task.names
        self._task.carry(0, rest[len(names) :])
        return Trained(objective, dict(zip(names, rest, strict=False)))

    def _train_work(self, rate: Rate, weights: ArchWeights, given: Inputs) -> tuple[torch.Tensor, ...]:
        forward, _ = self._task.train_on(given)
        trained = self._weights.train(forward, weights, rate)
        return trained.objective, *(trained.sums[name] for name in self._task.names), *self._task.carried(0)

    def gradient(self, step: Step, weights: ArchWeights) -> ArchGradient:
        """See `bilevel.gradient`."""
        given = () if self._order == "first" else step.given
        self._given = len(given)
        tensors = weights.detach().tensors()
        loss, *rest = self._call(None, step.learning_rate, *tensors, *given, *step.arch_given)
        self._task.carry(1, rest[self._count :])
        return rest[: self._count], loss

    def _gradient_work(self, rate: Rate, weights: ArchWeights, inputs: Inputs) -> tuple[torch.Tensor, ...]:
        def never(_: ArchWeights) -> torch.Tensor:
            raise AssertionError("the first order asks for no training loss")

        train_loss = never if self._order == "first" else self._task.train_on(inputs[: self._given])[1]
        problem = Problem(
            train_loss,
            self._task.valid_on(inputs[self._given :]),
            list(self._task.net.parameters()),
            self._architecture.weight_step(rate),
            average_over_processes,
            all_digits=self._task.all_digits,
        )
        found, loss = bilevel.gradient(problem, weights, self._order, self._r)
        return loss, *found, *self._task.carried(1)


def graph_problems(settings: Any) -> list[str]:
    """What of a search cannot be repeated by a graph. `settings`: see `one_shot.settings.Settings`."""
    if not settings.run.cuda_graphs:
        return []
    strategy, name = settings.strategy, settings.search.strategy
    found = []
    if not settings.mixes:
        fields = [field for field in ("mixing", "sampler") if hasattr(strategy, field)]
        what = f"{fields[0]} {getattr(strategy, fields[0])}" if fields else f"strategy {name}"
        found.append(f"{what}, which trains another path in each step, while a graph repeats the same operations")
    if getattr(strategy, "auxiliary_weight", 0):
        found.append("auxiliary_weight above 0, which falls from step to step, while a graph repeats the same number")
    if settings.run.fast is None and not settings.fast:
        found.append(f"bilevel exact in the {settings.search.space} space, which needs the plain form")
    return [f"hyperparameters.cuda_graphs must be false with {why}; got true, leave it out" for why in found]
