"""Augmentation of whole batches as tensors, against the per-image transforms of 2019. From the root:

    python -m benchmarks.augmentation [--batch-size 96] [--device cuda] [--save]

CIFAR-10's size and transforms, one process. Both do the same work: from uint8 images in memory to a float32 batch on the
device. On a GPU the images are there already, as in training; the per-image transforms need the CPU.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torchvision import transforms  # type: ignore[import-untyped]

from benchmarks.measuring import Pair, absolute, arguments, finish, quicker, seconds
from cnn_nas.images.arrays import Images
from cnn_nas.images.augmentation import Augmentation
from nas.core.seeds import torch_generator

MEAN, STD = (0.49139968, 0.48215827, 0.44653124), (0.24703233, 0.24348505, 0.26158768)
COUNT, SIZE, CUTOUT = 9600, 32, 16


class PerImage:
    """What the first DARTS code did for each image, in a data loader."""

    def __init__(self, images: np.ndarray, device: str) -> None:
        self.images, self.device = images, device  # (N, H, W, C)
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
        return torch.stack([self.transform(self.images[i]) for i in indices.tolist()]).to(self.device)


class PerBatch:
    """What this project does."""

    def __init__(self, images: Images) -> None:
        self.images, self.augmentation, self.batches = images, Augmentation(MEAN, STD, cutout_length=CUTOUT), 0

    def __call__(self, indices: torch.Tensor) -> torch.Tensor:
        self.batches += 1
        images, _ = self.images.batch(indices)
        generator = torch_generator(images.device, 0, "augmentation", self.batches)
        draws = self.augmentation.draw(generator, len(indices), slice(None), (SIZE, SIZE))
        return self.augmentation.apply(images, draws)


def main() -> None:
    """Measure and report."""
    chosen = arguments("Images a second.", rounds=15, batch_size=96)
    name, threads = f"CIFAR-10 augmentation, batch {chosen.batch_size}", torch.get_num_threads()
    measured = pairs(chosen)
    rows = [quicker(name, "images/s", measured, 12, 20)]
    if chosen.device == "cuda":
        rows.append(absolute(f"{name}, on the GPU", "images/s", [ours for _, ours in measured], 200_000))
    elif threads > 1:
        torch.set_num_threads(1)
        rows.append(quicker(f"{name}, one thread", "images/s", pairs(chosen)))
        torch.set_num_threads(threads)
    finish("augmentation", rows, chosen)


def pairs(chosen: argparse.Namespace) -> list[Pair]:
    """Images a second of both in turns: a pair are neighbours in time, so that what else the machine does hits both."""
    plain, ours = loaders(chosen.device)
    batches = torch.from_numpy(np.random.RandomState(1).permutation(COUNT)).to(chosen.device).split(chosen.batch_size)
    few = batches[: max(960 // chosen.batch_size, 1)]
    speed(plain, few[:1], chosen.device), speed(ours, batches, chosen.device)  # warm up
    return [(speed(plain, few, chosen.device), speed(ours, batches, chosen.device)) for _ in range(chosen.rounds)]


def loaders(device: str) -> tuple[PerImage, PerBatch]:
    """Both, on the same images."""
    pixels = np.random.RandomState(0).randint(0, 256, (COUNT, SIZE, SIZE, 3), np.uint8)
    table = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return PerImage(pixels, device), PerBatch(Images(table, torch.zeros(COUNT, dtype=torch.int64)).to(device))


def speed(load: PerImage | PerBatch, batches: tuple[torch.Tensor, ...], device: str) -> float:
    """Images a second of one pass over some batches."""

    def run() -> None:
        for indices in batches:
            load(indices)

    return sum(map(len, batches)) / seconds(run, device)


if __name__ == "__main__":
    main()
