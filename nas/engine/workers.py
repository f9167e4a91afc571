"""Trials in processes of their own: how they start, what they say, how they are stopped.

A trial of one slot is forked from a process that has imported torch already (multiprocessing's forkserver), which saves
seconds a trial; one of several slots is started by torchrun. Each connects to the engine's socket and is known by its number.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import queue
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from nas.core.program import ROOT, command
from nas.engine import worker_main
from nas.engine.placement import Placement
from nas.runs.engine_protocol import KEY


def warm_up(folder: Path, preload: str | None) -> None:
    """Start the process from which trials are forked; it takes seconds to import what they need, so begin early.

    Args:
        folder: of the trial's program.
        preload: module of the trial; None for a program that imports for itself.
    """
    # torch's own optimisers, which a program of somebody's own may use, import torch._dynamo, which takes seconds.
    forkserver.set_forkserver_preload([preload] if preload else ["nas.trial", "torch._dynamo"])
    known = os.environ.get("PYTHONPATH")
    here = os.getcwd()
    try:
        others = [os.path.abspath(entry) for entry in (known or "").split(os.pathsep) if entry]
        os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(folder), str(ROOT), *others]))
        os.chdir(folder)  # the process imports from the folder in which it starts before any other
        forkserver.ensure_running()
    finally:
        os.chdir(here)
        os.environ.pop("PYTHONPATH")
        os.environ.update({} if known is None else {"PYTHONPATH": known})


LAST_WORDS = 1.0
"""Seconds in which what a process said before its end may still arrive, where nothing of it has been heard."""


@dataclass
class Process:
    """A trial's process."""

    pid: int
    wait: Callable[[], int]  # until it ends; returns its exit status, negative for a signal
    connection: Connection | None = None
    reader: threading.Thread | None = None
    spoke: threading.Event = field(default_factory=threading.Event)  # set once there are a connection and a reader


Message = tuple[int, dict[str, Any]]
"""A trial's number and what it says; {"say": "exit", "code": ...} is said for it when its process has ended."""


class WorkerPool:
    """The processes.

    Args:
        folder: of the trial's program, which imports from it first.
        program: what runs a trial: `["-m", module]` or `[script]`.
        slots: processes of a trial.

    A pool has an end: `close` it.
    """

    def __init__(self, folder: Path, program: Sequence[str], slots: int) -> None:
        self.messages: queue.Queue[Message] = queue.Queue()
        self._folder, self._program, self._slots = str(folder), list(program), slots
        self._processes: dict[int, Process] = {}
        self._starting = threading.Lock()  # a process may speak before it is among them
        self._key = secrets.token_bytes(32)
        self._listener = Listener(authkey=self._key)
        self._context = multiprocessing.get_context("forkserver")
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    @property
    def numbers(self) -> list[int]:
        """The trials whose processes have not ended."""
        return list(self._processes)

    def start(self, number: int, folder: Path, placement: Placement) -> None:
        """Start a trial's process, which goes on from what lies in its folder."""
        address = self._listener.address
        arguments = ["--resume", str(folder), "--engine", str(address)]
        arguments += ["--device", placement.device, "--threads", str(placement.threads)]
        environment = {KEY: self._key.hex(), "PYTHONUNBUFFERED": "1"}
        if placement.visible:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(placement.visible)
        start = self._fork if self._slots == 1 else self._torchrun
        with self._starting:
            process = self._processes[number] = start(arguments, folder / "log.txt", environment)
        threading.Thread(target=self._wait, args=(number, process), name=f"trial {number}", daemon=True).start()

    def answer(self, number: int, *, stop: bool) -> None:
        """Tell a trial whether to stop after the validation that it reported."""
        process = self._processes.get(number)
        if process is not None and process.connection is not None:
            with suppress(OSError):  # it died meanwhile; its end will be told
                process.connection.send_bytes(b'{"stop": true}' if stop else b'{"stop": false}')

    def signal(self, number: int, sign: signal.Signals) -> None:
        """Send a signal to a trial: SIGTERM asks it for a checkpoint and an end, SIGKILL for nothing."""
        process = self._processes.get(number)
        if process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if sign == signal.SIGKILL:
                os.killpg(process.pid, sign)
            else:
                os.kill(process.pid, sign)

    def close(self) -> None:
        """Kill what still runs."""
        for number in self.numbers:
            self.signal(number, signal.SIGKILL)
        with suppress(OSError):
            self._listener.close()

    def _fork(self, arguments: list[str], log: Path, environment: dict[str, str]) -> Process:
        process = self._context.Process(
            target=worker_main.run, args=(self._folder, self._program, arguments, str(log), environment)
        )
        process.start()

        def wait() -> int:
            process.join()
            return process.exitcode or 0

        assert process.pid is not None
        return Process(process.pid, wait)

    def _torchrun(self, arguments: list[str], log: Path, environment: dict[str, str]) -> Process:
        launcher = command(ROOT, ["-m", "torch.distributed.run"])
        launcher += ["--standalone", "--nproc-per-node", str(self._slots)]  # on a free port
        program = command(self._folder, self._program)[1:]  # torchrun brings its own Python
        with log.open("ab") as output:
            process = subprocess.Popen(
                [*launcher, *program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        return Process(process.pid, process.wait)

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except multiprocessing.AuthenticationError:
                continue
            except (OSError, EOFError):
                return
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: Connection) -> None:
        number = None
        with suppress(EOFError, OSError):
            while True:
                message = json.loads(connection.recv_bytes())
                if number is None:
                    number = int(message["trial"])
                    with self._starting:
                        process = self._processes.get(number)
                    if process is None:
                        return  # it has ended, and so it was told
                    process.connection, process.reader = connection, threading.current_thread()
                    process.spoke.set()
                self.messages.put((number, message))

    def _wait(self, number: int, process: Process) -> None:
        code = process.wait()
        if process.spoke.wait(timeout=LAST_WORDS) and process.reader is not None:
            process.reader.join(timeout=10)  # its last words come first
        del self._processes[number]
        self.messages.put((number, {"say": "exit", "code": code}))
