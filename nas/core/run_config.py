"""Hyperparameters that every trial has, whatever it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nas.core.fields import field

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RunConfig:
    """Hyperparameters that every trial has."""

    train_epochs: int | None = field(None, ge=1, most=10**9)  # length of training where the searcher does not say it
    evaluate_test: bool = False  # score the test split, once, at the end
    repeat: int | None = field(None, ge=0)  # tells trainings of the same setting apart; only their seeds differ
    fast: bool | None = None  # the fast form of the same computation; null: true but on MPS, where it was never tried

    def fast_on(self, device: torch.device) -> bool:
        """Whether to compute in the fast form on a device."""
        return device.type != "mps" if self.fast is None else self.fast
