"""The baseline of `supernet_step`: the search network of DARTS and its steps in plain, eager PyTorch, as in 2019.

NCHW, every operation of every edge with a ReLU or a pool of its own, `none` as a multiplication with zero, `sum` over products
with the weights, batch norm that keeps running means, `torch.cat`, torch's default SGD, `.item()` every batch. The
architecture steps are those of Liu et al. 2019, arXiv 1806.09055, equations 6 to 8, in the manner of the first
implementations: `loss.backward()` computes the gradients of all weights too, and the second order trains a copy of the whole
network. Parameters come in the order of `cnn_nas.supernet.Supernet`'s, so that one can be given the other's weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.plain_cnn import Nothing

RADIUS = 0.01
NODES, INPUTS, OPERATIONS = 4, 2, 8
EDGES = [(node, state) for node in range(NODES) for state in range(INPUTS + node)]
Batch = tuple[torch.Tensor, torch.Tensor]
"""Images `(B, C, H, W)` and their classes `(B,)`."""


def norm(channels: int) -> nn.Module:
    """Batch norm without weight and bias."""
    return nn.BatchNorm2d(channels, affine=False)


def fit(channels_in: int, channels_out: int) -> nn.Sequential:
    """Makes a cell's input as wide as the cell."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(channels_in, channels_out, 1, bias=False), norm(channels_out))


