"""The images that a trial trains on, validates on, and at the very end is tested on.

Validation is held out of the training split by a seed; the official test split decides nothing and is not even read unless
asked for (`ImageData.test`), but for a folder's, whose images may not be among those that are trained on. `load` reads any
data set; what differs between them is in `datasets.py` (CIFAR-10, MNIST, Fashion-MNIST, digits), `kirigami.py` and
`folder_images.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnn_nas.images import datasets, folder_images, kirigami
from cnn_nas.images.arrays import Images, Source, held_out, statistics
from cnn_nas.images.class_folders import class_names
from cnn_nas.images.glance import glance
from nas.core.errors import DataError, unknown
from nas.core.fields import field
from nas.core.files import cache_folder
from nas.core.identity import DataPart
from nas.core.named_files import path_problem
from nas.core.seeds import numpy_generator

log = logging.getLogger(__name__)

DATASETS = ("cifar10", "mnist", "fashion_mnist", "kirigami", "folder", "digits")
_KNOWN = {
    "cifar10": (10, (3, 32, 32)),
    "mnist": (10, (1, 28, 28)),
    "fashion_mnist": (10, (1, 28, 28)),
    "kirigami": (1, (1, 32, 80)),
    "digits": (10, (1, 8, 8)),
}
_TRAINING_IMAGES = {"cifar10": 50_000, "mnist": 60_000, "fashion_mnist": 60_000, "digits": 1_797 - 1_797 // 5}
ALIASES = dict.fromkeys(("graphene", "graphenekirigami", "graphene-kirigami"), "kirigami")
"""Names that others have for a data set; all are those of Harvard's DARTS capstone."""
MIRRORLESS = ("mnist", "digits")  # a digit in the mirror is another one or none


@dataclass(frozen=True)
class DataConfig:
    """The `data:` section of an experiment config; raises ValueError for fields that do not go together.

    Attributes:
        dataset: "cifar10", "mnist", "fashion_mnist", "kirigami" (regression; also "graphene"), "folder" (your images, see
            `folder_images.py`) or "digits" (1,797 small ones that scikit-learn brings along).
        data_dir: folder with the files, only read; required for folder, not allowed for digits. Without it, the folder of
            the data set's name in $NAS_DATA, if there is one.
        download_dir: where fetched files and decoded images go; default: see `nas.core.files.cache_folder`.
        image_size: height and width to which the images of a folder are resized; without it they must have one size.
        validation_fraction: share of the training split that validates instead; 0 trains on all of it, and `valid` is None.
        validation_folder: of a folder: the one in it that validates, such as "val"; then nothing is held out of `train`, and
            `validation_fraction` does not count.
        split_seed: decides which images validate, the same everywhere.
        split: of kirigami: "mirror", in which mirror images of a sheet stay together, or "published", that of Harvard's DARTS
            capstone, which parts them, so that its test is nearly all of what it was trained on.
    """

    dataset: str
    data_dir: str | None = None
    download_dir: str | None = None
    image_size: int | None = field(None, ge=4, most=4096)
    validation_fraction: float = field(0.1, ge=0, lt=1)
    validation_folder: str | None = None
    split_seed: int = 0
    split: str = field("mirror", choices=kirigami.SPLITS)

    def __post_init__(self) -> None:
        name = dataset_of(self.dataset)
        object.__setattr__(self, "dataset", name)
        for field_name in ("data_dir", "download_dir"):
            if wrong := path_problem(getattr(self, field_name)):
                raise ValueError(f"{field_name} {wrong}")
        if name not in DATASETS:
            known_names = (*DATASETS, *ALIASES)
            raise ValueError(
                unknown(f"dataset {name!r}", str(name), known_names, f"is not one of {', '.join(DATASETS)}")
            )
        if name == "folder" and not self.data_dir:
            raise ValueError("data_dir is required for dataset folder; set it to the folder that holds train/CLASS/*")
        if name == "digits" and self.data_dir:
            raise ValueError(f"data_dir is not allowed for dataset digits, got {self.data_dir!r}; leave it out")
        if name != "folder" and self.image_size is not None:
            raise ValueError(f"image_size is for dataset folder, got {self.image_size} for {name}; leave it out")
        if self.validation_folder is not None:
            if name != "folder":
                what = f"validation_folder is for dataset folder, got {self.validation_folder!r} for {name}"
                raise ValueError(f"{what}; leave it out")
            if (
                self.validation_folder in ("", ".", "..", "train", "test")
                or Path(self.validation_folder).name != self.validation_folder
            ):
                rule = "validation_folder must be the name of a folder beside train and test, such as val"
                raise ValueError(f"{rule}, got {self.validation_folder!r}")
        if name != "kirigami" and self.split != "mirror":
            raise ValueError(f"split is for dataset kirigami, got {self.split} for {name}; leave it out")
        if not 0 <= self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be at least 0 and below 1, got {self.validation_fraction}")

    @property
    def validates(self) -> bool:
        """Whether anything does."""
        return self.validation_folder is not None or self.validation_fraction > 0


