"""Damaged checkpoints cost batches, not runs; nothing of them is loaded, and one sentence says what to do."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from support.damage import DAMAGES, write_checkpoint
from support.runs import Laptop, Run, after_step, assert_equal_runs, master_of, stopped_after
from support.stub_master import StubMaster

from nas import trial as training
from nas.cli.main import main as nas
from nas.core.errors import DataError
from nas.runs.run_folder import RunFolder
from nas.trial import determined_private as private
from nas.trial.checkpoints import choose_start

KEEPING = "checkpoint_storage={save_trial_best: 1, save_trial_latest: 3, save_experiment_best: 0}"
OPTIONS: dict[str, Any] = {"train_epochs": 3}


@pytest.fixture(scope="module")
def straight(module_laptop: Laptop) -> Run:
    return module_laptop.train(KEEPING, **OPTIONS)


@pytest.fixture(scope="module")
def stopped(module_laptop: Laptop, straight: Run) -> Run:
    """The same, stopped in its third epoch: three checkpoints are there."""
    with stopped_after(straight.values("validation", "batches")[1] + 5):
        run = module_laptop.train(KEEPING, **OPTIONS)
    assert len(run.read("run.json")["checkpoints"]) == 3
    return run


@pytest.fixture
def run(stopped: Run, tmp_path: Path) -> Run:
    """A copy to damage."""
    return Run(0, "", "", Path(shutil.copytree(stopped.path, tmp_path / "run")))


def places(run: Run) -> list[Path]:
    """The checkpoints, the newest first."""
    return [run.path / "checkpoints" / entry["uuid"] for entry in reversed(run.read("run.json")["checkpoints"])]


class Malice:
    """Makes a folder when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def hostile(checkpoint: Path, mark: Path, file: str = "trial_state.pkl") -> None:
    """As somebody who may write there would leave it."""
    (checkpoint / "digests.json").unlink()
    if file == "trial_state.pkl":
        state = pickle.loads((checkpoint / file).read_bytes())
        (checkpoint / file).write_bytes(pickle.dumps({**state, "last_val": Malice(mark)}))
    elif file == "workload_sequencer.pkl":  # the Trainer takes it where there is no trial_state.pkl
        (checkpoint / "trial_state.pkl").unlink()
        (checkpoint / file).write_bytes(pickle.dumps(Malice(mark)))
    else:
        torch.save({"x": Malice(mark)}, checkpoint / file)


@pytest.mark.parametrize(
    ("file", "how"),
    [("state_dict.pth", "flip"), ("trial_state.pkl", "random"), ("identity.json", "cut"), ("", "folder")],
)
def test_the_newest_whole_one_is_gone_on_from(laptop: Laptop, run: Run, straight: Run, file: str, how: str) -> None:
    newest, older = places(run)[:2]
    if file:
        DAMAGES[how](newest / file)
    else:
        shutil.rmtree(newest)
    again = laptop.resume(run.path)
    assert_equal_runs(again, straight)
    told = f"damaged checkpoint {newest.name}: {file or 'it is not there'}"
    for place in (again.out, (run.path / "log.txt").read_text()):
        assert told in place and f"from checkpoint {older.name} instead: 5 batches are trained again" in place


def test_one_from_before_there_were_digests_is_gone_on_from(laptop: Laptop, run: Run, straight: Run) -> None:
    for checkpoint in places(run):
        (checkpoint / "digests.json").unlink()
    again = laptop.resume(run.path)
    assert_equal_runs(again, straight)
    assert "damaged" not in again.out


def test_if_all_are_damaged_the_sentence_says_what_to_do_and_that_works(
    laptop: Laptop, run: Run, straight: Run
) -> None:
    for checkpoint in places(run):
        DAMAGES["cut"](checkpoint / "state_dict.pth")
    before = sorted(run.path.rglob("*"))
    refused = laptop.resume(run.path)
    assert refused.code == 2 and refused.err.count("\n") == 1 and "nothing was deleted" in refused.err
    assert sorted(run.path.rglob("*")) == before
    advice = re.search(r"--config \S+ --seed \d+", refused.err)
    assert advice is not None
    assert_equal_runs(laptop.main([*advice[0].split(), "--experiments", str(laptop.experiments)]), straight)


