from __future__ import annotations

import dataclasses
import errno
import gzip
import hashlib
import os
import pickle
import shutil
import sys
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cnn_nas.images import arrays, datasets, image_files
from cnn_nas.images.arrays import Images, held_out, statistics
from cnn_nas.images.data import DATASETS, DataConfig, expected, known, load
from nas.core import downloads
from nas.core.downloads import MirrorError
from nas.core.errors import ConfigError, DataError
from nas.core.fields import read
from nas.core.seeds import numpy_generator

REAL = Path(os.environ.get("NAS_DATA", ""))  # read here, as conftest hides it from the tests


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reaches the network: every address is that of a port at which nobody listens."""
    monkeypatch.setattr(downloads, "BACKOFF", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    dead = ("http://127.0.0.1:9/",)
    monkeypatch.setattr(datasets, "MNIST", dataclasses.replace(datasets.MNIST, mirrors=dead))
    monkeypatch.setattr(datasets, "FASHION_MNIST", dataclasses.replace(datasets.FASHION_MNIST, mirrors=dead))
    monkeypatch.setattr(datasets, "CIFAR10_MIRRORS", dead)


def message(config: DataConfig, get: Callable[[Any], object] = lambda data: None) -> str:
    with pytest.raises(DataError) as caught:
        get(load(config))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- DataConfig


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dataset": "cifar-10"}, "did you mean cifar10"),
        ({"dataset": "grafene"}, "did you mean graphene"),
        ({"dataset": "imagenet"}, "is not one of cifar10, mnist, fashion_mnist, kirigami, folder, digits"),
        ({"dataset": "folder"}, "data_dir is required for dataset folder"),
        ({"dataset": "digits", "data_dir": "x"}, "data_dir is not allowed for dataset digits, got 'x'"),
        ({"dataset": "mnist", "image_size": 32}, "image_size is for dataset folder, got 32 for mnist"),
        (
            {"dataset": "mnist", "validation_fraction": 1.0},
            "validation_fraction must be at least 0 and below 1, got 1.0",
        ),
        ({"dataset": "folder", "data_dir": "x", "image_size": 2}, "image_size must be at least 4, got 2"),
        ({}, "data.dataset is missing"),
        ({"dataset": "mnist", "split_sed": 1}, "data.split_sed is read by nothing; did you mean split_seed"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(options, DataConfig, section="data")
    assert says in str(caught.value)


def test_a_config_made_in_code_is_checked_too() -> None:
    with pytest.raises(ValueError, match=r"at least 0 and below 1, got -0\.1"):
        DataConfig("digits", validation_fraction=-0.1)


# --- the split


@pytest.mark.parametrize(("counts", "out"), [([50, 50, 50], 15), ([97, 3, 41, 9], 30), ([10, 1], 1), ([5] * 20, 7)])
def test_each_class_gives_its_share(counts: list[int], out: int) -> None:
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    targets = targets[torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))]
    kept, held = held_out(targets, out, numpy_generator(0, "test"))
    assert sorted([*kept, *held]) == list(range(len(targets))) and len(held) == out
    assert (np.diff(kept) > 0).all() and (np.diff(held) > 0).all()
    taken = Counter(targets[held].tolist())
    for label, count in enumerate(counts):
        assert abs(taken[label] - count * out / len(targets)) < 1


def test_the_split_is_frozen() -> None:
    """These numbers never change: a run resumed with another version must not train on what validated before."""
    _, held = held_out(torch.arange(40) % 4, 8, numpy_generator(3, "validation part"))
    assert held.tolist() == [4, 10, 13, 21, 22, 23, 31, 36]
    _, held = held_out(torch.linspace(0, 1, 40), 8, numpy_generator(3, "validation part"))
    assert held.tolist() == [0, 1, 5, 10, 23, 32, 35, 39]


def test_every_image_is_held_out_as_often() -> None:
    targets = torch.arange(30) % 3
    often = np.zeros(30)
    for seed in range(600):
        often[held_out(targets, 6, numpy_generator(seed, "x"))[1]] += 1
    assert np.abs(often / 600 - 0.2).max() < 0.07


def test_groups_are_not_parted() -> None:
    groups = np.arange(100) // 3
    kept, held = held_out(torch.rand(100), 20, numpy_generator(0, "x"), groups)
    assert not set(groups[kept]) & set(groups[held]) and 17 <= len(held) <= 20


def test_digits_are_split_by_seed() -> None:
    pytest.importorskip("sklearn")
    one, same, other = (load(DataConfig("digits", split_seed=seed)) for seed in (0, 0, 1))
    assert one.valid and same.valid and other.valid
    assert (len(one.train), len(one.valid), len(one.test)) == (1294, 144, 359)
    assert torch.equal(one.valid.images, same.valid.images) and not torch.equal(one.valid.images, other.valid.images)
    assert torch.equal(one.test.images, other.test.images)
    assert one.train.shape == (1, 8, 8) and one.classes == tuple("0123456789") and one.outputs == 10 and not one.mirror
    whole = torch.cat([part.images for part in (one.train, one.valid, one.test)])
    assert len(whole) == 1797 and whole.max() == 255 and whole.dtype == torch.uint8
    assert min(Counter(one.test.targets.tolist()).values()) >= 34
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    assert Counter(bytes(image.numpy()) for image in whole) == Counter(
        np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images
    )


def test_nothing_held_out_leaves_no_validation_part() -> None:
    pytest.importorskip("sklearn")
    data = load(DataConfig("digits", validation_fraction=0))
    assert data.valid is None and len(data.train) == 1438


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert r"pip install -e .[digits]" in message(DataConfig("digits"))


def test_statistics_are_those_of_the_training_part_alone() -> None:
    pytest.importorskip("sklearn")
    data = load(DataConfig("digits", validation_fraction=0.4))
    assert data.valid
    pixels = data.train.images.numpy().astype(np.float64) / 255
    assert data.mean == pytest.approx((pixels.mean(),)) and data.std == pytest.approx((pixels.std(),))
    assert data.mean != pytest.approx((data.valid.images.double().mean().item() / 255,))


def test_statistics_are_by_channel_and_never_zero() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (5000, 3, 4, 4), np.uint8)
    pixels[:, 1] = 7
    mean, std = statistics(Images(torch.from_numpy(pixels), torch.zeros(5000)))
    assert mean == pytest.approx((pixels / 255).mean((0, 2, 3)))
    assert std == pytest.approx([(pixels / 255)[:, 0].std(), 1.0, (pixels / 255)[:, 2].std()])


# --- Images


def test_a_part_gives_its_own_images() -> None:
    table = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1)
    part = Images(table, torch.arange(10)).subset(np.array([7, 2, 5])).subset(np.array([0, 2]))
    images, targets = part.batch(torch.tensor([1, 0, 1]))
    assert images.flatten().tolist() == [5, 7, 5] == targets.tolist()
    assert len(part) == 2 and part.nbytes == 2 and part.images.flatten().tolist() == [7, 5]
    moved = part.to("cpu")
    assert moved.rows is None and torch.equal(moved.batch(torch.tensor([1]))[0], part.batch(torch.tensor([1]))[0])
    assert part.near("cpu") is part


def test_images_too_large_for_a_gpu_are_copied_batch_by_batch_from_page_locked_memory(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    locked, moved, empty, move = [], [], torch.empty, torch.Tensor.to

    def allocate(*shape: Any, pin_memory: bool, **named: Any) -> torch.Tensor:
        assert pin_memory
        locked.append(empty(*shape, **named))
        return locked[-1]

    def copy(tensor: torch.Tensor, device: torch.device, non_blocking: bool) -> torch.Tensor:
        moved.append((str(device), non_blocking, tensor))
        return tensor

    table = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
    part = Images(table, torch.arange(10)).subset(np.array([7, 2, 5]))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (23, 100))  # of 12 bytes that is less than twice as much
    monkeypatch.setattr(torch, "empty", allocate)
    monkeypatch.setattr(torch.Tensor, "to", copy)
    arrays._tell.cache_clear()
    caplog.set_level("INFO")
    near = part.near("cuda")
    images, targets = near.batch(torch.tensor([1, 0, 1]))
    monkeypatch.setattr(torch.Tensor, "to", move)
    assert images.tolist() == table[[2, 7, 2]].tolist() and targets.tolist() == [2, 7, 2]
    assert [(device, non_blocking) for device, non_blocking, _ in moved] == [("cuda", True)] * 2
    assert all(tensor is memory for (_, _, tensor), memory in zip(moved, locked, strict=True))
    part.near("cuda")
    assert [record.getMessage()[:36] for record in caplog.records] == ["images stay in the computer's memory"]


# --- MNIST


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def tiny_mnist(seed: int = 0) -> dict[str, bytes]:
    random = np.random.RandomState(seed)
    files = {}
    for (images, labels), count in zip(datasets.SPLITS.values(), (40, 20), strict=True):
        files[images] = idx(random.randint(0, 256, (count, 28, 28), np.uint8))
        files[labels] = idx((np.arange(count) % 10).astype(np.uint8))
    return files


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of .gz files that pass for MNIST here."""
    files = tiny_mnist()
    unpacked = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(datasets, "MNIST", dataclasses.replace(datasets.MNIST, unpacked=unpacked))
    folder = tmp_path / "mnist"
    folder.mkdir()
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    return folder


