"""An image trial goes on with the images and the network that it began with, or says what differs."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.runs import Laptop, Run, stopped_after

from cnn_nas import genotypes
from cnn_nas.architecture import from_hparams, from_json
from cnn_nas.genotypes import DARTS_V1, DARTS_V2
from cnn_nas.images.arrays import CHUNK, Images


def stopped(laptop: Laptop, **hparams: Any) -> Run:
    with stopped_after(3):
        run = laptop.train(**hparams)
    assert run.code == 0 and run.read("run.json")["status"] == "stopped", run.err
    return run


@pytest.fixture
def copied(darkroom: Laptop, tmp_path: Path) -> Laptop:
    """Its images may be changed."""
    return replace(darkroom, data=Path(shutil.copytree(darkroom.data, tmp_path / "pictures")))


def change_pixel(folder: Path) -> None:
    for path in sorted((folder / "train" / "class2").iterdir()):  # some of them validate
        pixels = np.asarray(Image.open(path)).copy()
        pixels[0, 0, 0] ^= 1
        Image.fromarray(pixels).save(path)


def move_to_another_class(folder: Path) -> None:
    for path in sorted((folder / "train" / "class2").iterdir())[:-1]:
        path.rename(folder / "train" / "class3" / f"moved{path.name}")


def delete(folder: Path) -> None:
    for path in sorted((folder / "train" / "class4").iterdir())[:8]:
        path.unlink()


@pytest.mark.parametrize("change", [change_pixel, move_to_another_class, delete])
def test_other_images(copied: Laptop, change: Any) -> None:
    run = stopped(copied)
    change(copied.data)
    again = copied.resume(run.path)
    assert again.code == 2 and again.read("run.json") == run.read("run.json")
    for part, count in (("train", 68), ("valid", 22)):
        assert f"{part} ({copied.data}): {count} images, SHA-256" in again.err
    assert ("62 images" in again.err) == (change is delete)  # 82 are left, of which 20 validate


def test_what_is_not_trained_on_may_change(copied: Laptop) -> None:
    run = stopped(copied)
    Image.new("RGB", (8, 8)).save(copied.data / "test" / "class0" / "0.png")
    (copied.data / "train" / "class0" / "notes.txt").write_text("no image")
    assert copied.resume(run.path).read("run.json")["status"] == "completed"


def test_a_name_that_now_stands_for_another_network(darkroom: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genotypes, "MINE", DARTS_V2, raising=False)
    run = stopped(darkroom, arch_to_use="MINE")
    edges = DARTS_V2.to_hparams()
    edges["normal_node2_edge1_op"] = "max_pool_3x3"
    monkeypatch.setattr(genotypes, "MINE", from_hparams(edges))
    again = darkroom.resume(run.path)
    op = DARTS_V2.to_hparams()["normal_node2_edge1_op"]
    assert again.code == 2 and f"normal_node2_edge1_op: {op} then, max_pool_3x3 now; put" in again.err
    assert DARTS_V2.to_text() in again.err and from_json(again.read("genotype.json")) == DARTS_V2


def test_many_differences_are_cut_short(darkroom: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genotypes, "MINE", DARTS_V2, raising=False)
    run = stopped(darkroom, arch_to_use="MINE")
    monkeypatch.setattr(genotypes, "MINE", DARTS_V1)
    differing = sum(DARTS_V1.to_hparams()[name] != value for name, value in DARTS_V2.to_hparams().items())
    assert differing > 8
    again = darkroom.resume(run.path)
    assert f"and so on, {differing} differences; put" in again.err and again.err.count(" then, ") == 8


def some_images(count: int = CHUNK + 5) -> Images:
    generator = torch.Generator().manual_seed(0)
    table = torch.randint(256, (count, 1, 2, 2), dtype=torch.uint8, generator=generator)
    return Images(table, torch.randint(3, (count,), generator=generator))


def test_a_digest_is_that_of_all_pixels_and_targets() -> None:
    """Over more images than are looked at in one go."""
    images = some_images()
    head = f"{len(images)} x (1, 2, 2) torch.int64".encode()
    whole = head + images.targets.numpy().tobytes() + images.table.numpy().tobytes()
    assert images.digest() == hashlib.sha256(whole).hexdigest()


def test_a_digest_does_not_depend_on_the_table() -> None:
    images = some_images()
    chosen = np.arange(1, len(images), 2)
    part = images.subset(chosen)
    assert part.digest() == Images(part.images, part.targets).digest() != images.digest()


@pytest.mark.parametrize("where", [0, CHUNK - 1, CHUNK, CHUNK + 4])
def test_every_image_counts(where: int) -> None:
    images, other, relabelled = some_images(), some_images(), some_images()
    other.table[where, 0, 1, 1] += 1
    relabelled.targets[where] += 1
    assert len({each.digest() for each in (images, other, relabelled)}) == 3


def test_order_and_shape_count() -> None:
    images = some_images()
    flat = Images(images.table.view(-1, 1, 1, 4), images.targets)
    swapped = images.subset(np.arange(len(images))[::-1].copy())
    assert len({each.digest() for each in (images, flat, swapped)}) == 3
