"""Graphene kirigami: which cuts in a sheet of graphene make it how stretchable. A regression.

Hanakata, Cubuk, Campbell and Park 2018 (Phys. Rev. Lett. 121, 255304, arXiv 1808.06111; erratum 123, 069901) simulated a
sheet of 30 x 80 unit cells in which 3 x 5 cuts may be made. Their table `15grid_shuffled.dat` (folder mddata of
github.com/phanakata/ML_for_kirigami_design, 29,791 rows: every sheet that holds together) has a row for each choice: columns
0-14 the cuts, row by row, 0 for a cut and 1 for none; then yield strain, toughness and yield stress.

Theirs is the image: each cut has 10 x 16 unit cells, of which rows 4, 5 and 6 are taken out over the whole width, so cuts
side by side make one long cut. So are the rows of zeros above and below that make 30 rows 32 (Harvard's DARTS capstone of
2019, whose `graphene_processed.nc` holds the 30 x 80 images as `fine_image` and the targets as `strain`).

Ours is that graphene is 255 and a hole 0, and the split. The sheets hold mirror images of one another, which yield at the
same strain (the authors' tools copy it from one to the others): where a sheet goes, its mirror images go, or a network
would be tested on what it was trained on. A fifth is the test split, the same for everybody. The random splits of both
works part them, and so score better than this one. The capstone's is here too, to compare with its numbers.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnn_nas.images.arrays import Images, Source, held_out
from nas.core.errors import DataError
from nas.core.named_files import check_is_file
from nas.core.seeds import numpy_generator

log = logging.getLogger(__name__)

TABLE, NETCDF = "15grid_shuffled.dat", "graphene_processed.nc"
CUTS = (3, 5)
SHEET = (30, 80)
CELL = (SHEET[0] // CUTS[0], SHEET[1] // CUTS[1])
HOLE = slice(4, 7)  # rows of a cell
GRAPHENE = 255
SPLITS = ("mirror", "published")
PUBLISHED_BATCH = 96
"""Images a batch in the capstone's test, which averaged the R2 of its batches."""
_ROWS = 2048  # sheets read at a time
_SAMPLE = 64  # sheets of which both images are compared


