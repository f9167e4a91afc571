"""The recurrent cell over a whole sequence where no gradient is asked for: nothing is kept but the outputs.

Columns come before features, (B, H): evaluations have few columns, and CPU libraries multiply a few rows by a large weight
several times faster than a large weight by a few columns. Nodes that read the same state share what is done element by
element. On a GPU they share a product as well, as in `sequence.py`; on a CPU a weight K times as wide takes longer for ten
rows than K weights do (a third, seen), and need not be put together.

T is time, B the batch's columns, H the hidden size, K the nodes of a group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from randomNAS_files.dropout import apply
from randomNAS_files.fast.kernels.eager import activate
from randomNAS_files.fast.plan import CARRIED, Group, Plan
from randomNAS_files.fast.sequence import group_weights

Weights = torch.Tensor | list[torch.Tensor]
"""Of a group's nodes: side by side, `(H, 2KH)`, or each, `(H, 2H)`."""


@torch.no_grad()
def run(
    plan: Plan, inputs: torch.Tensor, h: torch.Tensor, mask: torch.Tensor | None, weights: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The outputs `(T, B, H)`.

    Args:
        inputs: the inputs' part of the first gates, `(T, B, 2H)`.
        h: the state before, `(B, H)`.
        mask: of the states that nodes read, `(B, H)`, or None.
        weights: `(H, 2H)` of h and of each node.
    """
    outputs, wide = [], h.device.type != "cpu"
    grouped = (
        group_weights(weights, plan) if wide else [[weights[node] for node in group.nodes] for group in plan.groups]
    )
    for gates in inputs.unbind(0):
        h = _step(plan, gates, h, mask, grouped)
        outputs.append(h)
    return torch.stack(outputs)


def _step(
    plan: Plan, gates: torch.Tensor, h: torch.Tensor, mask: torch.Tensor | None, grouped: Sequence[Weights]
) -> torch.Tensor:
    """The next h; gates `(B, 2H)` are what the inputs add to those of the first group."""
    states = {slot: torch.zeros_like(h) for slot in plan.zero} | {CARRIED: h}  # (B, H) each
    for group, weight in zip(plan.groups, grouped, strict=True):
        state = states[group.source]
        products = _products(apply(state, mask), weight, len(group))
        if group.source == CARRIED:
            products = products + gates.unflatten(1, (2, -1))
        states.update(_gated(group, state, products.to(h.dtype)))
    averaged = [slot for slot, share in enumerate(plan.shares) if share]
    return torch.stack([states[slot] for slot in averaged]).mean(0)


def _products(state: torch.Tensor, weights: Weights, nodes: int) -> torch.Tensor:
    """Of a state `(B, H)` with the weights of the nodes that read it: c and g of each, `(K, B, 2, H)`."""
    if isinstance(weights, torch.Tensor):  # all c, then all g
        together: torch.Tensor = torch.mm(state, weights).unflatten(1, (2, nodes, -1))
        return together.permute(2, 0, 1, 3)
    each: torch.Tensor = torch.stack([state @ weight for weight in weights]).unflatten(2, (2, -1))
    return each


def _gated(group: Group, state: torch.Tensor, products: torch.Tensor) -> dict[int, torch.Tensor]:
    """The group's own states by slot, of the state that they read and the products `(K, B, 2, H)`, which are overwritten."""
    c, g = products.unbind(2)  # (K, B, H) each
    c.sigmoid_()
    for name, first, last in group.runs:
        activate(name, g[first:last])
    new = torch.lerp(state, g, c)
    return dict(zip(range(group.first, group.last), new.unbind(0), strict=True))
