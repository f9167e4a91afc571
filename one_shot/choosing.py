"""Which architecture a search ends with, and what is scored on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.relaxation import Paths
from nas.core.seeds import torch_generator
from one_shot.collapse import largest_eigenvalue
from one_shot.selection import select_by_perturbation
from one_shot.settings import Settings
from one_shot.strategy import Choice, Objective, Strategy
from one_shot.task import Task

logger = logging.getLogger(__name__)

Scores = dict[str, float]
Gather = Callable[[Any], list[Any]]
"""What every process has, on every process."""


class Chooser:
    """Scores architectures with the shared weights, each process its share, and chooses the last one.

    Args:
        gather: see `Gather`.
        rank, processes: of this process.
    """

    def __init__(
        self, settings: Settings, task: Task, strategy: Strategy, seed: int, gather: Gather, rank: int, processes: int
    ) -> None:
        self.settings, self.task, self.strategy, self.seed = settings, task, strategy, seed
        self._gather, self._rank, self._processes = gather, rank, processes

    def entrants(self, step: int) -> list[Paths]:
        """The discrete architectures that the validation after that step scores."""
        return self.strategy.entrants(torch_generator("cpu", self.seed, "candidates", step))

    def score(self, entrants: Sequence[ArchWeights], batches: int | None = None) -> list[Scores]:
        """The metrics of each on the first validation batches, or all, on every process."""
        mine = self.task.score_all(entrants[self._rank :: self._processes], batches)
        shares = self._gather(mine)
        return [shares[k % self._processes][k // self._processes] for k in range(len(entrants))]

    def final(self) -> Choice | None:
        """The architecture that the search ends with; None: the one of the last validation."""
        if self.settings.search.select == "perturbation":
            return self._by_perturbation()
        return self.strategy.choose(self.score, torch_generator("cpu", self.seed, "final candidates"))

    def _by_perturbation(self) -> Choice:
        mixture, batches = self.strategy.expected(), self.settings.search.select_batches
        assert mixture is not None

        def losses(entrants: Sequence[ArchWeights]) -> list[float]:
            return [scores["loss"] for scores in self.score(entrants, batches)]

        generator = torch_generator("cpu", self.seed, "selection")
        paths = select_by_perturbation(self.strategy.relaxation, mixture, losses, generator)
        return Choice(paths, self.score([one_path(paths)])[0])


def eigenvalue(strategy: Strategy, loss: Objective, generator: torch.Generator) -> float:
    """The largest eigenvalue of the Hessian of a loss by the architecture's parameters, which are as before afterwards."""
    parameters = list(strategy.parameters())
    before = [each.detach().clone() for each in parameters]

    def gradient(values: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
        _put(parameters, values)
        with torch.enable_grad():
            weights = strategy.mixture()
            assert weights is not None
            found = torch.autograd.grad(loss(weights), parameters, allow_unused=True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, parameters, strict=True)]

    try:
        return largest_eigenvalue(gradient, before, generator)
    finally:
        _put(parameters, before)


@torch.no_grad()
def _put(parameters: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
