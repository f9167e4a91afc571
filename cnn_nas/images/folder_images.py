"""A folder of your own images: `train/CLASS/*` and, where you have them, `test/CLASS/*` and a folder that validates, such as
`val/CLASS/*`; the class is the folder's name.

Sizes, colour modes and formats may differ. All become RGB, or grey if every training image is; a phone's rotation is
applied; transparency is dropped; an animation is its first frame. With an image size, each image is resized to that square
(bilinear, antialiased; its proportions give way, nothing is cut off).

Each real folder is entered once, whatever links lead to it, and each image counts once, whatever its files are called: see
`duplicates.py`.

Decoding happens once: the pixels go to a file in the cache, named after a digest of the names, sizes and times of the
images, and are mapped into memory from there. So images need not fit in memory, and processes share what is in it.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import torch

from cnn_nas.images.arrays import Images, Source
from cnn_nas.images.class_folders import Listing, list_images
from cnn_nas.images.duplicates import Shown, digests, rows_that_stay, tell_of_test
from cnn_nas.images.image_files import Shape, decode_all, shape_of
from nas.core.downloads import locked
from nas.core.errors import DataError, unknown
from nas.core.named_files import check_is_file

log = logging.getLogger(__name__)

VERSION = 1  # raise it when the same images give other pixels, so that older caches are left alone
LOCK_TIMEOUT = 4 * 3600.0  # seconds; another process may be decoding a million photographs
VALIDATING = ("val", "valid", "validation")
"""What others call a folder that validates."""


def read(folder: Path, cache: Path, size: int | None, validation: str | None = None) -> Source:
    """The images of a folder, decoded now or from the cache. The test split is decoded too, to keep its images out of training.

    Args:
        validation: the name of the folder that validates; None: a part of the training images will be held out.

    Raises:
        DataError: a folder is missing, a class has no images, files are no images (each is named, up to ten), sizes differ
            and none is asked for, a class has only images that are elsewhere too, or the cache cannot be written.
    """
    train = list_images(folder / "train")
    if len(train.classes) < 2:
        raise DataError(f"{train.folder} has only class {train.classes[0]}; a classification needs at least two")
    names = ["test"] * (folder / "test").is_dir() + [validation] * (validation is not None)
    listings = {name: list_images(folder / name) for name in names if name is not None}
    for listing in listings.values():
        _compare_classes(train, listing)
    if validation is None and (there := [name for name in VALIDATING if (folder / name).is_dir()]):
        what = (
            "only train and test of %s are read; validation is held out of train, data.validation_folder=%s reads that"
        )
        log.warning(what, folder, there[0])
    images, shown = _images(train, train.classes, cache, size, None)
    others: dict[str, Images] = {}
    seen: dict[str, Shown] = {}
    for name, listing in listings.items():  # the test comes first, and keeps what it shares with the others
        use = "test" if name == "test" else "validation"
        others[use], seen_here = _images(listing, train.classes, cache, size, images.shape)
        if use == "test":
            tell_of_test(seen_here)
        else:
            others[use] = _kept(others[use], rows_that_stay(seen_here, seen, train.classes, use))
        seen[use] = seen_here
    images = _kept(images, rows_that_stay(shown, seen, train.classes))
    test = others.get("test")
    load_test = (lambda: test) if test is not None else None
    return Source(images, load_test, train.classes, mirror=True, valid=others.get("validation"))


def _kept(images: Images, stay: np.ndarray) -> Images:
    return images if len(stay) == len(images) else images.subset(stay)


def _compare_classes(train: Listing, other: Listing) -> None:
    """Whether the classes of another split are those of the training."""
    for name in other.classes:
        if name not in train.classes:
            raise DataError(unknown(f"class {name} of {other.folder}", name, train.classes, "is not in train"))
    if train.folder.samefile(other.folder):
        raise DataError(f"{other.folder} and {train.folder} are the same folder; nothing would be left to train on")
    if len(other.classes) == 1:
        only = f"{other.folder} has only class {other.classes[0]}"
        raise DataError(f"{only}, of which a network that knows no other is always right; add the other classes")
    if lacking := sorted({*train.classes} - {*other.classes}):
        names = ", ".join(lacking[:10]) + (", ..." if len(lacking) > 10 else "")
        scores = "test scores say" if other.folder.name == "test" else "validation says"
        log.warning("%s has no image of %s: %s nothing of them", other.folder, names, scores)


def _images(
    listing: Listing, classes: tuple[str, ...], cache: Path, size: int | None, like: Shape | None
) -> tuple[Images, Shown]:
    """The images of a listing, and what they show; those of the test split take the shape of the training images."""
    for image in listing.paths:
        check_is_file(image)
    stats = [(path[len(str(listing.folder)) :], os.stat(path)) for path in listing.paths]
    content = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    key = hashlib.sha256(repr((VERSION, size, like, content)).encode()).hexdigest()
    path = cache / "images" / f"{listing.folder.parent.name}-{listing.folder.name}-{key[:20]}.npy"
    table = _mapped(path, len(content))
    if table is None:
        with locked(path, LOCK_TIMEOUT):
            table = _mapped(path, len(content))  # another process may have made it meanwhile
            if table is None:
                decode_all(listing, shape_of(listing, size, like), path)
                table = _mapped(path, len(content))
    if table is None:
        raise DataError(f"{path} cannot be read although it was just written; set data.download_dir to another folder")
    names = [classes.index(name) for name in listing.classes]
    targets = [names[label] for label in listing.labels]
    files = [file[len(str(listing.folder.parent)) + 1 :] for file in listing.paths]  # as in train/cat/1.jpg
    shown = Shown.of(digests(table, path.with_suffix(".digests")), targets, files)
    return Images(torch.from_numpy(table), torch.tensor(targets)), shown


def _mapped(path: Path, count: int) -> np.ndarray | None:
    try:
        table = np.load(path, mmap_mode="c")  # c: never written back, and torch wants it writable
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError) as error:
        log.info("decoding again, as %s is of no use: %s", path, error)
        return None
    return table if table.dtype == np.uint8 and table.ndim == 4 and len(table) == count else None
