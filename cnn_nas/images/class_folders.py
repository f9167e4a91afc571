"""The images of class folders: found, and not opened. Each real folder is entered once, whatever links lead to it.

A link to its own folder would otherwise multiply images, and one to another class would give them a second label.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.core.errors import DataError

log = logging.getLogger(__name__)

SUFFIXES = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class Listing:
    """What a folder of class folders holds: the images in the order of class and name, and the class of each."""

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[str, ...]  # not Path, which would take most of the time of a million images
    labels: tuple[int, ...]


def class_names(folder: Path) -> list[str]:
    """The folders in a folder, in the order of their names; hidden ones do not count."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def missing_classes(folder: Path, name: str = "test") -> list[str]:
    """The classes of `train` that another of its folders lacks; empty if one of the two is not there."""
    train, other = folder / "train", folder / name
    if not train.is_dir() or not other.is_dir():
        return []
    return sorted({*class_names(train)} - {*class_names(other)})


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


def is_image(path: str) -> bool:
    """By its ending."""
    return path.lower().endswith(SUFFIXES)


def walk(folder: Path, classes: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The files of each class in the order of their names, and the links that were not followed.

    Each real folder is entered once: by its own place if it has one here, otherwise by the first link that leads to it.
    """
    found: dict[str, list[str]] = {name: [] for name in classes}
    entered: set[tuple[int, int]] = set()
    skipped: list[str] = []
    places = [(name, os.path.join(folder, name)) for name in classes]
    links = deque(place for place in places if os.path.islink(place[1]))
    for name, start in places:
        if not os.path.islink(start):
            links += [(name, link) for link in _enter(start, found[name], entered)]
    while links:
        name, link = links.popleft()
        if _identity(link) in entered:
            skipped.append(link)
        else:
            links += [(name, further) for further in _enter(link, found[name], entered)]
    return {name: sorted(files) for name, files in found.items()}, skipped


def _enter(start: str, found: list[str], entered: set[tuple[int, int]]) -> list[str]:
    """Add the files at any depth below a folder; returns the links to folders that are there."""
    links = []
    for place, folders, files in os.walk(start):
        if _identity(place) in entered:
            folders.clear()
            continue
        entered.add(_identity(place))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links += [path for path in (os.path.join(place, name) for name in folders) if os.path.islink(path)]
        found += [os.path.join(place, name) for name in files if not name.startswith(".")]
    return links


def _identity(place: str) -> tuple[int, int]:
    stat = os.stat(place)
    return stat.st_dev, stat.st_ino
