"""Batches that every process sees whole, and of which it takes its own part."""

from __future__ import annotations

from typing import Any

from determined import pytorch


class ShardedBatchLoader(pytorch.DataLoader):
    """Determined's loader gives each process other batches; with this one, each process has its part of every batch.

    So the processes together train what one process trains. The batch sampler of a training loader has to go on for ever
    (`RandomSlices`, `ShuffledBatches`); it yields lists of one item, and an item of the dataset is a whole batch.

    Args:
        dataset: indexed by what the sampler yields.
        batches: the batch sampler.
    """

    def __init__(self, dataset: Any, batches: Any) -> None:
        super().__init__(dataset, batch_sampler=batches, collate_fn=_only)

    def get_data_loader(self, repeat: bool = False, skip: int = 0, num_replicas: int = 1, rank: int = 0) -> Any:
        """See `pytorch.DataLoader`; only skipping is left to do."""
        return super().get_data_loader(repeat=False, skip=skip, num_replicas=1, rank=0)


def _only(batch: list[Any]) -> Any:
    return batch[0]
