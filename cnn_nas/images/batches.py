"""Shuffled batches of images, of which each process takes its part."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Dataset, Sampler

from cnn_nas.images.arrays import Images
from nas.core.errors import ConfigError
from nas.core.seeds import numpy_generator


class ShuffledBatches(Sampler[list[torch.Tensor]]):
    """Batches of indices `(B,)`, one epoch after another, without end.

    An epoch is a new permutation of all images, cut into batches; the images that do not fill a batch are left out, others
    in each epoch. It depends on the seed and the epoch only, so iterating from the start and skipping gives what an
    interrupted run would have seen.

    Args:
        device: of the indices. Where the images are, so that a GPU that has them is given each epoch's order once, and not
            each batch's, for which the CPU would wait.

    Raises:
        ConfigError: if there are fewer images than a batch takes.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        use: str = "to train on",
        device: torch.device | str = "cpu",
    ) -> None:
        if images < batch_size:
            least = f"at most {images}, the number of images {use}"
            raise ConfigError([f"hyperparameters.global_batch_size must be {least}, got {batch_size}"])
        self.images, self.batch_size, self.seed, self.device = images, batch_size, seed, device

    def __len__(self) -> int:
        """Batches an epoch."""
        return self.images // self.batch_size

    def __iter__(self) -> Iterator[list[torch.Tensor]]:
        epoch = 0
        while True:
            order = torch.from_numpy(numpy_generator(self.seed, "shuffle", epoch).permutation(self.images))
            for batch in order[: len(self) * self.batch_size].to(self.device).split(self.batch_size):
                yield [batch]
            epoch += 1


class ProcessImages(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Indexed by the indices of a batch: this process's images `(shard, C, H, W)`, uint8, and targets `(shard,)`."""

    def __init__(self, images: Images, shard: slice) -> None:
        self.images, self.shard = images, shard

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images.batch(indices[self.shard].to(self.images.targets.device))


def in_order(first: int, last: int, batch_size: int) -> list[torch.Tensor]:
    """The indices from `first` up to but without `last` as batches, the last one perhaps smaller; for evaluation."""
    return list(torch.arange(first, last).split(batch_size))


def evenly(first: int, last: int, batch_size: int) -> list[torch.Tensor]:
    """The same in as few batches that differ by one image at most, for networks that normalise by the batch they see."""
    batches = -(-(last - first) // batch_size)
    return list(torch.arange(first, last).tensor_split(batches))
