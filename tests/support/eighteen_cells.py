"""A problem small enough to enumerate: 18 cells of two highway nodes, twelve weights, in double precision.

Every expectation of `one_shot/response.py` is a sum here, and its gradient is autograd's, through the probabilities of a
controller. Losses are functions of a flat vector of weights, so that nothing is moved in place on this side.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.relaxation import complete_cell
from one_shot.cell_tokens import decisions_of
from one_shot.controller import Controller, Heads
from one_shot.strategy import Problem, WeightStep

ETA, CLIP = 2.0, 0.25
CELLS = torch.tensor(list(itertools.product(range(3), range(2), range(3))))  # (18, 3): in the controller's order
FUNCTIONS: list[Callable[[torch.Tensor], torch.Tensor]] = [torch.tanh, torch.sigmoid, lambda x: x]


class Toy:
    """Six sequences of two numbers, whose sum so far is to be predicted. On `train` and `valid` data each."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(5)
        self.w = nn.Parameter(1.5 * torch.randn(12, generator=generator, dtype=torch.float64))
        self.data = {split: torch.randn(2, 6, generator=generator, dtype=torch.float64) for split in ("train", "valid")}

    def loss(self, w: torch.Tensor, cell: torch.Tensor, split: str) -> torch.Tensor:
        """The mean squared error of a cell, (activation, predecessor, activation), with the weights `(12,)`."""
        first, predecessor, second = cell.tolist()
        h = torch.zeros(6, dtype=torch.float64)
        errors = []
        for x, y in zip(self.data[split], self.data[split].cumsum(0), strict=True):
            states = [self._node(h, x * w[0] + h * w[1], x * w[2] + h * w[3], torch.tanh)]
            states.append(self._node(states[0], states[0] * w[4], states[0] * w[5], FUNCTIONS[first]))
            read, at = states[predecessor], 6 + 2 * predecessor
            states.append(self._node(read, read * w[at], read * w[at + 1], FUNCTIONS[second]))
            h = (states[1] + states[2]) / 2
            errors.append((h * w[10] + w[11] - y).square().mean())
        return torch.stack(errors).mean()

    @staticmethod
    def _node(
        state: torch.Tensor, c: torch.Tensor, g: torch.Tensor, activation: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        return torch.sigmoid(c) * activation(g) + (1 - torch.sigmoid(c)) * state

    def reward(self, w: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """80 / perplexity."""
        return 80 * torch.exp(-self.loss(w, cell, "valid"))

    def step(self, w: torch.Tensor, cell: torch.Tensor) -> torch.Tensor:
        """s(cell) at w `(12,)`, clipped as torch does it."""
        at = nn.Parameter(w.detach().clone())
        self.loss(at, cell, "train").backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_([at], CLIP)
        assert at.grad is not None
        return at.grad

    def problem(self, last: torch.Tensor | None = None, clip: float = CLIP, eta: float = ETA) -> Problem:
        """What an update is told, of architectures whose path is a cell's tokens; `last` is the last gradient."""

        def valid(weights: ArchWeights) -> torch.Tensor:
            return self.loss(self.w, tokens_of(weights), "valid")

        def scores(architectures: object) -> torch.Tensor:
            with torch.no_grad():
                return torch.stack([valid(each) for each in architectures])  # type: ignore[attr-defined]

        return Problem(
            lambda weights: self.loss(self.w, tokens_of(weights), "train"),
            valid,
            [self.w],
            WeightStep(eta, 0.0, 0.0, clip, [None], [last]),
            lambda tensors: None,
            scores,
            valid,
        )


def controller(activations: int = 3) -> Controller:
    """Of these cells, or those with the first activations, not uniform."""
    shape = complete_cell(2, 1, [str(k) for k in range(activations)], kept=1)
    found = Heads(decisions_of(shape), 5, torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(12)
    return found


def architecture(cell: torch.Tensor) -> ArchWeights:
    """One that says nothing but its tokens."""
    return ArchWeights(paths={"cell": tuple((token,) for token in cell.tolist())})


def tokens_of(weights: ArchWeights) -> torch.Tensor:
    """The inverse of `architecture`."""
    assert weights.paths is not None
    return torch.tensor([token for (token,) in weights.paths["cell"]])