def test_mnist_is_read_packed_unpacked_and_from_the_folders_of_torchvision(mnist: Path, tmp_path: Path) -> None:
    packed = load(DataConfig("mnist", data_dir=str(mnist)))
    assert packed.valid and len(packed.train) == 36 and len(packed.valid) == 4 and len(packed.test) == 20
    assert packed.train.shape == (1, 28, 28) and packed.train.targets.dtype == torch.int64 and not packed.mirror
    raw = tmp_path / "root" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in tiny_mnist().items():
        (raw / name).write_bytes(content)
    theirs = torchvision.datasets.MNIST(str(tmp_path / "root"))
    unpacked = load(DataConfig("mnist", data_dir=str(tmp_path / "root"), validation_fraction=0))
    assert torch.equal(unpacked.train.images[:, 0], theirs.data) and torch.equal(unpacked.train.targets, theirs.targets)


def test_nas_data_is_looked_into(mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAS_DATA", str(mnist.parent))
    assert len(load(DataConfig("mnist")).train) == 36


def test_the_test_split_is_not_read_unless_asked_for(mnist: Path) -> None:
    (mnist / "t10k-images-idx3-ubyte.gz").write_bytes(b"damaged")
    data = load(DataConfig("mnist", data_dir=str(mnist)))
    assert data.load_test is not None
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.gz is truncated or corrupt"):
        _ = data.test
    (mnist / "t10k-images-idx3-ubyte.gz").unlink()
    data = load(DataConfig("mnist", data_dir=str(mnist)))
    assert data.load_test is None
    with pytest.raises(DataError, match="mnist has no test split here"):
        _ = data.test


def test_fashion_mnist_does_not_pass_for_mnist(mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "train-images-idx3-ubyte"
    fashion = gzip.compress(tiny_mnist(1)[name])
    packed = dict(datasets.FASHION_MNIST.packed) | {name: hashlib.sha256(fashion).hexdigest()}
    monkeypatch.setattr(datasets, "FASHION_MNIST", dataclasses.replace(datasets.FASHION_MNIST, packed=packed))
    (mnist / f"{name}.gz").write_bytes(fashion)
    assert f"{name}.gz is the file of Fashion-MNIST, not of MNIST" in message(DataConfig("mnist", data_dir=str(mnist)))
    (mnist / f"{name}.gz").write_bytes(gzip.compress(tiny_mnist(2)[name]))
    assert "is not the file of MNIST: the SHA-256 of its content is" in message(
        DataConfig("mnist", data_dir=str(mnist))
    )


def test_mnist_does_not_pass_for_fashion_mnist(mnist: Path) -> None:
    """Neither packed nor unpacked, and not in the folder where torchvision before 0.2.2 would have mixed the two up."""
    for place in (mnist, mnist / "unpacked", mnist / "root" / "FashionMNIST" / "raw"):
        place.mkdir(parents=True, exist_ok=True)
        for name, content in tiny_mnist().items() if place != mnist else ():
            (place / name).write_bytes(content)
        folder = mnist / "root" if place.name == "raw" else place
        assert "is the file of MNIST, not of Fashion" in message(DataConfig("fashion_mnist", data_dir=str(folder)))


@pytest.mark.parametrize("length", [0, 5, 100, -4])
def test_a_truncated_file_is_named(mnist: Path, length: int) -> None:
    path = mnist / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:length])
    said = message(DataConfig("mnist", data_dir=str(mnist)))
    assert str(path) in said and ("truncated" in said or "is not the file" in said)


