"""Images that are there twice: no training image is a validation or test image, whatever its files and links are called."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cnn_nas import data_checks
from cnn_nas.data_checks import split_problems, split_warnings
from cnn_nas.images import datasets, duplicates
from cnn_nas.images.arrays import Images, held_out
from cnn_nas.images.class_folders import walk
from cnn_nas.images.data import DataConfig, ImageData, known, load
from cnn_nas.images.kirigami import mirror_groups
from nas.core.errors import DataError
from nas.core.seeds import numpy_generator

CLASSES = ("cat", "dog", "emu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes, ten images of noise each to train on and four to test."""
    root, random = tmp_path / "photos", np.random.RandomState(0)
    for split, count in (("train", 10), ("test", 4)):
        for name in CLASSES:
            place = root / split / name
            place.mkdir(parents=True)
            for i in range(count):
                Image.fromarray(random.randint(0, 256, (8, 8, 3), np.uint8)).save(place / f"{i:02}.png")
    return root


def read(folder: Path, **options: Any) -> ImageData:
    options = {"validation_fraction": 0.2, **options}
    return load(DataConfig("folder", data_dir=str(folder), download_dir=str(folder.parent / "cache"), **options))  # type: ignore[arg-type]


def pixels(images: Images | None) -> list[bytes]:
    assert images is not None
    return [image.numpy().tobytes() for image in images.images]


def assert_apart(data: ImageData) -> None:
    """No image is in two parts, and none is trained on or validated twice."""
    train, valid, test = pixels(data.train), pixels(data.valid), pixels(data.test)
    assert not set(train) & set(valid) and not set(train) & set(test) and not set(valid) & set(test)
    assert max(Counter(train + valid).values()) == 1


def link(target: Path, place: Path) -> None:
    place.symlink_to(target, target_is_directory=target.is_dir())


def to_itself(folder: Path) -> None:
    link(folder / "train" / "cat", folder / "train" / "cat" / "again")


def to_the_top(folder: Path) -> None:
    link(folder, folder / "train" / "cat" / "all")


def to_another_class(folder: Path) -> None:
    link(folder / "train" / "cat", folder / "train" / "dog" / "cats")


def round_and_round(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / "train" / "cat" / name).mkdir()
    link(folder / "train" / "cat" / "one", folder / "train" / "cat" / "two" / "one")
    link(folder / "train" / "cat" / "two", folder / "train" / "cat" / "one" / "two")


