"""A run's folder: whatever moment the process was killed at, what is left can be resumed."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.full_disk import FullDisk

from nas.core.errors import ConfigError
from nas.runs.run_folder import RunFolder, begun_trials
from nas.runs.writing import UnwritableFolderError, saving_weights

CONFIG = {"name": "x", "hyperparameters": {"learning_rate": 8e-07, "arch_to_use": "DARTS_V2", "flags": [True, None]}}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "run", CONFIG, {"status": "new"})


def checkpoint(folder: RunFolder, uuid: str) -> None:
    (folder.checkpoints / uuid / "inner").mkdir(parents=True)
    (folder.checkpoints / uuid / "inner" / "weights.pth").write_bytes(b"weights")


def stored(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.checkpoints.iterdir()}


def run_json(folder: RunFolder) -> dict[str, Any]:
    return dict(json.loads((folder.path / "run.json").read_text()))


# Making and opening


def test_folders_are_numbered_by_the_first_free_number(tmp_path: Path) -> None:
    (tmp_path / "run-2").mkdir()
    names = [RunFolder.create(tmp_path, "run", CONFIG, {}).path.name for _ in range(3)]
    assert names == ["run-1", "run-3", "run-4"]
    assert RunFolder.create(tmp_path, "other", CONFIG, {}).path.name == "other-1"


def test_the_parents_of_a_folder_are_made(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path / "a" / "b", "run", CONFIG, {}).path == tmp_path / "a" / "b" / "run-1"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"run-1 cannot be made"):
        RunFolder.create(tmp_path / "file", "run", CONFIG, {})


def test_what_is_made_can_be_opened(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path, "run", CONFIG, {"seed": 3})
    opened, config = RunFolder.open(made.path)
    assert opened.path == made.path and config == CONFIG
    assert opened.run == {"seed": 3, "created": made.run["created"]} and made.run["created"] <= time.time()


@pytest.mark.parametrize("content", [None, "", '{"seed": 3', "no json"])
def test_a_folder_of_no_run_is_refused_by_name(content: str | None, folder: RunFolder) -> None:
    (folder.path / "run.json").unlink()
    if content is not None:
        (folder.path / "run.json").write_text(content)
    with pytest.raises(ConfigError, match="run-1 is not the folder of a run"):
        RunFolder.open(folder.path)


@pytest.mark.parametrize("content", ["hyperparameters: [1", "a: b: c"])
def test_a_run_whose_config_is_broken_is_refused_by_name(content: str, folder: RunFolder) -> None:
    (folder.path / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match="run-1 is not the folder of a run"):
        RunFolder.open(folder.path)


def test_saving_updates_what_is_on_disk(folder: RunFolder) -> None:
    folder.save(status="running")
    folder.save(seed=3)
    assert run_json(folder) == folder.run == {"status": "running", "seed": 3, "created": folder.run["created"]}


def test_no_temporary_file_stays_behind(folder: RunFolder) -> None:
    folder.save(status="running")
    folder.write_file("genotype.json", {"recurrent": [["relu", 0]]})
    assert {path.name for path in folder.path.iterdir()} == {"run.json", "config.yaml", "genotype.json"}
    assert json.loads((folder.path / "genotype.json").read_text()) == {"recurrent": [["relu", 0]]}


def test_a_write_that_fails_leaves_the_old_content(folder: RunFolder) -> None:
    before = run_json(folder)
    with pytest.raises(TypeError):
        folder.save(status=object())
    assert run_json(folder) == before


# Metrics


def test_metrics_are_kept_in_order_and_by_group(folder: RunFolder) -> None:
    assert folder.metrics() == []
    folder.record("training", 10, {"loss": 2.5})
    folder.record("validation", 10, {"loss": 3.0, "perplexity": 20.0})
    folder.record("training", 20, {"loss": 2.0})
    assert folder.metrics("training") == [
        {"group": "training", "step": 10, "loss": 2.5},
        {"group": "training", "step": 20, "loss": 2.0},
    ]
    assert [record["group"] for record in folder.metrics()] == ["training", "validation", "training"]
    assert folder.metrics("test") == []


@pytest.mark.parametrize("metrics", [{"loss": 3.0}, {"note": "ä } {"}, {"best": {"loss": 3.0}}], ids=str)
def test_a_line_cut_short_anywhere_is_left_out(metrics: dict[str, Any], folder: RunFolder) -> None:
    folder.record("training", 1, {"loss": 2.5})
    first = (folder.path / "metrics.jsonl").read_bytes()
    folder.record("validation", 2, metrics)
    both = (folder.path / "metrics.jsonl").read_bytes()
    for cut in range(len(first), len(both) - 1):
        (folder.path / "metrics.jsonl").write_bytes(both[:cut])
        assert [record["step"] for record in folder.metrics()] == [1], both[:cut]
    (folder.path / "metrics.jsonl").write_bytes(both)
    assert [record["step"] for record in folder.metrics()] == [1, 2]


def test_numbers_survive_exactly(folder: RunFolder) -> None:
    folder.record("training", 1, {"loss": 0.1 + 0.2, "tiny": 5e-324})
    assert folder.metrics()[0]["loss"] == 0.1 + 0.2 and folder.metrics()[0]["tiny"] == 5e-324


# Going back to a checkpoint


def test_rewinding_forgets_what_came_after_the_latest_checkpoint(folder: RunFolder) -> None:
    for step in (10, 20, 30):
        folder.record("training", step, {"loss": 1.0 / step})
        folder.record("validation", step, {"loss": 2.0 / step})
        if step < 30:
            checkpoint(folder, f"c{step}")
            folder.checkpoint_saved(f"c{step}", step, step / 10, 2.0 / step, smaller_is_better=True)
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"group": "training", "st')
    checkpoint(folder, "half-written")

    opened, _ = RunFolder.open(folder.path)
    assert opened.rewind() == ("c20", 20)
    assert [(record["group"], record["step"]) for record in opened.metrics()] == [
        ("training", 10),
        ("validation", 10),
        ("training", 20),
        ("validation", 20),
    ]
    assert stored(opened) == {"c20"}
    opened.record("training", 30, {"loss": 7.0})
    assert opened.metrics()[-1] == {"group": "training", "step": 30, "loss": 7.0}


def test_rewinding_a_run_without_a_checkpoint_starts_over(folder: RunFolder) -> None:
    folder.record("training", 5, {"loss": 1.0})
    checkpoint(folder, "half-written")
    assert folder.rewind() == (None, 0)
    assert folder.metrics() == [] and stored(folder) == set()


def test_rewinding_twice_is_rewinding_once(folder: RunFolder) -> None:
    checkpoint(folder, "a")
    folder.record("training", 10, {"loss": 1.0})
    folder.checkpoint_saved("a", 10, 1.0, None, smaller_is_better=True)
    first = folder.rewind(), folder.metrics()
    assert (folder.rewind(), folder.metrics()) == first == (("a", 10), [{"group": "training", "step": 10, "loss": 1.0}])


# Which checkpoints are kept


@pytest.mark.parametrize("smaller_is_better", [True, False])
@pytest.mark.parametrize(
    "values", [[3.0, 1.0, 2.0, 0.5, 0.7], [1.0, 1.0, 1.0], [None, 2.0, None, 1.0, 3.0], [None, None], [4.0]], ids=str
)
def test_the_latest_and_the_best_are_kept(
    values: list[float | None], smaller_is_better: bool, folder: RunFolder
) -> None:
    for i, value in enumerate(values):
        checkpoint(folder, f"c{i}")
        folder.checkpoint_saved(f"c{i}", 10 * i, i / 2, value, smaller_is_better=smaller_is_better)
        known = [(v, j) for j, v in enumerate(values[: i + 1]) if v is not None]
        kept = {f"c{i}"}
        if known:  # of equals the first
            best_value = (min if smaller_is_better else max)(known, key=lambda pair: pair[0])[0]
            best = next(j for v, j in known if v == best_value)
            kept.add(f"c{best}")
            assert run_json(folder)["best"] == {
                "uuid": f"c{best}",
                "batches": 10 * best,
                "epochs": best / 2,
                "value": best_value,
            }
        else:
            assert run_json(folder).get("best") is None
        assert stored(folder) == kept
        assert run_json(folder)["latest"]["uuid"] == f"c{i}" and run_json(folder)["latest"]["value"] == value


def test_a_kept_checkpoint_is_whole(folder: RunFolder) -> None:
    for uuid, value in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        checkpoint(folder, uuid)
        folder.checkpoint_saved(uuid, 1, 1.0, value, smaller_is_better=True)
    assert stored(folder) == {"a", "c"}
    assert all((folder.checkpoints / uuid / "inner" / "weights.pth").exists() for uuid in stored(folder))


def test_saving_a_checkpoint_survives_reopening(folder: RunFolder) -> None:
    checkpoint(folder, "a")
    folder.checkpoint_saved("a", 1, 1.0, 1.0, smaller_is_better=True)
    opened, _ = RunFolder.open(folder.path)
    checkpoint(opened, "b")
    opened.checkpoint_saved("b", 2, 2.0, math.pi, smaller_is_better=True)
    assert opened.run["best"]["uuid"] == "a" and stored(opened) == {"a", "b"}


# One process at a time

HOLD = """
import sys
from pathlib import Path
from nas.runs.run_folder import RunFolder
with RunFolder.open(Path(sys.argv[1]))[0].held():
    print("held", flush=True)
    sys.stdin.read()