def test_missing_labels_are_named(mnist: Path) -> None:
    (mnist / "train-labels-idx1-ubyte.gz").unlink()
    assert "holds no train-labels-idx1-ubyte or train-labels-idx1-ubyte.gz" in message(
        DataConfig("mnist", data_dir=str(mnist))
    )


def test_a_folder_without_mnist_says_what_it_must_hold(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    said = message(DataConfig("mnist", data_dir=str(tmp_path)))
    assert "must hold train-images-idx3-ubyte" in said and "found ['notes.txt']" in said
    assert "cannot be read (No such file or directory)" in message(DataConfig("mnist", data_dir=str(tmp_path / "no")))


@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist", "cifar10"])
def test_offline_the_error_says_what_to_put_where(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match=r"in a folder and set data\.data_dir to it"):
        load(DataConfig(dataset, download_dir=str(tmp_path)))


@pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="set NAS_DATA to a folder with the real mnist/")
def test_the_real_mnist() -> None:
    data = load(DataConfig("mnist", data_dir=str(REAL / "mnist")))
    assert data.valid and (len(data.train), len(data.valid), len(data.test)) == (54_000, 6_000, 10_000)
    assert data.mean[0] == pytest.approx(0.1307, abs=2e-4) and data.std[0] == pytest.approx(0.3081, abs=2e-4)
    assert Counter(data.test.targets.tolist())[1] == 1135


