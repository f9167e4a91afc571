"""Dropout masks that depend on the seed and the batch, and on nothing else.

A training step draws its masks from a generator seeded by (trial seed, batch index), before the forward pass, which is given
tensors and draws nothing. So a resumed run draws what the uninterrupted one would have drawn, without saving any generator
state; every process draws the masks of the whole batch and keeps its own columns, so that two processes train exactly what
one does; and a forward pass can be compiled or captured.

V is the vocabulary, B this process's columns, H the hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from randomNAS_files.model import ModelConfig

Mask = torch.Tensor | None
"""0 or 1 / (1 - p), so that expectations are kept; None where the rate p is 0."""


@dataclass(frozen=True)
class DropoutMasks:
    """The masks of one training step, in the type of what they multiply.

    Attributes:
        embedding: whole words, `(V, 1)`, the same for all columns.
        input: the embeddings `(B, H)`, like all that follow the same at all time steps.
        cell_inputs: for each layer the input inside the cell, `(B, H)`.
        hidden: for each layer the state h and the states that nodes read, `(B, H)`.
        output: the outputs of the last layer, `(B, H)`.
    """

    embedding: Mask
    input: Mask
    cell_inputs: tuple[Mask, ...]
    hidden: tuple[Mask, ...]
    output: Mask

    @classmethod
    def nothing(cls, depth: int) -> DropoutMasks:
        """No masks for a model of so many layers."""
        return cls(None, None, (None,) * depth, (None,) * depth, None)

    def tensors(self) -> list[Mask]:
        """All of them in one list."""
        return [self.embedding, self.input, *self.cell_inputs, *self.hidden, self.output]

    @classmethod
    def of(cls, tensors: Sequence[Mask]) -> DropoutMasks:
        """The masks of which `tensors` made that list."""
        embedding, first, *of_cells, last = tensors
        depth = len(of_cells) // 2
        return cls(embedding, first, tuple(of_cells[:depth]), tuple(of_cells[depth:]), last)


def draw_masks(
    config: ModelConfig,
    words: int,
    generator: torch.Generator,
    batch_size: int,
    columns: slice,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> DropoutMasks:
    """Draw the masks of one training step: once for all words, and once for everything else.

    Args:
        words: V.
        batch_size: columns of the whole batch, over all processes.
        columns: those of them that this process owns.
        dtype: of the masks; what is dropped does not depend on it.
        device: of the masks, which must be the generator's, or the meta device, whose masks have no contents; None: the
            generator's.
    """
    rates = [config.dropouti, *(config.dropoutx, config.dropouth) * config.depth, config.dropout]
    uniform = partial(torch.rand, generator=generator, device=device or generator.device, dtype=torch.float32)
    embedding = uniform(words, 1) if config.dropoute else None
    drawn = iter(uniform(sum(map(bool, rates)), batch_size, config.nhid)[:, columns].unbind(0))
    masks: Iterator[Mask] = (_mask(next(drawn), rate, dtype) if rate else None for rate in rates)
    first, *of_cells, last = masks
    return DropoutMasks(
        None if embedding is None else _mask(embedding, config.dropoute, dtype),
        first,
        tuple(of_cells[0::2]),
        tuple(of_cells[1::2]),
        last,
    )


def _mask(uniform: torch.Tensor, rate: float, dtype: torch.dtype) -> torch.Tensor:
    """Numbers in [0, 1) become a mask, in place if it is of their type."""
    return uniform.ge_(rate).to(dtype).div_(1.0 - rate)


def apply(x: torch.Tensor, mask: Mask) -> torch.Tensor:
    """`x * mask`, or x itself where there is no mask."""
    return x if mask is None else x * mask
