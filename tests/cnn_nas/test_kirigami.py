from __future__ import annotations

import itertools
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.kirigami import sheets, strain
from support.runs import read_config

from cnn_nas.data_checks import split_warnings
from cnn_nas.images import kirigami
from cnn_nas.images.arrays import Source
from cnn_nas.images.data import DataConfig, expected, load
from nas.core.errors import ConfigError, DataError
from nas.core.fields import read
from one_shot.images import ImageTask
from one_shot.retrain import retraining_config
from one_shot.settings import read_settings
from one_shot.task import Place


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


@pytest.mark.parametrize("fraction", [0.5, 0.2])
def test_the_part_that_trains_an_architecture_has_no_mirror_image_of_another(folder: Path, fraction: float) -> None:
    config = read_config("one_shot/cnn_kirigami.yaml")
    small = {"init_channels": 2, "layers": 1, "arch_data": "part", "arch_fraction": fraction, "retrain": None}
    data = {**config["data"], "data_dir": str(folder), "validation_fraction": 0.1, "split_seed": 3}
    task = ImageTask(
        read_settings({**config["hyperparameters"], **small}, data, 1), Place(torch.device("cpu"), 0, 0, 1, False)
    )
    assert task.architecture is not None and task.data.valid is not None
    parts = [task.train, task.architecture, task.data.valid, task.data.test]
    whole = len(parts[0]) + len(parts[1])
    assert sum(map(len, parts)) == 31**2 and whole == len(task.data.train)
    assert len(parts[1]) == pytest.approx(fraction * whole, abs=4)
    where: dict[bytes, int] = {}
    for number, part in enumerate(parts):
        for sheet in (part.images[:, 0, 6::10, 8::16] > 0).numpy():
            for mirrored in (sheet, sheet[::-1], sheet[:, ::-1], sheet[::-1, ::-1]):
                assert where.setdefault(mirrored.tobytes(), number) == number


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


def processed(path: Path, form: str = "NETCDF4", **variables: np.ndarray) -> Path:
    """A file of variables, each with dimensions of its own."""
    netcdf = pytest.importorskip("netCDF4")
    path.mkdir(exist_ok=True)
    with netcdf.Dataset(path / kirigami.NETCDF, "w", format=form) as file:
        for name, values in variables.items():
            dimensions = [f"{name}_{axis}" for axis in range(values.ndim)]
            for dimension, size in zip(dimensions, values.shape, strict=True):
                file.createDimension(dimension, size)
            file.createVariable(name, "f4", dimensions)[:] = values
    return path


