"""In what type, and in what order in memory, a network computes its feature maps."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import torch

from cnn_nas.settings import OptimizerConfig


@dataclass(frozen=True)
class FeatureMaps:
    """What a trial has chosen for a device.

    Attributes:
        mixed: bfloat16 where it is safe, otherwise float32.
        memory_format: of the weights too.
    """

    device: torch.device
    mixed: bool
    memory_format: torch.memory_format

    @classmethod
    def of(cls, config: OptimizerConfig, device: torch.device) -> FeatureMaps:
        """What the config says; where it leaves the choice, what is best on the device."""
        mixed, last = config.mixed_precision, config.channels_last
        if mixed is None:
            mixed = device.type == "cuda" and torch.cuda.is_bf16_supported()
        if last is None:
            last = device.type != "mps"
        return cls(device, mixed, torch.channels_last if last else torch.contiguous_format)

    @property
    def dtype(self) -> torch.dtype:
        """Their type."""
        return torch.bfloat16 if self.mixed else torch.float32

    def arranged(self, images: torch.Tensor) -> torch.Tensor:
        """The images `(B, C, H, W)` in the memory format."""
        return images.contiguous(memory_format=self.memory_format)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Within it the forward pass takes that type."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.mixed else contextlib.nullcontext()
