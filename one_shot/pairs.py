"""Batches for the weights and for the architecture side by side, so that one loader serves both and resumes as one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Dataset, Sampler

from cnn_nas.images.batches import ProcessImages, ShuffledBatches
from randomNAS_files.slices import Columns, Slice

Batch = tuple[torch.Tensor, torch.Tensor]


class PairedImages(Dataset[tuple[Batch, Batch | tuple[()]]]):
    """Indexed by the indices of a batch for the weights and, perhaps, of one for the architecture; else it is empty."""

    def __init__(self, weights: ProcessImages, architecture: ProcessImages | None) -> None:
        self.weights, self.architecture = weights, architecture

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, indices: tuple[torch.Tensor, torch.Tensor | None]) -> tuple[Batch, Batch | tuple[()]]:
        first, second = indices
        other = () if self.architecture is None or second is None else self.architecture[second]
        return self.weights[first], other


class PairedBatches(Sampler[list[tuple[torch.Tensor, torch.Tensor | None]]]):
    """Two endless samplers side by side; an epoch is one of the first."""

    def __init__(self, weights: ShuffledBatches, architecture: ShuffledBatches | None) -> None:
        self.weights, self.architecture = weights, architecture

    def __len__(self) -> int:
        return len(self.weights)

    def __iter__(self) -> Iterator[list[tuple[torch.Tensor, torch.Tensor | None]]]:
        second = iter(self.architecture) if self.architecture else None
        for (batch,) in self.weights:
            yield [(batch, None if second is None else next(second)[0])]


class PairedColumns(Dataset[tuple[Batch, Batch | tuple[()]]]):
    """Indexed by a slice for the weights, and gives beside it one for the architecture; else that is empty."""

    def __init__(self, weights: Columns, architecture: Columns | None) -> None:
        self.weights, self.architecture = weights, architecture

    def __len__(self) -> int:
        return len(self.weights)

    def __getitem__(self, rows: Slice) -> tuple[Batch, Batch | tuple[()]]:
        start, length = rows
        if self.architecture is None:
            return self.weights[rows], ()
        length = min(length, len(self.architecture))
        return self.weights[rows], self.architecture[start % (len(self.architecture) - length + 1), length]
