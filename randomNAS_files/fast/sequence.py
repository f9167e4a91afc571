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

from randomNAS_files.fast.kernels import choice
from randomNAS_files.fast.kernels.eager import EagerBackward, EagerForward
from randomNAS_files.fast.once import ONCE, once_only
from randomNAS_files.fast.plan import Plan
from randomNAS_files.fast.precision import HALF, multiply, multiply_into, padded, tensor_cores
from randomNAS_files.fast.workspace import GroupStep, Layout, Step, Workspace, WorkspacePool, own_copy


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


def run_step(work: EagerForward, step: Step, weights: Sequence[torch.Tensor]) -> None:
    """Compute one time step: fill `step.output`, from `step.before` and the inputs' part of the first group's gates.

    Args:
        work: what is computed before and after the products.
        step: the views that are read and written.
        weights: those of `factors`, transposed.
    """
    for i, (group, weight) in enumerate(zip(step.groups, weights, strict=True)):
        work.read(step, i)
        if weight.dtype != group.product.dtype:
            _rounded_product(group, weight, add=i == 0)
        elif i == 0:
            group.product.addmm_(weight, group.read)
        else:
            torch.mm(weight, group.read, out=group.product)
        work.gate(step, i)


def _rounded_product(group: GroupStep, weight: torch.Tensor, add: bool) -> None:
    """Write the product of rounded factors, or add it to what is there."""
    if add:
        group.product.add_(multiply(weight, group.read, group.product.dtype))
    else:
        multiply_into(group.product, weight, group.read)


def run_back(
    work: EagerBackward, space: Workspace, weights: Sequence[torch.Tensor], grads: torch.Tensor
) -> torch.Tensor:
    """The backward pass over time: gradients with respect to the gates before their functions, written over the gates.

    Args:
        work: what is computed before and after the products.
        space: that of the forward pass.
        weights: as `factors` gives them.
        grads: of the outputs, `(T, H, B)`.

    Returns:
        That of the state before the first time step, `(H, B)`.
    """
    rows = max(map(space.layout.rows, space.plan.groups)) if space.layout.half else 0
    factor = grads.new_empty(rows, grads.size(2), dtype=torch.bfloat16)  # of gradients of gates
    for step, grad in zip(reversed(space.at[: len(grads)]), reversed(grads.unbind(0)), strict=True):
        work.start(grad)
        for i in reversed(range(len(step.groups))):
            work.gates(step, i)
            product = step.groups[i].product
            if weights[i].dtype == product.dtype:
                torch.mm(weights[i], product, out=work.products[i])
            else:
                multiply_into(work.products[i], weights[i], factor[: len(product)].copy_(product))
            work.pass_on(i)
    return work.finish()


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
        transposed, work = [weight.t() for weight in grouped], choice.forward(pool.kernels, space, mask)
        with tensor_cores(precision):
            for step in space.at[:steps]:
                run_step(work, step, transposed)
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
        work = choice.backward(ctx.pool.kernels, space, ctx.mask)
        with tensor_cores(ctx.precision):
            before = run_back(work, space, ctx.grouped, grad.transpose(1, 2).contiguous())
            inputs = own_copy(space.gates[0][:steps].flatten(1, 3).transpose(1, 2))  # (T, B, 2H)
            found = weight_gradients(space, inputs, ctx.needs_input_grad[6:])
        h_grad = before.t().clone() if ctx.needs_input_grad[4] else None
        ctx.pool.release(arena)
        ctx.arena = None
        return None, None, None, inputs, h_grad, None, *found


def weight_gradients(space: Workspace, inputs: torch.Tensor, wanted: Sequence[bool]) -> list[torch.Tensor | None]:
    """After `run_back`: of h and of each node whose gradient is wanted, `(H, 2H)`, as products over all time steps.

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
