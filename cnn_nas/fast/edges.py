"""What the edges of a supernet do together: several convolutions of one kind as one, and sums of maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from cnn_nas.fast.cells import State
from cnn_nas.fast.depthwise import depthwise, even, every_second
from cnn_nas.operations import FactorizedReduce

TOGETHER = 2**20
"""Numbers in the maps of the edges that run together, at most, unless one has more: above, they leave a CPU's caches."""


def sum_of(parts: list[torch.Tensor]) -> tuple[torch.Tensor | None, bool]:
    """The sum, None of nothing; and whether it has memory of its own."""
    if len(parts) < 2:
        return (parts[0] if parts else None), False
    total = parts[0] + parts[1]
    for part in parts[2:]:
        total.add_(part)
    return total, True


def chunks(slots: Sequence[int], numbers: int) -> Iterator[tuple[int, ...]]:
    """tuple[int, ...] that run together, where a map has so many numbers."""
    size = max(1, TOGETHER // max(1, numbers))
    for first in range(0, len(slots), size):
        yield tuple(slots[first : first + size])


def beside(maps: Sequence[torch.Tensor]) -> torch.Tensor:
    """Maps as one, channel by channel."""
    return maps[0] if len(maps) == 1 else torch.cat(list(maps), dim=1)


def convolve(rows: Sequence[tuple[nn.Module, ...]], x: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """The layers of some edges at once.

    Args:
        rows: a layer of each edge, in order; the first is the ReLU through which x is already.
        x: `(B, edges * C, H, W)`.
        scale: `(edges * C,)`, of the last batch norm.
    """
    for i, row in enumerate(rows):
        layer, last = row[0], i == len(rows) - 1
        if isinstance(layer, nn.BatchNorm2d):
            x = normalise(layer, x, scale) if last else torch.relu_(normalise(layer, x, None))
        elif isinstance(layer, nn.Conv2d):
            weight = layer.weight if len(row) == 1 else torch.cat([cast(nn.Conv2d, each).weight for each in row])
            if layer.groups == 1:
                x = F.conv2d(x, weight, groups=len(row))
            else:
                stride, padding, dilation = (
                    cast("tuple[int, int]", pair) for pair in (layer.stride, layer.padding, layer.dilation)
                )
                x = depthwise(x, weight, stride, padding, dilation)
    return x


def factorised(modules: Sequence[FactorizedReduce], state: State, scale: torch.Tensor | None) -> torch.Tensor:
    """Skip connections of stride 2 of edges that leave the same state: one convolution of both kinds of pixels."""
    x = even(state.positive)
    pixels = torch.cat([every_second(x, 0), every_second(x, 1)], dim=1)
    channels = x.shape[1]
    halves = [
        F.pad(torch.stack([half.weight.flatten(1) for half in of_edges]), padding)
        for of_edges, padding in (
            ([module.conv1 for module in modules], (0, channels)),
            ([module.conv2 for module in modules], (channels, 0)),
        )
    ]
    weight = torch.cat(halves, dim=1).reshape(-1, 2 * channels, 1, 1)  # by edge, then as `FactorizedReduce` puts them
    return normalise(modules[0].norm, F.conv2d(pixels, weight), scale)


def normalise(layer: nn.BatchNorm2d, x: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    """Batch norm by the batch, times `scale`."""
    return F.batch_norm(x, None, None, scale, None, True, 0.0, layer.eps)
