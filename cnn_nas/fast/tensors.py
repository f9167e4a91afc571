"""The tensors that a layer computes with: its own, or others that are made of them before the step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import torch
from torch import nn


class Norm(NamedTuple):
    """What a batch norm computes with; a moving mean or variance of None is not kept, a weight or bias of None not applied."""

    mean: torch.Tensor | None
    var: torch.Tensor | None
    weight: torch.Tensor | None
    bias: torch.Tensor | None


class Linear(NamedTuple):
    """What a convolution or a linear layer multiplies by and adds."""

    weight: torch.Tensor
    bias: torch.Tensor | None


Tensors = Norm | Linear


class Given(dict[nn.Module, Tensors]):
    """Tensors of some layers in place of their own."""

    def of(self, layer: nn.Module) -> Tensors:
        """What a layer computes with."""
        return self[layer] if layer in self else own(layer)

    def linear(self, layer: nn.Module) -> Linear:
        """Of a convolution or a linear layer."""
        return cast(Linear, self.of(layer))

    def norm(self, layer: nn.Module) -> Norm:
        """Of a batch norm."""
        return cast(Norm, self.of(layer))


OWN = Given()
"""Every layer computes with its own."""


def own(layer: nn.Module) -> Tensors:
    """A layer's parameters and buffers."""
    if isinstance(layer, nn.BatchNorm2d):
        return Norm(layer.running_mean, layer.running_var, layer.weight, layer.bias)
    layer = cast(nn.Linear, layer)
    return Linear(layer.weight, layer.bias)


def layers_of(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a network or a part of it that have tensors, in order."""
    return (layer for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d))


def given(layers: Iterable[nn.Module], tensors: Iterable[Tensors]) -> Given:
    """Tensors in the order of their layers."""
    return Given(zip(layers, tensors, strict=True))
