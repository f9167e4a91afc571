"""Image files that are no data set."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from .acts import Act, after
from .case import Case

_SHAPE = (6, 8, 8)


def put(
    folder: Path, classes: str = "ab", images: int = 6, split: str = "train", shape: tuple[int, int] = (8, 8)
) -> None:
    """`pictures/SPLIT/CLASS/0.png` and so on."""
    from PIL import Image

    for name in classes:
        (place := folder / "pictures" / split / name).mkdir(parents=True)
        for i in range(images):
            pixels = np.random.RandomState(i + 100 * ord(name) + 7 * len(split)).randint(0, 255, (*shape, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")


def load(dataset: str = "folder", data_dir: str = "pictures", **more: object) -> Act:
    """Read the images in `pictures/`, those of the test too."""

    def act(folder: Path) -> int:
        from cnn_nas.images.data import DataConfig
        from cnn_nas.images.data import load as read

        _ = read(DataConfig(dataset, str(folder / data_dir), str(folder / "cache"), **more)).test  # type: ignore[arg-type]
        return 0

    return act


def _with(make: Callable[[Path], object], name: str = "train/a/x.png") -> Callable[[Path], None]:
    """A folder of images with one file more."""

    def prepare(folder: Path) -> None:
        put(folder)
        put(folder, split="test")
        make(folder / "pictures" / name)

    return prepare


def _two_shapes(folder: Path) -> None:
    put(folder, "a")
    put(folder, "b", shape=(9, 8))


def _bomb(path: Path) -> None:
    """A PNG whose header promises 60,000 x 60,000 pixels."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def _images_of(split: str) -> Callable[[Path], object]:
    return lambda folder: put(folder, split=split)


