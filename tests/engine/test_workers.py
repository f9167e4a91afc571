"""The pool of processes: what a program says arrives, answers reach it, and the way it ends is told. None imports torch."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from support.engine import LENGTH, FakeTrial, Script
from support.nas_run import DEADLINE
from support.runs import ROOT

from nas.config.entrypoint import Entrypoint
from nas.core.program import ORPHANED
from nas.engine.forking import fork, warm_up
from nas.engine.placement import Placement
from nas.engine.workers import WorkerPool
from nas.runs.engine_protocol import KEY, SAYS
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


def program(folder: Path, text: str, trial: str | None = "program:Trial", **more: Any) -> Entrypoint:
    script = folder / "program.py"
    script.write_text(HEADER.format(client=str(ROOT / "nas" / "trial" / "engine_client.py")) + text)
    return Entrypoint("program", False, (str(script),), folder, trial, **more)


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """With next to nothing imported."""
    warm_up(ROOT, "nas.engine.worker_main")


@pytest.fixture
def pools() -> Iterator[list[WorkerPool]]:
    """Pools to be closed."""
    made: list[WorkerPool] = []
    yield made
    for pool in made:
        pool.close()


def begin(tmp_path: Path, pools: list[WorkerPool], text: str, slots: int = 1, **more: Any) -> WorkerPool:
    pool = WorkerPool(program(tmp_path, text, **more), slots)
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
        pid, wait = fork(self, *arguments)
        code = wait()
        return pid, lambda: code

    def slow_read(self: WorkerPool, *arguments: Any) -> None:
        time.sleep(0.2)
        read(self, *arguments)

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
client.threads(2)
client.note("look")
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
    real = [hear(pool) for _ in range(5)]
    pool.answer(7, stop=stop)
    real += [hear(pool), hear(pool)]
    assert [message["say"] for message in real] == [*SAYS, "exit"]  # all that there is to say
    assert real[5] == {"say": "ended", "outcome": "stopped" if stop else "completed", "errors": ["because"]}
    assert real[6] == {"say": "exit", "code": 3} and pool.numbers == []

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


# Clients that are no trials, and trials that take their time


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff\xff\xff\xff", b"\x00\x00\x00\x03abc"])
@pytest.mark.parametrize("hangs_up", [True, False])
def test_a_stranger_neither_ends_nor_holds_up_the_engine(
    tmp_path: Path, pools: list[WorkerPool], said: bytes, hangs_up: bool
) -> None:
    pool = WorkerPool(program(tmp_path, CONNECT + "client.ended('completed')"), 1)
    pools.append(pool)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(pool._listener.address)
        stranger.sendall(said)
        if hangs_up:
            stranger.close()
        (tmp_path / "7").mkdir()
        pool.start(7, tmp_path / "7", PLACEMENT)
        assert [hear(pool)["say"] for _ in range(3)] == ["started", "ended", "exit"]


@pytest.mark.parametrize("message", [b"{", b"[]", b"{}", b'{"say": "progress"}', b'{"say": 3, "trial": 7}', b"\xff"])
def test_what_is_not_the_protocol_ends_that_connection_only(
    tmp_path: Path, pools: list[WorkerPool], message: bytes
) -> None:
    pool = WorkerPool(program(tmp_path, CONNECT + "client.ended('completed')"), 1)
    pools.append(pool)
    with Client(pool._listener.address, authkey=pool._key) as stranger:
        stranger.send_bytes(message)
        with pytest.raises((EOFError, OSError)):
            stranger.recv_bytes()
    (tmp_path / "7").mkdir()
    pool.start(7, tmp_path / "7", PLACEMENT)
    assert [hear(pool)["say"] for _ in range(3)] == ["started", "ended", "exit"]


def test_a_client_that_the_system_refuses_is_not_the_last_one(
    tmp_path: Path, pools: list[WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`accept` fails when a client has hung up already, or too many files are open."""
    accept, failures = Listener.accept, [OSError(errno.EMFILE, "too many open files"), OSError(errno.ECONNABORTED, "")]

    def failing(self: Listener) -> Any:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(Listener, "accept", failing)
    assert hear(begin(tmp_path, pools, CONNECT + "client.ended('completed')"))["say"] == "started" and not failures


def test_each_exit_status_is_read_once_and_right() -> None:
    """A start reads the statuses of all that have ended, as the threads do that wait for them."""
    codes: dict[int, int] = {}

    def wait(number: int, until_end: Callable[[], int]) -> None:
        codes[number] = until_end()

    threads = []
    for number in range(60):
        _, until_end = fork(sys.exit, (number,))
        threads.append(threading.Thread(target=wait, args=(number, until_end)))
        threads[-1].start()
    for thread in threads:
        thread.join(DEADLINE)
    assert codes == {number: number for number in range(60)}


