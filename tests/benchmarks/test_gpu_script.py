"""`python -m benchmarks.gpu`: each result on the disk at once, a call goes on where the last one ended, on a CPU with fakes."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import psutil
import pytest
import torch
from support.runs import ROOT, wait_until

from benchmarks import measuring, table
from benchmarks.gpu import PARTS, TABLE, main
from benchmarks.gpu_parts import epochs, fallbacks, here, resume, rows, running, tests, train, works
from benchmarks.gpu_parts.child import memory_needed
from benchmarks.gpu_parts.records import Record, Records, latest, state_of
from benchmarks.gpu_parts.split import LIST, join, split
from benchmarks.gpu_parts.task import Part, Task, ToldError, UnfinishedError
from nas.core.errors import DataError

ABOUT = {"date": "2026-11-28T02:00:00", "gpu": "", "device": "cpu", "commit": "abc1234", "command": "x"}


def part(name: str, limit: float = 60, least: float = 0) -> Part:
    return Part(name, "support.gpu_parts:items", limit, least, f"about {name}")


class Script:
    """Calls of the script with parts that measure nothing."""

    def __init__(self, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self.scratch, self.capfd = place / "results", place / "scratch", capfd

    def words(self, *more: str) -> list[str]:
        return ["--device", "cpu", "--folder", str(self.folder), "--scratch", str(self.scratch), *more]

    def call(self, parts: list[Part], *more: str, code: int = 0) -> str:
        """What it says."""
        assert main(self.words(*more), parts) == code
        said = self.capfd.readouterr()
        assert "Traceback" not in said.err
        return said.out + said.err

    def records(self) -> list[Record]:
        return Records(self.folder, "cpu", "", "2000-01-01").all()

    def found(self) -> dict[str, str]:
        return {record.item: record.state for record in latest(self.records())}

    def measured(self, item: str) -> int:
        """How often."""
        return sum(record.item == item and record.state == "done" for record in self.records())


@pytest.fixture
def script(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.syspath_prepend(str(ROOT / "tests"))
    return Script(tmp_path, capfd)


# --- what is measured


def test_everything_an_item_can_do_is_a_result_and_the_next_one_goes_on(script: Script) -> None:
    said = script.call([part("good"), part("mixed"), part("broken"), part("rows")])
    assert script.found() == {
        **{"one": "done", "two": "done", "three": "done", "a step": "done"},
        **{"fails": "failed", "tells": "failed", "skips": "skipped", "fills": "out of memory"},
        **{"crashes": "failed", "breaks": "failed", "goes on": "done"},
    }
    texts = {record.item: record.text for record in latest(script.records())}
    assert texts["fills"] == "needs about 8.5 GiB or more, and the GPU has 7.8 GiB"
    assert "fills: out of memory: needs about 8.5 GiB" in said
    assert "killed by SIGSEGV" in texts["crashes"] and texts["tells"] == "weights differ"
    assert texts["fails"].startswith("ValueError: no such kernel\nTraceback")
    (broken,) = (record for record in script.records() if record.part == "broken")
    assert (broken.item, broken.state, broken.text) == ("", "failed", "there is no data")
    wanted = {"date", "commit", "command", "device", "gpu", "torch", "cuda"}
    assert all(wanted <= record.about.keys() for record in script.records())
    (page,) = script.folder.glob("*.md")
    for line in ("| good | done | 3 done |", "| goes on | as ever |", "| tells | **failed**: weights differ |"):
        assert line in page.read_text()


def test_rows_are_files_that_the_table_reads(script: Script) -> None:
    script.call([part("rows")])
    (result,) = table.newest(script.folder)
    assert (result["benchmark"], result["device"]) == ("gpu", "cpu")
    assert result["command"] == "python -m benchmarks.gpu --device cpu --folder DIR --scratch DIR"
    assert "| a step | 2 s | 1 s | 2x (1.9 to 2.1) | 4x: **not reached** | 1 |" in table.markdown([result])


def test_the_measuring_parts_run_on_a_cpu(script: Script) -> None:
    script.call([part("real")])
    records = latest(script.records())
    assert [record.state for record in records] == ["done"] * 5, records
    products, depthwise, ours, scoring, listed = records
    sizes = {tuple(sizes) for sizes in products.result["products"].values()}
    assert sizes == {("10", "12")} and len(products.result["products"]) == 12
    assert len(depthwise.result["shapes"]) == 12
    assert ours.result["kernels"] > 100 and len(ours.result["top"]) == 10
    (row,) = scoring.result["rows"]
    assert row["plain"] > 0 and row["must"] == 10.0 and scoring.result["machine"]["cores"]
    names = listed.text.splitlines()
    assert len(names) == len(set(names))
    for name in (
        "recurrent ASHA with cuda_graphs=true against plain float32, compiled",
        "recurrent supernet, weights with cuda_graphs=true against plain float32",
        "recurrent ASHA with cuda_graphs=true kernels=triton precision=bf16 against plain bfloat16",
    ):
        assert name in names


def test_a_row_has_times_of_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "here", lambda device: {"cores": 2})
    calls = {"plain": 0, "ours": 0}

    def take(side: str, seconds: float) -> None:
        calls[side] += 1
        time.sleep(seconds)

    def make(plain: str, chosen: works.Chosen, device: str) -> tuple[works.Step, works.Step]:
        return partial(take, "plain", 0.02), partial(take, "ours", 0.01)

    work = works.Work("a", "a step", "", "", make, (), goals=((1.2, 9.0), (7.0, 8.0)))
    (row,) = rows.step(work, works.FP32, works.DEFAULT, task(tmp_path))["rows"]
    assert calls == {"plain": 4, "ours": 4 * rows.TOGETHER}
    assert 0.01 <= row["ours"] < row["plain"] and (row["reached"], row["must"]) == ("must", 1.2)
    assert row["work"] == "a step, plain in float32, ours by default"
    assert work.goals_of("cuda_graphs=true precision=bf16", works.FP32) == (7.0, 8.0)
    assert work.goals_of("", works.BF16) == (None, None)


def test_the_goals_table_fits_eight_minutes() -> None:
    assert PARTS[: len(TABLE)] == TABLE and sum(part.limit for part in TABLE) <= 8 * 60


def test_an_item_that_may_have_no_other_before_it_has_a_process_of_its_own(script: Script) -> None:
    script.call([part("apart")])
    before, own, after = (record.text for record in latest(script.records()))
    assert len({before, own, after}) == 3 and state_of(script.records(), "apart") == "done"


def test_what_runs_in_another_way_than_it_should_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallbacks, "_told", {})
    step = fallbacks.strict(lambda: 1, "cuda_graphs=true kernels=triton")
    assert step() == 1
    logging.getLogger("nas.trial.capture").warning("no CUDA graphs: no memory")
    with pytest.raises(ToldError, match="no CUDA graphs: no memory"):
        step()
    step = fallbacks.strict(lambda: 1, "cuda_graphs=true")  # of another network
    assert step() == 1
    logging.getLogger("randomNAS_files.fast.kernels.choice").warning("no C compiler")
    assert step() == 1  # it has no such kernels
    with pytest.raises(ToldError, match="no C compiler"):  # which are not tried again, nor is it said again
        fallbacks.strict(lambda: 1, "kernels=triton")()


# --- a run that is cut


def test_what_is_done_is_not_measured_again_unless_it_is_named(script: Script) -> None:
    script.call([part("good"), part("rows")])
    said = script.call([part("good"), part("rows")])
    assert "good: done before; --part good measures it again" in said and script.measured("one") == 1
    script.call([part("good"), part("rows")], "--part", "good")
    assert script.measured("one") == 2 and script.measured("a step") == 1


def test_a_run_killed_in_the_middle_of_a_part_goes_on_there(script: Script) -> None:
    parts = [part("good"), part("slow")]
    code = f"import sys; from benchmarks.gpu import *; sys.exit(main({script.words()!r}, {parts!r}))"
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    call = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.DEVNULL
    )
    wait_until((script.scratch / "waiting").exists, call)  # type: ignore[arg-type]
    others = psutil.Process(call.pid).children(recursive=True)
    call.kill()
    call.wait()
    assert others and psutil.wait_procs(others, timeout=60)[1] == []  # nobody is left who would go on
    assert (script.found()["first"], "second" in script.found()) == ("done", False)
    (file,) = script.folder.glob("*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"part": "slow", "it')  # as a kill within a line leaves it
    (script.scratch / "go").touch()
    said = script.call(parts)
    assert "is damaged: 1 of its lines left out, a copy is kept as" in said
    assert script.measured("one") == script.measured("first") == script.measured("second") == 1
    assert state_of(script.records(), "slow") == "done" and len(list(script.folder.glob("*.damaged-1"))) == 1


def test_an_item_that_never_ends_is_not_tried_again(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SHARE", 0.5 / 60)
    said = script.call([part("slow"), part("good")])
    assert "second: too slow: it did not end within 0 s" in said and "slow: done" in said
    (slow,) = (record for record in latest(script.records()) if record.item == "second")
    assert "in wait" in slow.text  # where it was
    assert script.measured("three") == 1 and "left:" not in said


def test_an_item_that_the_minutes_cut_is_tried_again(script: Script) -> None:
    said = script.call([part("slow"), part("good", least=10)], "--minutes", "0.06")
    assert "good: left out: 0 s are left, and it needs 10 s" in said and "left: slow, good; call again" in said
    assert script.found() == {"first": "done"}
    (script.scratch / "go").touch()
    script.call([part("slow")])
    assert script.found() == {"first": "done", "second": "done"}


def test_ctrl_c_ends_the_part_and_keeps_what_was_measured(script: Script) -> None:
    def interrupt() -> None:
        while not (script.scratch / "waiting").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=interrupt).start()
    said = script.call([part("slow"), part("good")], code=130)
    assert "stopped; call again to go on" in said and script.found() == {"first": "done"}
    assert signal.getsignal(signal.SIGINT) is before


def test_a_part_may_take_several_calls(script: Script) -> None:
    assert "left: endless" in script.call([part("endless")])
    assert "left:" not in script.call([part("endless")])
    assert script.found() == {"step 1": "done", "step 2": "done"}


def test_damaged_results_are_set_aside(script: Script) -> None:
    script.folder.mkdir()
    file = script.folder / "2026-01-01-gpu-cpu.jsonl"
    good = json.dumps(asdict(Record("good", "one", "done", "before", about=ABOUT)))
    damaged = b"\x00\xff\n[1]\n" + good.encode() + b'\n{"part": 3, "item": "x", "state": "done"}\n'
    file.write_bytes(damaged)
    said = script.call([part("good")])
    assert f"{file.name} is damaged: 3 of its lines left out, a copy is kept as {file.name}.damaged-1" in said
    assert file.with_name(f"{file.name}.damaged-1").read_bytes() == damaged and file.read_text() == f"{good}\n"
    assert script.measured("one") == 1 and script.measured("two") == 1


def test_results_of_another_gpu_are_others(tmp_path: Path) -> None:
    for gpu in ("H100", "H200"):
        Records(tmp_path, "cuda", gpu, "2026-01-01").append(Record("good", gpu, "done", about={**ABOUT, "gpu": gpu}))
    assert [record.item for record in Records(tmp_path, "cuda", "H200", "2026-01-02").all()] == ["H200"]


# --- bad input


@pytest.mark.parametrize("minutes", ["0", "-1", "x", "nan", "inf", "100000", ""])
def test_minutes_that_make_no_sense(script: Script, minutes: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(script.words("--minutes", minutes))
    assert left.value.code == 2
    assert f"must be a number above 0 and at most 1440, got '{minutes}'" in script.capfd.readouterr().err


def test_a_part_that_is_none(script: Script) -> None:
    said = script.call(list(PARTS), "--part", "row", "--part", "42", code=2)
    assert (
        "error: --part has no 'row'; did you mean rows?" in said and "--part has no '42'; known: rows, epochs" in said
    )


def test_a_folder_that_cannot_be_written(script: Script) -> None:
    script.folder.write_text("a file")
    said = script.call([part("good")], code=2)
    assert f"error: nothing can be written to {script.folder} (File exists); name another folder" in said


def test_a_setting_without_a_value(script: Script) -> None:
    assert "error: --set must be KEY=VALUE, got 'x'" in script.call([part("good")], "--set", "x", code=2)


def test_a_folder_in_use(script: Script) -> None:
    script.folder.mkdir()
    with filelock.FileLock(script.folder / ".lock"):
        assert "another call is at work in" in script.call([part("good")], code=2)


@pytest.mark.parametrize(
    ("built", "error", "sentence"),
    [
        (None, "", "was built without CUDA; install a build with it"),
        ("12.4", "Found no NVIDIA driver on your system.", "there is no GPU here, or no NVIDIA driver for it: PyTorch"),
        (
            "12.4",
            "The NVIDIA driver on your system is too old (found version 11040). Please update",
            r"the NVIDIA driver, which knows CUDA 11\.4 at most, is too old: PyTorch .* was built for CUDA 12\.4; update",
        ),
        ("12.4", "CUDA driver initialization failed", "CUDA cannot be used here: CUDA driver initialization failed"),
    ],
)
def test_without_a_gpu(
    script: Script, monkeypatch: pytest.MonkeyPatch, built: str | None, error: str, sentence: str
) -> None:
    def fail() -> None:
        raise RuntimeError(error)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "init", fail)
    monkeypatch.setattr(here, "driver", lambda: "unknown")
    said = script.call([part("good")], "--device", "cuda", code=2)
    assert re.search(
        f"^error: nothing was measured: .*{sentence}.*; --device cpu tries the script$", said, re.MULTILINE
    )


def test_a_hidden_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(torch.version, "cuda", "12.4")
    monkeypatch.setattr(here, "driver", lambda: "550.1")
    assert "no GPU can be seen with CUDA_VISIBLE_DEVICES=''; unset it" in str(here.why_none())


def test_a_copy_without_git_says_what_commit_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_git(*_: Any, **__: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(measuring.subprocess, "run", no_git)
    assert measuring.commit() == "unknown"
    monkeypatch.setenv("COMMIT", "abc1234")
    assert measuring.commit() == "abc1234"


def test_other_errors_are_not_full_memory() -> None:
    assert memory_needed(RuntimeError("CUDA error: launch failure")) is None
    assert memory_needed(MemoryError()) == "needs more memory than is free"


# --- the parts


TESTS = """
import os, pytest
def test_good(): pass
def test_bad(): assert 1 == 2
def test_not_here(): pytest.skip("needs two")
def test_crash(): os.kill(os.getpid(), 11)
def test_last(): pass
"""


def task(tmp_path: Path, **more: Any) -> Task:
    values: dict[str, Any] = {"part": "x", "place": "x", "device": "cpu", "folder": str(tmp_path / "results")}
    return Task(**values, scratch=str(tmp_path / "scratch"), about=ABOUT, **{"seconds": 60.0, **more})


def test_each_outcome_of_pytest_is_an_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    monkeypatch.setattr(tests, "ON_A_CPU", (str(tmp_path / "test_some.py"), "-p", "no:xdist"))
    found, prefix = {}, ""
    for name, work in tests.items(task(tmp_path)):
        try:
            prefix = prefix or name.split("::")[0]
            found[name.split("::")[-1]] = work()["text"]
        except Exception as error:
            found[name.split("::")[-1]] = f"{type(error).__name__}: {error}"
    assert found.pop("test_bad").startswith("ToldError:") and "needs two" in found.pop("test_not_here")
    end = found.pop("pytest after 0 done before")
    assert found == {
        **{"test_good": "passed", "test_crash": "ToldError: its process was killed by SIGSEGV", "test_last": "passed"},
    }
    assert end.startswith("1 passed, 4 deselected")
    left = [name for name, _ in tests.items(task(tmp_path, finished=[f"{prefix}::test_good", f"{prefix}::test_crash"]))]
    assert left[:-1] == [f"{prefix}::{name}" for name in ("test_bad", "test_not_here", "test_last")]


def test_the_tests_for_a_gpu_are_found() -> None:
    found = tests.test_files()
    assert found[:2] == list(tests.FIRST) and len(found) == len(set(found))
    assert {"tests/randomNAS_files/test_determinism.py", "tests/cnn_nas/test_cnn_fast.py"} <= set(found)


def fake_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials are those of `support.fake_trial`."""
    program = [str(ROOT / "tests" / "support" / "fake_trial.py")]
    monkeypatch.setattr(train, "PROGRAM", program)
    for module in (train, epochs):
        monkeypatch.setattr(module, "text", lambda task: (["data.corpus=text"], "made-up text"))


