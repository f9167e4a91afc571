"""A run goes on from its newest checkpoint that is whole; nothing that is damaged is deleted."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.damage import DAMAGES, write_checkpoint

from nas.core.errors import ConfigError, DataError
from nas.runs import checkpoint_files
from nas.runs.checkpoint_files import DamagedCheckpointError
from nas.runs.fallback import choose_checkpoint
from nas.runs.run_folder import RunFolder

CONFIG = {"name": "x", "hyperparameters": {}, "checkpoint_storage": {"save_trial_latest": 3, "save_trial_best": 1}}
VALUES = {10: 1.0, 20: 3.0, 30: 0.5, 40: 2.0}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Four checkpoints, of which all stay: the best is the one after 30 batches."""
    made = RunFolder.create(tmp_path, "run", CONFIG, {"status": "new", "hyperparameters": {}, "seed": 7})
    for batches, value in VALUES.items():
        made.record("validation", batches, {"loss": value, "batches": batches, "epochs": batches / 10})
        write_checkpoint(made.checkpoints / f"c{batches}", batches)
        made.checkpoint_saved(f"c{batches}", batches, batches / 10, value, smaller_is_better=True)
    made.record("training", 45, {"loss": 1.0})
    assert {path.name for path in made.checkpoints.iterdir()} == {"c20", "c30", "c40"}
    return RunFolder.open(made.path)[0]


def spoil(folder: RunFolder, *names: str, how: str = "cut") -> None:
    for name in names:
        DAMAGES[how](folder.checkpoints / name / "state_dict.pth")


def steps(folder: RunFolder) -> list[int]:
    return [record["step"] for record in folder.metrics()]


def choose(folder: RunFolder, **options: Any) -> str:
    return choose_checkpoint(folder, smaller_is_better=True, **options)


def test_one_that_is_whole_is_gone_on_from_without_a_word(folder: RunFolder) -> None:
    before = (folder.path / "run.json").read_bytes()
    assert choose(folder) == "" and folder.rewind() == ("c40", 40)
    assert (folder.path / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("damaged", "uuid", "batches", "best"), [(["c40"], "c30", 30, "c30"), (["c40", "c30"], "c20", 20, "c20")]
)
def test_the_newest_whole_one_is_taken_and_said(
    folder: RunFolder, damaged: list[str], uuid: str, batches: int, best: str
) -> None:
    spoil(folder, *damaged)
    before = (folder.path / "run.json").read_bytes()
    told = choose(folder)
    for words in (
        *damaged,
        "state_dict.pth has",
        f"checkpoint {uuid} instead",
        f"{40 - batches} batches are trained again",
    ):
        assert words in told
    assert (folder.path / "run.json").read_bytes() == before, "nothing is written before the run is known to fit"
    assert folder.latest() == (uuid, batches) == folder.rewind()
    assert steps(folder) == [step for step in VALUES if step <= batches]
    again, _ = RunFolder.open(folder.path)
    assert again.latest() == (uuid, batches) and again.run["best"]["uuid"] == best
    assert [entry["uuid"] for entry in again.run["checkpoints"]] == [f"c{n}" for n in (20, 30) if n <= batches]
    for name in damaged:
        assert (folder.path / f"{name}.damaged-1" / "state_dict.pth").exists() and f"{name}.damaged-1" in told
    assert choose(again) == ""


def test_a_run_that_names_no_latest_checkpoint_goes_on_from_the_newest(folder: RunFolder) -> None:
    folder.run["latest"] = None
    assert choose(folder) == "" and folder.rewind() == ("c40", 40)


def test_what_is_gone_is_not_said_to_be_kept(folder: RunFolder) -> None:
    shutil.rmtree(folder.checkpoints / "c40")
    told = choose(folder)
    assert "c40: it is not there" in told and "kept" not in told
    assert folder.rewind() == ("c30", 30)


def test_if_all_are_damaged_nothing_is_deleted(folder: RunFolder) -> None:
    spoil(folder, "c20", "c30", "c40")
    before = sorted(folder.path.rglob("*"))
    with pytest.raises(DamagedCheckpointError) as caught:
        choose(folder)
    for words in (str(folder.path), "c20", "c30", "c40", "nothing was deleted", "config.yaml --seed 7"):
        assert words in str(caught.value)
    assert sorted(folder.path.rglob("*")) == before


