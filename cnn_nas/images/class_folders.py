"""The files of class folders: each real folder is entered once, whatever links lead to it.

A link to its own folder would otherwise multiply images, and one to another class would give them a second label.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path


def class_names(folder: Path) -> list[str]:
    """The folders in a folder, in the order of their names; hidden ones do not count."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


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