"""


def hold_elsewhere(folder: RunFolder) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_run_held_by_another_process_is_refused_until_that_is_killed(folder: RunFolder) -> None:
    with hold_elsewhere(folder) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="run-1 is being run by another process"), folder.held():
            pytest.fail("held twice")
        other.kill()
        other.wait(10)
    with folder.held():
        pass


def test_another_process_is_refused_while_this_one_holds_the_run(folder: RunFolder) -> None:
    with folder.held(), hold_elsewhere(folder) as other:
        output, errors = other.communicate("", timeout=60)
    assert other.returncode != 0 and output == "" and "being run by another process" in errors


def test_a_run_is_free_again_after_an_exception(folder: RunFolder) -> None:
    with pytest.raises(KeyError), folder.held():
        raise KeyError
    with folder.held():
        pass


# Discarding


def test_a_run_that_never_trained_leaves_nothing(folder: RunFolder, tmp_path: Path) -> None:
    folder.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_metrics_is_kept(folder: RunFolder) -> None:
    folder.record("training", 1, {"loss": 1.0})
    folder.discard()
    assert folder.metrics()


def test_a_run_that_has_a_checkpoint_is_kept(folder: RunFolder) -> None:
    checkpoint(folder, "a")
    folder.checkpoint_saved("a", 1, 1.0, None, smaller_is_better=True)
    folder.discard()
    assert stored(folder) == {"a"}


def test_the_seconds_of_a_run_are_those_of_all_its_attempts(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time between attempts does not count, nor what came after the checkpoint that the next one goes on from."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    folder.rewind()
    now += 5
    checkpoint(folder, "a")
    folder.checkpoint_saved("a", 10, 1.0, None, smaller_is_better=True)
    now += 100
    again, _ = RunFolder.open(folder.path)
    again.rewind()
    now += 2.5
    checkpoint(folder, "b")
    again.checkpoint_saved("b", 20, 2.0, None, smaller_is_better=True)
    assert run_json(folder)["seconds"] == 7.5


def test_whether_a_folder_is_held_can_be_asked_without_disturbing_anybody(folder: RunFolder) -> None:
    assert not folder.is_held()
    with folder.held():
        assert RunFolder.open(folder.path)[0].is_held()
    assert not folder.is_held()


# Power cuts and full disks


def test_the_disk_holds_a_checkpoint_before_the_old_one_goes(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of what the disk is told: the files, their folders, the metrics, run.json, its folder; then the deletion."""
    checkpoint(folder, "a")
    folder.checkpoint_saved("a", 10, 1.0, 1.0, smaller_is_better=True)
    checkpoint(folder, "b")
    (folder.checkpoints / "b" / "weights").write_bytes(b"weights")
    folder.record("validation", 20, {"loss": 0.5})
    told: list[Any] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: (told.append(os.fstat(number).st_ino), fsync(number)))
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: told.append(f"delete {path.name}"))
    folder.checkpoint_saved("b", 20, 2.0, 0.5, smaller_is_better=True)
    names = {path.stat().st_ino: path.name for path in (folder.path, *folder.path.rglob("*"))}
    order = [names.get(each, each) for each in told]
    assert set(order[:3]) == {"weights", "b", "checkpoints"}  # at the same time
    assert order[3:] == ["metrics.jsonl", "run.json", "run-1", "delete a"]