def trained(job: Task) -> tuple[list[str], str]:
    """Names of the epochs that came, and how it ended."""
    names = []
    try:
        for name, work in train.items(job):
            names.append(name)
            assert work()["text"]
    except UnfinishedError as error:
        return names, str(error)
    return names, "completed"


def test_training_goes_on_from_its_run_and_elsewhere_from_the_parts_of_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_trial(monkeypatch)
    (tmp_path / "results").mkdir()
    names, end = trained(task(tmp_path, seconds=2.4, split=True))
    last = int(names[-1].removeprefix("epoch "))
    assert names == [f"epoch {k}" for k in range(1, last + 1)] and end.startswith(f"{last}.00 epochs are trained")
    known = json.loads((tmp_path / "results" / LIST).read_text())
    (only,) = known["parts"]
    assert known["epochs"] == last and only["name"] == f"checkpoint-{known['sha256'][:8]}.part-001"
    names, _ = trained(task(tmp_path, seconds=2.4))
    after = int(names[-1].removeprefix("epoch "))
    assert after > last and names[last] == f"epoch {last + 1}"  # the run's own epochs come first, and are known
    (tmp_path / "scratch").rename(tmp_path / "elsewhere")
    names, end = trained(task(tmp_path, seconds=60))
    assert names[0] == f"epoch {last + 1}" and names[-2:] == ["epoch 100", "from start to end"] and end == "completed"