FOLDERS: list[tuple[str, Callable[[Path], object], tuple[str, ...]]] = [
    ("no folder", lambda folder: None, ("pictures",)),
    ("a file for a folder", lambda folder: (folder / "pictures").write_text("x"), ("pictures",)),
    ("no train", _images_of("test"), ("train is missing",)),
    ("no test", _images_of("train"), ("no test split",)),
    ("no classes", lambda folder: (folder / "pictures" / "train").mkdir(parents=True), ("no class folder",)),
    ("one class", lambda folder: put(folder, "a"), ("has only class a",)),
    ("one class in test", lambda folder: (put(folder), put(folder, "a", split="test")), ("has only class a",)),
    ("a class of the test alone", lambda folder: (put(folder), put(folder, "abc", split="test")), ("class c",)),
    ("an empty class", lambda folder: (put(folder), (folder / "pictures/train/c").mkdir()), ("class folders without",)),
    ("one image a class", lambda folder: (put(folder, images=1), put(folder, split="test")), ("validation_fraction",)),
    ("two sizes", _two_shapes, ("set data.image_size",)),
    ("a text called x.png", _with(lambda path: path.write_text("hello")), ("x.png (is no image)",)),
    ("an empty x.png", _with(lambda path: path.write_bytes(b"")), ("x.png",)),
    ("a PNG that is cut", _with(lambda path: path.write_bytes((path.parent / "0.png").read_bytes()[:90])), ("x.png",)),
    ("a PNG of 3.6 billion pixels", _with(_bomb), ("x.png",)),
    ("a pipe called x.png", _with(os.mkfifo), ("x.png",)),
    ("a link to /dev/zero", _with(lambda path: path.symlink_to("/dev/zero")), ("x.png",)),
    ("a link to nothing", _with(lambda path: path.symlink_to("nothing")), ("x.png",)),
    ("a damaged test image", _with(lambda path: path.write_text("hello"), "test/a/x.png"), ("x.png",)),
]


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    """A file of the IDX format."""
    return b"\0\0" + bytes([kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


_PIXELS, _LABELS = np.zeros(_SHAPE, np.uint8), np.arange(6, dtype=np.uint8) % 3
IDX: list[tuple[str, str, bytes, str]] = [
    ("no IDX", "train-images-idx3-ubyte", b"hello", "is no IDX file"),
    ("an empty file", "train-labels-idx1-ubyte", b"", "is no IDX file"),
    ("only a header", "train-images-idx3-ubyte", idx(_PIXELS)[:16], "is no IDX file"),
    ("a cut header", "train-images-idx3-ubyte", idx(_PIXELS)[:9], "is no IDX file"),
    ("255 dimensions", "train-images-idx3-ubyte", b"\0\0\x08\xff" + b"\xff" * 64, "is no IDX file"),
    ("numbers of another type", "train-labels-idx1-ubyte", idx(_LABELS, 0x0D), "is no IDX file"),
    ("fewer labels than images", "train-labels-idx1-ubyte", idx(_LABELS[:4]), "do not belong together"),
    ("labels out of range", "train-labels-idx1-ubyte", idx(_LABELS + 200), "label"),
    ("images of two dimensions", "train-images-idx3-ubyte", idx(_PIXELS[0]), "do not belong together"),
    ("no images", "train-images-idx3-ubyte", idx(_PIXELS[:0]), "belong together"),
    ("lengths beyond memory", "train-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12, "is no IDX file"),
    ("damaged test labels", "t10k-labels-idx1-ubyte", b"hello", "is no IDX file"),
    ("test labels out of range", "t10k-labels-idx1-ubyte", idx(_LABELS + 200), "label"),
    ("a cut gzip", "train-images-idx3-ubyte.gz", gzip.compress(idx(_PIXELS))[:-9], "truncated or corrupt"),
    ("no gzip", "train-images-idx3-ubyte.gz", b"hello", "truncated or corrupt"),
    ("a gzip that explodes", "train-images-idx3-ubyte.gz", gzip.compress(bytes(60_000_000)), "is no"),
]


def _idx_set(folder: Path, name: str, content: bytes) -> int:
    """MNIST's reader on four files of which one is wrong, and whose digests are expected all the same."""
    from cnn_nas.images import datasets

    place = folder / "mnist"
    place.mkdir()
    good = {file: idx(_PIXELS if "images" in file else _LABELS) for file in datasets.FILES}
    bare = name.removesuffix(".gz")
    del good[bare]
    for file, data in {**good, name: content}.items():
        (place / file).write_bytes(data)
    sums = {
        file.removesuffix(".gz"): hashlib.sha256(data).hexdigest() for file, data in {**good, name: content}.items()
    }
    source = datasets.mnist(replace(datasets.MNIST, packed=sums, unpacked=sums), place, folder)
    assert source.load_test
    source.load_test()
    return 0


OTHERS: list[tuple[str, str, Callable[[Path], object], str]] = [
    ("mnist", "nothing there", Path.mkdir, "must hold train-images-idx3-ubyte"),
    (
        "mnist",
        "not MNIST's",
        lambda path: (path.mkdir(), (path / "train-images-idx3-ubyte").write_bytes(idx(_PIXELS))),
        "is not the file of MNIST",
    ),
    (
        "mnist",
        "a pipe",
        lambda path: (path.mkdir(), os.mkfifo(path / "train-images-idx3-ubyte")),
        "train-images-idx3-ubyte",
    ),
    ("cifar10", "nothing there", Path.mkdir, "cifar-10-batches-py"),
    (
        "cifar10",
        "not CIFAR-10's",
        lambda path: (path.mkdir(), (path / "data_batch_1").write_bytes(pickle.dumps([1]))),
        "is damaged or not CIFAR-10's",
    ),
    (
        "cifar10",
        "a hostile archive",
        lambda path: (path.mkdir(), (path / "cifar-10-python.tar.gz").write_bytes(b"x")),
        "cifar-10-python.tar.gz",
    ),
    ("cifar10", "no folder", lambda path: None, "pictures"),
    ("kirigami", "nothing there", Path.mkdir, "15grid_shuffled.dat"),
    (
        "kirigami",
        "words",
        lambda path: (path.mkdir(), (path / "15grid_shuffled.dat").write_text("hello\n")),
        "is no table",
    ),
    (
        "kirigami",
        "an empty table",
        lambda path: (path.mkdir(), (path / "15grid_shuffled.dat").write_text("")),
        "is empty",
    ),
    (
        "kirigami",
        "cuts of 2",
        lambda path: (path.mkdir(), (path / "15grid_shuffled.dat").write_text("2 " * 18 + "\n")),
        "must be 0 or 1",
    ),
    (
        "kirigami",
        "a strain of NaN",
        lambda path: (path.mkdir(), (path / "15grid_shuffled.dat").write_text("1 " * 15 + "nan 1 1\n")),
        "must be a number",
    ),
    (
        "kirigami",
        "one row",
        lambda path: (path.mkdir(), (path / "15grid_shuffled.dat").write_text("1 " * 18 + "\n")),
        "validation_fraction",
    ),
    (
        "kirigami",
        "not UTF-8",
        lambda path: (path.mkdir(), (path / "15grid_shuffled.dat").write_bytes(b"\xff\xfe" * 99)),
        "is no table",
    ),
    (
        "kirigami",
        "a NetCDF file of eight bytes",
        lambda path: (path.mkdir(), (path / "graphene_processed.nc").write_bytes(b"\x89HDF\r\n\x1a\n")),
        "is damaged or cut short",
    ),
    ("kirigami", "a pipe", lambda path: (path.mkdir(), os.mkfifo(path / "15grid_shuffled.dat")), "15grid_shuffled.dat"),
]


def cases() -> Iterator[Case]:
    """All of them."""
    for name, prepare, says in FOLDERS:
        yield Case("image folders", name, after(prepare, load()), says)
    for name, file, content, said in IDX:
        act = lambda folder, file=file, content=content: _idx_set(folder, file, content)  # noqa: E731
        yield Case("IDX files", name, act, (said,))
    for dataset, name, make, said in OTHERS:
        prepare = lambda folder, make=make: make(folder / "pictures")  # noqa: E731
        yield Case("data sets", f"{dataset}, {name}", after(prepare, load(dataset)), (said,))
    yield Case("image folders", "no such user", load(data_dir="/~nosuchuser/x"), ("nosuchuser",))
