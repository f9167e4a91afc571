"""A trained network without its trial: what a trial hands over for use elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Portable:
    """A trained network, with the weights that evaluation uses.

    Attributes:
        network: the plain network, in evaluation mode, on the CPU.
        settings: plain values with which `Space.network` builds it again.
        module: what is exported: the network with whatever comes before and after it; tensors in, tensors out.
        inputs: real inputs of the module.
        outputs: what the trial's own network gives for them, as it is evaluated.
        names: of the inputs and of the outputs.
        batch_axes: the axis of each input that may have any size; None if none may.
        about: plain data that belong beside the weights, such as a vocabulary.
        words: what goes in and what comes out, a line each.
    """

    network: nn.Module
    settings: dict[str, Any]
    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
    outputs: tuple[torch.Tensor, ...]
    names: tuple[tuple[str, ...], tuple[str, ...]]
    batch_axes: tuple[int | None, ...]
    about: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
