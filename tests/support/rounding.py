"""Products of factors that are rounded to bfloat16, written down by hand: what `precision: bf16` is to compute."""

from __future__ import annotations

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
