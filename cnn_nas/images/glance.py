"""What the headers of images say, without decoding any: how many there are in a folder, how large, and whether in colour."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import NamedTuple

from cnn_nas.images.class_folders import class_names, is_image, walk
from cnn_nas.images.image_files import Shape, probe

OPENED = 64  # images whose headers a glance reads, each of another class


class Glance(NamedTuple):
    """What is seen of a folder of class folders without reading all of it.

    Attributes:
        images: files with the ending of an image.
        shape: channels, height and width of the first image of each class, as far as they agree: colour if any has it, the
            size of the first. None if none can be read.
    """

    images: int
    shape: Shape | None


def glance(folder: Path) -> Glance:
    """Look at the class folders below `folder`.

    A check asks at every point of a search space: it looks anew if a class folder has changed since.
    """
    names = class_names(folder)
    return _seen(folder, tuple((name, os.stat(folder / name).st_mtime_ns) for name in names))


@functools.lru_cache(maxsize=8)
def _seen(folder: Path, classes: tuple[tuple[str, int], ...]) -> Glance:
    paths, _ = walk(folder, [name for name, _ in classes])
    images = [[path for path in found if is_image(path)] for found in paths.values()]
    first = [found[0] for found in images if found and os.path.isfile(found[0])]  # a pipe would wait for a writer
    headers = [header for header in map(probe, first[:OPENED]) if header]
    shape = (1 if all(grey for _, grey in headers) else 3, *headers[0][0]) if headers else None
    return Glance(sum(map(len, images)), shape)
