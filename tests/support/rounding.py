"""What `precision: bf16` is to compute, written down by hand: products of factors that are rounded to bfloat16. And where
tensor cores want factors to lie.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode


def rounded(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().to(x.dtype)


class RoundedByHand(torch.autograd.Function):
    """a @ b with rounded factors, there and back."""

    @staticmethod
    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rounded(a), rounded(b))
        return rounded(a) @ rounded(b)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = ctx.saved_tensors
        grad = rounded(grad)
        return grad @ b.t(), a.flatten(0, -2).t() @ grad.flatten(0, -2)


class AllProductsRounded(TorchFunctionMode):
    """Those of the plain form."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.Tensor.matmul, torch.Tensor.__matmul__):
            return RoundedByHand.apply(*args)
        if func is F.linear:
            x, weight, bias = args
            return RoundedByHand.apply(x, weight.t()) + bias
        return func(*args, **(kwargs or {}))


def assert_begin_at_multiples_of_16_bytes(factors: Iterable[torch.Tensor]) -> None:
    """Matrices: all their rows, or their columns where those are what is contiguous, and how long they are."""
    for each in factors:
        (inner, outer), bytes_each = sorted(each.stride()), each.element_size()
        rows = each if each.stride(1) == 1 else each.t()
        assert inner == 1 and outer * bytes_each % 16 == rows.size(1) * bytes_each % 16 == 0
        assert each.storage_offset() * bytes_each % 16 == 0
