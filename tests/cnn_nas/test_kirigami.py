from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.kirigami import sheets, strain

from cnn_nas.images import kirigami
from cnn_nas.images.data import DataConfig, load
from nas.core.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cuts = sheets(2)
    table = np.column_stack([cuts, strain(cuts), np.ones(len(cuts)), np.full(len(cuts), 80.5)])
    np.savetxt(tmp_path / kirigami.TABLE, np.random.RandomState(0).permutation(table), fmt="%.6g")
    return tmp_path


def fine_grid(cuts: np.ndarray) -> np.ndarray:
    """The rule of the authors' notebook, unit cell by unit cell."""
    sheet = np.ones((30, 80))
    for x, y in itertools.product(range(30), range(80)):
        cell, row = x // 10, x % 10
        if cuts[cell * 5 + y // 16] == 0 and 10 / 3 < row < 20 / 3:
            sheet[x, y] = 0
    return sheet


def test_a_sheet_is_drawn_as_the_authors_draw_it() -> None:
    cuts = np.random.RandomState(0).randint(0, 2, (6, 15))
    drawn = kirigami.render(cuts.reshape(-1, 3, 5))
    assert drawn.dtype == np.uint8 and drawn.shape == (6, 30, 80)
    assert np.array_equal(drawn, np.stack([fine_grid(row) for row in cuts]) * 255)


def test_the_table_becomes_padded_images_and_strains(folder: Path) -> None:
    loaded = load(DataConfig("kirigami", data_dir=str(folder)))
    assert loaded.classes is None and loaded.outputs == 1 and loaded.mirror
    assert loaded.valid is not None
    parts = [loaded.train, loaded.valid, loaded.test]
    assert sum(map(len, parts)) == 31**2
    assert len(loaded.test) == pytest.approx(31**2 / 5, abs=4) and len(loaded.valid) == pytest.approx(77, abs=4)
    for part in parts:
        images = part.images
        assert images.shape[1:] == (1, 32, 80) and images.dtype == torch.uint8
        assert part.targets.dtype == torch.float32 and part.targets.ndim == 1
        assert not images[:, :, [0, 31]].any() and set(images.unique().tolist()) == {0, 255}
        cuts = (images[:, 0, 6::10, 8::16] > 0).int().reshape(-1, 15).numpy()
        assert part.targets.numpy() == pytest.approx(strain(cuts), abs=1e-5)


def test_mirror_images_stay_together(folder: Path) -> None:
    loaded = load(DataConfig("kirigami", data_dir=str(folder), validation_fraction=0.3))
    assert loaded.valid is not None
    known: dict[bytes, int] = {}
    for number, part in enumerate((loaded.train, loaded.valid, loaded.test)):
        cuts = (part.images[:, 0, 6::10, 8::16] > 0).numpy()
        for sheet in cuts:
            for mirrored in (sheet, sheet[::-1], sheet[:, ::-1], sheet[::-1, ::-1]):
                assert known.setdefault(mirrored.tobytes(), number) == number


def test_of_all_sheets_that_hold_together_a_quarter_differ() -> None:
    """29,791 rows has the table. Burnside's lemma: the mean of how many each of the four mirrorings leaves as they are."""
    groups = kirigami.mirror_groups(sheets().reshape(-1, 3, 5))
    symmetric = [31**3, 7**3, 31 * 31, 7 * 31]  # none, left to right, top to bottom, both; 7 of 31 rows read both ways
    assert len(groups) == 29_791 and len(np.unique(groups)) == sum(symmetric) // 4


def test_the_split_is_the_same_every_time(folder: Path) -> None:
    one, two, other = (load(DataConfig("kirigami", data_dir=str(folder), split_seed=seed)) for seed in (0, 0, 1))
    assert one.valid and two.valid and other.valid
    assert torch.equal(one.valid.images, two.valid.images) and torch.equal(one.test.images, other.test.images)
    assert not (
        one.valid.images.shape == other.valid.images.shape and torch.equal(one.valid.images, other.valid.images)
    )


def test_the_processed_file_gives_the_same(folder: Path) -> None:
    netcdf = pytest.importorskip("netCDF4")
    cuts, values = kirigami.read_table(folder / kirigami.TABLE)
    for form in ("NETCDF4", "NETCDF3_CLASSIC"):
        other = folder / form
        other.mkdir()
        with netcdf.Dataset(other / kirigami.NETCDF, "w", format=form) as file:
            for name, size in (("sample", len(cuts)), ("x", 30), ("y", 80)):
                file.createDimension(name, size)
            file.createVariable("fine_image", "f4", ("sample", "x", "y"))[:] = kirigami.render(cuts) / 255
            file.createVariable("strain", "f4", ("sample",))[:] = values
        one, two = (kirigami.read(place) for place in (folder, other))
        assert torch.equal(one.train.images, two.train.images) and torch.equal(one.train.targets, two.train.targets)
        assert np.array_equal(one.groups, two.groups)  # type: ignore[arg-type]


def broken(folder: Path, text: str | bytes, name: str = kirigami.TABLE) -> str:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(DataError) as caught:
        load(DataConfig("kirigami", data_dir=str(folder)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.filterwarnings("ignore:loadtxt")
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("1 0 1 0.5\n", "is no table of 16 or more numbers a row"),
        ("1 " * 15 + "abc\n", "is no table of 16 or more numbers a row"),
        ("\xff\xfe", "is no table"),
        ("1 " * 15 + "0.5\n" + "1 " * 14 + "2 0.5\n", "columns 0-14 must be 0 or 1, which row 1"),
        ("1 " * 15 + "nan\n", "column 15 must be a number, which row 0"),
    ],
)
def test_a_table_that_is_none_is_named(tmp_path: Path, text: str, says: str) -> None:
    assert says in broken(tmp_path, text)


def test_a_damaged_processed_file_is_named(tmp_path: Path) -> None:
    pytest.importorskip("netCDF4")
    assert "graphene_processed.nc is damaged" in broken(tmp_path, b"\x89HDF\r\n nonsense", kirigami.NETCDF)


def test_without_netcdf4_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "netCDF4", None)
    assert "pip install netCDF4" in broken(tmp_path, b"CDF", kirigami.NETCDF)


def test_a_missing_file_says_what_to_put_where(tmp_path: Path) -> None:
    for config in (DataConfig("kirigami"), DataConfig("kirigami", data_dir=str(tmp_path))):
        with pytest.raises(DataError, match=r"put 15grid_shuffled.dat \(from github.com/phanakata"):
            load(config)
