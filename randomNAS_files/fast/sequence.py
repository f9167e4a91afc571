"""The recurrent cell as one differentiable operation over a whole sequence: the fast form of `RecurrentCell.forward`.

It computes what the plain form does, up to rounding. What makes it faster: nodes that read the same state share a product
(`plan.py`); the backward pass is written by hand, with gradients written over the gates, and weight gradients as products
over all time steps; all memory is allocated once and used again (`workspace.py`); and features come before columns, (H, B)
instead of (B, H), the shape in which CPU libraries multiply a large weight by a batch of tens fastest.

T is time, B the batch's columns, H the hidden size, K the nodes of a group, S the slots of a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from randomNAS_files.fast.once import ONCE, once_only
from randomNAS_files.fast.plan import Group, Plan
from randomNAS_files.fast.precision import HALF, multiply, multiply_into, padded, tensor_cores
from randomNAS_files.fast.workspace import GroupStep, Layout, Step, Workspace, WorkspacePool, own_copy

_ATEN = torch.ops.aten


def group_weights(weights: Sequence[torch.Tensor], plan: Plan) -> list[torch.Tensor]:
    """Put the weights of each group's nodes side by side, so that one product serves them all.

    Args:
        weights: `(H, 2H)` of the initial state and of each node, in this order.
        plan: says which nodes are a group.

    Returns:
        The weight of each group, `(H, 2KH)`.
    """
    grouped = []
    for group in plan.groups:
        of_nodes = [weights[node] for node in group.nodes]
        halves = [weight.chunk(2, dim=1) for weight in of_nodes]
        grouped.append(
            of_nodes[0] if len(of_nodes) == 1 else torch.cat([c for c, _ in halves] + [g for _, g in halves], dim=1)
        )
    return grouped


def factors(grouped: Sequence[torch.Tensor], precision: str) -> list[torch.Tensor]:
    """The weights of `group_weights` as factors of products, once a pass: as they are, or rounded, in rows that are wider."""
    if precision != HALF:
        return list(grouped)
    rounded = []
    for weight in grouped:
        wide = weight.new_zeros(len(weight), padded(weight.size(1)), dtype=torch.bfloat16)
        wide[:, : weight.size(1)] = weight
        rounded.append(wide)
    return rounded


def run_step(step: Step, weights: Sequence[torch.Tensor], mask: torch.Tensor | None, share: float) -> None:
    """Compute one time step: fill `step.output`, from `step.before` and the inputs' part of the first group's gates.

    Args:
        step: the views that are read and written.
        weights: those of `factors`, transposed.
        mask: of the states that nodes read, `(H, B)`, or None.
        share: 1 / n, of each averaged state in the output.
    """
    for group, weight in zip(step.groups, weights, strict=True):
        if mask is not None:
            torch.mul(group.state, mask, out=group.read)
        elif group.read is not group.state:
            group.read.copy_(group.state)
        if weight.dtype != group.product.dtype:
            _rounded_product(group, weight, add=group is step.groups[0])
        elif group is step.groups[0]:
            group.product.addmm_(weight, group.read)
        else:
            torch.mm(weight, group.read, out=group.product)
        group.c.sigmoid_()
        for name, block in group.runs:
            activate(name, block)
        torch.lerp(group.state, group.g, group.c, out=group.new)
    _weighted_sum(step.averaged, share, step.output)


def _rounded_product(group: GroupStep, weight: torch.Tensor, add: bool) -> None:
    """Write the product of rounded factors, or add it to what is there."""
    if add:
        group.product.add_(multiply(weight, group.read, group.product.dtype))
    else:
        multiply_into(group.product, weight, group.read)


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


class Backward:
    """The backward pass over time: gradients with respect to the gates before their functions, written over the gates.

    Args:
        weights: as `factors` gives them.
        mask: `(H, B)`, or None.
    """

    def __init__(self, space: Workspace, weights: Sequence[torch.Tensor], mask: torch.Tensor | None) -> None:
        plan, like = space.plan, space.outputs[0]
        self._plan, self._mask, self._weights = plan, mask, weights
        self._shares = space.shares
        self._grads = like.new_empty(plan.slots + 1, *like.shape)  # of h before the time step, and of all states
        widest = max(len(group) for group in plan.groups)
        self._first, self._second = like.new_empty(2, widest, *like.shape).unbind(0)
        self._given = like.new_empty(like.shape)
        rows = max(map(space.layout.rows, plan.groups)) if space.layout.half else 0
        self._factor = like.new_empty(rows, like.size(1), dtype=torch.bfloat16)  # of gradients of gates

    def run(self, steps: Sequence[Step], grads: torch.Tensor) -> torch.Tensor:
        """From the gradients of the outputs `(T, H, B)` to that of the state before the first time step, `(H, B)`."""
        before = torch.zeros_like(self._given)
        for step, grad in zip(reversed(steps), reversed(grads.unbind(0)), strict=True):
            torch.add(grad, before, out=self._given)
            torch.mul(self._given, self._shares, out=self._grads)
            for i in reversed(range(len(step.groups))):
                self._group_gradients(self._plan.groups[i], step.groups[i], self._weights[i])
            before = self._grads[0]
        return before

    def _group_gradients(self, group: Group, views: GroupStep, weight: torch.Tensor) -> None:
        """From the gradient of the group's states to that of the gates and of the state that they were made of."""
        own, source = self._grads[group.first + 1 : group.last + 1], self._grads[group.source + 1]
        first, second = self._first[: len(group)], self._second[: len(group)]
        torch.sub(views.g, views.state, out=first).mul_(own)
        torch.mul(own, views.c, out=second)
        own.sub_(second)  # what goes on to the source without a gate
        _ATEN.sigmoid_backward.grad_input(first, views.c, grad_input=views.c)
        for (name, block), (_, start, stop) in zip(views.runs, group.runs, strict=True):
            differentiate(name, second[start:stop], block)
        if len(group) > 1:
            torch.sum(own, 0, out=first[0])
            source.add_(first[0])
        else:
            source.add_(own[0])
        if weight.dtype == first.dtype:
            torch.mm(weight, views.product, out=first[0])
        else:
            multiply_into(first[0], weight, self._factor[: len(views.product)].copy_(views.product))
        if self._mask is None:
            source.add_(first[0])
        else:
            source.addcmul_(first[0], self._mask)


