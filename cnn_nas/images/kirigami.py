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
works part them, and so score better than this one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from cnn_nas.images.arrays import Images, Source, held_out
from nas.core.errors import DataError
from nas.core.named_files import check_is_file
from nas.core.seeds import numpy_generator

TABLE, NETCDF = "15grid_shuffled.dat", "graphene_processed.nc"
CUTS = (3, 5)
SHEET = (30, 80)
CELL = (SHEET[0] // CUTS[0], SHEET[1] // CUTS[1])
HOLE = slice(4, 7)  # rows of a cell
GRAPHENE = 255


def read(folder: Path | None) -> Source:
    """Sheets of graphene as images `(N, 1, 32, 80)` and their yield strain.

    Raises:
        DataError: neither of the two files is in the folder, or one is not what it should be.
    """
    if folder and (folder / TABLE).is_file():
        cuts, strain = read_table(folder / TABLE)
        sheets = render(cuts)
    elif folder and (folder / NETCDF).is_file():
        sheets, strain = read_netcdf(folder / NETCDF)
        cuts = sheets[:, HOLE.start + 1 :: CELL[0], CELL[1] // 2 :: CELL[1]] > 0
    else:
        where = "github.com/phanakata/ML_for_kirigami_design, folder mddata"
        what = f"{folder} holds neither {TABLE} nor {NETCDF}" if folder else "dataset kirigami needs data.data_dir"
        raise DataError(f"{what}; put {TABLE} (from {where}) in a folder and set data.data_dir to it")
    table = torch.from_numpy(np.pad(sheets, ((0, 0), (1, 1), (0, 0)))[:, None])
    images, groups = Images(table, torch.from_numpy(strain)), mirror_groups(cuts)
    train, test = held_out(images.targets, len(images) // 5, numpy_generator(0, "kirigami", "test"), groups)
    return Source(images.subset(train), lambda: images.subset(test), None, mirror=True, groups=groups[train])


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
    """Sheets `(N, 30, 80)` of uint8 and yield strain `(N,)` in float32, of the processed file."""
    try:
        import netCDF4
    except ImportError as error:
        raise DataError(f"{path} needs netCDF4, which is not here; pip install netCDF4, or use {TABLE}") from error
    try:
        with netCDF4.Dataset(path) as file:
            images, strain = (np.asarray(file[name][...]) for name in ("fine_image", "strain"))
    except (OSError, IndexError, KeyError) as error:
        raise DataError(f"{path} is damaged or lacks fine_image or strain ({error}); get it again") from error
    if images.shape != (len(strain), *SHEET) or not np.isin(images, (0, 1)).all() or not np.isfinite(strain).all():
        rule = f"fine_image must be 0 or 1 of shape ({len(strain)}, {SHEET[0]}, {SHEET[1]}) and strain numbers"
        raise DataError(f"{path}: {rule}, got shape {images.shape}; get it again")
    return images.astype(np.uint8) * np.uint8(GRAPHENE), strain.astype(np.float32)