class Halve(nn.Module):
    """ReLU, two 1x1 convolutions of every second pixel, batch norm. Sides must be even."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.relu = nn.ReLU()
        self.even = nn.Conv2d(channels_in, channels_out // 2, 1, bias=False)
        self.odd = nn.Conv2d(channels_in, channels_out - channels_out // 2, 1, bias=False)
        self.norm = norm(channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(x)
        y = torch.cat([self.even(x[:, :, ::2, ::2]), self.odd(x[:, :, 1::2, 1::2])], dim=1)
        normalised: torch.Tensor = self.norm(y)
        return normalised


def depthwise(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    """ReLU, depthwise, pointwise, batch norm."""
    padding = dilation * (kernel - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, 1, bias=False),
        norm(channels),
    ]


class Mixture(nn.Module):
    """All operations of one edge."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        skip = nn.Identity() if stride == 1 else Halve(channels, channels)
        separable = [
            nn.Sequential(*depthwise(channels, kernel, stride, 1), *depthwise(channels, kernel, 1, 1))
            for kernel in (3, 5)
        ]
        dilated = [nn.Sequential(*depthwise(channels, kernel, stride, 2)) for kernel in (3, 5)]
        pools = [
            nn.Sequential(nn.MaxPool2d(3, stride, padding=1), norm(channels)),
            nn.Sequential(nn.AvgPool2d(3, stride, padding=1, count_include_pad=False), norm(channels)),
        ]
        self.ops = nn.ModuleList([Nothing(stride), *pools, skip, *separable, *dilated])

    def forward(self, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        total: torch.Tensor = sum(w * op(x) for w, op in zip(weights, self.ops, strict=True))
        return total


class PlainSuperCell(nn.Module):
    """Nodes that sum all edges from the states before."""

    def __init__(self, inputs: tuple[int, int], channels: int, reducing: bool, reduced_before: bool) -> None:
        super().__init__()
        self.reducing = reducing
        self.fit0 = Halve(inputs[0], channels) if reduced_before else fit(inputs[0], channels)
        self.fit1 = fit(inputs[1], channels)
        self.edges = nn.ModuleList(Mixture(channels, 1 + (reducing and state < INPUTS)) for _, state in EDGES)

    def forward(self, x0: torch.Tensor, x1: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        states, first = [self.fit0(x0), self.fit1(x1)], 0
        for _ in range(NODES):
            states.append(sum(self.edges[first + j](x, weights[first + j]) for j, x in enumerate(states)))
            first += len(states) - 1
        return torch.cat(states[INPUTS:], dim=1)


class PlainSupernet(nn.Module):
    """Stem, cells with all operations on all edges, classifier.

    Args:
        in_channels: of the images, whose sides must be even wherever a cell halves them.
    """

    def __init__(self, channels: int, layers: int, outputs: int, in_channels: int) -> None:
        super().__init__()
        width = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width))
        self.cells = nn.ModuleList()
        inputs, reduced_before = (width, width), False
        for i in range(layers):
            reducing = i in (layers // 3, 2 * layers // 3)
            channels *= 1 + reducing
            self.cells.append(PlainSuperCell(inputs, channels, reducing, reduced_before))
            inputs, reduced_before = (inputs[1], NODES * channels), reducing
        self.classifier = nn.Linear(inputs[1], outputs)
        # The logits of the weights, of normal and of reduction cells; not among the parameters, which are the weights
        self.alphas = [1e-3 * torch.randn(len(EDGES), OPERATIONS) for _ in range(2)]
        for alpha in self.alphas:
            alpha.requires_grad_()

    def copy_weights(self, net: nn.Module) -> PlainSupernet:
        """Take over the weights of a supernet of the same size, whose order is the same."""
        with torch.no_grad():
            for mine, value in zip(self.parameters(), net.parameters(), strict=True):
                mine.copy_(value)
        return self

    def copy_alphas(self, alphas: Sequence[torch.Tensor]) -> PlainSupernet:
        """Take over the logits, of normal and of reduction cells, `(edges, operations)` each, with type and device."""
        self.alphas = [alpha.detach().clone().requires_grad_() for alpha in alphas]
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = last = self.stem(x)
        for cell in self.cells:
            weights = F.softmax(self.alphas[1 if cell.reducing else 0], dim=-1)
            before, last = last, cell(before, last, weights)
        logits: torch.Tensor = self.classifier(F.adaptive_avg_pool2d(last, 1).flatten(1))
        return logits

    def loss(self, batch: Batch) -> torch.Tensor:
        """The mean cross-entropy."""
        return F.cross_entropy(self(batch[0]), batch[1])

    def architecture_loss(self, batch: Batch) -> torch.Tensor:
        """What the architecture descends."""
        return self.loss(batch)


class PlainSearch:
    """The three steps of a search: of the weights, and of the architecture by both orders; hyperparameters of DARTS."""

    def __init__(self, net: PlainSupernet, lr: float = 0.025, momentum: float = 0.9, decay: float = 3e-4) -> None:
        self.net, self.lr, self.momentum, self.decay = net.train(), lr, momentum, decay
        self.sgd = torch.optim.SGD(net.parameters(), lr, momentum=momentum, weight_decay=decay)
        self.adam = torch.optim.Adam(net.alphas, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)

    def weights(self, train: Batch) -> float:
        """Train the weights on a batch; returns the loss."""
        self.sgd.zero_grad()
        loss = self.net.loss(train)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 5)
        self.sgd.step()
        return loss.item()

    def first_order(self, valid: Batch) -> None:
        """Equation 6 with xi = 0, and Adam's step."""
        self.adam.zero_grad()
        self.net.architecture_loss(valid).backward()
        self.adam.step()

    def second_order(self, train: Batch, valid: Batch) -> None:
        """Equations 7 and 8, and Adam's step."""
        self.adam.zero_grad()
        unrolled = self._unrolled(train)
        unrolled.architecture_loss(valid).backward()
        vector = [cast(torch.Tensor, weight.grad) for weight in unrolled.parameters()]
        implicit = self._hessian_product(vector, train)
        for alpha, direct, term in zip(self.net.alphas, unrolled.alphas, implicit, strict=True):
            assert direct.grad is not None
            alpha.grad = direct.grad - self.lr * term
        self.adam.step()

    def _unrolled(self, train: Batch) -> PlainSupernet:
        """A copy of the network after one step of the weights, without clipping, as the first implementations have it."""
        gradients = torch.autograd.grad(self.net.loss(train), list(self.net.parameters()))
        memo = {id(alpha): alpha for alpha in self.net.alphas}  # not deep-copied: they get gradients of their own below
        other = copy.deepcopy(self.net, memo)
        other.copy_alphas(self.net.alphas)
        with torch.no_grad():
            for mine, weight, gradient in zip(other.parameters(), self.net.parameters(), gradients, strict=True):
                moment = self.sgd.state.get(weight, {}).get("momentum_buffer")
                step = gradient + self.decay * weight
                mine.copy_(weight - self.lr * (step if moment is None else step + self.momentum * moment))
                mine.grad = None
        return other

    def _hessian_product(self, vector: Sequence[torch.Tensor], train: Batch) -> list[torch.Tensor]:
        """Of the mixed second derivatives of the training loss, by a central difference of gradients of the logits."""
        distance = RADIUS / torch.cat([each.reshape(-1) for each in vector]).norm().item()

        def shifted(by: float) -> tuple[torch.Tensor, ...]:
            for weight, direction in zip(self.net.parameters(), vector, strict=True):
                weight.data.add_(direction, alpha=by)
            return torch.autograd.grad(self.net.loss(train), self.net.alphas)

        above, below = shifted(distance), shifted(-2 * distance)
        for weight, direction in zip(self.net.parameters(), vector, strict=True):
            weight.data.add_(direction, alpha=distance)
        return [(up - down) / (2 * distance) for up, down in zip(above, below, strict=True)]