def test_a_search_starts_such_a_trial_over_and_keeps_what_is_damaged(folder: RunFolder) -> None:
    spoil(folder, "c20", "c30", "c40")
    told = choose(folder, start_over=True)
    assert "from the start instead: 40 batches are trained again" in told
    assert folder.rewind() == (None, 0) and steps(folder) == [] and folder.run["best"] is None
    assert len(list(folder.path.glob("*.damaged-1"))) == 3


def test_a_run_without_checkpoints_starts(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path, "run", CONFIG, {"status": "new", "latest": None, "best": None})
    assert choose(made) == "" and made.rewind() == (None, 0)


def test_a_warm_start_whose_weights_are_damaged_says_where_they_are_from(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path, "run", CONFIG, {"status": "new", "latest": None, "best": None})
    write_checkpoint(made.checkpoints / "w", 50)
    made.save(warm_start={"uuid": "w", "batches": 50, "epochs": 5, "value": None, "from": "/there/w"})
    assert choose(made) == "" and made.latest() == ("w", 0)
    spoil(made, "w")
    with pytest.raises(DamagedCheckpointError, match="begin again with --warm-start /there/w"):
        choose(made)


def test_a_checkpoint_of_another_user_is_refused(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real = checkpoint_files._owner
    monkeypatch.setattr(checkpoint_files, "_owner", lambda path: 4321 if "c40" in str(path) else real(path))
    with pytest.raises(DataError, match=r"c40.* belongs to another user"):
        choose(folder)
    monkeypatch.setattr(checkpoint_files, "_owner", lambda path: 4321 if path == folder.path else real(path))
    with pytest.raises(DataError, match=r"run-1 belongs to another user"), folder.held():
        pytest.fail("held")


NASTY: list[Any] = [True, -1, 3.5, float("nan"), 10**400, "", "a/../../b", "\0", [1], {"a": []}, "\ud800"]
FIELDS = (
    *(
        "hyperparameters",
        "seed",
        "status",
        "latest",
        "best",
        "identity",
        "device",
        "metadata",
        "checkpoints",
        "seconds",
    ),
    *(
        "created",
        "latest.uuid",
        "latest.batches",
        "latest.epochs",
        "latest.value",
        "identity.data",
        "identity.data.train",
    ),
    *("identity.versions", "identity.space", "versions", "study", "storage"),
)
MAY_BE = {
    "seed": [],
    "status": ["", "a/../../b", "\0"],
    "study": ["", "a/../../b", "\0"],
    "storage": ["", "a/../../b", "\0"],
    "identity.space": ["", "a/../../b", "\0"],
    "seconds": [3.5],
    "created": [3.5],
    "latest.epochs": [3.5],
    "latest.value": [-1, 3.5, float("nan")],
    "hyperparameters": [{"a": []}],
    "device": [{"a": []}],
    "metadata": [{"a": []}],
    "versions": [{"a": []}],
    "identity.versions": [{"a": []}],
    "identity": [{"a": []}],
}


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_a_wrong_type_is_named(tmp_path: Path, field: str) -> None:
    *sections, name = field.split(".")
    data = {"train": {"digest": "0", "count": 1, "unit": "words"}}
    good = {
        "identity": {"data": data, "versions": {}, "space": "x"},
        "latest": {"uuid": "a", "batches": 1, "epochs": 1.5, "value": None},
    }
    folder = RunFolder.create(tmp_path, "run", CONFIG, good)
    for value in NASTY:
        run = json.loads(json.dumps(good))
        place = run
        for section in sections:
            place = place[section]
        place[name] = value
        (folder.path / "run.json").write_text(json.dumps(run))
        if any(repr(value) == repr(each) for each in MAY_BE.get(field, [])):
            RunFolder.open(folder.path)
            continue
        with pytest.raises(ConfigError) as caught:
            RunFolder.open(folder.path)
        said = str(caught.value)
        assert (
            "\n" not in said
            and len(said) < 400
            and f"{folder.path} is not the folder of a run: run.json is damaged" in said
        )
        assert re.sub(r"\.train$", "", field) in said or value == "\ud800"
