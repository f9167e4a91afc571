"""The baseline of `cnn_step`: the network of DARTS cells and its training step in plain, eager PyTorch, as in 2019.

NCHW in float32, every operation a sequence that begins with its own ReLU, drop path by a division and a multiplication of
each edge, `torch.cat`, torch's default SGD, `.item()` every batch. Parameters and buffers come in the order of
`cnn_nas.model.Network`'s, so that one can be given the other's weights. (Pixels are skipped by slicing instead of a strided
1x1 convolution, which torch 2.15 gets wrong on some CPUs.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from cnn_nas.architecture import Edge, Genotype

SampledTrial = Callable[[torch.Tensor], torch.Tensor]
"""Zeros and ones `(B, 1, 1, 1)` for an edge's output: which images keep it."""


class Halve(nn.Module):
    """ReLU, two 1x1 convolutions of every second pixel, batch norm. Sides must be even."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(x)
        y = torch.cat([self.even(x[:, :, ::2, ::2]), self.odd(x[:, :, 1::2, 1::2])], dim=1)
        normalised: torch.Tensor = self.norm(y)
        return normalised


class Nothing(nn.Module):
    """Zeros."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


def fit(channels_in: int, channels_out: int) -> nn.Sequential:
    """Makes a cell's input as wide as the cell."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out))


def depthwise(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    """ReLU, depthwise, pointwise, batch norm."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
    ]


def operation(name: str, channels: int, stride: int) -> nn.Module:
    """One edge."""
    if name == "none":
        return Nothing(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else Halve(channels, channels)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, padding=1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
    if name == "conv_7x1_1x7":
        rows = nn.Conv2d(channels, channels, (1, 7), (1, stride), (0, 3), bias=False)
        columns = nn.Conv2d(channels, channels, (7, 1), (stride, 1), (3, 0), bias=False)
        return nn.Sequential(nn.ReLU(), rows, columns, nn.BatchNorm2d(channels))
    kernel = int(name[-1])
    if name.startswith("dil"):
        return nn.Sequential(*depthwise(channels, kernel, stride, 2))
    return nn.Sequential(*depthwise(channels, kernel, stride, 1), *depthwise(channels, kernel, 1, 1))


class PlainCell(nn.Module):
    """Nodes that sum two edges each."""

    def __init__(
        self,
        edges: tuple[Edge, ...],
        concat: tuple[int, ...],
        inputs: tuple[int, int],
        channels: int,
        halve: list[bool],
    ) -> None:
        super().__init__()
        reducing, reduced_before = halve
        self.edges, self.concat = edges, concat
        self.fit0 = Halve(inputs[0], channels) if reduced_before else fit(inputs[0], channels)
        self.fit1 = fit(inputs[1], channels)
        self.ops = nn.ModuleList(operation(name, channels, 1 + (reducing and state < 2)) for name, state in edges)

    def forward(self, x0: torch.Tensor, x1: torch.Tensor, p: float, draw: SampledTrial) -> torch.Tensor:
        states = [self.fit0(x0), self.fit1(x1)]
        for k in range(0, len(self.edges), 2):
            sides = []
            for op, (_, state) in list(zip(self.ops, self.edges, strict=True))[k : k + 2]:
                y = op(states[state])
                if self.training and p > 0 and not isinstance(op, nn.Identity):
                    y = y.div(1 - p).mul(draw(y))
                sides.append(y)
            states.append(sides[0] + sides[1])
        return torch.cat([states[i] for i in self.concat], dim=1)


class PlainNetwork(nn.Module):
    """Stem, cells, both heads, for images of 32 x 32 pixels.

    Args:
        draw: replaces the draws of drop path, for tests.
    """

    def __init__(
        self, genotype: Genotype, channels: int, layers: int, outputs: int, draw: SampledTrial | None = None
    ) -> None:
        super().__init__()
        self.draw = draw
        self.stem = nn.Sequential(nn.Conv2d(3, 3 * channels, 3, padding=1, bias=False), nn.BatchNorm2d(3 * channels))
        self.cells = nn.ModuleList()
        self.head_at, reduced_before, inputs = 2 * layers // 3, False, (3 * channels, 3 * channels)
        for i in range(layers):
            reducing = i in (layers // 3, 2 * layers // 3)
            channels *= 1 + reducing
            edges = genotype.reduce if reducing else genotype.normal
            concat = genotype.reduce_concat if reducing else genotype.normal_concat
            self.cells.append(PlainCell(edges, concat, inputs, channels, [reducing, reduced_before]))
            inputs, reduced_before = (inputs[1], channels * len(concat)), reducing
            if i == self.head_at:
                width = inputs[1]
        self.classifier = nn.Linear(inputs[1], outputs)
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3, padding=0, count_include_pad=False),
            nn.Conv2d(width, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
        )
        self.head_classifier = nn.Linear(768, outputs)

    def copy_weights(self, net: nn.Module) -> PlainNetwork:
        """Take over weights and running means of a network of the same architecture, whose order is the same."""
        theirs = [*net.parameters(), *net.buffers()]
        with torch.no_grad():
            for mine, value in zip([*self.parameters(), *self.buffers()], theirs, strict=True):
                mine.copy_(value)
        return self

    def forward(self, x: torch.Tensor, p: float) -> tuple[torch.Tensor, torch.Tensor | None]:
        before = last = self.stem(x)
        extra = None
        for i, cell in enumerate(self.cells):
            before, last = last, cell(before, last, p, self._keep(p))
            if i == self.head_at and self.training:
                extra = self.head_classifier(self.head(last).flatten(1))
        pooled = F.adaptive_avg_pool2d(last, 1).flatten(1)
        return self.classifier(pooled), extra

    def _keep(self, p: float) -> SampledTrial:
        return self.draw or (lambda y: y.new_empty(len(y), 1, 1, 1).bernoulli_(1 - p))


class PlainStep:
    """One training step, with the hyperparameters of DARTS."""

    def __init__(self, net: PlainNetwork, p: float) -> None:
        self.net, self.p = net.train(), p
        self.sgd = torch.optim.SGD(net.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)

    def __call__(self, images: torch.Tensor, classes: torch.Tensor) -> float:
        """Train on images `(B, 3, H, W)`; returns the loss."""
        self.sgd.zero_grad()
        logits, extra = self.net(images, self.p)
        loss = F.cross_entropy(logits, classes)
        if extra is not None:
            loss = loss + 0.4 * F.cross_entropy(extra, classes)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5)
        self.sgd.step()
        return loss.item()
