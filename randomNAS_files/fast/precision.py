"""Matrix products of the fast form with fewer digits: what they take, what they return, and how it lies in memory.

`bf16`: both factors are rounded to bfloat16, 8 binary digits, so that each is off by 2^-9 of itself at most; sums are made
and returned with all digits. All else, such as states, gates, the gradients that are carried, the loss and the weights that
are trained, has all digits as ever. `tf32`: float32 that a GPU rounds to 11 digits when it multiplies; a CPU does not.

The tensor cores of a GPU want rows of memory that begin at multiples of 16 bytes, and 850 numbers do not fill such rows:
factors are copied into wider ones, which end in zeros.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from nas.core.errors import ConfigError
from randomNAS_files.dropout import apply
from randomNAS_files.fast.once import once_only
from randomNAS_files.settings import PRECISIONS

FULL, TF32, HALF = PRECISIONS
ROW = 8  # numbers of bfloat16 in 16 bytes


def check_precision(precision: str, device: torch.device) -> None:
    """Raises ConfigError if a device has no products of the hyperparameter `precision`."""
    if precision != FULL and device.type not in ("cpu", "cuda"):
        rule = f"must be {FULL} or left out on {device.type}, for which there are no other products"
        raise ConfigError([f"hyperparameters.precision {rule}, got {precision!r}"])


def padded(count: int) -> int:
    """The next multiple of ROW."""
    return -(-count // ROW) * ROW


def type_of(precision: str, dtype: torch.dtype) -> torch.dtype:
    """Of the factors of products, where all else is of `dtype`."""
    return torch.bfloat16 if precision == HALF else dtype


def widened(rows: int, columns: int, precision: str, like: torch.Tensor) -> torch.Tensor:
    """Zeros for a factor `(rows, columns)`, both made multiples of ROW; `like` decides device and type of all else."""
    return like.new_zeros(padded(rows), padded(columns), dtype=type_of(precision, like.dtype))


def factor(x: torch.Tensor, precision: str) -> torch.Tensor:
    """A matrix as a factor of products, with rows and columns of zeros at its ends."""
    wide = widened(x.size(0), x.size(1), precision, x)
    wide[: x.size(0), : x.size(1)] = x
    return wide


def multiply(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The product of two factors, summed in and returned as `dtype`.

    A release of torch that can return it in the factors' type only, on a GPU, rounds it to that at last.
    """
    if a.dtype == dtype:
        return torch.mm(a, b)
    if returns_all_digits(a.device):
        return torch.mm(a, b, out_dtype=torch.float32).to(dtype)
    if a.device.type == "cuda":
        return torch.mm(a, b).to(dtype)
    return torch.mm(a.to(dtype), b.to(dtype))


def multiply_into(out: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    """Write the product of two factors to `out`."""
    if out.dtype == torch.float32 and a.dtype != out.dtype and returns_all_digits(a.device):
        torch.mm(a, b, out_dtype=torch.float32, out=out)
    elif a.dtype == out.dtype:
        torch.mm(a, b, out=out)
    else:
        out.copy_(multiply(a, b, out.dtype))


@functools.cache
def returns_all_digits(device: torch.device) -> bool:
    """Whether this torch returns products of bfloat16 as float32 there, and into given memory: found out by trying."""
    if device.type != "cuda":
        return False
    x = torch.zeros(ROW, ROW, dtype=torch.bfloat16, device=device)
    try:
        torch.mm(x, x, out_dtype=torch.float32, out=x.new_empty(ROW, ROW, dtype=torch.float32))
    except (RuntimeError, TypeError):  # NotImplementedError is a RuntimeError
        return False
    return True


@contextmanager
def tensor_cores(precision: str) -> Iterator[None]:
    """Within it, a GPU may round the factors of float32 products to TF32, if that is the precision."""
    if precision != TF32:
        yield
        return
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, True
    try:
        yield
    finally:
        products.allow_tf32 = before


class WithPrecision:
    """A network of cells that trains with products of one precision; what needs no gradient is computed in fp32 as ever."""

    precision = FULL
    cells: Any

    def use_precision(self, precision: str) -> None:
        """Train with it from here on."""
        self.precision = precision
        for cell in self.cells:
            cell.precision = precision

    @contextmanager
    def all_digits(self) -> Iterator[None]:
        """Within it, forward passes begin that have fp32 throughout, their backward passes too."""
        before = self.precision
        self.use_precision(FULL)
        try:
            yield
        finally:
            self.use_precision(before)


class RoundedProduct(torch.autograd.Function):
    """`(x * mask) @ weight` of rounded factors, of x `(T, B, H)`, a mask `(B, H)` or None, and a weight `(H, G)`.

    The gradients are products of rounded factors too, and are differentiated once only.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, mask: torch.Tensor | None, weight: torch.Tensor, precision: str
    ) -> torch.Tensor:
        (steps, columns, size), width = x.shape, weight.size(1)
        rows = widened(steps * columns, size, precision, x)
        own = rows[: steps * columns].view(steps, columns, -1)[..., :size]
        if mask is None:
            own.copy_(x)
        else:
            torch.mul(x, mask, out=own)
        wide = factor(weight, precision)
        ctx.save_for_backward(rows, mask, wide)
        ctx.precision, ctx.shape, ctx.width = precision, x.shape, width
        with tensor_cores(precision):
            product = multiply(rows, wide, x.dtype)
        return product[: steps * columns, :width].reshape(steps, columns, width)

    @staticmethod
    @once_only
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        rows, mask, wide = ctx.saved_tensors
        steps, columns, size = ctx.shape
        given = factor(grad.flatten(0, 1), ctx.precision)
        x_grad = weight_grad = None
        with tensor_cores(ctx.precision):
            if ctx.needs_input_grad[0]:
                of_rows = multiply(given, wide.t(), grad.dtype)[: steps * columns, :size]
                x_grad = apply(of_rows.reshape(steps, columns, size), mask)
            if ctx.needs_input_grad[2]:
                weight_grad = multiply(rows.t(), given, grad.dtype)[:size, : ctx.width].contiguous()
        return x_grad, None, weight_grad, None
