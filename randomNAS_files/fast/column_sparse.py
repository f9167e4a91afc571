"""Products with what dropout left: `(x * mask) @ weight`, without the arithmetic for what it dropped.

A mask is the same at all time steps, so each column lacks the same features throughout, three quarters of them in
`train_one_arch.yaml`. On a CPU, where arithmetic is scarce, a column is therefore multiplied by the weights of the features
that it has left. The sums are the same; only terms that are zero are missing.

T is time, B the batch's columns, H the features, K those that are left of a column, G the width of the product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.autograd.function import once_differentiable

_SMALL = 2e7  # multiplications a column; below, the calls take longer than the work that they save


def worth_gathering(mask: torch.Tensor, steps: int, width: int) -> bool:
    """Whether leaving out what the mask `(B, H)` drops saves more than gathering the weights of the rest takes.

    Gathering weights, and adding up their gradients, takes as long as the arithmetic of 27 time steps with them.
    """
    if mask.device.type != "cpu" or mask.size(1) * steps * width < _SMALL:
        return False
    return int(mask.count_nonzero()) * (1.3 * steps + 27) < mask.numel() * steps


def kept_features(mask: torch.Tensor) -> list[torch.Tensor]:
    """Of each column of a mask `(B, H)` the features that it leaves, `(K,)`."""
    return [column.nonzero()[:, 0] for column in mask]


def gathering_memory(kept: Sequence[torch.Tensor], weight: torch.Tensor) -> torch.Tensor:
    """Memory for the rows of a weight `(H, G)` that any one of the columns has left."""
    return weight.new_empty(max(map(len, kept), default=0), weight.size(1))


def masked_product(x: torch.Tensor, mask: torch.Tensor | None, weight: torch.Tensor) -> torch.Tensor:
    """`(x * mask) @ weight`, of x `(T, B, H)`, a mask `(B, H)` or None, and a weight `(H, G)`."""
    if mask is None:
        return x @ weight
    if worth_gathering(mask, len(x), weight.size(1)):
        product: torch.Tensor = KeptProduct.apply(x, mask, weight)
        return product
    return (x * mask) @ weight


class KeptProduct(torch.autograd.Function):
    """`masked_product`, a column at a time."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, mask, weight)
        ctx.kept = kept_features(mask)
        memory = gathering_memory(ctx.kept, weight)
        product = x.new_empty(x.size(1), x.size(0), weight.size(1))
        for column, kept in enumerate(ctx.kept):
            rows = torch.index_select(weight, 0, kept, out=memory[: len(kept)])
            torch.mm(kept_states(x, mask, column, kept), rows, out=product[column])
        return product.transpose(0, 1)

    @staticmethod
    @once_differentiable  # type: ignore[misc]
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, mask, weight = ctx.saved_tensors
        x_grad = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[2] else None
        memory = gathering_memory(ctx.kept, weight)
        for column, kept in enumerate(ctx.kept):
            own, rows = grad[:, column], memory[: len(kept)]
            if x_grad is not None:
                torch.index_select(weight, 0, kept, out=rows)
                x_grad[:, column].index_copy_(1, kept, (own @ rows.t()).mul_(mask[column, kept]))
            if weight_grad is not None:
                torch.mm(kept_states(x, mask, column, kept).t(), own, out=rows)
                weight_grad.index_add_(0, kept, rows)
        return x_grad, None, weight_grad


def kept_states(x: torch.Tensor, mask: torch.Tensor, column: int, kept: torch.Tensor) -> torch.Tensor:
    """A column's features that are left, masked, `(T, K)`."""
    return x[:, column].index_select(1, kept).mul_(mask[column, kept])
