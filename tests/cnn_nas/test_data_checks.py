"""Settings that destroy images, against what the transforms do to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnn_nas import data_checks
from cnn_nas.images import datasets
from cnn_nas.images.augmentation import Augmentation, Draws
from cnn_nas.images.data import MIRRORLESS, DataConfig, Known, known, load
from cnn_nas.model import ModelConfig
from cnn_nas.settings import OptimizerConfig

SIZES = [(8, 8), (7, 9), (5, 4), (12, 12)]
MODEL = ModelConfig(4, 8, False, 0.4, 0.0)


def optimizer(**changes: Any) -> OptimizerConfig:
    plain: dict[str, Any] = {"global_batch_size": 8, "eval_batch_size": 8, "crop_padding": 0, "flip": False}
    return OptimizerConfig(0.1, 0.9, 0.0, 5.0, **{**plain, "cutout_length": 0, **changes})


def data(size: tuple[int, int] | None = (8, 8), **changes: Any) -> Known:
    return Known(**{"total": 100, "images": 90, "size": size, "classes": 10, "mirror": None, **changes})


def left_of(size: tuple[int, int], padding: int, cutout: int) -> torch.Tensor:
    """The share of a white image that each possible draw leaves, by the transforms themselves."""
    height, width = size
    places, starts = torch.cartesian_prod(torch.arange(height), torch.arange(width)), torch.arange(2 * padding + 1)
    crops = torch.cartesian_prod(starts, starts)
    rows = torch.cartesian_prod(torch.arange(len(crops)), torch.arange(len(places)))
    tops, lefts = crops[rows[:, 0]].T
    down, across = places[rows[:, 1]].T
    draws = Draws(tops, lefts, torch.zeros(len(rows), dtype=torch.bool), down, across)
    white = torch.full((len(rows), 1, height, width), 255, dtype=torch.uint8)
    return Augmentation((0.0,), (1.0,), padding, False, cutout).apply(white, draws).mean((1, 2, 3))


@pytest.mark.parametrize("size", SIZES)
def test_a_cutout_is_refused_if_it_can_leave_nothing(size: tuple[int, int]) -> None:
    for cutout in range(20):
        found = data_checks.problems(optimizer(cutout_length=cutout), data(size))
        assert bool(found) == bool((left_of(size, 0, cutout) == 0).any()), (cutout, found)
        assert all(f"got {cutout}: whole images would be cut out" in problem for problem in found)


@pytest.mark.parametrize("size", SIZES)
def test_a_crop_is_refused_if_it_can_leave_nothing(size: tuple[int, int]) -> None:
    for padding in range(14):
        found = data_checks.problems(optimizer(crop_padding=padding), data(size))
        assert bool(found) == bool((left_of(size, padding, 0) == 0).any()), (padding, found)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["crop_padding", "cutout_length"])
def test_what_leaves_less_than_two_thirds_is_told_with_the_share(size: tuple[int, int], name: str) -> None:
    for value in range(1, max(size) if name == "cutout_length" else min(size)):
        left = left_of(size, *((value, 0) if name == "crop_padding" else (0, value))).mean().item()
        found = data_checks.warnings(optimizer(**{name: value}), MODEL, data(size))
        found = [warning for warning in found if name in warning]
        assert bool(found) == (left < 2 / 3), (value, left)
        assert all(f"{name} {value} leaves {left:.0%} of an image" in warning for warning in found)


def test_the_settings_of_the_paper_are_neither_refused_nor_told() -> None:
    for size in ((32, 32), (28, 28)):
        settings = optimizer(crop_padding=4, cutout_length=16, flip=True)
        assert data_checks.problems(settings, data(size, mirror=True)) == []
        assert data_checks.warnings(settings, ModelConfig(36, 20, True, 0.4, 0.2), data(size)) == []


def test_digits_are_not_mirrored_whatever_reads_them() -> None:
    for mirror, refused in ((False, True), (True, False), (None, False)):
        assert bool(data_checks.problems(optimizer(flip=True), data(mirror=mirror))) == refused
    sources = {"mnist": datasets.MNIST.mirror, "fashion_mnist": datasets.FASHION_MNIST.mirror}
    assert sources == {name: name not in MIRRORLESS for name in sources}
    for name in ("cifar10", "mnist", "fashion_mnist", "kirigami", "digits"):
        assert known(DataConfig(name)).mirror == (name not in MIRRORLESS)


def test_what_is_known_before_reading_is_what_is_read() -> None:
    pytest.importorskip("sklearn")
    config = DataConfig("digits", validation_fraction=0.2)
    assert known(config) == load(config).known


def test_of_a_folder_it_is_known_what_its_names_say(pictures: Path) -> None:
    config = DataConfig("folder", data_dir=str(pictures), validation_fraction=0.25)
    before, after = known(config), load(config).known
    assert (before.total, before.images, before.classes, before.mirror) == (90, 68, 6, None)
    assert before.size == (8, 8)  # of the first image
    assert after == Known(90, 68, (8, 8), 6, None)


def test_a_batch_larger_than_what_is_trained_on_is_refused() -> None:
    assert data_checks.problems(optimizer(global_batch_size=90), data()) == []
    (problem,) = data_checks.problems(optimizer(global_batch_size=91), data())
    assert "global_batch_size must be at most 90, the number of images to train on, got 91" in problem
    assert data_checks.problems(optimizer(global_batch_size=91), data(images=None)) == []


def test_a_validation_part_without_images_or_without_a_class(pictures: Path) -> None:
    none = DataConfig("digits", validation_fraction=0.0003)
    assert "of 1,438 it leaves none to validate" in data_checks.split_problems(none)[0]
    folder = DataConfig("folder", data_dir=str(pictures), validation_fraction=0.999)
    assert "of 90 it leaves none to train on" in data_checks.split_problems(folder)[0]
    few = DataConfig("digits", validation_fraction=0.003)
    assert data_checks.split_problems(few) == []
    assert "holds 4 images out, fewer than the 10 classes" in data_checks.split_warnings(few)[0]
    assert data_checks.split_warnings(DataConfig("digits")) == []
    assert data_checks.split_problems(DataConfig("digits", validation_fraction=0)) == []


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_cells_that_are_all_reductions_are_told(layers: int) -> None:
    found = data_checks.warnings(optimizer(), ModelConfig(4, layers, False, 0.4, 0.0), data((32, 32)))
    assert [("normal cell is not used" in warning) for warning in found] == [True] * (layers < 3)


def test_images_of_which_one_pixel_is_left_are_told() -> None:
    for side, told in ((4, 1), (5, 0), (8, 0)):
        assert len(data_checks.warnings(optimizer(), MODEL, data((side, side)))) == told


def test_a_folder_with_one_class_is_no_regression(tmp_path: Path) -> None:
    """Its network would have one output, like that of a regression."""
    for split in ("train", "test"):
        (tmp_path / split / "only").mkdir(parents=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / split / "only" / "0.png")
    (problem,) = data_checks.split_problems(DataConfig("folder", str(tmp_path), validation_fraction=0.5))
    assert "data.data_dir must have images of at least two classes in train/CLASS/, got one" in problem