class CellSequence(torch.autograd.Function):
    """A cell over a whole sequence, with gradients of inputs, h and weights; it can be differentiated once.

    Arguments of `apply`: the pool of workspaces, the plan, the precision of products (`precision.py`), the inputs' part of
    the first gates `(T, B, 2H)`, the state h `(B, H)`, the mask of states `(B, H)` or None, and the weights `(H, 2H)` of h
    and of each node. The result is the outputs `(T, B, H)`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        pool: WorkspacePool,
        plan: Plan,
        precision: str,
        inputs: torch.Tensor,
        h: torch.Tensor,
        mask: torch.Tensor | None,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        steps, (columns, size) = len(inputs), h.shape
        mask = mask if mask is None else mask.t().to(h.dtype).contiguous()
        arena = pool.acquire(Layout(plan, size, columns, mask is not None, precision == HALF), steps, h)
        space = arena.space
        space.gates[0][:steps].view(steps, 2 * size, columns).copy_(inputs.transpose(1, 2))
        space.outputs[0].copy_(h.t())
        grouped = factors(group_weights(weights, plan), precision)
        transposed, share = [weight.t() for weight in grouped], max(plan.shares)
        with tensor_cores(precision):
            for step in space.at[:steps]:
                run_step(step, transposed, mask, share)
        rounded = grouped if precision == HALF else []
        # So that saved-tensor hooks, which measure memory, see it.
        ctx.save_for_backward(*weights, *rounded, arena.memory)
        ctx.arena, ctx.grouped, ctx.mask = arena, grouped, mask
        ctx.pool, ctx.steps, ctx.precision = pool, steps, precision
        return space.output(steps)

    @staticmethod
    @once_only
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        arena, steps = ctx.arena, ctx.steps
        if arena is None:
            raise RuntimeError(ONCE)
        space = arena.space
        _ = ctx.saved_tensors  # weights that were changed since are refused
        with tensor_cores(ctx.precision):
            before = Backward(space, ctx.grouped, ctx.mask).run(space.at[:steps], grad.transpose(1, 2).contiguous())
            inputs = own_copy(space.gates[0][:steps].flatten(1, 3).transpose(1, 2))  # (T, B, 2H)
            found = weight_gradients(space, inputs, ctx.needs_input_grad[6:])
        h_grad = before.t().clone() if ctx.needs_input_grad[4] else None
        ctx.pool.release(arena)
        ctx.arena = None
        return None, None, None, inputs, h_grad, None, *found


def weight_gradients(space: Workspace, inputs: torch.Tensor, wanted: Sequence[bool]) -> list[torch.Tensor | None]:
    """After `Backward.run`: of h and of each node whose gradient is wanted, `(H, 2H)`, as products over all time steps.

    Args:
        inputs: the gradient of the inputs' part of the first gates, `(T, B, 2H)`.
    """
    steps, half = len(inputs), space.layout.half
    found: list[torch.Tensor | None] = [None] * len(wanted)
    for i, group in enumerate(space.plan.groups):
        nodes = [(k, node) for k, node in enumerate(group.nodes) if wanted[node]]
        if nodes:
            read = space.by_feature(space.read_by(i, steps)[:, None], space.turned[0])  # (H, TB)
        for k, node in nodes:
            if i == 0 and not half:
                found[node] = read @ inputs.flatten(0, 1)
            else:
                of_gates = space.by_feature(space.gates[i][:steps, :, k], space.turned[1])  # (2H, TB)
                found[node] = multiply(read, of_gates.t(), inputs.dtype)
    return found