@pytest.mark.parametrize("make", [to_itself, to_the_top, to_another_class, round_and_round])
def test_each_real_folder_is_entered_once(
    make: Callable[[Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = read(folder)
    make(folder)
    data = read(folder)
    assert_apart(data)
    assert sorted(pixels(data.train) + pixels(data.valid)) == sorted(pixels(before.train) + pixels(before.valid))
    # Through the link to the top the test images are found too, and told by their pixels.
    assert known(DataConfig("folder", data_dir=str(folder))).total == (42 if make is to_the_top else 30)
    assert "links in" in caplog.text or make is to_the_top


def test_a_folder_outside_is_entered_through_its_first_link_only(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    shutil.move(folder / "train" / "cat" / "00.png", outside / "deep" / "00.png")
    for name in ("a", "b"):
        link(outside, folder / "train" / "cat" / name)
    paths, skipped = walk(folder / "train", CLASSES)
    assert [path for path in paths["cat"] if "00.png" in path] == [
        str(folder / "train" / "cat" / "a" / "deep" / "00.png")
    ]
    assert skipped == [str(folder / "train" / "cat" / "b")]
    assert len(read(folder, validation_fraction=0).train) == 30


def test_a_class_folder_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder / "train" / "cat", tmp_path / "cats")
    link(tmp_path / "cats", folder / "train" / "cat")
    assert Counter(read(folder, validation_fraction=0).train.targets.tolist()) == {0: 10, 1: 10, 2: 10}


def test_a_class_that_is_a_link_to_another_is_refused(folder: Path) -> None:
    link(folder / "train" / "cat", folder / "train" / "lion")
    with pytest.raises(DataError, match=r"without an image: lion \(links to folders that are read already: .*lion\)"):
        read(folder)


def test_a_test_split_that_is_the_training_split_is_refused(folder: Path) -> None:
    shutil.rmtree(folder / "test")
    link(folder / "train", folder / "test")
    with pytest.raises(DataError, match="are the same folder"):
        read(folder)
    (folder / "test").unlink()
    shutil.copytree(folder / "train", folder / "test")
    with pytest.raises(
        DataError, match=r"no image is left to train on of cat, dog, emu: .*train/cat/00.png = test/cat"
    ):
        read(folder)


def copy(source: Path, target: Path) -> None:
    shutil.copy(source, target)


def saved_anew(source: Path, target: Path) -> None:
    with Image.open(source) as image:
        image.save(target.with_suffix(".bmp"))


def hard_link(source: Path, target: Path) -> None:
    os.link(source, target)


WAYS = [copy, saved_anew, hard_link, lambda source, target: target.symlink_to(source)]


@pytest.mark.parametrize("way", WAYS)
def test_copies_within_a_class_count_once(
    way: Callable[[Path, Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However a copy was made; with a validation part of a half nearly every copy would be parted from its twin."""
    before = read(folder, validation_fraction=0.5)
    for i in range(10):
        way(folder / "train" / "cat" / f"{i:02}.png", folder / "train" / "cat" / f"z{i}.png")
    data = read(folder, validation_fraction=0.5)
    assert_apart(data)
    assert sorted(pixels(data.train) + pixels(data.valid)) == sorted(pixels(before.train) + pixels(before.valid))
    assert "10 training images are copies of others and are left out: train/cat/z0." in caplog.text
    assert "= train/cat/00.png" in caplog.text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["cat", "dog"])
def test_a_test_image_is_not_trained_on_whatever_its_class(
    way: Callable[[Path, Path], None], name: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in range(3):
        way(folder / "test" / "cat" / f"{i:02}.png", folder / "train" / name / f"z{i}.png")
    data = read(folder)
    assert_apart(data)
    assert len(data.train) + len(data.valid or ()) == 30 and len(data.test) == 12
    assert "3 training images are in the test split too and are left out of training: train/" in caplog.text


def test_a_picture_in_two_classes_is_left_out_with_examples(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    both = {(folder / "train" / "cat" / f"{i:02}.png") for i in range(2)}
    for path in both:
        copy(path, folder / "train" / "dog" / f"z{path.name}")
    data = read(folder)
    assert_apart(data)
    assert len(data.train) + len(data.valid or ()) == 28
    with_both = {np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in both}
    assert not with_both & {*pixels(data.train), *pixels(data.valid)}
    assert "4 training images are in two classes and left out, as one label is wrong: train/cat/00.png" in caplog.text


def test_a_test_picture_in_two_classes_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    copy(folder / "test" / "cat" / "00.png", folder / "test" / "dog" / "z.png")
    assert len(read(folder).test) == 13
    assert "1 test images are in two classes, and no network is right about both: test/cat/00.png" in caplog.text


def test_nothing_is_told_where_nothing_is_wrong(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert_apart(read(folder))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_digests_are_kept_and_made_anew(tmp_path: Path) -> None:
    table = np.random.RandomState(0).randint(0, 256, (2500, 3, 4, 4), np.uint8)
    table[7] = table[2400]
    path = tmp_path / "x.digests"
    first = duplicates.digests(table, path)
    assert [row.tobytes() for row in first].count(first[7].tobytes()) == 2
    assert len({row.tobytes() for row in first}) == 2499
    for content in (None, b"", path.read_bytes()[:-1]):
        if content is not None:
            path.write_bytes(content)
        assert np.array_equal(duplicates.digests(table, path), first)
    assert np.array_equal(duplicates.digests(table, tmp_path / "no" / "folder" / "x"), first)


# Classes that a part lacks


def test_a_class_that_the_test_split_lacks_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(folder / "test" / "emu")
    read(folder)
    assert "test has no image of emu: test scores say nothing of them" in caplog.text
    told = data_checks.split_warnings(DataConfig("folder", data_dir=str(folder)))
    assert told == ["data.data_dir: test has no folder emu: test scores say nothing of them"]


def test_a_test_split_of_one_class_is_refused(folder: Path) -> None:
    for name in ("dog", "emu"):
        shutil.rmtree(folder / "test" / name)
    with pytest.raises(DataError, match="has only class cat, of which a network that knows no other is always right"):
        read(folder)


def test_a_class_that_validation_lacks_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = read(folder, validation_fraction=0.07)
    assert data.valid is not None and len(data.valid) == 2
    (lacking,) = {0, 1, 2} - set(data.valid.targets.tolist())
    assert f"no image of {CLASSES[lacking]} is held out: validation says nothing of them" in caplog.text


def test_hidden_folders_are_no_classes(folder: Path) -> None:
    (folder / "train" / ".thumbnails").mkdir()
    copy(folder / "test" / "cat" / "00.png", folder / "train" / ".thumbnails" / "x.png")
    assert known(DataConfig("folder", data_dir=str(folder))).classes == 3
    assert read(folder).classes == CLASSES


def test_classes_that_differ_in_case_only_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "train" / "Cat").mkdir()
    if (folder / "train" / "Cat").samefile(folder / "train" / "cat"):
        pytest.skip("this file system does not tell case")
    Image.new("RGB", (8, 8), 3).save(folder / "train" / "Cat" / "x.png")
    Image.new("RGB", (8, 8), 4).save(folder / "train" / "Cat" / "y.png")
    read(folder)
    assert "differ only in case" in caplog.text


# A folder that validates


@pytest.fixture
def with_val(folder: Path) -> Path:
    """The same with four images of each class in `val`."""
    random = np.random.RandomState(9)
    for name in CLASSES:
        (folder / "val" / name).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(random.randint(0, 256, (8, 8, 3), np.uint8)).save(folder / "val" / name / f"{i:02}.png")
    return folder


def test_a_folder_that_validates_does_so_and_nothing_is_held_out(
    with_val: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = read(with_val, validation_fraction=0)
    assert "data.validation_folder=val reads that" in caplog.text
    data = read(with_val, validation_folder="val")
    assert_apart(data)
    assert pixels(data.train) == pixels(before.train) and pixels(data.test) == pixels(before.test)
    assert data.valid is not None and data.valid.targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert data.mean == before.mean  # of the images to train on
    said = known(DataConfig("folder", data_dir=str(with_val), validation_folder="val"))
    assert (said.images, said.total) == (30, 42) == (data.known.images, data.known.total)
    paths = [with_val / "val" / CLASSES[label] / f"{i:02}.png" for label in range(3) for i in range(4)]
    assert pixels(data.valid) == [np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes() for path in paths]


def test_what_a_folder_that_validates_shares_is_in_one_part(with_val: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The test keeps what it has, then the validation."""
    copy(with_val / "test" / "cat" / "00.png", with_val / "val" / "cat" / "leak.png")
    copy(with_val / "test" / "dog" / "00.png", with_val / "train" / "dog" / "leak.png")
    for i in range(3):
        copy(with_val / "val" / "emu" / f"0{i}.png", with_val / "train" / "emu" / f"leak{i}.png")
    copy(with_val / "val" / "dog" / "00.png", with_val / "val" / "dog" / "again.png")
    copy(with_val / "test" / "emu" / "01.png", with_val / "val" / "emu" / "third.png")
    copy(with_val / "test" / "emu" / "01.png", with_val / "train" / "emu" / "third.png")
    data = read(with_val, validation_folder="val")
    assert_apart(data)
    assert (len(data.train), len(data.valid or ())) == (30, 12)
    for says in (
        "2 validation images are in the test split too and are left out of validation: val/cat/leak.png = test/cat/00",
        "1 validation images are copies of others",
        "2 training images are in the test split too and are left out of training: train/dog/leak.png = test/dog/00",
        "3 training images are in the validation split too and are left out of training: train/emu/leak0.png = val/",
    ):
        assert says in caplog.text


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("test2", None, "test2 is missing"),
        ("val", lambda root: shutil.rmtree(root / "val" / "cat"), ""),
        ("val", lambda root: (root / "val" / "cat").rename(root / "val" / "cow"), "class cow of"),
        ("val", lambda root: [shutil.rmtree(root / "val" / name) for name in ("cat", "dog")], "has only class emu"),
        ("mirror", lambda root: link(root / "train", root / "mirror"), "are the same folder"),
        ("copy", lambda root: shutil.copytree(root / "test", root / "copy"), "no image is left to validate on of cat"),
        ("copy", lambda root: shutil.copytree(root / "train", root / "copy"), "no image is left to train on of cat"),
    ],
)
def test_a_folder_that_cannot_validate_is_named(
    with_val: Path, name: str, make: Any, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    if make is not None:
        make(with_val)
    if not says:
        read(with_val, validation_folder=name)
        assert "has no image of cat: validation says nothing of them" in caplog.text
        (told,) = split_warnings(DataConfig("folder", data_dir=str(with_val), validation_folder=name))
        assert told == "data.data_dir: val has no folder cat: validation says nothing of them"
        return
    with pytest.raises(DataError, match=says):
        read(with_val, validation_folder=name)


def test_the_name_of_a_folder_that_validates_is_checked_before_anything_is_read(with_val: Path) -> None:
    (said,) = split_problems(DataConfig("folder", data_dir=str(with_val), validation_folder="dev"))
    assert said.startswith(
        f"data.validation_folder must be a folder in {with_val}, got 'dev', found ['test', 'train', 'val']"
    )
    assert not split_problems(DataConfig("folder", data_dir=str(with_val), validation_folder="val"))
    for name in ("test", "train", "..", "", "a/b", "/val"):
        with pytest.raises(ValueError, match="must be the name of a folder beside train and test"):
            DataConfig("folder", data_dir=str(with_val), validation_folder=name)
    with pytest.raises(ValueError, match="validation_folder is for dataset folder, got 'val' for mnist"):
        DataConfig("mnist", validation_folder="val")


# The other readers


def test_a_sheet_of_graphene_that_is_there_twice_is_in_one_part() -> None:
    cuts = np.random.RandomState(0).randint(0, 2, (300, 3, 5))
    cuts = np.concatenate([cuts, cuts[:100], cuts[:100, ::-1]])
    kept, out = held_out(torch.rand(500), 100, numpy_generator(0, "x"), mirror_groups(cuts))
    assert len(out) > 60 and not {bytes(c) for c in cuts[kept].astype(np.uint8)} & {
        bytes(c) for c in cuts[out].astype(np.uint8)
    }


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_training_images_do_not_pass_for_those_of_the_test(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both data sets are known by what each of their files holds."""
    files = datasets.MNIST if name == "mnist" else datasets.FASHION_MNIST
    assert sorted(files.unpacked) == sorted(datasets.FILES) and len({*files.unpacked.values()}) == 4
    digests = {}
    for i, file in enumerate(datasets.FILES):
        shape = (20, 28, 28) if "images" in file else (20,)
        values = np.random.RandomState(i).randint(0, 10, shape, np.uint8)
        header = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">u4").tobytes()
        (tmp_path / file).write_bytes(header + values.tobytes())
        digests[file] = hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
    changed = dataclasses.replace(files, unpacked=digests)
    monkeypatch.setattr(datasets, "MNIST" if name == "mnist" else "FASHION_MNIST", changed)
    config = DataConfig(name, data_dir=str(tmp_path))
    assert len(load(config).test) == 20
    shutil.copy(tmp_path / "train-images-idx3-ubyte", tmp_path / "t10k-images-idx3-ubyte")
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte is not the file of"):
        _ = load(config).test
