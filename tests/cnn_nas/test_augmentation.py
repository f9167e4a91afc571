from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as V
from PIL import Image

from cnn_nas.images.augmentation import Augmentation, Draws
from nas.core.seeds import torch_generator

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.RandomState(seed).randint(0, 256, shape, np.uint8))


def draw(
    augmentation: Augmentation, batch: torch.Tensor, seed: int = 0, shard: slice = slice(None), size: int = 0
) -> Draws:
    generator = torch_generator("cpu", seed, "augmentation")
    height, width = batch.shape[2:]
    return augmentation.draw(generator, size or len(batch), shard, (height, width))


def one_by_one(augmentation: Augmentation, batch: torch.Tensor, draws: Draws) -> torch.Tensor:
    """torchvision on PIL images, and cutout as DeVries and Taylor describe it, in NumPy."""
    height, width = batch.shape[2:]
    done = []
    for i, pixels in enumerate(batch):
        mode = "L" if len(pixels) == 1 else "RGB"
        image = Image.fromarray(pixels[0].numpy() if mode == "L" else pixels.permute(1, 2, 0).numpy(), mode)
        image = V.crop(V.pad(image, augmentation.padding), int(draws.tops[i]), int(draws.lefts[i]), height, width)
        image = V.hflip(image) if draws.flips[i] else image
        result = V.normalize(V.to_tensor(image), augmentation.mean, augmentation.std).numpy()
        row, column, half = int(draws.rows[i]), int(draws.columns[i]), augmentation.cutout_length // 2
        if half:
            result[:, max(row - half, 0) : row + half, max(column - half, 0) : column + half] = 0
        done.append(torch.from_numpy(result))
    return torch.stack(done)


@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("cutout_length", [0, 1, 6, 16, 100])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (1, 32, 80), (3, 7, 5)])
def test_a_batch_equals_torchvision_image_by_image(
    padding: int, flip: bool, cutout_length: int, shape: tuple[int, int, int]
) -> None:
    augmentation = Augmentation(MEAN[: shape[0]], STD[: shape[0]], padding, flip, cutout_length)
    batch = images(24, *shape)
    draws = draw(augmentation, batch)
    expected = one_by_one(augmentation, batch, draws)
    torch.testing.assert_close(augmentation.apply(batch, draws), expected, atol=1e-6, rtol=1e-6)


def test_the_images_are_left_as_they_are() -> None:
    batch = images(8, 3, 32, 32)
    before = batch.clone()
    augmentation = Augmentation(MEAN, STD)
    augmentation.apply(batch, draw(augmentation, batch))
    assert torch.equal(batch, before)


def test_images_laid_out_otherwise_give_the_same() -> None:
    batch = images(8, 3, 32, 32)
    augmentation = Augmentation(MEAN, STD)
    draws = draw(augmentation, batch)
    last = batch.to(memory_format=torch.channels_last)
    assert torch.equal(augmentation.apply(last, draws), augmentation.apply(batch, draws))


def test_the_parts_of_a_batch_equal_the_whole() -> None:
    batch, augmentation = images(24, 3, 32, 32), Augmentation(MEAN, STD)
    whole = augmentation.apply(batch, draw(augmentation, batch))
    parts = [slice(0, 12), slice(12, 24)]
    halves = [
        augmentation.apply(batch[shard], draw(augmentation, batch[shard], shard=shard, size=24)) for shard in parts
    ]
    assert torch.equal(torch.cat(halves), whole)
    stride = slice(1, None, 3)
    assert torch.equal(augmentation.apply(batch[stride], draw(augmentation, batch, shard=stride)), whole[stride])


def test_a_setting_does_not_change_the_draws_of_the_others() -> None:
    batch = images(24, 3, 32, 32)
    full, plain = (draw(Augmentation(MEAN, STD, 4, flip, cut), batch) for flip, cut in ((True, 16), (False, 0)))
    for name in ("tops", "lefts", "rows", "columns"):
        assert torch.equal(getattr(full, name), getattr(plain, name))


def test_draws_are_uniform_over_all_places() -> None:
    batch = images(1, 1, 10, 20)
    draws = draw(Augmentation((0.5,), (0.5,), padding=4), batch, size=40_000)
    for values, count in ((draws.tops, 9), (draws.lefts, 9), (draws.flips, 2), (draws.rows, 10), (draws.columns, 20)):
        shares = np.bincount(values.long().numpy(), minlength=count) / 40_000
        assert len(shares) == count
        assert np.abs(shares - 1 / count).max() < 5 * (1 / count / 40_000) ** 0.5


def test_cutout_removes_the_share_that_it_should() -> None:
    """Clipped at the borders, a side of 16 takes fewer pixels on average; counted here centre by centre."""
    batch = torch.full((1, 1, 32, 32), 255, dtype=torch.uint8).expand(8000, -1, -1, -1)
    augmentation = Augmentation((0.0,), (1.0,), padding=0, flip=False)
    cut = augmentation.apply(batch, draw(augmentation, batch)) == 0
    sides = [min(centre + 8, 32) - max(centre - 8, 0) for centre in range(32)]
    expected = (np.mean(sides) / 32) ** 2
    assert cut.float().mean().item() == pytest.approx(expected, rel=0.02)
    assert cut.flatten(1).sum(1).min() >= 64 and cut.flatten(1).sum(1).max() == 256  # a corner, and the whole square
    each = cut.float().mean(0)[0]
    assert each[16, 16] == pytest.approx(0.25, abs=0.03) and each[0, 0] == pytest.approx((9 / 32) ** 2, abs=0.02)


def test_another_seed_gives_other_images() -> None:
    batch, augmentation = images(8, 3, 32, 32), Augmentation(MEAN, STD)
    results = [augmentation.apply(batch, draw(augmentation, batch, seed)) for seed in (0, 0, 1)]
    assert torch.equal(results[0], results[1]) and not torch.equal(results[0], results[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"cutout_length": -2}, "cutout_length must be at least 0, got -2"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0"),
        ({"mean": (0.0,)}, "one a channel like mean"),
    ],
)
def test_settings_without_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Augmentation(**({"mean": MEAN, "std": STD} | options))  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    batch, augmentation = images(96, 3, 32, 32), Augmentation(MEAN, STD)
    draws = draw(augmentation, batch)
    there = Draws(*(getattr(draws, name).cuda() for name in ("tops", "lefts", "flips", "rows", "columns")))
    torch.testing.assert_close(augmentation.apply(batch.cuda(), there).cpu(), augmentation.apply(batch, draws))
