"""The baseline of `budget_step`: a search for all budgets as its authors wrote it in 2021, in plain, eager PyTorch.

A table of logits for each of five levels, between which is interpolated; the mixing weights of a step are a Gumbel-softmax
sample of their own for every image; the penalty is a sum in Python over all operations of all edges of all cells, weighted by
the numbers of their convolutions (Yakovlev et al. 2021, AIST, and their published code). The rest is `plain_supernet`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.plain_supernet import EDGES, OPERATIONS, Batch, PlainSuperCell, PlainSupernet

KNOTS = 5


class PlainBudgetSupernet(PlainSupernet):
    """The search network; `level` in [0, 1] and `price`, what a number costs there, are drawn by whoever trains it."""

    def __init__(self, channels: int, layers: int, outputs: int, in_channels: int) -> None:
        super().__init__(channels, layers, outputs, in_channels)
        bound = (OPERATIONS * 3.5) ** -0.5
        self.alphas = [bound * (2 * torch.rand(KNOTS, len(EDGES), OPERATIONS) - 1) for _ in range(2)]
        for alpha in self.alphas:
            alpha.requires_grad_()
        self.level, self.price = 0.5, 1e-6

    def logits(self) -> list[torch.Tensor]:
        """At the level, `(edges, operations)` of both kinds of cell."""
        place = 0.99999 * self.level * (KNOTS - 1)
        below, share = int(place), place - int(place)
        return [(1 - share) * alpha[below] + share * alpha[below + 1] for alpha in self.alphas]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.logits()
        before = last = self.stem(x)
        for cell in self.cells:
            table = logits[1 if cell.reducing else 0].expand(len(x), -1, -1)
            sample = F.gumbel_softmax(table, tau=1.0)  # (B, edges, operations)
            weights = sample.permute(1, 2, 0).reshape(len(EDGES), OPERATIONS, len(x), 1, 1, 1)
            before, last = last, cell(before, last, weights)
        output: torch.Tensor = self.classifier(F.adaptive_avg_pool2d(last, 1).flatten(1))
        return output

    def architecture_loss(self, batch: Batch) -> torch.Tensor:
        """With the penalty."""
        probabilities = [table.softmax(-1) for table in self.logits()]
        total = torch.zeros(())
        for cell in self.cells:
            assert isinstance(cell, PlainSuperCell)
            for edge, mixture in enumerate(cell.edges):
                for k, operation in enumerate(mixture.ops):  # type: ignore[union-attr, arg-type]
                    total = total + probabilities[1 if cell.reducing else 0][edge, k] * convolved(operation)
        return self.loss(batch) + self.price * total


def convolved(operation: nn.Module) -> int:
    """Numbers of its convolutions."""
    return sum(each.weight.numel() for each in operation.modules() if isinstance(each, nn.Conv2d))
