"""Image files of any size, colour mode and format, decoded once into a file of pixels that is mapped into memory."""

from __future__ import annotations

import functools
import logging
import os
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from tqdm import tqdm

from cnn_nas.images.class_folders import Listing
from nas.core.errors import DataError

log = logging.getLogger(__name__)

GREY = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L")
CHUNK = 512  # images decoded at a time, so that memory holds no more
Shape = tuple[int, int, int]


def shape_of(listing: Listing, size: int | None, like: Shape | None) -> Shape:
    """Channels, height and width that all the images take."""
    if like and size:
        return like
    with ThreadPoolExecutor(_workers()) as pool:
        found = [
            (path, *header)
            for path, header in zip(listing.paths, pool.map(probe, listing.paths), strict=True)
            if header
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


def probe(path: str) -> tuple[tuple[int, int], bool] | None:
    """Height and width, and whether it is grey, from the header; None if it cannot be read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) > 4
            return (width, height) if turned else (height, width), image.mode in GREY
    except Exception:  # decoders raise all kinds; decoding will say which
        return None


def decode_all(listing: Listing, shape: Shape, path: Path) -> None:
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
