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

import functools
import hashlib
import logging
import os
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from cnn_nas.images.arrays import Images, Source
from cnn_nas.images.class_folders import class_names, walk
from cnn_nas.images.duplicates import Shown, digests, rows_that_stay, tell_of_test
from cnn_nas.images.headers import is_image, probe
from nas.core.downloads import locked
from nas.core.errors import DataError, unknown
from nas.core.named_files import check_is_file

log = logging.getLogger(__name__)

VERSION = 1  # raise it when the same images give other pixels, so that older caches are left alone
LOCK_TIMEOUT = 4 * 3600.0  # seconds; another process may be decoding a million photographs
CHUNK = 512  # images decoded at a time, so that memory holds no more
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Listing:
    """What a folder of class folders holds: the images in the order of class and name, and the class of each."""

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]  # not Path, which would take most of the time of a million images
    labels: tuple[int, ...]


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


def missing_classes(folder: Path, name: str = "test") -> list[str]:
    """The classes of `train` that another of its folders lacks; empty if one of the two is not there."""
    train, other = folder / "train", folder / name
    if not train.is_dir() or not other.is_dir():
        return []
    return sorted({*class_names(train)} - {*class_names(other)})


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


def list_images(folder: Path) -> Listing:
    """Find the images of each class folder, at any depth; hidden files and folders do not count."""
    if not folder.is_dir():
        found = sorted(path.name for path in folder.parent.iterdir())[:20]
        raise DataError(f"{folder} is missing: {folder.parent} must hold train/CLASS/* with your images, found {found}")
    classes = class_names(folder)
    if not classes:
        has = "images but no class folder" if any(map(is_image, os.listdir(folder))) else "no class folder"
        raise DataError(f"{folder} holds {has}, so labels are missing; move the images of class A to {folder}/A")
    paths, skipped = walk(folder, classes)
    if skipped:
        links = ", ".join(skipped[:3]) + (", ..." if len(skipped) > 3 else "")
        log.warning(
            "%d links in %s lead to folders that are read already, and are not followed: %s",
            len(skipped),
            folder,
            links,
        )
    images = {name: [path for path in found if is_image(path)] for name, found in paths.items()}
    empty = [name for name in classes if not images[name]]
    if empty:
        names = ", ".join(empty[:10]) + (", ..." if len(empty) > 10 else "")
        why = f" (links to folders that are read already: {', '.join(skipped[:3])})" if skipped else ""
        raise DataError(f"{folder} has {len(empty)} class folders without an image: {names}{why}; fill or delete them")
    alike = [name for name, count in Counter(map(str.lower, classes)).items() if count > 1]
    if alike:
        log.warning("classes of %s differ only in case, and are taken for different ones: %s", folder, ", ".join(alike))
    others = sorted({path for found in paths.values() for path in found if not is_image(path)})
    if others:
        log.warning(
            "%d files in %s are not read, as their names are no images', as in %s", len(others), folder, others[0]
        )
    labels = [label for label, name in enumerate(classes) for _ in images[name]]
    return Listing(folder, tuple(classes), tuple(path for name in classes for path in images[name]), tuple(labels))


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
                _decode_all(listing, _shape(listing, size, like), path)
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


def _shape(listing: Listing, size: int | None, like: Shape | None) -> Shape:
    """Channels, height and width that all the images take."""
    if like and size:
        return like
    with ThreadPoolExecutor(_workers()) as pool:
        found = [
            (path, *probe) for path, probe in zip(listing.paths, pool.map(probe, listing.paths), strict=True) if probe
        ]
    channels = like[0] if like else 1 if all(grey for _, _, grey in found) else 3
    if size:
        return channels, size, size
    sizes = Counter(pixels for _, pixels, _ in found) + Counter([like[1:]] if like else [])
    if len(sizes) > 1:
        common, odd = sizes.most_common()[0][0], sizes.most_common()[-1][0]
        example = next((f" ({path})" for path, pixels, _ in found if pixels == odd), "")
        what = f"images of {len(sizes)} sizes in {listing.folder}, like {_by(common)} and {_by(odd)}{example}"
        raise DataError(f"{what}; set data.image_size, say to 32, and they are resized to it")
    height, width = next(iter(sizes), (1, 1))  # none: no file can be read, which decoding reports
    return channels, height, width


def _by(pixels: tuple[int, int]) -> str:
    return f"{pixels[1]} x {pixels[0]}"


def _decode_all(listing: Listing, shape: Shape, path: Path) -> None:
    """Write the pixels of all images to a file, which appears only when it is whole; or say which images are damaged."""
    log.info("decoding %d images of %s to %s", len(listing.paths), listing.folder, path)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("xb") as file:
            bad = _write(listing, shape, file)
            file.flush()
            os.fsync(file.fileno())
        if bad:
            names = ", ".join(bad[:10]) + (", ..." if len(bad) > 10 else "")
            raise DataError(f"{len(bad)} of {len(listing.paths)} images are damaged: {names}; mend or delete them")
        scratch.replace(path)
    except OSError as error:
        raise DataError(f"cannot write {path} ({error.strerror}); set data.download_dir to another folder") from error
    finally:
        scratch.unlink(missing_ok=True)


def _write(listing: Listing, shape: Shape, file: BinaryIO) -> list[str]:
    """Append the images to a .npy file, in order; returns those that cannot be decoded, with the reason."""
    paths, bad = listing.paths, []
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *shape)}
    np.lib.format.write_array_header_1_0(file, header)
    bar = tqdm(total=len(paths), desc=f"decoding {listing.folder.name}", leave=False, disable=not sys.stderr.isatty())
    with ThreadPoolExecutor(_workers()) as pool, bar:
        rest = iter(paths)
        while chunk := list(islice(rest, CHUNK)):
            decoded = list(pool.map(functools.partial(_decode, shape=shape), chunk))
            bad += [f"{path} ({why})" for path, why in zip(chunk, decoded, strict=True) if isinstance(why, str)]
            if not bad:
                file.write(np.stack(decoded).data)
            bar.update(len(chunk))
    return bad


def _decode(path: str, shape: Shape) -> np.ndarray | str:
    """The pixels of an image, `(C, H, W)`, or why there are none."""
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            opened.draft(
                None, (2 * width, 2 * height)
            )  # lets JPEG decode a photograph at 1/2, 1/4 or 1/8, in less time
            image = ImageOps.exif_transpose(opened)
            if image.mode == "F":
                raise ValueError("floating-point pixels, of which nothing says what is white")
            if image.mode.startswith("I"):  # 16 bits, of which convert would keep the lowest 8
                image = Image.fromarray((np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8))
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, np.uint8).reshape(height, width, channels)
            return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    except UnidentifiedImageError:
        return "is no image"
    except Exception as error:  # decoders raise all kinds
        return str(error) or type(error).__name__


def _workers() -> int:
    return min(32, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
