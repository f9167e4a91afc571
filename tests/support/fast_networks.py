"""The plain and the fast convolutional network with equal weights, and what equal means in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cnn_nas.architecture import Genotype
from cnn_nas.fast.model import FastNetwork
from cnn_nas.model import ModelConfig, Network, Output, draw_path_masks

TIGHT = 1e-10  # of float64: rounding, after twenty or so layers of normalisation
NUDGE = 1e-13  # some hundred roundings; batch norm over two or three values can make a million times as much of it
LOOSE = 1e-6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def assert_near(ours: Any, theirs: Any, what: str = "", bound: float = TIGHT) -> None:
    """Equal but for rounding, relative to the largest number of the tensor, or to 1: some gradients cancel to nothing."""
    assert (ours is None) == (theirs is None), what
    if theirs is not None:
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype, what
        ours, theirs = ours.detach(), theirs.detach()
        assert float((ours - theirs).abs().max()) <= bound * max(float(theirs.abs().max()), 1.0), what


def moved(value: Any, other: Any) -> float:
    """How far apart, on the scale of `assert_near`; at most `LOOSE`, so that no case excuses a difference that matters."""
    if value is None:
        return 0.0
    apart = float((value.detach() - other.detach()).abs().max()) / max(float(value.detach().abs().max()), 1.0)
    return min(apart, LOOSE)


def both(
    genotype: Genotype,
    channels: int = 4,
    layers: int = 5,
    auxiliary: bool = True,
    size: tuple[int, int] = (16, 16),
    last: bool = True,
) -> tuple[Network, FastNetwork]:
    """The plain network and the fast one, channels-last if `last`; equal weights, for which batch norm does something."""
    config = ModelConfig(channels, layers, auxiliary, auxiliary_weight=0.4, drop_path_prob=0.2)
    plain, fast = (kind(config, genotype, 7, 3, size, generator()).double() for kind in (Network, FastNetwork))
    shake(plain)
    fast.load_state_dict(plain.state_dict())
    memory = torch.channels_last if last else torch.contiguous_format
    return plain, fast.to(memory_format=memory)  # type: ignore[return-value]


def shake(module: nn.Module) -> None:
    for i, layer in enumerate(module.modules()):
        if isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 2.0, generator=generator(i))
            nn.init.uniform_(layer.bias, -1.0, 1.0, generator=generator(i + 1000))


def drop(
    net: Network, batch: int, p: float = 0.3, shard: slice = slice(None), dtype: torch.dtype = torch.float64
) -> torch.Tensor | None:
    return draw_path_masks(generator(5), net.droppable_edges, batch, shard, p, dtype)


def loss_of(output: Output) -> torch.Tensor:
    loss = (output.logits * normal(*output.logits.shape, seed=7).to(output.logits)).sum()
    return loss if output.auxiliary_logits is None else loss + 0.4 * output.auxiliary_logits.square().sum()


def nudged(x: torch.Tensor) -> torch.Tensor:
    return x * (1 + NUDGE * torch.randn(x.shape, generator=generator(11), dtype=x.dtype))
