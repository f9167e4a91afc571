"""Images a second: augmentation of whole batches as tensors, against the per-image transforms of 2019.

    python3 benchmarks/augmentation.py

One process on this machine's CPU, CIFAR-10's size and transforms. Both do the same work: from uint8 images in memory to a
float32 batch. They take turns, and the ratio is that of neighbours in time, so that what else the machine does hits both.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torchvision import transforms  # type: ignore[import-untyped]

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cnn_nas.augmentation import Augmentation
from cnn_nas.images import Images
from seeds import torch_generator

MEAN, STD = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
COUNT, SIZE, CUTOUT = 9600, 32, 16


class PerImage:
    """What the first DARTS code did for each image, in a data loader."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images  # (N, H, W, C)
        self.random = np.random.RandomState(0)
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomCrop(SIZE, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
                self.cut_out,
            ]
        )

    def cut_out(self, image: torch.Tensor) -> torch.Tensor:
        """DeVries and Taylor 2017: zeros in a square around any pixel."""
        row, column = self.random.randint(SIZE), self.random.randint(SIZE)
        mask = np.ones((SIZE, SIZE), np.float32)
        top, left = max(row - CUTOUT // 2, 0), max(column - CUTOUT // 2, 0)
        mask[top : row + CUTOUT // 2, left : column + CUTOUT // 2] = 0
        return image * torch.from_numpy(mask)

    def __call__(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.stack([self.transform(self.images[i]) for i in indices.tolist()])


class PerBatch:
    """What this project does."""

    def __init__(self, images: Images) -> None:
        self.images, self.augmentation, self.batches = images, Augmentation(MEAN, STD, cutout_length=CUTOUT), 0

    def __call__(self, indices: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        generator = torch_generator("cpu", 0, "augmentation", self.batches)
        draws = self.augmentation.draw(generator, len(indices), slice(None), (SIZE, SIZE))
        return self.augmentation.apply(self.images.batch(indices)[0], draws)


def images_a_second(load: Callable[[torch.Tensor], torch.Tensor], batches: Sequence[torch.Tensor]) -> float:
    """The speed of one pass over some batches."""
    start = time.perf_counter()
    for indices in batches:
        load(indices)
    return sum(map(len, batches)) / (time.perf_counter() - start)


def measure(threads: int, batch_size: int, rounds: int) -> str:
    """A line of the report."""
    torch.set_num_threads(threads)
    pixels = np.random.RandomState(0).randint(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    table = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    old, new = PerImage(pixels), PerBatch(Images(table, torch.zeros(COUNT, dtype=torch.int64)))
    batches = torch.split(torch.from_numpy(np.random.RandomState(1).permutation(COUNT)), batch_size)
    few = batches[: max(960 // batch_size, 1)]
    images_a_second(old, few[:1]), images_a_second(new, batches)  # warm up
    pairs = [(images_a_second(old, few), images_a_second(new, batches)) for _ in range(rounds)]
    ratios = sorted(after / before for before, after in pairs)
    before, after = (statistics.median(speeds) for speeds in zip(*pairs, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    speeds = f"{threads} threads, batch {batch_size}: per image {before:9,.0f}/s, per batch {after:11,.0f}/s"
    return f"{speeds}, {statistics.median(ratios):5.1f} times (middle half {low:.1f} to {high:.1f})"


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=96)
    arguments = parser.parse_args()
    cores = torch.get_num_threads()
    print(f"torch {torch.__version__}, CPU, {cores} threads by default")
    for threads in sorted({1, cores}):
        print(measure(threads, arguments.batch_size, arguments.rounds))


if __name__ == "__main__":
    main()
