"""Images that are there twice, by their pixels: what no split may part, or a network is tested on what it has learnt.

A copy under another name, a link, or the same picture saved in another format are one image. What the training shares with
the test or with a folder that validates, or the latter with the test, the other keeps; of copies within a class one stays;
of a picture in two classes none, for one of the labels is wrong and nothing says which.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.core.errors import DataError
from nas.core.files import write_atomically

log = logging.getLogger(__name__)

BYTES = 16  # of a digest: among a million images two that differ have the same with a chance of 1e-27
SHOWN = 3  # examples a line
CHUNK = 1024  # images a task


def digests(table: np.ndarray, path: Path) -> np.ndarray:
    """A digest of the pixels of each image `(N, 16)`, from the file at `path` or computed and written there.

    Args:
        table: uint8 `(N, C, H, W)`.
        path: of a cache that belongs to this table alone.
    """
    try:
        found = np.load(path)
        if found.shape == (len(table), BYTES) and found.dtype == np.uint8:
            return np.asarray(found)
    except (OSError, ValueError, EOFError):
        pass

    def of(start: int) -> bytes:
        rows = table[start : start + CHUNK]
        return b"".join(hashlib.blake2b(np.ascontiguousarray(row).data, digest_size=BYTES).digest() for row in rows)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        joined = b"".join(pool.map(of, range(0, len(table), CHUNK)))
    found = np.frombuffer(joined, np.uint8).reshape(len(table), BYTES)
    np.save(buffer := io.BytesIO(), found)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        log.info("the digests of the images cannot be kept in %s (%s)", path, error)
    return found


@dataclass(frozen=True)
class Shown:
    """What the images of a split show: for each its digest, its class and its file."""

    keys: list[bytes]
    labels: list[int]
    paths: Sequence[str]

    @classmethod
    def of(cls, digests: np.ndarray, labels: Sequence[int], paths: Sequence[str]) -> Shown:
        """From digests `(N, 16)`."""
        return cls([row.tobytes() for row in digests], list(labels), paths)

    def first(self) -> dict[bytes, int]:
        """The first image of each digest."""
        return {key: i for i, key in reversed(list(enumerate(self.keys)))}

    def in_two_classes(self) -> dict[bytes, tuple[int, int]]:
        """What two classes show, and an image of each."""
        first = self.first()
        found: dict[bytes, tuple[int, int]] = {}
        for i, key in enumerate(self.keys):
            if self.labels[first[key]] != self.labels[i]:
                found.setdefault(key, (first[key], i))
        return found

    def names(self, pairs: Iterable[tuple[int, int]]) -> list[tuple[str, str]]:
        """The files of two images each."""
        return [(self.paths[one], self.paths[other]) for one, other in pairs]


def rows_that_stay(
    part: Shown, others: Mapping[str, Shown], classes: Sequence[str], use: str = "training"
) -> np.ndarray:
    """The images of a part that stay, as rising indices; the log says which go, and why.

    Args:
        others: the splits that keep what they have in common with this part, by name, such as "test".
        use: what the part is for, "training" or "validation".

    Raises:
        DataError: if a class has no image left.
    """
    first, in_two = part.first(), part.in_two_classes()
    elsewhere: set[bytes] = set()
    leaks = []
    for name, other in others.items():
        places = other.first()
        found = [
            (path, other.paths[places[key]])
            for key, path in zip(part.keys, part.paths, strict=True)
            if key in places and key not in elsewhere
        ]
        _tell(f"%d {use} images are in the {name} split too and are left out of {use}: %s", len(found), found)
        elsewhere |= places.keys()
        leaks += found
    doubtful = [i for i, key in enumerate(part.keys) if key in in_two and key not in elsewhere]
    stay = [i for i, key in enumerate(part.keys) if first[key] == i and key not in elsewhere and key not in in_two]
    copies = [i for i, key in enumerate(part.keys) if first[key] != i and key not in elsewhere and key not in in_two]
    pairs = part.names(in_two[part.keys[i]] for i in doubtful if first[part.keys[i]] == i)
    _tell(f"%d {use} images are in two classes and left out, as one label is wrong: %s", len(doubtful), pairs)
    twins = part.names((i, first[part.keys[i]]) for i in copies)
    _tell(f"%d {use} images are copies of others and are left out: %s", len(copies), twins)
    if lost := set(part.labels) - {part.labels[i] for i in stay}:
        names = ", ".join(classes[label] for label in sorted(lost)[:10])
        where = " or ".join([*(f"in the {name} split" for name in others), "in another class too"])
        verb = "train" if use == "training" else "validate"
        what = f"no image is left to {verb} on of {names}: all are {where}"
        raise DataError(f"{what} ({_examples([*leaks, *pairs])}); give each image one place")
    return np.array(stay, np.int64)


def tell_of_test(test: Shown) -> None:
    """What of the test split no network can be right about."""
    split = test.names(test.in_two_classes().values())
    _tell("%d test images are in two classes, and no network is right about both: %s", len(split), split)


def _tell(sentence: str, count: int, pairs: Sequence[tuple[str, str]]) -> None:
    if count:
        log.warning(sentence, count, _examples(pairs))


def _examples(pairs: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"{one} = {other}" for one, other in pairs[:SHOWN])
    return shown + (", ..." if len(pairs) > SHOWN else "")
