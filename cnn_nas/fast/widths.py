"""Channels of feature maps as they lie in memory: those of the network, and zeros up to a width that a GPU is fast at.

A convolution in bfloat16 is fast where channels are multiples of 8, which neither 36 nor 108 is. A channel that is added is
zero after every layer: the weights of convolutions to it and from it are zero, and so are the weight and the bias of its
batch norm. A cell's output has its nodes side by side, each with zeros of its own. The first half of a `FactorizedReduce` stays
as wide as it is, so that the zeros come last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, cast

from torch import nn

from cnn_nas.fast.packing import Place
from cnn_nas.model import Cell, Network
from cnn_nas.operations import FactorizedReduce

MULTIPLE = 8
"""Of channels, in bfloat16."""


class Channels(NamedTuple):
    """Where a feature map has the channels of the network, and how many it has in all."""

    at: tuple[int, ...]
    width: int


def plain(count: int) -> Channels:
    """Channels without zeros."""
    return Channels(tuple(range(count)), count)


def beside(parts: list[Channels]) -> Channels:
    """Maps side by side."""
    at: list[int] = []
    width = 0
    for part in parts:
        at += [width + place for place in part.at]
        width += part.width
    return Channels(tuple(at), width)


class Widths:
    """The places of the weights of a network's layers; a layer that is not among them stays as it is.

    Args:
        multiple: widths are multiples of it; 1 adds no zeros.
    """

    def __init__(self, net: Network, multiple: int = MULTIPLE) -> None:
        self.multiple = multiple
        self.places: dict[nn.Module, Place] = dict(self._network(net))

    def _wide(self, count: int) -> Channels:
        return Channels(tuple(range(count)), -(-count // self.multiple) * self.multiple)

    def _network(self, net: Network) -> Iterator[tuple[nn.Module, Place]]:
        images = plain(cast(nn.Conv2d, net.stem[0]).in_channels)  # not widened: they would have to be copied
        outputs = [self._wide(cast(nn.Conv2d, net.stem[0]).out_channels)]
        yield from self._layers(net.stem, images, outputs[0])
        outputs *= 2
        for i, part in enumerate(net.cells):
            cell = cast(Cell, part)
            node = self._wide(cell.channels_out // len(cell.concat))
            yield from self._layers(cell.preprocess0, outputs[-2], node)
            yield from self._layers(cell.preprocess1, outputs[-1], node)
            for operation in cell.operations:
                yield from self._layers(operation, node, node)
            outputs.append(beside([node] * len(cell.concat)))
            if i == net.auxiliary_at and net.auxiliary is not None:
                yield from self._head(net.auxiliary, outputs[-1])
        yield from self._layers(net.classifier, outputs[-1], plain(net.classifier.out_features))

    def _head(self, head: nn.Sequential, given: Channels) -> Iterator[tuple[nn.Module, Place]]:
        """Of the auxiliary head, whose own widths stay."""
        for layer in head:
            if isinstance(layer, nn.Conv2d):
                yield from self._layers(layer, given, plain(layer.out_channels))
                given = plain(layer.out_channels)
            elif isinstance(layer, nn.Linear):
                yield from self._layers(layer, given, plain(layer.out_features))

    def _layers(self, module: nn.Module, given: Channels, out: Channels) -> Iterator[tuple[nn.Module, Place]]:
        """Of an operation from some channels to others; between its layers it has the others."""
        if isinstance(module, FactorizedReduce):
            half = module.conv1.out_channels
            yield module.conv1, Place(tuple(range(half)), half, given.at, given.width)
            rest = tuple(range(len(out.at) - half))
            yield module.conv2, Place(rest, out.width - half, given.at, given.width)
            yield module.norm, Place(out.at, out.width)
        elif isinstance(module, nn.Sequential):
            for part in module:
                yield from self._layers(part, given, out)
                given = out if isinstance(part, nn.Conv2d) else given
        elif isinstance(module, nn.Conv2d) and module.groups > 1:
            yield module, Place(out.at, out.width, (0,), 1)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            yield module, Place(out.at, out.width, given.at, given.width)
        elif isinstance(module, nn.BatchNorm2d):
            yield module, Place(out.at, out.width)
