"""Depthwise convolutions whose gradients do not take the slow ways of a CPU; values are torch's own.

oneDNN, which computes convolutions on a CPU, has fast kernels for the gradients of those without dilation, and for those of
weights of up to three columns. Others take five to ten times as long, and are put together from fast ones here.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

COLUMNS = 3
"""Of weights whose gradient is fast."""
Pair = tuple[int, int]


def depthwise(x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair, dilation: Pair) -> torch.Tensor:
    """The depthwise convolution of x `(B, C, H, W)` with weights `(C, 1, rows, columns)`.

    With a dilation of 2, x must stay as large as it is: the padding twice the middle of the weights, or stride 2 with that.
    """
    if dilation == (2, 2) and stride == (2, 2):  # what it reads is every second pixel
        x, stride, padding, dilation = every_second(x, 0), (1, 1), (padding[0] // 2, padding[1] // 2), (1, 1)
    slow = dilation != (1, 1) or weight.shape[3] > COLUMNS
    if slow and x.device.type in ("cpu", "meta"):  # meta stands for any device, and keeps what this keeps
        y: torch.Tensor = _Depthwise.apply(x, weight, stride, padding, dilation)
        return y
    return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))


class _Depthwise(torch.autograd.Function):
    """torch's convolution forward; backward without dilation, and a few columns of the weights at a time.

    The backward pass is made of operations of torch, so that it can be differentiated again where a graph of it is wanted.
    """

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair, dilation: Pair
    ) -> torch.Tensor:
        """See `depthwise`."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.dilation = stride, padding, dilation
        return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None, None]:
        """Gradients of x and of the weights, where they are wanted."""
        x, weight = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # which autocast has lowered
        (height, width), padding, dilated = x.shape[2:], ctx.padding, ctx.dilation != (1, 1)
        if dilated:
            x, grad, padding = to_quarters(x), to_quarters(grad), (padding[0] // 2, padding[1] // 2)
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _gradient(grad, x, weight, ctx.stride, padding, 0)
            grad_x = from_quarters(grad_x, height, width) if dilated else grad_x
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(grad, x, weight, ctx.stride, padding)
        return grad_x, grad_weight, None, None, None


def _weight_gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair
) -> torch.Tensor:
    """Of all columns: some columns of the weights see x without as many of its own on the left and on the right."""
    rows, columns = padding
    total = weight.shape[3]
    if total <= COLUMNS:
        return _gradient(grad, x, weight, stride, padding, 1)
    padded, parts = F.pad(x, (columns, columns)), []
    for first in range(0, total, COLUMNS):
        part = weight[..., first : first + COLUMNS]
        end = padded.shape[3] - (total - first - part.shape[3])
        seen = padded[..., first:end].contiguous(memory_format=memory_format(x))
        parts.append(_gradient(grad, seen, part, stride, (rows, 0), 1))
    return torch.cat(parts, dim=3)


def _gradient(
    grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: Pair, padding: Pair, which: int
) -> torch.Tensor:
    """torch's gradient of x (`which` 0) or of the weights (1)."""
    wanted = [which == 0, which == 1, False]
    none = (0, 0)  # of a transposed convolution, which this is not
    gradients = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, padding, (1, 1), False, none, len(weight), wanted
    )
    gradient: torch.Tensor = gradients[which]
    return gradient


def memory_format(x: torch.Tensor) -> torch.memory_format:
    """Channels-last where x `(B, C, H, W)` is, or where it makes no difference."""
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format


def every_second(x: torch.Tensor, first: int) -> torch.Tensor:
    """Every second row and column of x `(B, C, H, W)`, from that one on; the gradient is in the memory format of x too."""
    if memory_format(x) is torch.channels_last:
        return x.permute(0, 2, 3, 1)[:, first::2, first::2].permute(0, 3, 1, 2)
    return x[:, :, first::2, first::2]


def even(x: torch.Tensor) -> torch.Tensor:
    """x with zeros below and to the right where a side is odd."""
    height, width = x.shape[2:]
    return F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x


def to_quarters(x: torch.Tensor) -> torch.Tensor:
    """`(B, C, H, W)` to `(4 * B, C, ceil(H / 2), ceil(W / 2))`: pixels by whether row and column are odd."""
    x = even(x)
    return torch.cat([x[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)])


def from_quarters(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The inverse of `to_quarters`."""
    quarters, channels, rows, columns = x.shape
    size = (quarters // 4, channels, 2 * rows, 2 * columns)
    whole = torch.empty(size, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    for k, quarter in enumerate(x.chunk(4)):
        whole[:, :, k // 2 :: 2, k % 2 :: 2] = quarter
    return whole[:, :, :height, :width]