def of_table(folder: Path) -> dict[str, np.ndarray]:
    cuts, values = kirigami.read_table(folder / kirigami.TABLE)
    sheets = np.stack([fine_grid(row) for row in cuts[:20].reshape(-1, 15)])
    sheets = np.concatenate([sheets, kirigami.render(cuts[20:]) / 255])
    return {"coarse_image": cuts, "fine_image": sheets, "strain": values, "stress": values}


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC"])
@pytest.mark.parametrize("lacks", ["", "coarse_image", "fine_image"])
def test_the_processed_file_gives_the_same(
    folder: Path, form: str, lacks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From both images or either, and in as many slices as it takes."""
    monkeypatch.setattr(kirigami, "_ROWS", 100)
    variables = of_table(folder)
    variables.pop(lacks, None)
    one, two = (kirigami.read(place) for place in (folder, processed(folder / form, form, **variables)))
    assert torch.equal(one.train.images, two.train.images) and torch.equal(one.train.targets, two.train.targets)
    assert np.array_equal(one.groups, two.groups)  # type: ignore[arg-type]


def test_a_processed_file_may_hold_texts_and_names_of_axes(folder: Path) -> None:
    """As xarray writes them."""
    netcdf = pytest.importorskip("netCDF4")
    path = processed(folder / "made", **of_table(folder))
    with netcdf.Dataset(path / kirigami.NETCDF, "a") as file:
        file.createDimension("x_c", 5)
        file.createVariable("x_c", str, ("x_c",))[:] = np.array(list("abcde"), object)
    assert len(kirigami.read(path).train) > 700


def changed(values: np.ndarray, row: int, value: float) -> np.ndarray:
    values = np.array(values, float)
    values.reshape(len(values), -1)[row, 0] = value
    return values


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda v: v.pop("strain"),
            "must have the variables strain and coarse_image or fine_image, got coarse_image, ",
        ),
        (lambda v: (v.pop("coarse_image"), v.pop("fine_image")), "or fine_image, got strain, stress"),
        (lambda v: v.clear(), "got none"),
        (lambda v: v.update(strain=v["strain"][:-1]), "coarse_image must be of shape 960 x 3 x 5, got 961 x 3 x 5"),
        (
            lambda v: v.update(fine_image=v["fine_image"][:9]),
            "fine_image must be of shape 961 x 30 x 80, got 9 x 30 x 80",
        ),
        (lambda v: v.update(fine_image=v["fine_image"][:, :, :79]), "x 30 x 80, got 961 x 30 x 79"),
        (lambda v: v.update(coarse_image=v["coarse_image"].reshape(-1, 15)), "x 3 x 5, got 961 x 15"),
        (lambda v: v.update(strain=v["strain"][:, None]), "strain must be of shape 961, got 961 x 1"),
        (lambda v: v.update(strain=np.array(0.3)), "strain must be of shape N, got a single number"),
        (lambda v: v.update({name: values[:0] for name, values in v.items()}), "holds no sheets"),
        (lambda v: v.update(coarse_image=1 - v["coarse_image"]), "cuts of coarse_image, which sheet 0 (from 0)"),
        (
            lambda v: v.update(coarse_image=v["coarse_image"][::-1]),
            "fine_image must be the sheet with the cuts of coars",
        ),
        (
            lambda v: (v.pop("coarse_image"), v.update(fine_image=1 - v["fine_image"])),
            "with the cuts of its 3 x 5 cells",
        ),
        (
            lambda v: v.update(coarse_image=changed(v["coarse_image"], 7, 2)),
            "coarse_image must be 0 or 1, which sheet 7",
        ),
        (
            lambda v: v.update(fine_image=changed(v["fine_image"], 960, 0.5)),
            "fine_image must be 0 or 1, which sheet 960",
        ),
        (
            lambda v: (v.pop("coarse_image"), v.update(fine_image=changed(v["fine_image"], 500, 0))),
            "its 3 x 5 cells, which sheet 500",
        ),
    ],
)
def test_a_processed_file_that_is_none_is_named(folder: Path, change: Any, says: str) -> None:
    variables = of_table(folder)
    change(variables)
    with pytest.raises(DataError) as caught:
        kirigami.read(processed(folder / "made", **variables))
    assert says in str(caught.value) and kirigami.NETCDF in str(caught.value) and "get it again" in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 9.969209968386869e36])
def test_a_strain_that_is_none_is_named(folder: Path, value: float) -> None:
    """The last is what netCDF keeps where nothing was written."""
    variables = of_table(folder)
    variables["strain"] = changed(variables["strain"], 5, value)
    with pytest.raises(DataError, match=r"strain must be numbers, which sheet 5 \(from 0\)"):
        kirigami.read(processed(folder / "made", **variables))


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC"])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.98])
def test_a_processed_file_that_is_cut_short_is_named(folder: Path, form: str, share: float) -> None:
    path = processed(folder / "made", form, **of_table(folder)) / kirigami.NETCDF
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"damaged|must be|get it again"):
        kirigami.read(path.parent)


# The capstone's split


@pytest.fixture(scope="module")
def every_sheet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 29,791 designs in the order of the file, each with a made strain that tells it from the others."""
    folder = tmp_path_factory.mktemp("graphene")
    cuts = np.random.RandomState(1).permutation(sheets())
    np.savetxt(folder / kirigami.TABLE, np.column_stack([cuts, np.arange(len(cuts))]), fmt="%d")
    return folder


def test_the_published_split_is_that_of_scikit_learn(every_sheet: Path, caplog: pytest.LogCaptureFixture) -> None:
    train_test_split = pytest.importorskip("sklearn.model_selection").train_test_split
    for count in (29_791, 961, 60, 5):
        theirs = train_test_split(np.arange(count), test_size=0.2, random_state=42)
        for one, other in zip(theirs, kirigami.published_split(count), strict=True):
            assert np.array_equal(one, other)
    source = kirigami.read(every_sheet, "published")
    train, test = train_test_split(np.arange(29_791), test_size=0.2, random_state=42)
    assert source.load_test is not None and source.groups is None
    assert np.array_equal(source.train.targets, train) and np.array_equal(source.load_test().targets, test)
    assert (len(train), len(test)) == (23_832, 5_959)
    leaky, tested = map(int, re.findall(r"(\d+) of (\d+) test sheets have a mirror image in training", caplog.text)[0])
    assert tested == 5_959 and leaky == twins(source) and round(100 * leaky / tested) == 98


def twins(source: Source) -> int:
    """How many test sheets have a mirror image among those to train on, counted image by image."""
    assert source.load_test is not None
    train, test = (part.images[:, 0, 6::10, 8::16].numpy() for part in (source.train, source.load_test()))
    known = {sheet.tobytes() for sheet in train}
    return sum(
        any(mirrored.tobytes() in known for mirrored in (sheet[::-1], sheet[:, ::-1], sheet[::-1, ::-1]))
        for sheet in test
    )


def test_a_single_sheet_is_too_few(tmp_path: Path) -> None:
    (tmp_path / kirigami.TABLE).write_text("1 " * 15 + "0.5\n")
    with pytest.raises(DataError, match=r"too few sheets for data\.split published, got 1"):
        kirigami.read(tmp_path, "published")


@pytest.mark.parametrize("name", ["graphene", "graphenekirigami", "graphene-kirigami"])
def test_graphene_is_kirigami(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DataConfig(name, data_dir=str(folder))
    assert config == DataConfig("kirigami", data_dir=str(folder)) and expected(config) == (1, (1, 32, 80))
    monkeypatch.setenv("NAS_DATA", str(folder.parent))
    folder.rename(folder.parent / name)
    assert len(load(DataConfig("kirigami")).test) > 100


def test_a_split_is_for_kirigami_and_is_said_to_be_leaky(folder: Path) -> None:
    (said,) = split_warnings(DataConfig("graphene", data_dir=str(folder), split="published"))
    assert "tests on mirror images" in said and not split_warnings(DataConfig("graphene", data_dir=str(folder)))
    with pytest.raises(ValueError, match="split is for dataset kirigami, got published for mnist"):
        DataConfig("mnist", split="published")
    with pytest.raises(ConfigError, match=r"data.split must be one of mirror, published, got 'random'"):
        read({"dataset": "graphene", "split": "random"}, DataConfig, section="data")


def test_a_search_on_graphene_hands_its_split_and_folder_to_the_retraining() -> None:
    template = {"data": {"dataset": "kirigami", "data_dir": "/data"}, "hyperparameters": {}}
    search = {"dataset": "graphene", "data_dir": "/mine", "split": "published", "validation_fraction": 0.5}
    assert retraining_config(template, {}, search, "search")["data"] == {
        **{"dataset": "kirigami", "data_dir": "/mine", "split": "published"}
    }


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