def read(folder: Path | None, split: str = "mirror") -> Source:
    """Sheets of graphene as images `(N, 1, 32, 80)` and their yield strain.

    Args:
        split: "mirror" keeps mirror images together; "published" is that of the capstone, which does not.

    Raises:
        DataError: neither of the two files is in the folder, or one is not what it should be.
    """
    if folder and (folder / TABLE).is_file():
        cuts, strain = read_table(folder / TABLE)
    elif folder and (folder / NETCDF).is_file():
        cuts, strain = read_netcdf(folder / NETCDF)
    else:
        where = "github.com/phanakata/ML_for_kirigami_design, folder mddata"
        what = f"{folder} holds neither {TABLE} nor {NETCDF}" if folder else "dataset kirigami needs data.data_dir"
        raise DataError(f"{what}; put {TABLE} (from {where}) in a folder and set data.data_dir to it")
    table = torch.from_numpy(np.pad(render(cuts), ((0, 0), (1, 1), (0, 0)))[:, None])
    images, groups = Images(table, torch.from_numpy(strain)), mirror_groups(cuts)
    if split == "published":
        train, test = published_split(len(images))
        if not len(train):
            raise DataError(
                f"{folder} has too few sheets for data.split published, got {len(images)}; get the whole table"
            )
        leaky = int(np.isin(groups[test], groups[train]).sum())
        log.warning("data.split published: %d of %d test sheets have a mirror image in training", leaky, len(test))
        return Source(images.subset(train), lambda: images.subset(test), None, mirror=True)
    train, test = held_out(images.targets, len(images) // 5, numpy_generator(0, "kirigami", "test"), groups)
    return Source(images.subset(train), lambda: images.subset(test), None, mirror=True, groups=groups[train])


def published_split(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The sheets that the capstone trained on, and those that it tested on, in its order.

    `sklearn.model_selection.train_test_split(range(count), test_size=0.2, random_state=42)`: of the 29,791 sheets the test
    has 5,959. It parts mirror images, so that 98 % of these have one that is trained on.
    """
    order, held = np.random.RandomState(42).permutation(count), math.ceil(0.2 * count)
    return order[held:], order[:held]


def render(cuts: np.ndarray) -> np.ndarray:
    """From cuts `(N, 3, 5)`, 0 for a cut, to sheets `(N, 30, 80)` of uint8."""
    sheets = np.full((len(cuts), *SHEET), GRAPHENE, np.uint8)
    whole = np.repeat(cuts.astype(bool), CELL[1], axis=2)  # (N, 3, 80)
    by_cell = sheets.reshape(len(cuts), CUTS[0], CELL[0], SHEET[1])
    by_cell[:, :, HOLE] *= whole[:, :, None]
    return sheets


def mirror_groups(cuts: np.ndarray) -> np.ndarray:
    """A number for each sheet `(N, 3, 5)` that it shares with its mirror images, left to right and top to bottom."""
    weights = 1 << np.arange(cuts[0].size).reshape(CUTS)
    mirrored = [cuts, cuts[:, ::-1], cuts[:, :, ::-1], cuts[:, ::-1, ::-1]]
    codes: np.ndarray = np.min([(cut.astype(np.int64) * weights).sum((1, 2)) for cut in mirrored], axis=0)
    return codes


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cuts `(N, 3, 5)` of 0 and 1, and yield strain `(N,)` in float32, of the text table."""
    count = CUTS[0] * CUTS[1]
    check_is_file(path)
    try:
        values = np.loadtxt(path, usecols=range(count + 1), ndmin=2)
    except ValueError as error:  # UnicodeDecodeError is one
        raise DataError(f"{path} is no table of {count + 1} or more numbers a row ({error}); get it again") from error
    cuts, strain = values[:, :count], values[:, count]
    for wrong, rule in (
        (~np.isin(cuts, (0, 1)).all(1), f"columns 0-{count - 1} must be 0 or 1"),
        (~np.isfinite(strain), f"column {count} must be a number"),
    ):
        if wrong.any():
            raise DataError(f"{path}: {rule}, which row {int(wrong.argmax())} (from 0) breaks; get it again")
    if not len(values):
        raise DataError(f"{path} is empty; get it again")
    return cuts.reshape(-1, *CUTS), strain.astype(np.float32)


def read_netcdf(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Cuts `(N, 3, 5)` of 0 and 1, and yield strain `(N,)` in float32, of the processed file.

    It holds the cuts as `coarse_image` and the sheets as `fine_image`, of which one is enough. The sheets follow from the
    cuts; where both are there, it is seen from some of them.
    """
    try:
        import netCDF4
    except ImportError as error:
        raise DataError(f"{path} needs netCDF4, which is not here; pip install netCDF4, or use {TABLE}") from error
    check_is_file(path)
    try:
        with netCDF4.Dataset(path) as file:
            if file.data_model.startswith("NETCDF3"):  # what is cut off would be read as zeros
                whole = sum(each.size * each.dtype.itemsize for each in file.variables.values())
                if path.stat().st_size < whole:
                    raise DataError(f"{path} is cut short, as its variables take {whole:,} bytes; get it again")
            return _cuts_and_strain(path, file.variables)
    except DataError:
        raise
    except (OSError, RuntimeError) as error:  # the second of values that are cut off
        raise DataError(f"{path} is damaged or cut short ({error}); get it again") from error


def _cuts_and_strain(path: Path, variables: Any) -> tuple[np.ndarray, np.ndarray]:
    images = [name for name in ("coarse_image", "fine_image") if name in variables]
    if "strain" not in variables or not images:
        rule = f"{path} must have the variables strain and coarse_image or fine_image"
        raise DataError(f"{rule}, got {', '.join(variables) or 'none'}; get it again")
    count: tuple[int | None, ...] = variables["strain"].shape[:1] or (None,)
    for name, rest in (("strain", ()), ("coarse_image", CUTS), ("fine_image", SHEET)):
        if name in variables and variables[name].shape != (*count, *rest):
            what = " x ".join(map(str, (count[0] or "N", *rest)))
            got = " x ".join(map(str, variables[name].shape)) or "a single number"
            raise DataError(f"{path}: {name} must be of shape {what}, got {got}; get it again")
    if not count[0]:
        raise DataError(f"{path} holds no sheets; get it again")
    strain = _values(path, "strain", variables["strain"][:])
    if images == ["fine_image"]:
        return np.concatenate(list(_cuts_of_sheets(path, variables["fine_image"]))), strain.astype(np.float32)
    cuts = _bits(path, "coarse_image", variables["coarse_image"][:])
    if "fine_image" in images:
        for i in np.unique(np.linspace(0, len(cuts) - 1, _SAMPLE).astype(int)):
            sheet = _bits(path, "fine_image", variables["fine_image"][i : i + 1], i)
            _check_sheets(path, sheet, cuts[i : i + 1], i, "coarse_image")
    return cuts, strain.astype(np.float32)


def _cuts_of_sheets(path: Path, variable: Any) -> Iterator[np.ndarray]:
    """The cuts `(n, 3, 5)` of some sheets after the others, as all of them in float32 take 286 MB."""
    for start in range(0, variable.shape[0], _ROWS):
        sheets = _bits(path, "fine_image", variable[start : start + _ROWS], start)
        cuts = sheets[:, HOLE.start + 1 :: CELL[0], CELL[1] // 2 :: CELL[1]]
        _check_sheets(path, sheets, cuts, start, "its 3 x 5 cells")
        yield cuts


def _check_sheets(path: Path, sheets: np.ndarray, cuts: np.ndarray, start: int, source: str) -> None:
    """Whether sheets `(n, 30, 80)` of 0 and 1 are those of the cuts `(n, 3, 5)`; `start` is the number of the first."""
    differ = (sheets * np.uint8(GRAPHENE) != render(cuts)).any((1, 2))
    if differ.any():
        rule = f"fine_image must be the sheet with the cuts of {source}"
        raise DataError(f"{path}: {rule}, which sheet {start + int(differ.argmax())} (from 0) does not; get it again")


def _bits(path: Path, name: str, values: np.ndarray, start: int = 0) -> np.ndarray:
    """Values of 0 and 1 as uint8."""
    values = _values(path, name, values, start)
    wrong = ~np.isin(values, (0, 1)).reshape(len(values), -1).all(1)
    if wrong.any():
        number = start + int(wrong.argmax())
        raise DataError(f"{path}: {name} must be 0 or 1, which sheet {number} (from 0) breaks; get it again")
    return values.astype(np.uint8)


def _values(path: Path, name: str, values: Any, start: int = 0) -> np.ndarray:
    """Values that are there and finite; netCDF4 masks those that were never written."""
    plain = np.ma.getdata(values)
    numbers = np.isfinite(plain) if plain.dtype.kind in "iuf" else np.zeros(plain.shape, bool)
    wrong = (np.ma.getmaskarray(values) | ~numbers).reshape(len(plain), -1).any(1)
    if wrong.any():
        number = start + int(wrong.argmax())
        raise DataError(f"{path}: {name} must be numbers, which sheet {number} (from 0) breaks; get it again")
    return np.asarray(plain)
