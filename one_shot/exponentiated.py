"""Exponentiated gradient descent of weights that lie on simplices: GAEA, Li et al. 2021, arXiv 2004.07802."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from nas.core.optimizers import Uncompiled

FLOOR = 1e-5
STEEPEST = 50.0  # of an exponent: a step by e^50 leaves one weight alone already, and more would overflow


class ExponentiatedGradient(Uncompiled):
    """Multiply every weight by exp(-lr * gradient), and divide by the sum of its simplex.

    Weights of operations are raised to FLOOR before they are divided, so that none can die; edges are not. There is no
    momentum and no decay. Parameters whose gradient is None stay.

    Args:
        operations: `(edges, operations)` each, every row a simplex.
        edges: weights `(edges,)`, and how many of them enter each node, node by node; those of a node are a simplex.
        lr: above 0.
    """

    def __init__(
        self, operations: Iterable[nn.Parameter], edges: Iterable[tuple[nn.Parameter, tuple[int, ...]]], lr: float
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": list(operations), "entering": None}]
        groups += [{"params": [weights], "entering": entering} for weights, entering in edges]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step. There is no closure."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                weights.mul_(torch.exp((-group["lr"] * weights.grad).clamp(-STEEPEST, STEEPEST)))
                if group["entering"] is None:
                    weights.clamp_(min=FLOOR).div_(weights.sum(-1, keepdim=True))
                else:
                    for of_a_node in weights.split(group["entering"]):
                        of_a_node.div_(of_a_node.sum())
