"""The operations on the edges of a convolutional cell, by name.

Liu et al. 2019, arXiv 1806.09055, section 3.1.1 lists those that DARTS searches; sep_conv_7x7 and conv_7x1_1x7 are for
NASNet (Zoph et al. 2018) and AmoebaNet (Real et al. 2019). Each takes `(B, C, H, W)`, at stride 1 to the same shape, at
stride 2 to `(B, C, ceil(H/2), ceil(W/2))`, whatever H and W are, so that the two edges of a node can always be added.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from nas.core.errors import ConfigError, unknown


class Zero(nn.Module):
    """The operation `none`: zeros, without a gradient, in the shape that the stride asks for."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


class FactorizedReduce(nn.Module):
    """ReLU, two 1x1 convolutions of every second pixel, not the same ones, batch norm: a skip connection of stride 2.

    Each convolution gives half of the channels; the second sees the input shifted by one pixel in both directions. Where a
    side is odd, the shifted input is one pixel too short and a zero is appended.
    """

    def __init__(self, channels_in: int, channels_out: int, affine: bool = True) -> None:
        if channels_out < 2:
            raise ConfigError([f"channels of a skip_connect of stride 2 must be at least 2, got {channels_out}"])
        super().__init__()
        half = channels_out // 2
        self.conv1 = nn.Conv2d(channels_in, half, 1, bias=False)
        self.conv2 = nn.Conv2d(channels_in, channels_out - half, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, affine=affine)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        height, width = x.shape[2:]
        shifted = x[:, :, 1:, 1:]
        if height % 2 or width % 2:
            shifted = F.pad(x, (0, width % 2, 0, height % 2))[:, :, 1:, 1:]
        # Every second pixel is taken by slicing: the strided convolution is the same, but on a CPU its backward in channels-
        # last format writes beyond its memory where there are few channels (torch 2.15, oneDNN).
        halves = [self.conv1(x[:, :, ::2, ::2]), self.conv2(shifted[:, :, ::2, ::2])]
        normalised: torch.Tensor = self.norm(torch.cat(halves, dim=1))
        return normalised


def relu_conv_norm(channels_in: int, channels_out: int, affine: bool = True) -> nn.Sequential:
    """ReLU, 1x1 convolution, batch norm: what fits the input of a cell to the cell's channels."""
    conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels_out, affine=affine))


def _depthwise(channels: int, kernel: int, stride: int, affine: bool, dilation: int = 1) -> nn.Sequential:
    """ReLU, depthwise convolution, pointwise convolution, batch norm."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


def _separable(channels: int, kernel: int, stride: int, affine: bool) -> nn.Module:
    return nn.Sequential(_depthwise(channels, kernel, stride, affine), _depthwise(channels, kernel, 1, affine))


def _skip(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels, affine)


def _factorized_7x7(channels: int, stride: int, affine: bool) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), stride=(1, stride), padding=(0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    )


OPERATIONS: dict[str, Callable[[int, int, bool], nn.Module]] = {
    "none": lambda c, stride, affine: Zero(stride),
    "max_pool_3x3": lambda c, stride, affine: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda c, stride, affine: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False),
    "skip_connect": _skip,
    "sep_conv_3x3": lambda c, stride, affine: _separable(c, 3, stride, affine),
    "sep_conv_5x5": lambda c, stride, affine: _separable(c, 5, stride, affine),
    "sep_conv_7x7": lambda c, stride, affine: _separable(c, 7, stride, affine),
    "dil_conv_3x3": lambda c, stride, affine: _depthwise(c, 3, stride, affine, dilation=2),
    "dil_conv_5x5": lambda c, stride, affine: _depthwise(c, 5, stride, affine, dilation=2),
    "conv_7x1_1x7": _factorized_7x7,
}
"""Builders by name; each takes channels, stride, and whether batch norm has a weight and a bias."""


def build(name: str, channels: int, stride: int, affine: bool, pool_bn: bool = False) -> nn.Module:
    """The operation of that name from `channels` to `channels`.

    Its weights are torch's defaults, drawn from torch's global generator: call `initialise` on what you built from it.

    Args:
        stride: 1, or 2 to halve height and width.
        affine: whether batch norm has a weight and a bias: in DARTS not while searching.
        pool_bn: follow pooling by batch norm without weight and bias, as DARTS does while searching.

    Raises:
        ConfigError: for a name that is no operation, with the nearest that are, or another stride.
    """
    if name not in OPERATIONS:
        raise ConfigError([unknown(f"operation {name!r}", name, OPERATIONS, "is not an operation")])
    if stride not in (1, 2):
        raise ConfigError([f"stride of {name} must be 1 or 2, got {stride}"])
    operation = OPERATIONS[name](channels, stride, affine)
    if pool_bn and "pool" in name:
        return nn.Sequential(operation, nn.BatchNorm2d(channels, affine=False))
    return operation


def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Draw all weights of convolutions and linear layers again, as torch's defaults are distributed, from `generator`.

    That is uniform in +-1/sqrt(fan in), biases too. Layers draw in the order of `module.modules()`, on the CPU, where the
    module must still be; so a generator's seed gives the same weights whatever was drawn before, and on every device.
    On the meta device nothing is drawn. Batch norm draws nothing and stays as it is.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5), generator=generator)
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.weight[0].numel())
                nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
