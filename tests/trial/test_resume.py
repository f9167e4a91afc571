"""A run that was interrupted ends exactly like one that was not, to the last bit."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.runs import (
    HARD,
    Laptop,
    Run,
    after_step,
    assert_equal_runs,
    averaged_steps,
    environment,
    metrics_of,
    regular,
    start,
    stopped_after,
    wait_until,
)

from model_def import RecurrentTrial

EPOCHS = int(HARD["train_epochs"])


@pytest.fixture(scope="module")
def straight(module_laptop: Laptop) -> Run:
    """Four epochs without interruption; averaging starts after the second."""
    return module_laptop.train(**HARD)


@pytest.fixture(scope="module")
def epoch(straight: Run) -> int:
    """Batches an epoch."""
    return int(straight.values("validation", "batches")[0])


def test_the_straight_run_is_hard_enough(straight: Run, epoch: int) -> None:
    assert straight.code == 0, straight.err
    assert 0 < averaged_steps(straight.checkpoint()) < (EPOCHS - 1) * epoch
    assert averaged_steps(straight.checkpoint()) % epoch == 0
    steps = straight.values("training", "step")
    assert any(step % epoch for step in steps), "there should be a report within an epoch"


@pytest.mark.parametrize(
    "cuts",
    [
        [(1, -1)],  # the first batch but the last of the first epoch
        [(1, 7)],
        [(2, 0)],  # at the end of an epoch
        [(3, 0)],
        [(3, -1)],
        [(2, 3), (3, 13), (3, 14)],  # again and again
    ],
)
def test_a_stop_changes_nothing(laptop: Laptop, straight: Run, epoch: int, cuts: list[tuple[int, int]]) -> None:
    """Cuts are given as an epoch's end and an offset."""
    after = [end * epoch + offset if offset <= 0 else (end - 1) * epoch + offset for end, offset in cuts]
    run: Run | None = None
    for batches in after:
        with stopped_after(batches):
            run = laptop.train(**HARD) if run is None else laptop.resume(run.path)
        assert run.code == 0
        assert run.read("run.json")["status"] == "stopped" and f"after {batches} batches" in run.out
        assert run.read("run.json")["latest"]["batches"] == batches and run.metrics("test") == []
    assert run is not None
    assert_equal_runs(laptop.resume(run.path), straight)


def test_cuts_fall_before_and_after_the_switch_to_averaging(straight: Run, epoch: int) -> None:
    switch = EPOCHS * epoch - averaged_steps(straight.checkpoint())
    assert epoch < switch < EPOCHS * epoch  # which of them, rounding decides


def test_a_stop_in_the_last_batch_skips_no_validation(laptop: Laptop, straight: Run, epoch: int) -> None:
    with stopped_after(EPOCHS * epoch):
        run = laptop.train(**HARD)
    if run.read("run.json")["status"] != "completed":
        assert run.metrics("test") == []
        run = laptop.resume(run.path)
    assert run.values("validation", "epochs") == [1, 2, 3, 4]
    assert regular(run) == regular(straight)
    assert run.read("run.json")["best"]["value"] == min(run.values("validation", "loss"))
    assert run.read("run.json")["latest"]["value"] == run.values("validation", "loss")[-1]


def test_random_cells_are_scored_after_a_stop_in_the_last_batch(laptop: Laptop) -> None:
    options: dict[str, Any] = {"train_epochs": 1, "eval_same_arch": False, "num_archs_to_eval": 2}
    whole = laptop.train(**options)
    with stopped_after(whole.read("run.json")["latest"]["batches"]):
        run = laptop.train(**options)
    if run.read("run.json")["status"] != "completed":
        run = laptop.resume(run.path)
    assert (run.path / "architectures.json").exists()
    assert run.read("architectures.json") == whole.read("architectures.json")


class Killed(BaseException):
    """Nothing catches it but the way out."""


def test_random_cells_are_reported_once_after_a_crash(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies after scoring random cells, before it has written the checkpoint."""
    score = RecurrentTrial._score_random_cells

    def die(trial: RecurrentTrial) -> None:
        score(trial)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RecurrentTrial, "_score_random_cells", die)
        laptop.train(train_epochs=2, eval_same_arch=False, num_archs_to_eval=2)
    folder = laptop.newest()
    assert folder is not None
    run = laptop.resume(folder)
    assert run.code == 0 and len(run.metrics("architectures")) == 2


def test_the_test_split_is_reported_once_after_a_crash(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies after it has reported the test score, before the run is marked as complete."""
    conclude = RecurrentTrial.conclude

    def die(trial: RecurrentTrial) -> None:
        conclude(trial)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RecurrentTrial, "conclude", die)
        laptop.train(train_epochs=1, evaluate_test=True)
    folder = laptop.newest()
    assert folder is not None
    run = laptop.resume(folder)
    assert run.read("run.json")["status"] == "completed" and len(run.metrics("test")) == 1