def test_a_process_that_cannot_be_started_is_a_trial_that_has_failed(
    tmp_path: Path, pools: list[WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: Any) -> Any:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(WorkerPool, "_fork", no_memory)
    pool = begin(tmp_path, pools, "")
    said = hear(pool)
    assert said["outcome"] == "error" and "could not be started" in said["errors"][0] and "memory" in said["errors"][0]
    assert hear(pool) == {"say": "exit", "code": 1} and pool.numbers == []


# Programs of somebody's own


@pytest.mark.parametrize("code", [0, 3])
def test_a_program_of_somebodys_own_that_reports_nothing_is_told_of_the_contract(
    tmp_path: Path, pools: list[WorkerPool], code: int
) -> None:
    pool = begin(tmp_path, pools, f"sys.exit({code})", trial=None)
    said = hear(pool)
    assert (said["say"], said["outcome"]) == ("ended", "mute") and "nas.trial.main" in said["errors"][0]
    assert hear(pool) == {"say": "exit", "code": code}


def test_a_program_that_was_told_to_leave_is_not_blamed_for_its_silence(
    tmp_path: Path, pools: list[WorkerPool]
) -> None:
    pool = begin(tmp_path, pools, "time.sleep(600)", trial=None)
    pool.signal(7, signal.SIGTERM)
    assert hear(pool) == {"say": "exit", "code": -signal.SIGTERM}


def test_options_arguments_and_variables_of_an_entrypoint_are_kept(tmp_path: Path, pools: list[WorkerPool]) -> None:
    more: dict[str, Any] = {"options": ("-O", "-Wignore"), "arguments": ("--fast", "a b"), "environment": (("N", "5"),)}
    text = "print(sys.flags.optimize, sys.warnoptions, sys.argv[1:4], os.environ['N'])"
    assert hear(begin(tmp_path, pools, text, **more)) == {"say": "exit", "code": 0}
    assert (tmp_path / "7" / "log.txt").read_text() == "1 ['ignore'] ['--fast', 'a b', '--resume'] 5\n"


# Nobody is left


CHILD = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(child.pid, flush=True)
"""


@pytest.mark.parametrize("end", ["killed", "ends by itself", "dies"])
def test_nothing_that_a_trial_started_outlives_it(tmp_path: Path, pools: list[WorkerPool], end: str) -> None:
    text = (
        CONNECT
        + CHILD
        + {"killed": "client.progress(1, 2); time.sleep(600)", "dies": "os.kill(os.getpid(), 9)"}.get(end, "")
    )
    pool = begin(tmp_path, pools, text)
    assert hear(pool)["say"] == "started"
    if end == "killed":
        assert hear(pool)["say"] == "progress"
        pool.signal(7, signal.SIGKILL)
    assert hear(pool)["code"] == (0 if end == "ends by itself" else -signal.SIGKILL)
    child = int((tmp_path / "7" / "log.txt").read_text())
    deadline = time.monotonic() + DEADLINE  # it is killed by then, but a process needs a moment to die
    while runs(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not runs(child)


def runs(pid: int) -> bool:
    """Whether a process is there, and not only as what its parent has not asked for yet."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_the_server_outlives_signals_to_its_whole_group(tmp_path: Path, pools: list[WorkerPool]) -> None:
    """As a closed terminal sends them, or a batch system: the engine then still wants to know how its trials end."""
    pool = begin(tmp_path, pools, CONNECT + "client.validation({}); sys.exit(5)")
    assert [hear(pool)["say"] for _ in range(2)] == ["started", "validation"]
    for sign in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        os.kill(forkserver._forkserver._forkserver_pid, sign)  # type: ignore[attr-defined]
    pool.answer(7, stop=False)
    assert hear(pool) == {"say": "exit", "code": 5}


def test_several_processes_are_asked_to_leave_over_the_connection(
    tmp_path: Path, pools: list[WorkerPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal would go to torchrun, which gives them 30 s. One process stands for it and them here."""
    monkeypatch.setattr(WorkerPool, "_torchrun", WorkerPool._spawn)
    wait = "\nwhile not client.told_to_leave: time.sleep(0.01)\n"
    stop = "stop = client.validation({}); client.ended(f'{stop} {client.stopped}')"
    pool = begin(tmp_path, pools, CONNECT + wait + stop, slots=2)
    assert hear(pool)["say"] == "started"
    pool.signal(7, signal.SIGTERM)
    assert hear(pool)["say"] == "validation"
    pool.answer(7, stop=True)
    assert hear(pool)["outcome"] == "True False"  # it stops, and the searcher has not stopped it
    assert hear(pool) == {"say": "exit", "code": 0}


@pytest.mark.parametrize("engine", ["gone", "another one"])
def test_a_trial_whose_engine_is_gone_leaves_quietly(tmp_path: Path, pools: list[WorkerPool], engine: str) -> None:
    pool = WorkerPool(program(tmp_path, CONNECT), 1)
    address, key = pool._listener.address, "00" if engine == "another one" else pool._key.hex()
    pools.append(pool)
    if engine == "gone":
        pool.close()
    words = [sys.executable, str(tmp_path / "program.py"), "--engine", str(address), "--resume", "7"]
    environment = {**os.environ, KEY: key, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == ORPHANED and len(done.stderr.splitlines()) == 1 and "nas run has ended" in done.stderr


def test_torchrun_starts_a_process_for_each_slot(tmp_path: Path, pools: list[WorkerPool]) -> None:
    said = "import neighbour; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], flush=True)\n"
    (tmp_path / "neighbour.py").write_text("")
    pool = begin(tmp_path, pools, said + "if os.environ['RANK'] != '0': sys.exit(0)\n" + TALK.replace("(3)", "(0)"), 2)
    assert [hear(pool)["say"] for _ in range(5)] == list(SAYS)[:5]
    pool.answer(7, stop=True)
    assert hear(pool)["outcome"] == "stopped" and hear(pool) == {"say": "exit", "code": 0}
    log = (tmp_path / "7" / "log.txt").read_text()
    assert "rank 0 of 2" in log and "rank 1 of 2" in log