FASHION = next((REAL / name for name in ("fashion_mnist", "fashion-mnist") if (REAL / name).is_dir()), None)


@pytest.mark.skipif(FASHION is None, reason="set NAS_DATA to a folder with the real fashion_mnist/ or fashion-mnist/")
def test_the_real_fashion_mnist_in_every_packing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As fetched, unpacked, and packed anew as Debian's dataset-fashion-mnist; MNIST's files never pass for it."""
    assert FASHION is not None
    for name in datasets.FILES:
        content = gzip.decompress((FASHION / f"{name}.gz").read_bytes())
        for folder, file, form in (("raw", name, content), ("anew", f"{name}.gz", gzip.compress(content, 1))):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / file).write_bytes(form)
    found = [load(DataConfig("fashion_mnist", data_dir=str(folder))) for folder in (FASHION, *tmp_path.iterdir())]
    assert len({data.train.digest() for data in found}) == len({data.test.digest() for data in found}) == 1
    assert Counter(found[0].test.targets.tolist()) == dict.fromkeys(range(10), 1000) and not caplog.records
    for folder in tmp_path.iterdir():
        said = message(DataConfig("mnist", data_dir=str(folder)))
        assert "is the file of Fashion-MNIST, not of MNIST; set data.dataset or data.data_dir" in said


# --- CIFAR-10


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for CIFAR-10 here: batches of 20 images, image i with label i % 10 and i in its first pixel."""
    folder = tmp_path / "cifar" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    digests = {}
    for start, name in enumerate(datasets.CIFAR10_MD5):
        rows = np.random.RandomState(start).randint(0, 256, (20, 3072), np.uint8)
        rows[:, 0] = np.arange(20)
        batch = {"data": rows, "labels": [i % 10 for i in range(20)]}
        (folder / name).write_bytes(content := pickle.dumps(batch, protocol=2))
        digests[name] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(datasets, "CIFAR10_MD5", digests)
    return folder


def test_cifar10_is_read_from_its_folder_or_the_one_above(cifar10: Path) -> None:
    for folder in (cifar10, cifar10.parent):
        data = load(DataConfig("cifar10", data_dir=str(folder), validation_fraction=0))
        assert len(data.train) == 100 and len(data.test) == 20 and data.train.shape == (3, 32, 32) and data.mirror
        assert torch.equal(data.train.images[:, 0, 0, 0] % 10, data.train.targets)
        rows = np.random.RandomState(1).randint(0, 256, (20, 3072), np.uint8)
        assert data.train.images[23, 2, 5, 7] == rows[3, 2 * 1024 + 5 * 32 + 7]


