"""Exponentiated gradient descent of weights that lie on simplices: GAEA, Li et al. 2021, arXiv 2004.07802, section 3."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
        edges: for `(edges,)` weights the node that each edge enters; the edges of a node are a simplex.
        lr: above 0.
    """

    def __init__(
        self, operations: Iterable[nn.Parameter], edges: Mapping[nn.Parameter, tuple[int, ...]], lr: float
    ) -> None:
        groups: list[dict[str, Any]] = [{"params": list(operations), "nodes": None}]
        groups += [{"params": [weights], "nodes": nodes} for weights, nodes in edges.items()]
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step. There is no closure."""
        for group in self.param_groups:
            for weights in group["params"]:
                if weights.grad is None:
                    continue
                weights.mul_(torch.exp((-group["lr"] * weights.grad).clamp(-STEEPEST, STEEPEST)))
                if group["nodes"] is None:
                    weights.clamp_(min=FLOOR).div_(weights.sum(-1, keepdim=True))
                else:
                    weights.div_(sums_by_node(weights, group["nodes"]))


def sums_by_node(weights: torch.Tensor, nodes: tuple[int, ...]) -> torch.Tensor:
    """For each edge the sum of `weights` `(edges,)` over all edges that enter its node."""
    index = torch.tensor(nodes, device=weights.device)
    sums = torch.zeros(1 + max(nodes), dtype=weights.dtype, device=weights.device)
    return sums.index_add(0, index, weights)[index]
