"""A recurrent cell's gates and states by torch's own operations: what kernels must compute, too.

T is time, B the batch's columns, H the hidden size, K the nodes of a group, S the slots of a plan.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from randomNAS_files.fast.plan import Group
from randomNAS_files.fast.workspace import Step, Workspace

_ATEN = torch.ops.aten


class EagerForward:
    """The forward pass around the products of each group.

    Args:
        space: whose views are read and written.
        mask: of the states that nodes read, `(H, B)`, or None.
    """

    def __init__(self, space: Workspace, mask: torch.Tensor | None) -> None:
        self._mask, self._share = mask, max(space.plan.shares)

    def read(self, step: Step, i: int) -> None:
        """Before the product of group `i`: what its nodes read is there."""
        group = step.groups[i]
        if self._mask is not None:
            torch.mul(group.state, self._mask, out=group.read)
        elif group.read is not group.state:  # a factor of fewer digits
            group.read.copy_(group.state)

    def gate(self, step: Step, i: int) -> None:
        """After the product: from the gates of group `i` to its states; those of the last group complete the output."""
        group = step.groups[i]
        group.c.sigmoid_()
        for name, block in group.runs:
            activate(name, block)
        torch.lerp(group.state, group.g, group.c, out=group.new)
        if i == len(step.groups) - 1:
            _weighted_sum(step.averaged, self._share, step.output)


def _weighted_sum(runs: Sequence[torch.Tensor], share: float, out: torch.Tensor) -> None:
    """Write to `out` `(H, B)` the sum of all states in some runs, `(K, H, B)` each, times `share`."""
    if not runs:
        out.zero_()
        return
    torch.sum(runs[0], 0, out=out)
    for run in runs[1:]:
        for state in run.unbind(0):
            out.add_(state)
    out.mul_(share)


class EagerBackward:
    """The backward pass around the products: gradients of the gates before their functions, written over the gates.

    Args:
        space: as in `EagerForward`.
        mask: as in `EagerForward`.
    """

    def __init__(self, space: Workspace, mask: torch.Tensor | None) -> None:
        plan, like = space.plan, space.outputs[0]
        self._mask = mask
        self._shares = space.shares
        self._grads = like.new_empty(plan.slots + 1, *like.shape)  # of h before the time step, and of all states
        self._before = self._grads[0].zero_()
        widest = max(len(group) for group in plan.groups)
        self._first, self._second = like.new_empty(2, widest, *like.shape).unbind(0)
        self._given = like.new_empty(like.shape)
        self._views = [_Views(group, self._grads, self._first, self._second) for group in plan.groups]
        self.products = [views.first[0] for views in self._views]
        """For each group where its product goes: the gradient of what its nodes read, `(H, B)`."""

    def start(self, grad: torch.Tensor) -> None:
        """Begin a time step, the last one first, with its output's gradient `(H, B)`."""
        torch.add(grad, self._before, out=self._given)
        torch.mul(self._given, self._shares, out=self._grads)

    def gates(self, step: Step, i: int) -> None:
        """Before the product of group `i`: from its states' gradients to those of the gates and of the state they read."""
        group, mine = step.groups[i], self._views[i]
        own, first, second = mine.own, mine.first, mine.second
        torch.sub(group.g, group.state, out=first).mul_(own)
        torch.mul(own, group.c, out=second)
        own.sub_(second)  # what goes on to the source without a gate
        _ATEN.sigmoid_backward.grad_input(first, group.c, grad_input=group.c)
        for (name, block), grad in zip(group.runs, mine.runs, strict=True):
            differentiate(name, grad, block)
        if len(own) > 1:
            mine.source.add_(torch.sum(own, 0, out=self.products[i]))
        else:
            mine.source.add_(own[0])

    def pass_on(self, i: int) -> None:
        """After the product: the state that group `i` read gets its gradient."""
        source, product = self._views[i].source, self.products[i]
        if self._mask is None:
            source.add_(product)
        else:
            source.addcmul_(product, self._mask)

    def finish(self) -> torch.Tensor:
        """The gradient of the state before the time step that came last, `(H, B)`."""
        return self._before


class _Views:
    """What the backward pass of one group works on in every time step.

    Attributes:
        own: the gradients of the group's states, `(K, H, B)`.
        source: that of the state that they were made of, `(H, B)`.
        first, second: for what is computed between, `(K, H, B)`.
        runs: the part of `second` of each activation.
    """

    def __init__(self, group: Group, grads: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> None:
        self.own, self.source = grads[group.first + 1 : group.last + 1], grads[group.source + 1]
        self.first, self.second = first[: len(group)], second[: len(group)]
        self.runs = [self.second[start:stop] for _, start, stop in group.runs]


def activate(name: str, block: torch.Tensor) -> None:
    """Apply an activation in place."""
    if name == "tanh":
        block.tanh_()
    elif name == "sigmoid":
        block.sigmoid_()
    elif name == "relu":
        block.relu_()


def differentiate(name: str, grad: torch.Tensor, block: torch.Tensor) -> None:
    """Overwrite an activation's output `block` with the gradient of its input, from the gradient of its output."""
    if name == "tanh":
        _ATEN.tanh_backward.grad_input(grad, block, grad_input=block)
    elif name == "sigmoid":
        _ATEN.sigmoid_backward.grad_input(grad, block, grad_input=block)
    elif name == "relu":
        _ATEN.threshold_backward.grad_input(grad, block, 0, grad_input=block)
    else:
        block.copy_(grad)
