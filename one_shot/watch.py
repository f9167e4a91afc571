"""A search stops when the loss of an architecture that it trains is no number, and says which one that was."""

from __future__ import annotations

import math
from typing import Any

import torch

from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.relaxation import Paths
from nas.core.space import Space

WAITING = 50
"""Losses that are looked at together on a device that the host would otherwise wait for in every step."""


class Watch:
    """Looks at the losses of training steps with one architecture each.

    Args:
        space: of the architectures.
        device: where the losses are.
        advice: what to do when they diverge.
    """

    def __init__(self, space: Space[Any], device: torch.device, advice: str) -> None:
        self._space, self._advice, self._most = space, advice, 1 if device.type == "cpu" else WAITING
        self._seen: list[tuple[int, torch.Tensor, Paths]] = []

    def see(self, step: int, loss: torch.Tensor, weights: ArchWeights) -> None:
        """The loss of a step. Of a mixture, which is no architecture, nothing is said here. Raises as `check` does."""
        if weights.paths is None or weights.operations is not None:
            return
        self._seen.append((step, loss.detach(), weights.paths))
        if len(self._seen) >= self._most:
            self.check()

    def check(self) -> None:
        """Raises ConfigError if one of the losses that were seen is not finite."""
        seen, self._seen = self._seen, []
        losses = torch.stack([loss for _, loss, _ in seen]).tolist() if seen else []
        for (step, _, paths), loss in zip(seen, losses, strict=True):
            if not math.isfinite(loss):
                what = f"the training loss of batch {step + 1} is {loss:g} with the architecture {self._name(paths)}"
                raise ConfigError([f"{what}, so the shared weights have diverged; {self._advice}"])

    def _name(self, paths: Paths) -> str:
        try:
            text: str = self._space.genotype_of(paths).to_text()
        except ConfigError:  # trained with `none` on some edges, as no genotype of the space
            return f"of these operations by edge: {dict(paths)}"
        return text
