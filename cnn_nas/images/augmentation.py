"""Random crop, flip, normalisation and cutout of whole batches, as tensors on the device.

These are the transforms that DARTS (Liu et al. 2019, arXiv 1806.09055, appendix A.3) trains with on CIFAR-10: crop after
zero padding of 4 pixels, horizontal flip, normalisation, then cutout of 16 x 16 pixels (DeVries and Taylor 2017, arXiv
1708.04552). On the same draws they equal torchvision's per-image transforms; what differs is that a batch takes a few
tensor operations instead of Python for every image.

What is drawn is for the whole batch, and a process keeps its own part: several processes see exactly what one would.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Draws:
    """What chance decided for each image of a batch; every tensor is `(B,)`, on the images' device.

    Attributes:
        tops, lefts: where the crop starts in the padded image, 0..2 * padding.
        flips: whether the crop is mirrored.
        rows, columns: the pixel of the crop in the middle of the cutout.
    """

    tops: torch.Tensor
    lefts: torch.Tensor
    flips: torch.Tensor
    rows: torch.Tensor
    columns: torch.Tensor

    def tensors(self) -> tuple[torch.Tensor, ...]:
        """All of them, in this order."""
        return self.tops, self.lefts, self.flips, self.rows, self.columns


@dataclass(frozen=True)
class Augmentation:
    """The transforms of the training images, and `normalise` alone for those that evaluate.

    Args:
        mean, std: of each channel, for pixels of 0..1.
        padding: zeros (black) around the image, out of which a crop of the image's size is cut; 0 does not crop.
        flip: mirror half of the images; not for digits or text, whose mirror image means something else.
        cutout_length: side of the square that is set to zero (the mean) after normalisation, where the image has it: it is
            clipped at the borders, as its centre is any pixel; 0 cuts nothing out. An odd length counts as the next
            smaller even one, as in the code of DARTS.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 4
    flip: bool = True
    cutout_length: int = 16

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or any(value <= 0 for value in self.std):
            raise ValueError(f"std must be above 0 and one a channel like mean, got {self.std} and {self.mean}")
        for name in ("padding", "cutout_length"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    def draw(self, generator: torch.Generator, batch_size: int, shard: slice, image_size: tuple[int, int]) -> Draws:
        """Draw for a batch and keep one part.

        As much is drawn for every setting, so that one of them can be switched off without changing the others' draws.

        Args:
            generator: on the images' device; a fresh one for each batch makes batches independent of history.
            batch_size: images of the whole batch, over all processes.
            shard: those of them that this process has.
            image_size: height and width.
        """
        starts, (height, width) = 2 * self.padding + 1, image_size

        def draw(high: int) -> torch.Tensor:
            return torch.randint(high, (batch_size,), generator=generator, device=generator.device)[shard]

        tops, lefts, coins, rows, columns = draw(starts), draw(starts), draw(2), draw(height), draw(width)
        return Draws(
            tops, lefts, coins.bool() if self.flip else torch.zeros_like(coins, dtype=torch.bool), rows, columns
        )

    def apply(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Augment uint8 images `(B, C, H, W)` of any size to float32 ones of the same shape."""
        return self._cut_out(self.normalise(self._crop(images, draws)), draws)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """From uint8 `(B, C, H, W)` to float32: `(images / 255 - mean) / std`."""
        scale, shift = _scale_and_shift(self.mean, self.std, images.device)
        return images.float().mul_(scale).add_(shift)

    def _crop(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Flip, then crop: index_select copies whole images and whole rows, much faster than gathering pixels."""
        padding, (batch, channels, height, width) = self.padding, images.shape
        if self.flip:
            both = torch.cat((images, images.flip(-1)))
            images = both.index_select(0, torch.arange(batch, device=images.device) + batch * draws.flips)
        if not padding:
            return images
        padded = F.pad(images, (padding,) * 4)
        wide, planes = padded.shape[-1], torch.arange(batch * channels, device=images.device) * padded[0, 0].numel()
        lefts = torch.where(draws.flips, 2 * padding - draws.lefts, draws.lefts)  # as if cropped, then flipped
        down = torch.arange(height, device=images.device) + draws.tops[:, None]  # (B, H)
        starts = planes.view(batch, channels, 1) + (down * wide + lefts[:, None])[:, None, :]  # (B, C, H)
        # Row i of this view is the `width` pixels from pixel i on; the rows overlap.
        runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
        return runs.index_select(0, starts.flatten()).view(batch, channels, height, width)

    def _cut_out(self, images: torch.Tensor, draws: Draws) -> torch.Tensor:
        """Set the square to zero, in place; a product with 0 and 1 is faster than masked_fill_."""
        if self.cutout_length < 2:
            return images
        down = _inside(draws.rows, images.shape[-2], self.cutout_length // 2)  # (B, H)
        across = _inside(draws.columns, images.shape[-1], self.cutout_length // 2)  # (B, W)
        return images.mul_(1 - (down[:, :, None] * across[:, None, :])[:, None])


def _inside(centres: torch.Tensor, size: int, half: int) -> torch.Tensor:
    """1.0 from `centre - half` up to but without `centre + half`, else 0.0: `(B,)` to `(B, size)`."""
    distance = torch.arange(size, device=centres.device) - centres[:, None]
    return ((distance >= -half) & (distance < half)).float()


@functools.lru_cache(maxsize=32)  # a copy to the device for every batch would make the CPU wait for it
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and offset of each channel, `(C, 1, 1)`, in one of which the division by 255 is folded."""
    means, stds = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
    return (1 / (255 * stds)).float().to(device), (-means / stds).float().to(device)