def test_a_kill_at_any_moment_changes_nothing(laptop: Laptop, straight: Run, epoch: int, tmp_path: Path) -> None:
    """What a kill would leave: copies of the folder, taken while the run writes it."""
    copies: list[Path] = []

    def copy() -> None:
        folder = laptop.newest()
        assert folder is not None
        copies.append(Path(shutil.copytree(folder, tmp_path / "copies" / str(len(copies)))))

    files = RecurrentTrial.files
    moments = {4, epoch - 1, 2 * epoch + 3}

    def files_while_a_checkpoint_is_written(trial: RecurrentTrial) -> dict[str, Any]:
        if trial.batches_trained in (2 * epoch, EPOCHS * epoch):
            copy()
        return files(trial)

    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, lambda _, index: copy() if index in moments else None)
        patch.setattr(RecurrentTrial, "files", files_while_a_checkpoint_is_written)
        laptop.train(**HARD)
    assert len(copies) > len(moments), "a copy should have been taken while a checkpoint was written"
    for folder in copies:
        assert_equal_runs(laptop.resume(folder), straight)


def test_a_second_ctrl_c_leaves_at_once(laptop: Laptop, straight: Run, epoch: int) -> None:
    def interrupt(_: RecurrentTrial, index: int) -> None:
        if index == epoch + 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, interrupt)
        run = laptop.train(**HARD)
    assert run.code == 130 and run.read("run.json")["latest"]["batches"] == epoch
    assert_equal_runs(laptop.resume(run.path), straight)


def test_a_run_goes_on_from_another_working_folder(
    laptop: Laptop, straight: Run, epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(laptop.data.parent)
    with stopped_after(epoch + 1):
        run = laptop.train(f"data.data_dir={laptop.data.name}", **HARD)
    monkeypatch.chdir(tmp_path)
    assert_equal_runs(laptop.resume(run.path), straight)


def test_a_run_that_another_process_has_just_finished(laptop: Laptop, straight: Run, epoch: int) -> None:
    """It finishes after this process has looked into the folder and before it starts to train."""
    with stopped_after(epoch + 1):
        run = laptop.train(**HARD)
    check = RecurrentTrial.check

    def finish_first(*arguments: Any) -> Any:
        patch.undo()
        assert laptop.resume(run.path).code == 0
        return check(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecurrentTrial, "check", finish_first)
        again = laptop.resume(run.path)
    assert again.code == 0
    assert_equal_runs(again, straight)


def test_half_written_files_are_survived(laptop: Laptop, straight: Run, epoch: int) -> None:
    with stopped_after(epoch + 5):
        run = laptop.train(**HARD)
    half = run.path / "checkpoints" / "0000-half"
    half.mkdir()
    (half / "state_dict.pth").write_bytes(b"PK\x03\x04")
    (run.path / ".run.json.123.tmp").write_text("{")
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"group": "training", "step": 999, "loss": 1.0}\n{"group": "valid')
    assert_equal_runs(laptop.resume(run.path), straight)
    assert not half.exists()


def test_a_completed_run_is_left_alone(laptop: Laptop, straight: Run) -> None:
    def times() -> dict[Path, int]:
        files = [path for path in straight.path.rglob("*") if path.is_file() and path.name != ".lock"]
        return {path: path.stat().st_mtime_ns for path in files}

    before = times()
    run = laptop.resume(straight.path)
    assert run.code == 0 and "complete" in run.out
    assert before == times()


def test_an_error_keeps_what_was_trained(laptop: Laptop, straight: Run, epoch: int) -> None:
    """A crash in the second epoch: the run goes on from the first one's checkpoint."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        original = RecurrentTrial.train_step

        def fail(self: RecurrentTrial, batch: Any, epoch_index: int, index: int) -> dict[str, float]:
            assert index < epoch + 3 or 1 / 0
            return original(self, batch, epoch_index, index)

        patch.setattr(RecurrentTrial, "train_step", fail)
        laptop.train(**HARD)
    folder = laptop.newest()
    assert folder is not None
    assert_equal_runs(laptop.resume(folder), straight)


LONG: dict[str, Any] = {"train_epochs": 12, "nonmono": 1}


@pytest.fixture(scope="module")
def long(module_laptop: Laptop) -> Run:
    return module_laptop.train(**LONG)


@pytest.fixture
def process(laptop: Laptop, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A real process, in a folder of its own, that has validated at least once and goes on training."""
    running = start(laptop.arguments(**LONG, config="train_small.yaml"), cwd=tmp_path)
    try:
        wait_until(lambda: [path for path in laptop.left() if metrics_of(path, "validation")], running)
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()


def test_a_killed_process(laptop: Laptop, long: Run, process: subprocess.Popen[str]) -> None:
    (folder,) = laptop.left()
    second = laptop.resume(folder)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it should not have come to its end"
    assert second.code == 2 and str(folder) in second.err and "another process" in second.err
    assert_equal_runs(laptop.resume(folder), long)


def test_ctrl_c(laptop: Laptop, long: Run, process: subprocess.Popen[str], tmp_path: Path) -> None:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    (folder,) = laptop.left()
    run = Run(0, out, err, folder)
    latest = run.read("run.json")["latest"]
    assert run.read("run.json")["status"] == "stopped" and latest["epochs"] < LONG["train_epochs"]
    assert "checkpoint" in err and "Traceback" not in err
    assert f"stopped after {latest['batches']} batches" in out
    python, *command = shlex.split(out.rpartition("go on with:")[2])
    assert python.startswith("python")
    again = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    assert_equal_runs(run, long)
