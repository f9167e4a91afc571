"""Dropout masks that depend on the seed and the batch, and on nothing else.

A training step draws its masks from a generator seeded by (trial seed, batch index). So a resumed run draws what the
uninterrupted one would have drawn, without saving any generator state; and every process draws the masks of the whole
batch and keeps its own columns, so that two processes train exactly what one does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nas.core.seeds import torch_generator


@dataclass(frozen=True)
class Masks:
    """Draws the masks of one training step; masks are 0 or 1 / (1 - p), so that expectations are kept.

    Args:
        generator: on the device where the masks are wanted.
        batch_size: columns of the whole batch, over all processes.
        columns: those of them that this process owns.
    """

    generator: torch.Generator
    batch_size: int
    columns: slice

    def per_column(self, p: float, width: int) -> torch.Tensor | None:
        """One mask a column, `(own columns, width)`, to be used at all time steps; None where p is 0."""
        return None if p == 0 else self._draw(p, self.batch_size, width)[self.columns]

    def per_row(self, p: float, rows: int) -> torch.Tensor | None:
        """One number a row of a table, `(rows, 1)`, the same for all columns; None where p is 0."""
        return None if p == 0 else self._draw(p, rows, 1)

    def _draw(self, p: float, *shape: int) -> torch.Tensor:
        keep = torch.rand(shape, generator=self.generator, device=self.generator.device) >= p
        return keep.float() / (1.0 - p)


def masks_for(batch: int, seed: int, device: torch.device, batch_size: int, columns: slice) -> Masks:
    """The masks of batch number `batch` of the trial with that seed."""
    return Masks(torch_generator(device, seed, "dropout", batch), batch_size, columns)


def apply(x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """`x * mask`, or x itself where there is no mask."""
    return x if mask is None else x * mask
