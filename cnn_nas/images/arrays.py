"""Images as the trials use them, the seeded split that holds a part of them out, and their mean and deviation.

`Images` are rows of a table, so that a part held out is no copy, and so that the table may be a file mapped into memory:
the operating system then keeps of it what memory has room for, once for all processes, and reads the rest when asked.
"""

from __future__ import annotations

import functools
import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

logger = logging.getLogger(__name__)
CHUNK = 4096  # images at a time, where all are looked at


@dataclass(frozen=True)
class Images:
    """Images and what they show.

    Attributes:
        table: uint8 `(M, C, H, W)`, which may hold images of other parts too; read it through `batch` or `images`.
        targets: of each image, `(N,)`: int64 classes, or float32 numbers for a regression.
        rows: where each image is in the table, int64 `(N,)`; None: image i is row i.
        destination: of batches; None: they stay where the images are.
    """

    table: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor | None = None
    destination: torch.device | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.table.shape[1:]
        return channels, height, width

    @property
    def nbytes(self) -> int:
        """What the pixels take."""
        return len(self) * self.table[:1].numel()

    @property
    def images(self) -> torch.Tensor:
        """All images, `(N, C, H, W)`: a copy if they are part of a table."""
        return self.table if self.rows is None else self.table[self.rows]

    def batch(
        self, indices: torch.Tensor, device: torch.device | str | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The images `(B, C, H, W)`, uint8, and targets `(B,)` at some of the indices 0..N - 1, moved to a device.

        A GPU takes them from page-locked memory by itself, while the CPU goes on.

        Args:
            indices: int64 `(B,)`, on the device of the images.
            device: default: the destination of batches.
        """
        target = torch.device(device or self.destination or self.table.device)
        locked = target.type == "cuda" and self.table.device.type == "cpu"
        rows = indices if self.rows is None else self.rows[indices]
        images, targets = _gather(self.table, rows, locked), _gather(self.targets, indices, locked)
        return images.to(target, non_blocking=True), targets.to(target, non_blocking=True)

    def digest(self) -> str:
        """Hex SHA-256 of shape, targets and pixels, in order; it does not depend on the table that holds them."""
        found = hashlib.sha256(f"{len(self)} x {self.shape} {self.targets.dtype}".encode())
        found.update(self.targets.contiguous().numpy().data)
        for start in range(0, len(self), CHUNK):
            rows = slice(start, start + CHUNK)
            pixels = self.table[rows] if self.rows is None else self.table.index_select(0, self.rows[rows])
            found.update(pixels.contiguous().numpy().data)
        return found.hexdigest()

    def subset(self, indices: np.ndarray) -> Images:
        """Some of these images, sharing the table."""
        chosen = torch.from_numpy(np.asarray(indices, np.int64))
        return Images(self.table, self.targets[chosen], chosen if self.rows is None else self.rows[chosen])

    def to(self, device: torch.device | str) -> Images:
        """A copy on a device, of these images only."""
        return Images(self.images.to(device), self.targets.to(device))

    def near(self, device: torch.device | str, share: float = 0.5) -> Images:
        """Images whose batches are for a device: a copy on a GPU if they take less than that share of its free memory, else
        these, each batch of which is copied.
        """
        device = torch.device(device)
        if device.type != "cuda":
            return self
        if self.nbytes > share * torch.cuda.mem_get_info(device)[0]:
            _tell("stay in the computer's memory, for they take too much of the GPU's: each batch is copied")
            return replace(self, destination=device)
        _tell("are copied to the GPU")
        return self.to(device)


def _gather(table: torch.Tensor, rows: torch.Tensor, locked: bool) -> torch.Tensor:
    """Some rows of a table, perhaps in page-locked memory, which torch uses again once it was copied."""
    if not locked:
        return table.index_select(0, rows)  # 10 times faster than []
    memory = torch.empty((len(rows), *table.shape[1:]), dtype=table.dtype, pin_memory=True)
    return torch.index_select(table, 0, rows, out=memory)


@functools.cache
def _tell(where: str) -> None:
    """Say it once, though training and validation have images of their own."""
    logger.info("images %s", where)


@dataclass(frozen=True)
class Source:
    """What a data set offers before anything is held out.

    Attributes:
        train: the training split.
        load_test: reads the official test split; None if there is none.
        classes: their names; None for a regression.
        mirror: whether an image means the same when left and right change places.
        groups: int64 `(N,)`: training images of one group are alike, and no split may part them; None: all differ.
        valid: images of their own that validate; None: some are held out of the training split.
    """

    train: Images
    load_test: Callable[[], Images] | None
    classes: tuple[str, ...] | None
    mirror: bool
    groups: np.ndarray | None = None
    valid: Images | None = None


def held_out(
    targets: torch.Tensor, count: int, generator: np.random.RandomState, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The indices of the images that stay and of those held out, each in rising order.

    Integer targets are classes: of each, its share is held out, to within one image, and `count` images in all. Other
    targets are held out at random, whole groups at a time, so at most `count` of them.
    """
    total = len(targets)
    order = generator.permutation(total)
    if not targets.is_floating_point():
        order = order[np.argsort(targets.numpy()[order], kind="stable")]  # class by class, within a class at random
        chosen = order[np.arange(count) * total // max(count, 1)]  # evenly spaced, so fair to every class
    else:
        _, group, sizes = np.unique(
            np.arange(total) if groups is None else groups, return_inverse=True, return_counts=True
        )
        shuffled = generator.permutation(len(sizes))
        chosen = np.flatnonzero(np.isin(group, shuffled[np.cumsum(sizes[shuffled]) <= count]))
    out = np.zeros(total, bool)
    out[chosen] = True
    return np.flatnonzero(~out), np.flatnonzero(out)


def statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for pixels of 0..1, exactly: from how often each value occurs."""
    counts = torch.zeros(images.shape[0], 256, dtype=torch.int64)
    for start in range(0, len(images), CHUNK):
        pixels, _ = images.batch(torch.arange(start, min(start + CHUNK, len(images))))
        for channel, count in enumerate(counts):
            count += torch.bincount(pixels[:, channel].flatten(), minlength=256)
    values = torch.arange(256, dtype=torch.float64) / 255
    shares = counts / counts.sum(1, keepdim=True, dtype=torch.float64)
    mean = shares @ values
    std = (shares * (values - mean[:, None]) ** 2).sum(1).sqrt()
    return tuple(mean.tolist()), tuple(value or 1.0 for value in std.tolist())