@pytest.mark.parametrize("write", ["record", "save", "file"])
def test_a_full_disk_and_a_deleted_folder_are_a_sentence(
    folder: RunFolder, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act() -> None:
        if write == "record":
            folder.record("training", 10, {"loss": 1.0})
        elif write == "save":
            folder.save(status="running")
        else:
            folder.write_file("genotype.json", {"a": list(range(100))})

    with monkeypatch.context() as patch:
        FullDisk(patch)
        with pytest.raises(UnwritableFolderError, match=r"^disk full: no space left in .*run-1; free some$") as caught:
            act()
        assert caught.value.errno == errno.ENOSPC
    shutil.rmtree(folder.path)
    with pytest.raises(UnwritableFolderError, match=r"^the run folder .*run-1 is gone"):
        act()


def test_a_run_that_finds_no_space_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(monkeypatch)
    with pytest.raises(UnwritableFolderError, match="disk full"):
        RunFolder.create(tmp_path, "run", CONFIG, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("free", "says"), [(1 << 20, "disk full"), (1 << 40, "Input/output error")])
def test_weights_that_torch_cannot_write_are_a_sentence(
    tmp_path: Path, free: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(UnwritableFolderError, match=says), saving_weights(tmp_path):
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), saving_weights(tmp_path):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


@pytest.mark.parametrize(
    "line",
    [
        *("\0" * 80, "[" * 100_000, "[1]", '{"group": 1, "step": 1}', '{"group": "training", "step": "1"}'),
        *('{"group": "training", "step": 1e999}', '{"group": "training", "step": -1}', "\udcff{"),
        *('{"group": "validation", "step": 1, "batches": null}', '{"group": "training", "step": 1, "a": 1' + "0" * 400),
        '{"group": "training", "step": 1, "loss": 1' + "0" * 400 + "}",
    ],
)
def test_lines_that_are_damaged_are_left_out_and_kept(folder: RunFolder, line: str) -> None:
    folder.record("training", 1, {"loss": 2.0})
    checkpoint(folder, "a")
    folder.checkpoint_saved("a", 5, 0.5, None, smaller_is_better=True)
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")
    folder.record("training", 2, {"loss": float("nan")})
    before = (folder.path / "metrics.jsonl").read_bytes()
    assert [record["step"] for record in folder.metrics()] == [1, 2] and folder.metrics_file.damaged_lines() == 1
    folder.rewind()
    assert [record["step"] for record in folder.metrics()] == [1, 2] and folder.metrics_file.damaged_lines() == 0
    assert (folder.path / "metrics.jsonl.damaged-1").read_bytes() == before


def test_the_folder_of_checkpoints_is_not_for_everybody_to_write(folder: RunFolder) -> None:
    before = os.umask(0o022)
    try:
        folder.checkpoints.mkdir()
        folder.checkpoints.chmod(0o777)  # as Determined makes it
        folder.rewind()
    finally:
        os.umask(before)
    assert folder.checkpoints.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("path", ["trials/0 copy", "trials/1.damaged-1", "trials/x"])
def test_other_things_among_the_trials_are_no_trials(tmp_path: Path, path: str) -> None:
    run = {"hyperparameters": {}, "seed": 1, "identity": {"architecture": [1]}}
    for place in (tmp_path / "trials" / "3", tmp_path / path):
        place.mkdir(parents=True)
        RunFolder.fill(place, CONFIG, run)
    (tmp_path / "trials" / "2").mkdir()
    (tmp_path / "trials" / "2" / "run.json").write_text('{"identity": [')
    assert [each["number"] for each in begun_trials(tmp_path / "trials")] == [3]
