"""Which class computes the network of a trial, and how: the fast form where it is wanted."""

from __future__ import annotations

import torch

from cnn_nas.fast.model import FastForm, FastNetwork
from cnn_nas.model import Network
from cnn_nas.settings import GpuConfig, Settings


def image_network(
    settings: Settings, outputs: int, shape: tuple[int, int, int], generator: torch.Generator, fast: bool
) -> Network:
    """The network of a trial, for images of that many channels, height and width."""
    channels, *size = shape
    sizes = settings.model, settings.genotype, outputs, channels, (size[0], size[1]), generator
    return FastNetwork(*sizes, form=form_of(settings.gpu)) if fast else Network(*sizes)


def form_of(gpu: GpuConfig) -> FastForm:
    """What the fast network is told."""
    return FastForm(gpu.weight_casts == "once", gpu.pad_channels, "inductor" if gpu.compile == "cells" else None)
