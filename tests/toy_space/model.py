"""The network of a genotype."""

from __future__ import annotations

from torch import nn

from toy_space.architecture import Genotype

_MODULES = {"relu": nn.ReLU, "tanh": nn.Tanh, "identity": nn.Identity}


def perceptron(genotype: Genotype, width: int) -> nn.Sequential:
    """From `(B, 1)` to `(B, 1)`."""
    layers: list[nn.Module] = []
    for i, name in enumerate(genotype.layers):
        layers += [nn.Linear(width if i else 1, width), _MODULES[name]()]
    return nn.Sequential(*layers, nn.Linear(width, 1))