def test_a_damaged_run_goes_on_from_its_newest_checkpoint(laptop: Laptop, run: Run, straight: Run) -> None:
    newest, older, _ = places(run)
    DAMAGES["cut"](run.path / "run.json")
    DAMAGES["flip"](newest / "state_dict.pth")
    refused = laptop.resume(run.path)
    assert refused.code == 2 and "run.json is damaged" in refused.err and str(older) in refused.err
    advice = re.search(r"--resume \S+", refused.err)
    assert advice is not None
    again = laptop.main([*advice[0].split(), "--experiments", str(laptop.experiments)])
    assert again.read("run.json")["status"] == "completed"
    assert again.metrics("validation") == straight.metrics("validation")[2:]


@pytest.mark.parametrize("file", ["trial_state.pkl", "workload_sequencer.pkl", "state_dict.pth"])
def test_nothing_of_a_run_that_is_resumed_is_executed(
    laptop: Laptop, run: Run, straight: Run, tmp_path: Path, file: str
) -> None:
    newest, mark = places(run)[0], tmp_path / "mark"
    hostile(newest, mark, file)
    again = laptop.resume(run.path)
    assert not mark.exists()
    if file == "state_dict.pth":
        assert again.code == 2 and "state_dict.pth holds more than tensors and plain values" in again.err
    else:
        assert_equal_runs(again, straight)


def test_whoever_asks_for_a_damaged_checkpoint_hears_of_the_whole_one(
    laptop: Laptop, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newest, older, _ = places(run)
    DAMAGES["flip"](newest / "state_dict.pth")
    words = (str(newest), "state_dict.pth is not what was written", f"{older.name} beside it is whole")
    here = ["--experiments", str(laptop.experiments)]
    asked = [["--score", str(newest)], ["--resume", str(newest)]]
    asked.append([*laptop.arguments(**OPTIONS), "--warm-start", str(newest)])
    for arguments in asked:
        refused = laptop.main([*here, *arguments])
        assert refused.code == 2 and all(word in refused.err for word in words), arguments
    assert laptop.left() == []
    for arguments in (
        ["evaluate", str(newest)],
        ["export", str(newest), "--out", str(tmp_path / "out"), "--checkpoint"],
    ):
        assert nas(arguments) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in words)
    DAMAGES["gone"](older / "state_dict.pth")
    assert "state_dict.pth is missing" in laptop.main([*here, "--resume", str(older)]).err


def test_a_trial_of_a_search_starts_over_and_the_engine_is_told(tmp_path: Path) -> None:
    class Engine:
        told: list[str] = []

        def note(self, text: str) -> None:
            self.told.append(text)

    made = RunFolder.create(tmp_path, "run", {"searcher": {"metric": "loss"}}, {"status": "new", "seed": 1})
    write_checkpoint(made.checkpoints / "a", 10)
    made.checkpoint_saved("a", 10, 1.0, 2.0, smaller_is_better=True)
    DAMAGES["cut"](made.checkpoints / "a" / "trial_state.pkl")
    (made.path / "metrics.jsonl").write_text("[\n")
    with pytest.raises(DataError, match="every checkpoint"):
        choose_start(made, {}, None)
    notes = choose_start(made, {}, Engine())  # type: ignore[arg-type]
    assert notes == Engine.told and made.latest() == (None, 0)
    assert "10 batches are trained again" in notes[0] and "metrics.jsonl is damaged: 1 of its lines" in notes[1]
    made.run["status"] = "completed"
    assert choose_start(made, {}, None) == []


def test_the_folder_of_checkpoints_heeds_the_umask(run: Run) -> None:
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((run.path / "checkpoints").stat().st_mode) & mask == 0