def test_a_checkpoint_is_carried_in_parts(tmp_path: Path) -> None:
    checkpoint, folder = tmp_path / "uuid", tmp_path / "parts"
    checkpoint.mkdir(), folder.mkdir()
    for name, data in (("state_dict.pth", bytes(range(256)) * 20), ("identity.json", b"{}")):
        (checkpoint / name).write_bytes(data)
    files = split(checkpoint, folder, largest=1000, epochs=3.0)
    assert len(files) == 7 and max(path.stat().st_size for path in files[1:]) == 1000
    joined = join(folder, tmp_path / "there")
    assert joined.name == "uuid"
    for path in checkpoint.iterdir():
        assert (joined / path.name).read_bytes() == path.read_bytes()
    assert len(split(checkpoint, folder)) == 2 and len(list(folder.iterdir())) == 2  # old parts are gone
    (only,) = folder.glob("*.part-001")
    only.write_bytes(b"other")
    with pytest.raises(DataError, match=r"part-001 is damaged: its SHA-256 is not that of checkpoint\.json"):
        join(folder, tmp_path / "again")
    only.unlink()
    with pytest.raises(DataError, match=r"part-001 cannot be read \(No such file or directory\)"):
        join(folder, tmp_path / "again")
    for wrong in (
        "{",
        "[]",
        '{"name": "../x", "parts": []}',
        '{"name": "x", "parts": [{"name": "/etc/x", "sha256": ""}]}',
    ):
        (folder / LIST).write_text(wrong)
        with pytest.raises(DataError, match="is no list of a split checkpoint"):
            join(folder, tmp_path / "again")


def test_a_difference_after_a_resume_is_told() -> None:
    state = {"models": [{"w": torch.ones(2), "b": torch.zeros(1)}], "optimizers": [{"lr": 0.1}]}
    assert resume.equal(state, state) == 2
    other = {"models": [{"w": torch.tensor([1.0, 1.0 + 1e-7]), "b": torch.zeros(1)}], "optimizers": [{"lr": 0.1}]}
    with pytest.raises(ToldError, match=r"models\.0\.w differs after a resume"):
        resume.equal(state, other)
    with pytest.raises(ToldError, match=r"optimizers\.0\.lr differs after a resume: 0\.1 and 0\.2"):
        resume.equal(state, {**state, "optimizers": [{"lr": 0.2}]})


def test_tasks_are_told_as_they_are(tmp_path: Path) -> None:
    job = replace(task(tmp_path), finished=["a", "b"], data_dir="/data")
    assert Task.from_json(job.to_json()) == job