def test_cifar10_is_unpacked_from_its_archive(cifar10: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "given" / "cifar-10-python.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(cifar10, cifar10.name)
    config = DataConfig("cifar10", data_dir=str(archive.parent), download_dir=str(tmp_path / "cache"))
    assert "is another file than expected" in message(config)
    monkeypatch.setattr(datasets, "CIFAR10_SHA256", hashlib.sha256(archive.read_bytes()).hexdigest())
    assert len(load(config).train) == 90 and archive.is_file()


def test_a_damaged_cifar10_file_is_named(cifar10: Path) -> None:
    (cifar10 / "data_batch_3").write_bytes(b"")
    assert "data_batch_3 is damaged or not CIFAR-10's" in message(DataConfig("cifar10", data_dir=str(cifar10)))
    (cifar10 / "data_batch_3").unlink()
    assert "data_batch_3 is missing" in message(DataConfig("cifar10", data_dir=str(cifar10)))


# --- a folder of images


def picture(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", value: int = 100, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = (value, value // 2, 0) if mode == "RGB" else value
    Image.new("RGB" if mode == "RGB" else mode, size, colour).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of 8 x 8 pixels, ten images each to train on and two to test; the value tells class and number."""
    root = tmp_path / "photos"
    for label, name in enumerate(("cat", "dog", "emu")):
        for i in range(12):
            part = "train" if i < 10 else "test"
            picture(root / part / name / f"{i:02}.png", value=50 * label + 2 * i)
    return root


def config(folder: Path, **options: Any) -> DataConfig:
    return DataConfig("folder", data_dir=str(folder), download_dir=str(folder.parent / "cache"), **options)


def test_classes_are_the_names_of_the_folders(folder: Path) -> None:
    data = load(config(folder))
    assert data.classes == ("cat", "dog", "emu") and data.outputs == 3 and data.train.shape == (3, 8, 8)
    assert data.valid and Counter(data.valid.targets.tolist()) == {0: 1, 1: 1, 2: 1}
    for part in (data.train, data.valid, data.test):
        assert torch.equal(part.images[:, 0, 0, 0] // 50, part.targets)
        assert torch.equal(part.images[:, 1, 3, 3], part.images[:, 0, 0, 0] // 2)
    assert sorted(data.test.images[:, 0, 0, 0].tolist()) == [20, 22, 70, 72, 120, 122]


def test_a_glance_tells_what_reading_will(tmp_path: Path) -> None:
    """Grey or coloured, large or small, turned by a phone or not; without a file that opening would wait for."""
    places = [tmp_path / "grey", tmp_path / "coloured", tmp_path / "mixed", tmp_path / "turned"]
    turned = Image.Exif()
    turned[0x0112] = 6
    for place, modes in zip(places, (("L", "LA"), ("RGB", "RGBA"), ("L", "RGB"), ("RGB", "RGB")), strict=True):
        for n, (name, mode) in enumerate(zip("ab", modes, strict=True)):
            for k in range(3):
                exif = {"exif": turned} if place.name == "turned" else {}
                picture(place / "train" / name / f"{k}.png", (12, 6), mode, value=90 * n + 20 * k, **exif)
        data = DataConfig("folder", data_dir=str(place), download_dir=str(tmp_path / "cache"))
        outputs, shape = expected(data)
        assert (outputs, shape) == (2, load(data).train.shape) and known(data).size == shape[1:]
        assert expected(DataConfig("folder", data_dir=str(place), image_size=4))[1] == (shape[0], 4, 4)
    (places[0] / "train" / "a" / "0.png").unlink()
    os.mkfifo(places[0] / "train" / "a" / "0.png")
    (places[0] / "train" / "b" / "0.png").write_text("no image")
    assert expected(DataConfig("folder", data_dir=str(places[0]))) == (2, (3, 32, 32))  # nothing can be told


def test_the_second_time_images_come_from_the_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(config(folder)).train.images
    monkeypatch.setattr(image_files, "_decode", lambda *args, **kwargs: pytest.fail("decoded again"))
    assert torch.equal(load(config(folder)).train.images, first)
    cache = [path for path in (folder.parent / "cache" / "images").iterdir() if path.suffix != ".lock"]
    assert sorted(path.suffix for path in cache) == [".digests", ".digests", ".npy", ".npy"]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_cache_is_made_again(folder: Path, damage: bytes | None) -> None:
    first = load(config(folder)).train.images.clone()
    (path,) = (folder.parent / "cache" / "images").glob("photos-train-*.npy")
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    assert torch.equal(load(config(folder)).train.images, first)


def test_a_changed_image_is_decoded_again(folder: Path) -> None:
    load(config(folder))
    picture(folder / "train" / "cat" / "00.png", value=33)
    os.utime(folder / "train" / "cat" / "00.png", (1, 1))
    assert 33 in load(config(folder)).train.images


def test_images_are_mapped_not_held(folder: Path) -> None:
    data = load(config(folder))
    assert data.valid and data.train.table.data_ptr() == data.valid.table.data_ptr()
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "photos-train-" in maps.read_text()


def test_sizes_modes_and_formats_may_differ(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    picture(root / "train" / "b" / "1.png", (16, 16), value=30)
    for label in ("a",):
        place = root / "train" / label
        picture(place / "1.jpg", (20, 10))
        picture(place / "2.PNG", (6, 30), "RGBA", (110, 55, 0, 10))  # type: ignore[arg-type]
        picture(place / "3.bmp", (9, 9), value=120)
        picture(place / "4.webp", (12, 16), value=130, lossless=True)
        picture(place / "5.gif", (16, 16), "L", 7)
        picture(place / "6.png", (16, 16), "L", 77)
        picture(place / "deep" / "7.tif", (16, 16), "CMYK", (0, 0, 0, 0))  # type: ignore[arg-type]
        picture(place / "8.png", (16, 16), "1", 0)
        (place / "notes.txt").write_text("no image")
        (place / ".hidden.png").write_text("no image")
    data = load(config(root, image_size=16, validation_fraction=0))
    assert data.train.shape == (3, 16, 16) and len(data.train) == 9
    middles = data.train.images[:8, :, 8, 8].tolist()
    assert np.abs(np.array(middles[:4]) - [(value, value // 2, 0) for value in (100, 110, 120, 130)]).max() <= 3
    assert middles[5] == [77] * 3 and middles[6] == [0] * 3 and middles[7] == [255] * 3
    said = message(config(root))
    assert "images of 5 sizes in" in said and "set data.image_size" in said


def test_images_that_are_all_grey_have_one_channel(tmp_path: Path) -> None:
    root = tmp_path / "grey"
    picture(root / "train" / "a" / "1.png", mode="L", value=10)
    sixteen = np.full((8, 8), 200 * 256 + 17, np.uint16)
    (root / "train" / "b").mkdir(parents=True)
    Image.fromarray(sixteen).save(root / "train" / "b" / "2.png")
    picture(root / "test" / "a" / "3.png", mode="RGB", value=50)
    picture(root / "test" / "b" / "4.png", mode="RGB", value=60)
    data = load(config(root, validation_fraction=0))
    assert data.train.shape == (1, 8, 8) and data.train.images[:, 0, 0, 0].tolist() == [10, 200]
    assert data.test.shape == (1, 8, 8)


def test_resizing_is_that_of_pillow(tmp_path: Path) -> None:
    root, random = tmp_path / "noise", np.random.RandomState(0)
    for name in ("a", "b"):
        (root / "train" / name).mkdir(parents=True)
        Image.fromarray(random.randint(0, 256, (40, 24, 3), np.uint8)).save(root / "train" / name / "x.png")
    images = load(config(root, image_size=16, validation_fraction=0)).train.images
    with Image.open(root / "train" / "b" / "x.png") as image:
        expected = np.asarray(image.resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(images[1].permute(1, 2, 0).numpy(), expected)


def test_a_rotated_photograph_is_turned(tmp_path: Path) -> None:
    root = tmp_path / "phone"
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, 8:] = 255  # lies on its side: the right half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    for name in ("a", "b"):
        (root / "train" / name).mkdir(parents=True)
        Image.fromarray(pixels if name == "a" else pixels // 2).save(root / "train" / name / "x.png", exif=exif)
    images = load(config(root, validation_fraction=0)).train.images
    assert images.shape == (2, 3, 16, 8) and images[0, 0, 0, 0] == 0 and images[0, 0, 15, 0] == 255


def test_damaged_images_are_all_named(folder: Path) -> None:
    jpeg = picture(folder / "train" / "cat" / "cut.jpg", (64, 64))
    jpeg.write_bytes(jpeg.read_bytes()[:-300])
    (folder / "train" / "dog" / "text.png").write_text("this is text")
    (folder / "train" / "emu" / "empty.png").touch()
    said = message(config(folder, image_size=8))
    assert "3 of 33 images are damaged" in said
    for name in ("cut.jpg (", "text.png (is no image)", "empty.png (is no image)"):
        assert name in said
    assert not list((folder.parent / "cache" / "images").glob("*.npy*tmp")) and "cut.jpg" in message(
        config(folder, image_size=8)
    )


def test_of_many_damaged_images_ten_are_named(folder: Path) -> None:
    for i in range(25):
        (folder / "train" / "cat" / f"bad{i:02}.jpg").write_text("x")
    said = message(config(folder))
    assert (
        "25 of 55 images are damaged" in said
        and said.count("is no image") == 10
        and "bad09.jpg (is no image), ...;" in said
    )


def test_damaged_test_images_are_named_when_they_are_read(folder: Path) -> None:
    (folder / "test" / "cat" / "10.png").write_text("x")
    assert "1 of 6 images are damaged" in message(config(folder), lambda data: data.test)


def test_an_empty_class_folder_is_named(folder: Path) -> None:
    (folder / "train" / "fox").mkdir()
    (folder / "train" / "gnu").mkdir()
    (folder / "train" / "gnu" / "notes.txt").touch()
    assert "has 2 class folders without an image: fox, gnu" in message(config(folder))


def test_missing_labels_are_explained(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "x.png")
    assert "holds images but no class folder, so labels are missing" in message(config(tmp_path))


def test_a_folder_without_train_says_what_it_must_hold(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    said = message(config(tmp_path))
    assert "must hold train/CLASS/*" in said and "found ['cats']" in said


def test_one_class_is_none(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "cat" / "x.png")
    assert "has only class cat" in message(config(tmp_path))


def test_a_class_that_only_the_test_split_has_is_named(folder: Path) -> None:
    picture(folder / "test" / "cats" / "x.png")
    said = message(config(folder))
    assert "class cats of" in said and "is not in train; did you mean cat" in said


def test_a_test_split_may_lack_a_class_or_be_missing(folder: Path) -> None:
    shutil.rmtree(folder / "test" / "cat")
    assert load(config(folder)).test.targets.tolist() == [1, 1, 2, 2]
    shutil.rmtree(folder / "test")
    data = load(config(folder))
    assert data.load_test is None and "has no test split" in message(config(folder), lambda data: data.test)


def test_a_test_image_of_another_size_is_named(folder: Path) -> None:
    picture(folder / "test" / "cat" / "big.png", (10, 9))
    said = message(config(folder), lambda data: data.test)
    assert "8 x 8 and 10 x 9" in said and "big.png" in said


def test_too_few_images_to_hold_some_out(tmp_path: Path) -> None:
    for value, name in enumerate(("a", "b")):
        picture(tmp_path / "train" / name / "x.png", value=value)
    assert "0.1 of 2 images leaves 2 to train on and 0 to validate" in message(config(tmp_path))
    assert "none is left to train on of" in message(config(tmp_path, validation_fraction=0.5))


def test_a_full_disk_is_one_sentence(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    said = message(config(folder))
    assert "No space left on device" in said and "set data.download_dir" in said
    assert not list((folder.parent / "cache" / "images").glob("*tmp"))


def test_every_data_set_has_a_source() -> None:
    for name in set(DATASETS) - {"digits", "folder"}:
        with pytest.raises(DataError):
            load(DataConfig(name))
