"""Which settings destroy the images that they are for: what can only be a mistake is refused, what may be one is told.

Asked twice: of what is known before any image is read, and of the images once they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cnn_nas.images.class_folders import missing_classes
from cnn_nas.images.data import DataConfig, ImageData, Known, expected, known
from cnn_nas.model import ModelConfig, map_size
from nas.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from cnn_nas.settings import OptimizerConfig

LEFT = 2 / 3
"""Of an image's pixels, on average; DARTS leaves 81 % of CIFAR-10's after its cutout and 86 % after its crop."""


def problems(optimizer: OptimizerConfig, data: Known) -> list[str]:
    """What can only be a mistake."""
    return [f"hyperparameters.{problem}" for problem in _problems(optimizer, data)]


def check_read(optimizer: OptimizerConfig, data: ImageData, evaluate_test: bool) -> None:
    """Raises ConfigError or DataError if settings do not go with the images as they are."""
    if destroyed := problems(optimizer, data.known):
        raise ConfigError(destroyed)
    if evaluate_test and data.load_test is None:
        raise DataError(f"dataset {data.name} has no test split; add it, or leave evaluate_test out")


def split_problems(config: DataConfig) -> list[str]:
    """The same for the part that is held out, before any image is read."""
    if config.dataset == "folder" and expected(config)[0] == 1:
        return [f"data.data_dir must have images of at least two classes in train/CLASS/, got one in {config.data_dir}"]
    if config.validation_folder is not None:
        return _folder_problems(Path(config.data_dir or "").expanduser(), config.validation_folder)
    total, fraction = known(config).total, config.validation_fraction
    held = round(fraction * total) if total is not None else None
    if total is None or held is None or fraction == 0 or 0 < held < total:
        return []
    left = "none to validate" if not held else "none to train on"
    return [
        f"data.validation_fraction must leave images on both sides, got {fraction:g}: of {total:,} it leaves {left}"
    ]


def _folder_problems(folder: Path, name: str) -> list[str]:
    """What is wrong with the name of the folder that validates; of a folder that is not there, reading says it."""
    if not folder.is_dir() or (folder / name).is_dir():
        return []
    found = sorted(path.name for path in folder.iterdir())[:20]
    return [f"data.validation_folder must be a folder in {folder}, got {name!r}, found {found}"]


def warnings(optimizer: OptimizerConfig, model: ModelConfig, data: Known) -> list[str]:
    """What may be a mistake."""
    return [f"hyperparameters.{warning}" for warning in _warnings(optimizer, model, data)]


def split_warnings(config: DataConfig) -> list[str]:
    """The same for the part that is held out, before any image is read."""
    data, told = known(config), []
    if config.split == "published":
        told = [
            "data.split published tests on mirror images of what is trained on; only to compare with published numbers"
        ]
    for part, scores in ("test", "test scores say"), (config.validation_folder, "validation says"):
        where = Path(config.data_dir or "").expanduser()
        if config.dataset == "folder" and part and (lacking := missing_classes(where, part)):
            names = ", ".join(lacking[:10]) + (", ..." if len(lacking) > 10 else "")
            told.append(f"data.data_dir: {part} has no folder {names}: {scores} nothing of them")
    if config.validation_folder is not None:
        return told
    held = round(config.validation_fraction * data.total) if data.total is not None else 0
    if not data.classes or not 0 < held < data.classes:
        return told
    says = f"data.validation_fraction {config.validation_fraction:g} holds {held} images out"
    return [*told, f"{says}, fewer than the {data.classes} classes: validation says nothing of some"]


def _problems(optimizer: OptimizerConfig, data: Known) -> Iterator[str]:
    batch, images = optimizer.global_batch_size, data.images
    if images is not None and batch > images:
        yield f"global_batch_size must be at most {images}, the number of images to train on, got {batch}"
    if optimizer.flip and data.mirror is False:
        yield "flip must be false, as a digit in the mirror is another one or none, got true"
    if data.size is None:
        return
    (height, width), cut = data.size, _even(optimizer.cutout_length)
    by = f"of the images of {height} x {width} pixels"
    if cut >= max(height, width):
        rule = f"cutout_length must be below {max(height, width)}, the longer side {by}"
        yield f"{rule}, got {optimizer.cutout_length}: whole images would be cut out"
    if optimizer.crop_padding >= min(height, width):
        rule = f"crop_padding must be below {min(height, width)}, the shorter side {by}"
        yield f"{rule}, got {optimizer.crop_padding}: crops would lie outside the image"


def _warnings(optimizer: OptimizerConfig, model: ModelConfig, data: Known) -> Iterator[str]:
    if model.layers < 3:
        yield f"layers {model.layers}: all cells are reduction cells, so the normal cell is not used"
    if data.size is None:
        return
    height, width = data.size
    cut = 1 - _cut_share(optimizer.cutout_length, height) * _cut_share(optimizer.cutout_length, width)
    for name, value, left in (
        ("cutout_length", optimizer.cutout_length, cut),
        ("crop_padding", optimizer.crop_padding, _crop_share(optimizer.crop_padding, height, width)),
    ):
        if 0 < left < LEFT:
            yield f"{name} {value} leaves {left:.0%} of an image of {height} x {width} pixels on average"
    last = map_size((height, width), model.layers, model.layers - 1)
    if max(last) == 1:
        yield f"layers {model.layers}: the reductions leave a single pixel of the images of {height} x {width}"


def _even(length: int) -> int:
    """The side that is cut out: an odd one counts as the next smaller even one."""
    return length // 2 * 2


def _cut_share(length: int, side: int) -> float:
    """Of a side, on average over all centres: the square is clipped at the borders."""
    half = length // 2
    return sum(min(centre + half, side) - max(centre - half, 0) for centre in range(side)) / side**2 if half else 0.0


def _crop_share(padding: int, height: int, width: int) -> float:
    """What a crop keeps of an image, on average over all places."""
    shift = padding * (padding + 1) / (2 * padding + 1)
    return max(0.0, 1 - shift / height) * max(0.0, 1 - shift / width)
