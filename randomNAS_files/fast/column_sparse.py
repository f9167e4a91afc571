"""Matrix products after dropout, `(x * mask) @ weight`, without the arithmetic for the features that it dropped.

A mask is the same at all time steps, so each column lacks the same features throughout, three quarters of them in
`train_one_arch.yaml`. On a CPU, where arithmetic is scarce, a column is therefore multiplied by the weights of its active
features only, gathered beforehand. The sums are the same; only terms that are zero are missing.

T is time, B the batch's columns, H the features, K the active ones of a column, G the width of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from randomNAS_files.fast.once import once_only

_SMALL = 2e7  # multiplications a column; below, the calls take longer than the work that they save


def gathering_pays(mask: torch.Tensor, steps: int, width: int) -> bool:
    """Whether leaving out what the mask `(B, H)` drops saves more than gathering the weights of the rest takes.

    Gathering weights, and adding up their gradients, takes as long as the arithmetic of 27 time steps with them.
    """
    if mask.device.type != "cpu" or mask.size(1) * steps * width < _SMALL:
        return False
    return int(mask.count_nonzero()) * (1.3 * steps + 27) < mask.numel() * steps


def active_features(mask: torch.Tensor) -> list[torch.Tensor]:
    """The indices of the features that a mask `(B, H)` keeps, `(K,)` a column."""
    return [column.nonzero()[:, 0] for column in mask]


def gather_buffer(active: Sequence[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """Memory into which the rows of a weight `(H, G)` are gathered, enough for the active features of any column."""
    return weight.new_empty(max(map(len, active), default=0), weight.size(1))


def masked_product(x: torch.Tensor, mask: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor:
    """`(x * mask) @ weight`, of x `(T, B, H)`, a mask `(B, H)` or None, and a weight `(H, G)`."""
    if mask is None:
        return x @ weight
    if gathering_pays(mask, len(x), weight.size(1)):
        product: torch.Tensor = ColumnSparseProduct.apply(x, mask, weight)
        return product
    return (x * mask) @ weight


class ColumnSparseProduct(torch.autograd.Function):
    """`masked_product`, a column at a time."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, mask, weight)
        ctx.active = active_features(mask)
        memory = gather_buffer(ctx.active, weight)
        product = x.new_empty(x.size(1), x.size(0), weight.size(1))
        for column, active in enumerate(ctx.active):
            rows = torch.index_select(weight, 0, active, out=memory[: len(active)])
            torch.mm(active_states(x, mask, column, active), rows, out=product[column])
        return product.transpose(0, 1)

    @staticmethod
    @once_only
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, mask, weight = ctx.saved_tensors
        x_grad = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[2] else None
        memory = gather_buffer(ctx.active, weight)
        for column, active in enumerate(ctx.active):
            own, rows = grad[:, column], memory[: len(active)]
            if x_grad is not None:
                torch.index_select(weight, 0, active, out=rows)
                x_grad[:, column].index_copy_(1, active, (own @ rows.t()).mul_(mask[column, active]))
            if weight_grad is not None:
                torch.mm(active_states(x, mask, column, active).t(), own, out=rows)
                weight_grad.index_add_(0, active, rows)
        return x_grad, None, weight_grad


def active_states(x: torch.Tensor, mask: torch.Tensor, column: int, active: torch.Tensor) -> torch.Tensor:
    """The active features of one column of x `(T, B, H)`, times its mask, `(T, K)`."""
    return x[:, column].index_select(1, active).mul_(mask[column, active])
