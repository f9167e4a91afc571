"""The recurrent cell over a whole sequence where no gradient is asked for: nothing is kept but the outputs.

Nodes that read the same state share a product, as in `sequence.py`, but columns come before features, (B, H): evaluations have
few columns, and CPU libraries multiply a few rows by a large weight several times faster than a large weight by a few columns.

T is time, B the batch's columns, H the hidden size, K the nodes of a group.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from randomNAS_files.dropout import apply
from randomNAS_files.fast.plan import CARRIED, Group, Plan
from randomNAS_files.fast.sequence import activate, group_weights


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
    grouped, outputs = group_weights(weights, plan), []
    for gates in inputs.unbind(0):
        h = _step(plan, gates, h, mask, grouped)
        outputs.append(h)
    return torch.stack(outputs)


def _step(
    plan: Plan, gates: torch.Tensor, h: torch.Tensor, mask: torch.Tensor | None, grouped: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The next h; gates `(B, 2H)` are what the inputs add to those of the first group."""
    states = {slot: torch.zeros_like(h) for slot in plan.zero} | {CARRIED: h}  # (B, H) each
    for group, weight in zip(plan.groups, grouped, strict=True):
        state = states[group.source]
        product = apply(state, mask) @ weight
        if group.source == CARRIED:
            product = product + gates
        states.update(_gated(group, state, product.to(h.dtype)))
    averaged = [slot for slot, share in enumerate(plan.shares) if share]
    return torch.stack([states[slot] for slot in averaged]).mean(0)


def _gated(group: Group, state: torch.Tensor, product: torch.Tensor) -> dict[int, torch.Tensor]:
    """The group's own states by slot, of the state that they read and the product `(B, 2KH)`, which is overwritten."""
    c, g = product.unflatten(1, (2, len(group), -1)).unbind(1)  # (B, K, H) each
    c.sigmoid_()
    for name, first, last in group.runs:
        activate(name, g[:, first:last])
    new = torch.lerp(state[:, None], g, c)
    return dict(zip(range(group.first, group.last), new.unbind(1), strict=True))