@pytest.mark.parametrize("what", ["the run", "its checkpoints", "the disk is full"])
def test_a_run_that_loses_its_folder_ends_in_a_sentence(
    laptop: Laptop, straight: Run, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch = straight.values("validation", "batches")[0]

    def hurt(_: Any, index: int) -> None:
        folder = laptop.newest()
        if index == epoch + 3 and folder is not None:
            if what == "the disk is full":
                monkeypatch.setattr(torch, "save", full)
            else:
                shutil.rmtree(folder if what == "the run" else folder / "checkpoints")

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0")

    monkeypatch.setattr("nas.runs.writing.free_bytes", lambda _: 0)
    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, hurt)
        run = laptop.train(KEEPING, **OPTIONS)
    if what == "its checkpoints":
        assert run.metrics("validation") == straight.metrics("validation")
        return
    assert run.code == 2 and run.err.count("error:") == 1 and "Traceback" not in run.err
    said = {"the run": r"the run folder \S+ is gone", "the disk is full": r"disk full: no space left in \S+; free some"}
    found = re.search(rf"^error: {said[what]}.*, then go on with: python3 .* (--resume \S+)$", run.err, re.MULTILINE)
    assert found is not None, run.err
    if what == "the disk is full":
        monkeypatch.undo()
        assert_equal_runs(laptop.resume(run.path), straight)


def test_a_disk_that_is_full_before_the_first_batch(laptop: Laptop, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint goes on in a new run, for which there is no space."""

    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    monkeypatch.setattr("nas.runs.writing.free_bytes", lambda _: 0)
    monkeypatch.setattr(torch, "save", full)
    for way in ("--resume", "--score"):
        refused = laptop.main([way, str(places(run)[0]), "--experiments", str(laptop.experiments)])
        assert refused.code == 2 and "error: disk full: no space left in" in refused.err
    assert laptop.left() == []


# On a cluster


@pytest.fixture(scope="module")
def paused(module_laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    master = master_of(module_laptop.data, tmp_path_factory.mktemp("storage"), **OPTIONS)
    master.preempt_after = 1
    with master:
        assert training.main("model_def:RecurrentTrial") == 0
    return master


@contextmanager
def copied(checkpoint: Path) -> Iterator[None]:
    """Puts it back after the block."""
    kept = shutil.copytree(checkpoint, checkpoint.with_name("kept"))
    try:
        yield
    finally:
        shutil.rmtree(checkpoint)
        Path(kept).rename(checkpoint)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path, _: DAMAGES["cut"](path / "state_dict.pth"), "state_dict.pth has"),
        (lambda path, _: DAMAGES["gone"](path / "trial_state.pkl"), "trial_state.pkl is missing"),
        (hostile, "trial_state.pkl is not what Determined writes: it holds posix.mkdir"),
    ],
)
def test_on_a_cluster_it_ends_in_a_sentence(
    paused: StubMaster, tmp_path: Path, spoil: Callable[[Path, Path], None], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    again, mark = paused.resume(), tmp_path / "mark"
    checkpoint = paused.storage / str(again.latest_checkpoint)
    with copied(checkpoint):
        spoil(checkpoint, mark)
        with again:
            assert training.main("model_def:RecurrentTrial") == 2
    last = caplog.messages[-1]
    assert last.startswith(f"this run cannot work: checkpoint {checkpoint} is damaged: {says}") and "\n" not in last
    assert "searcher.source_checkpoint_uuid" in last and not mark.exists()


def test_weights_are_loaded_as_plain_types_by_any_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 2.6 torch unpickled whatever there was, unless this variable told it not to."""
    monkeypatch.delenv("TORCH_FORCE_WEIGHTS_ONLY_LOAD", raising=False)
    place = write_checkpoint(tmp_path / "a", 10)

    class Context:
        @contextmanager
        def restore_path(self, uuid: str) -> Iterator[Path]:
            yield tmp_path / uuid

    context = Context()
    private.load_plain(context)
    with context.restore_path("a") as path:
        assert path == place and os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    (place / "digests.json").write_text(json.dumps({"files": {}}))
    with pytest.raises(DataError, match=r"digests.json is damaged"), context.restore_path("a"):
        pytest.fail("loaded")
