"""The pool of processes: what a program says arrives, answers reach it, and the way it ends is told. None imports torch."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.engine import LENGTH, FakeTrial, Script
from support.nas_run import DEADLINE
from support.runs import ROOT

from nas.engine.placement import Placement
from nas.engine.workers import WorkerPool, warm_up
from nas.runs.run_folder import RunFolder, new_run

HEADER = """
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("engine_client", {client!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)  # nas.trial itself would import torch
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
"""
CONNECT = """
client = module.EngineClient(words["--engine"], int(os.path.basename(words["--resume"])))
"""
PLACEMENT = Placement("CPU", "cpu", (), 1)


def program(folder: Path, text: str) -> list[str]:
    script = folder / "program.py"
    script.write_text(HEADER.format(client=str(ROOT / "nas" / "trial" / "engine_client.py")) + text)
    return [str(script)]


@pytest.fixture(scope="module", autouse=True)
def forkserver() -> None:
    """With next to nothing imported."""
    warm_up(ROOT, "nas.engine.worker_main")


@pytest.fixture
def pools() -> Iterator[list[WorkerPool]]:
    """Pools to be closed."""
    made: list[WorkerPool] = []
    yield made
    for pool in made:
        pool.close()


def begin(tmp_path: Path, pools: list[WorkerPool], text: str, slots: int = 1) -> WorkerPool:
    pool = WorkerPool(tmp_path, program(tmp_path, text), slots)
    pools.append(pool)
    (tmp_path / "7").mkdir()
    pool.start(7, tmp_path / "7", PLACEMENT)
    return pool


def hear(pool: WorkerPool) -> dict[str, Any]:
    number, message = pool.messages.get(timeout=DEADLINE)
    assert number == 7
    return message


def test_what_a_trial_says_before_it_is_known_or_after_its_end_is_heard(
    tmp_path: Path, pools: list[WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine: the process has spoken and ended before the pool goes on, or is read only after its end."""
    fork, read = WorkerPool._fork, WorkerPool._read

    def slow_fork(self: WorkerPool, *arguments: Any) -> Any:
        process = fork(self, *arguments)
        process.wait()
        return process

    def slow_read(self: WorkerPool, connection: Any) -> None:
        time.sleep(0.2)
        read(self, connection)

    text = CONNECT + "client.progress(5, 40); client.ended('completed', [])"
    for name, slow in (("_fork", slow_fork), ("_read", slow_read)):
        (tmp_path / name).mkdir()
        with monkeypatch.context() as patch:
            patch.setattr(WorkerPool, name, slow)
            pool = begin(tmp_path / name, pools, text)
            said = [hear(pool)["say"] for _ in range(4)]
        assert said == ["started", "progress", "ended", "exit"] and pool.numbers == []


TALK = (
    CONNECT
    + """
client.progress(5, 40)
stop = client.validation({"loss": 0.5, "epochs": 1, "batches": 10})
client.ended("stopped" if stop else "completed", ["because"])
sys.exit(3)
"""
)


@pytest.mark.parametrize("stop", [True, False])
def test_the_fake_protocol_is_the_real_one(tmp_path: Path, pools: list[WorkerPool], stop: bool) -> None:
    """The messages of `EngineClient` through a `WorkerPool` have the keys, and types, of those of `FakeTrial`."""
    pool = begin(tmp_path, pools, TALK)
    real = [hear(pool) for _ in range(3)]
    pool.answer(7, stop=stop)
    real += [hear(pool), hear(pool)]
    assert [message["say"] for message in real] == ["started", "progress", "validation", "ended", "exit"]
    assert real[3] == {"say": "ended", "outcome": "stopped" if stop else "completed", "errors": ["because"]}
    assert real[4] == {"say": "exit", "code": 3} and pool.numbers == []

    folder = tmp_path / "fake" / "0"
    folder.mkdir(parents=True)
    RunFolder.fill(folder, {"searcher": {"metric": "loss"}}, new_run({}, 1, {}))
    fake, messages = FakeTrial(folder, PLACEMENT, Script()), []
    while not messages or messages[-1]["say"] != "exit":
        fake.waits = False
        messages.append(fake.act())
    assert len(messages) == 2 * LENGTH + 3
    shape = {message["say"]: {name: type(value) for name, value in message.items()} for message in real}
    for message in messages:
        assert {name: type(value) for name, value in message.items()} == shape[message["say"]]


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_a_trial_and_its_number_is_told(
    tmp_path: Path, pools: list[WorkerPool], sign: signal.Signals
) -> None:
    pool = begin(tmp_path, pools, CONNECT + "time.sleep(600)")
    assert hear(pool)["say"] == "started"
    pool.signal(7, sign)
    assert hear(pool) == {"say": "exit", "code": -sign}


@pytest.mark.parametrize(("text", "code"), [("sys.exit(5)", 5), ("", 0), ("raise KeyError", 1), ("os.abort()", -6)])
def test_a_program_that_says_nothing_ends_with_its_exit_status(
    tmp_path: Path, pools: list[WorkerPool], text: str, code: int
) -> None:
    assert hear(begin(tmp_path, pools, text)) == {"say": "exit", "code": code}


def test_closing_a_pool_kills_what_still_runs(tmp_path: Path, pools: list[WorkerPool]) -> None:
    pool = begin(tmp_path, pools, CONNECT + "time.sleep(600)")
    assert hear(pool)["say"] == "started"
    pool.close()
    assert hear(pool) == {"say": "exit", "code": -signal.SIGKILL}


def test_output_goes_to_the_log_and_neighbours_can_be_imported(tmp_path: Path, pools: list[WorkerPool]) -> None:
    (tmp_path / "neighbour.py").write_text("WORD = 'from next door'\n")
    pool = begin(tmp_path, pools, "import neighbour; print(neighbour.WORD); print('oh', file=sys.stderr)")
    assert hear(pool) == {"say": "exit", "code": 0}
    assert {"from next door", "oh"} <= {*(tmp_path / "7" / "log.txt").read_text().splitlines()}


def test_torchrun_starts_a_process_for_each_slot(tmp_path: Path, pools: list[WorkerPool]) -> None:
    said = "import neighbour; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], flush=True)\n"
    (tmp_path / "neighbour.py").write_text("")
    pool = begin(tmp_path, pools, said + "if os.environ['RANK'] != '0': sys.exit(0)\n" + TALK.replace("(3)", "(0)"), 2)
    assert [hear(pool)["say"] for _ in range(3)] == ["started", "progress", "validation"]
    pool.answer(7, stop=True)
    assert hear(pool)["outcome"] == "stopped" and hear(pool) == {"say": "exit", "code": 0}
    log = (tmp_path / "7" / "log.txt").read_text()
    assert "rank 0 of 2" in log and "rank 1 of 2" in log