@dataclass(frozen=True)
class ImageData:
    """A data set, split.

    Attributes:
        name: for reports.
        train: what is trained on: the training split without the validation part.
        valid: the part held out; None if nothing is.
        classes: their names; None for a regression, whose targets are numbers.
        mean, std: of each channel, for pixels of 0..1, over `train` alone; a constant channel has std 1.
        mirror: whether a flipped image means the same.
        load_test: reads the test split; None if there is none.
        groups: of `train`, see `Source`.
    """

    name: str
    train: Images
    valid: Images | None
    classes: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mirror: bool
    load_test: Callable[[], Images] | None = dataclasses.field(repr=False)
    groups: np.ndarray | None = dataclasses.field(default=None, repr=False)

    @property
    def outputs(self) -> int:
        """How many numbers a network must give for an image."""
        return 1 if self.classes is None else len(self.classes)

    def parts(self, source: str = "") -> dict[str, DataPart]:
        """Digests of the images that are trained and validated on; `source` says where they were read, for messages."""
        there = {"train": self.train, "valid": self.valid}
        return {
            name: DataPart(images.digest(), len(images), "images", source)
            for name, images in there.items()
            if images is not None
        }

    @property
    def known(self) -> Known:
        """What settings are compared with; of a folder's images nobody knows whether they may be mirrored."""
        total, classes = len(self.train) + len(self.valid or ()), len(self.classes) if self.classes else None
        mirror = None if self.name == "folder" else self.mirror
        return Known(total, len(self.train), self.train.shape[1:], classes, mirror)

    @functools.cached_property
    def test(self) -> Images:
        """The official test split, read when first asked for. Raises DataError if there is none or it is damaged."""
        if self.load_test is None:
            raise DataError(f"dataset {self.name} has no test split here; add it or leave evaluate_test out")
        return self.load_test()


def dataset_of(name: Any) -> Any:
    """The data set that a config means."""
    return ALIASES.get(name, name)


def expected(config: DataConfig) -> tuple[int, tuple[int, int, int]]:
    """Outputs of a network, and channels, height and width of an image, as far as they can be told without reading any.

    For a folder these are the names in `train/`, what the header of one image a class says, and `image_size`. Where there
    is no image, ten classes of RGB images are assumed, of 32 x 32 if `image_size` is left out.
    """
    if config.dataset != "folder":
        return _KNOWN[config.dataset]
    train = Path(config.data_dir or "").expanduser() / "train"
    classes = len(class_names(train)) if train.is_dir() else 0
    channels, height, width = seen_shape(config) or (3, 32, 32)
    size = config.image_size
    return classes or 10, (channels, size or height, size or width)


def seen_shape(config: DataConfig) -> tuple[int, int, int] | None:
    """Channels, height and width of a folder's images by some of their headers; None if there is none that can be read."""
    train = Path(config.data_dir or "").expanduser() / "train"
    return glance(train).shape if config.dataset == "folder" and train.is_dir() else None


@dataclass(frozen=True)
class Known:
    """What is known of images, before any is read or after; None: not yet.

    Attributes:
        total: of the training split, and of a folder that validates; before a folder is read, at most so many.
        images: of these, to train on.
        size: height and width.
        classes: how many; None for a regression too.
        mirror: whether an image means the same when left and right change places; of a folder nobody knows.
    """

    total: int | None
    images: int | None
    size: tuple[int, int] | None
    classes: int | None
    mirror: bool | None


