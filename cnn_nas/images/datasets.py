"""CIFAR-10, MNIST and Fashion-MNIST from a folder or fetched once and verified, and the digits that scikit-learn brings.

CIFAR-10: Krizhevsky 2009. MNIST: LeCun et al. 1998. Fashion-MNIST: Xiao et al. 2017, arXiv 1708.07747. The files are those
that torchvision uses, in the folders it makes. MNIST's are compared by what they hold, as many copies are compressed anew.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import logging
import math
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cnn_nas.images.arrays import Images, Source, held_out
from nas.core.downloads import extract_members, fetch, locked
from nas.core.errors import DataError
from nas.core.seeds import numpy_generator

log = logging.getLogger(__name__)

LOCK_TIMEOUT = 1800.0  # seconds; CIFAR-10 is 170 MB, and lines can be slow
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_BYTES = 170_498_071
CIFAR10_MIRRORS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/cifar-10-python.tar.gz",
)
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_MD5 = {  # as torchvision checks them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
CIFAR10_FOLDER, CIFAR10_ARCHIVE = "cifar-10-batches-py", "cifar-10-python.tar.gz"
CIFAR10_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


@dataclass(frozen=True)
class IdxFiles:
    """A data set in four files of the IDX format: SHA-256 of each as it is fetched, and unpacked."""

    name: str
    folder: str  # as torchvision calls it
    mirrors: tuple[str, ...]
    largest: int  # bytes of the largest as it is fetched
    packed: Mapping[str, str]
    unpacked: Mapping[str, str]
    classes: tuple[str, ...]
    mirror: bool


SPLITS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
FILES = (*SPLITS["train"], *SPLITS["test"])
MNIST = IdxFiles(
    "MNIST",
    "MNIST",
    (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "http://yann.lecun.com/exdb/mnist/",
    ),
    9_912_422,
    {
        "train-images-idx3-ubyte": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    },
    {
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    tuple("0123456789"),
    mirror=False,
)
FASHION_MNIST = IdxFiles(
    "Fashion-MNIST",
    "FashionMNIST",
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    26_421_880,
    {
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
    {
        "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    mirror=True,
)


def cifar10(data_dir: Path | None, cache: Path) -> Source:
    """CIFAR-10: 50,000 and 10,000 photographs of 32 x 32 pixels in ten classes.

    Args:
        data_dir: holds the folder cifar-10-batches-py, or is it, or holds the archive that is unpacked to the cache; None
            fetches the archive.
        cache: what fetched and unpacked files may be written to.
    """
    folder = _cifar10_batches(data_dir, cache)
    for name, md5 in CIFAR10_MD5.items():
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path} is missing; get it again, or leave data.data_dir out to download CIFAR-10")
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() != md5:
            raise DataError(f"{path} is damaged or not CIFAR-10's: its MD5 is not {md5}; delete {folder} and run again")
    return Source(_cifar10_split(folder, True), functools.partial(_cifar10_split, folder, False), CIFAR10_CLASSES, True)


def mnist(files: IdxFiles, data_dir: Path | None, cache: Path) -> Source:
    """MNIST or Fashion-MNIST: 60,000 and 10,000 grey images of 28 x 28 pixels in ten classes.

    Args:
        files: which of the two.
        data_dir: holds the four files, unpacked or as .gz, or torchvision's folders with them; None fetches them.
        cache: what fetched files may be written to.
    """
    if data_dir:
        deeper = (Path(), Path("raw"), Path(files.folder, "raw"))
        folders = [data_dir / folder for folder in deeper if _idx_path(data_dir / folder, FILES[0])]
        if not folders:
            found = sorted(path.name for path in data_dir.iterdir())[:20]
            rule = f"must hold {FILES[0]} and the other files of {files.name}, as they are or as .gz"
            raise DataError(f"{data_dir} {rule}, found {found}; leave data.data_dir out to download them")
        folder = folders[0]
    else:
        folder = _fetch_idx(files, cache)
    load_test = functools.partial(_idx_split, files, folder, "test") if _idx_path(folder, FILES[2]) else None
    return Source(_idx_split(files, folder, "train"), load_test, files.classes, files.mirror)


def digits() -> Source:
    """1,797 handwritten digits of 8 x 8 pixels in 17 levels of grey (Alpaydin and Kaynak 1998), inside scikit-learn.

    They come as one; a fifth, the same for everybody and of every class alike, is set apart as the test split.
    """
    try:
        from sklearn.datasets import load_digits  # type: ignore[import-untyped]
    except ImportError as error:
        raise DataError("dataset digits needs scikit-learn, which is not here; pip install -e .[digits]") from error
    loaded = load_digits()
    table = torch.from_numpy((loaded.images * (255 / 16)).round().astype(np.uint8)[:, None])
    images = Images(table, torch.from_numpy(loaded.target.astype(np.int64)))
    train, test = held_out(images.targets, len(images) // 5, numpy_generator(0, "digits", "test"))
    return Source(images.subset(train), lambda: images.subset(test), tuple("0123456789"), mirror=False)


def _cifar10_batches(data_dir: Path | None, cache: Path) -> Path:
    name, packed = CIFAR10_FOLDER, CIFAR10_ARCHIVE
    archive = cache / packed
    if data_dir:
        for folder in (data_dir / name, data_dir):
            if (folder / "data_batch_1").is_file():
                return folder
        archive = data_dir / packed
        if not archive.is_file():
            found = sorted(path.name for path in data_dir.iterdir())[:20]
            what = f"{data_dir} must hold {name} or {packed}, found {found}"
            raise DataError(f"{what}; leave data.data_dir out to download them, or use dataset: folder for JPEG files")
    folder = cache / name
    hint = f"put {packed} in a folder and set data.data_dir to it"
    if all((folder / file).is_file() for file in CIFAR10_MD5):
        return folder  # without the lock, so that a read-only folder will do
    with locked(folder, LOCK_TIMEOUT):
        if not all((folder / file).is_file() for file in CIFAR10_MD5):
            fetch(CIFAR10_MIRRORS, archive, sha256=CIFAR10_SHA256, label="CIFAR-10", size=CIFAR10_BYTES, hint=hint)
            extract_members(archive, {f"{name}/{file}": (file, None) for file in CIFAR10_MD5}, folder)
            if not data_dir:
                archive.unlink()
    return folder


def _cifar10_split(folder: Path, train: bool) -> Images:
    pixels, labels = [], []
    for name in CIFAR10_BATCHES["train" if train else "test"]:
        batch = pickle.loads((folder / name).read_bytes(), encoding="latin1")  # verified before: no stranger's pickle
        pixels.append(batch["data"])
        labels += batch["labels"]
    table = np.concatenate(pixels).reshape(-1, 3, 32, 32)
    return Images(torch.from_numpy(table), torch.tensor(labels, dtype=torch.int64))


def _fetch_idx(files: IdxFiles, cache: Path) -> Path:
    folder = cache / files.folder / "raw"
    hint = f"put {', '.join(f'{name}.gz' for name in FILES)} in a folder and set data.data_dir to it"
    paths = {name: folder / f"{name}.gz" for name in FILES}
    if all(_idx_path(folder, name) for name in FILES):
        return folder  # without the lock, so that a read-only folder will do
    with locked(folder, LOCK_TIMEOUT):
        for name, path in paths.items():
            urls = [mirror + path.name for mirror in files.mirrors]
            label, digest = f"{files.name} {path.name}", files.packed[name]
            fetch(urls, path, sha256=digest, label=label, size=files.largest, hint=hint)
    return folder


def _idx_path(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _idx_split(files: IdxFiles, folder: Path, split: str) -> Images:
    images, labels = (_read_idx(files, folder, name) for name in SPLITS[split])
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        what = f"{folder} holds {split} images of shape {images.shape} and labels of shape {labels.shape}"
        raise DataError(f"{what}; they do not belong together, get both files again")
    if not len(labels):
        raise DataError(f"{folder} holds no {split} images; get both files again")
    if labels.max() >= len(files.classes):
        rule = f"labels of {split} must be 0..{len(files.classes) - 1}, the classes of {files.name}, got {labels.max()}"
        raise DataError(f"{folder}: {rule}; get the file again")
    return Images(torch.from_numpy(images[:, None]), torch.from_numpy(labels.astype(np.int64)))


def _read_idx(files: IdxFiles, folder: Path, name: str) -> np.ndarray:
    """The array in one file: two zeros, type, number of dimensions, big-endian length of each, and the values."""
    path = _idx_path(folder, name)
    if path is None:
        raise DataError(f"{folder} holds no {name} or {name}.gz; get it, or leave data.data_dir out to download it")
    packed = path.read_bytes()
    try:
        content = gzip.decompress(packed) if path.suffix == ".gz" else packed
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or corrupt ({error}); get it again") from error
    _verify(files, name, path, packed, content)
    dimensions = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0  # 8: unsigned bytes
    start = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(content, ">u4", dimensions, 4).tolist()) if len(content) >= start else ()
    if not dimensions or not shape or len(content) != start + math.prod(shape):
        raise DataError(f"{path} is no IDX file of {files.name} or is cut short; get it again")
    return np.frombuffer(bytearray(content[start:]), np.uint8).reshape(shape)


def _verify(files: IdxFiles, name: str, path: Path, packed: bytes, content: bytes) -> None:
    """Let no data set pass for another, and no file for its neighbour, such as the training images for those of the test."""
    is_packed, is_content = hashlib.sha256(packed).hexdigest(), hashlib.sha256(content).hexdigest()
    if is_packed == files.packed[name] or is_content == files.unpacked[name]:
        return
    for other in (MNIST, FASHION_MNIST):
        if other.name != files.name and (is_packed == other.packed[name] or is_content == other.unpacked[name]):
            raise DataError(
                f"{path} is the file of {other.name}, not of {files.name}; set data.dataset or data.data_dir"
            )
    wrong = f"the SHA-256 of its content is {is_content}, expected {files.unpacked[name]}"
    raise DataError(f"{path} is not the file of {files.name}: {wrong}; get it again, or use dataset: folder for yours")