def known(config: DataConfig) -> Known:
    """What can be told without reading an image. Of a folder, the files with the ending of an image count."""
    outputs, (_, height, width) = expected(config)
    total, size, mirror = _TRAINING_IMAGES.get(config.dataset), (height, width), config.dataset not in MIRRORLESS
    held = None
    if config.dataset == "folder":
        folder = Path(config.data_dir or "").expanduser()
        total = _count(folder / "train") or None  # reading says what is wrong
        held = _count(folder / config.validation_folder) if config.validation_folder else None
    images = None if total is None else total - (round(config.validation_fraction * total) if held is None else 0)
    total = total + held if total is not None and held is not None else total
    classes = outputs if outputs > 1 else None
    if config.dataset != "folder":
        return Known(total, images, size, classes, mirror)
    told = config.image_size is not None or seen_shape(config) is not None
    return Known(total, images, size if told else None, classes, None)


def _count(folder: Path) -> int:
    return glance(folder).images if folder.is_dir() else 0


def load(config: DataConfig) -> ImageData:
    """Read a data set, fetching or decoding it if need be, and hold its validation part out.

    Raises:
        DataError: files are missing, damaged or of another data set, or cannot be fetched; or too few images.
    """
    try:
        source = _read(config)
    except OSError as error:
        what = f"{error.filename} cannot be read ({error.strerror})"
        raise DataError(f"{what}; check the path, permissions and, in a container, the bind mount") from error
    train, valid, groups = _split(source, config)
    mean, std = statistics(train)
    log.info("%s: %d images to train on, %d to validate", config.dataset, len(train), len(valid) if valid else 0)
    return ImageData(config.dataset, train, valid, source.classes, mean, std, source.mirror, source.load_test, groups)


def _read(config: DataConfig) -> Source:
    name, folder, cache = config.dataset, _data_dir(config), cache_folder(config.download_dir)
    if name == "digits":
        return datasets.digits()
    if name == "cifar10":
        return datasets.cifar10(folder, cache)
    if name == "kirigami":
        return kirigami.read(folder, config.split)
    if name == "folder" and folder:
        return folder_images.read(folder, cache, config.image_size, config.validation_folder)
    return datasets.mnist(datasets.MNIST if name == "mnist" else datasets.FASHION_MNIST, folder, cache)


def _data_dir(config: DataConfig) -> Path | None:
    if config.data_dir:
        return Path(config.data_dir).expanduser()
    name = config.dataset
    names = (name, name.replace("_", "-"), *(alias for alias, meant in ALIASES.items() if meant == name))
    shared = (Path(os.environ.get("NAS_DATA") or os.devnull, each) for each in names)
    return next((folder for folder in shared if folder.is_dir()), None)


def _split(source: Source, config: DataConfig) -> tuple[Images, Images | None, np.ndarray | None]:
    """What is trained on, what validates, and the groups of the former."""
    images, fraction, groups = source.train, config.validation_fraction, source.groups
    if source.valid is not None:
        return images, source.valid, groups
    count = round(fraction * len(images))
    if fraction == 0:
        return images, None, groups
    generator = numpy_generator(config.split_seed, "validation part")
    kept, out = held_out(images.targets, count, generator, groups)
    if not len(kept) or not len(out):
        what = f"data.validation_fraction {fraction:g} of {len(images)} images leaves {len(kept)} to train on"
        raise DataError(f"{what} and {len(out)} to validate; add images or change it")
    train = images.subset(kept)
    if source.classes:
        lost = set(images.targets.tolist()) - set(train.targets.tolist())
        if lost:
            names = ", ".join(source.classes[label] for label in sorted(lost)[:10])
            raise DataError(f"too few images to hold some out: none is left to train on of {names}; add images of it")
        unseen = sorted(set(images.targets.tolist()) - set(images.targets[torch.from_numpy(out)].tolist()))
        if unseen:
            names = ", ".join(source.classes[label] for label in unseen[:10]) + (", ..." if len(unseen) > 10 else "")
            log.warning("no image of %s is held out: validation says nothing of them", names)
    return train, images.subset(out), None if groups is None else groups[kept]
