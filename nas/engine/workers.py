"""Trials in processes of their own: how they start, what they say, how they are stopped.

A trial of one slot is forked, see `forking`, unless its entrypoint asks for a Python of its own; one of several slots is
started by torchrun. Each connects to the engine's socket and is known by its number.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from nas.config.contract import CONTRACT
from nas.config.entrypoint import Entrypoint
from nas.core.program import ROOT, command
from nas.engine import worker_main
from nas.engine.forking import fork
from nas.engine.forking import warm_up as warm_up  # of the pool's processes
from nas.engine.placement import Placement
from nas.engine.process_tree import MARK, kill_tree
from nas.runs.engine_protocol import KEY, LEAVE, SAYS

LAST_WORDS = 10.0
"""Seconds in which what a process said before its end is read."""

STRANGERS = 2.0
"""Seconds in which a client that nobody knows yet may turn out to be a trial that has ended meanwhile."""


@dataclass
class Process:
    """A trial's process."""

    pid: int
    wait: Callable[[], int]  # until it ends; returns its exit status, negative for a signal
    mark: str = ""  # see `process_tree.MARK`
    connection: Connection | None = None
    reader: threading.Thread | None = None
    told_to_leave: bool = False


Message = tuple[int, dict[str, Any]]
"""A trial's number and what it says; {"say": "exit", "code": ...} is said for it when its process has ended."""


Started = tuple[int, Callable[[], int]]
"""A process's id, and what waits for its end and returns its exit status."""


class WorkerPool:
    """The processes.

    Args:
        program: what a trial runs.
        slots: processes of a trial.

    A pool has an end: `close` it.
    """

    def __init__(self, program: Entrypoint, slots: int) -> None:
        self.messages: queue.Queue[Message] = queue.Queue()
        self._program, self._slots = program, slots
        self._processes: dict[int, Process] = {}
        self._starting = threading.Lock()  # a process may speak before it is among them
        self._strangers: set[threading.Event] = set()  # one a client that has not said yet which trial it is
        self._closed = False
        self._key = secrets.token_bytes(32)
        self._listener = Listener()
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    @property
    def numbers(self) -> list[int]:
        """The trials whose processes have not ended."""
        return list(self._processes)

    def start(self, number: int, folder: Path, placement: Placement) -> None:
        """Start a trial's process, which goes on from what lies in its folder; if that fails, it has ended."""
        arguments = [*self._program.arguments, "--resume", str(folder), "--engine", str(self._listener.address)]
        threads = "--threads" if placement.settled else "--threads-at-most"
        arguments += ["--device", placement.device, threads, str(placement.threads)]
        mark = secrets.token_hex(8)
        environment = {**dict(self._program.environment), KEY: self._key.hex(), MARK: mark, "PYTHONUNBUFFERED": "1"}
        if placement.visible:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(placement.visible)
        own_python = self._program.options or self._program.environment
        start = self._torchrun if self._slots > 1 else self._spawn if own_python else self._fork
        try:
            with self._starting:
                pid, wait = start(arguments, folder / "log.txt", environment)
                process = self._processes[number] = Process(pid, wait, mark)
        except (OSError, EOFError) as error:
            self._say_ended(number, f"its process could not be started ({error})")
            self.messages.put((number, {"say": "exit", "code": 1}))
            return
        threading.Thread(target=self._wait, args=(number, process), name=f"trial {number}", daemon=True).start()

    def answer(self, number: int, *, stop: bool) -> None:
        """Tell a trial whether to stop after the validation that it reported."""
        if process := self._processes.get(number):
            self._tell(process, {"stop": stop, **(LEAVE if process.told_to_leave else {})})

    def signal(self, number: int, sign: signal.Signals) -> None:
        """Send a signal to a trial: SIGTERM asks it for a checkpoint and an end, SIGKILL for nothing.

        Of several processes the first is asked over its connection: torchrun, if it gets a signal, kills them all 30 s later.
        """
        process = self._processes.get(number)
        if process is None:
            return
        if sign == signal.SIGKILL:
            kill_tree(process.pid, process.mark)
            return
        process.told_to_leave = True
        if self._slots > 1 and process.connection is not None:
            self._tell(process, LEAVE)
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process.pid, sign)

    def close(self) -> None:
        """Kill what still runs."""
        for number in self.numbers:
            self.signal(number, signal.SIGKILL)
        self._closed = True
        with suppress(OSError):
            self._listener.close()

    def _tell(self, process: Process, what: dict[str, bool]) -> None:
        if process.connection is not None:
            with suppress(OSError):  # it died meanwhile; its end will be told
                process.connection.send_bytes(json.dumps(what).encode())

    def _say_ended(self, number: int, error: str, outcome: str = "error") -> None:
        self.messages.put((number, {"say": "ended", "outcome": outcome, "errors": [error]}))

    # Starting

    def _fork(self, arguments: list[str], log: Path, environment: dict[str, str]) -> Started:
        program = self._program
        return fork(worker_main.run, (str(program.folder), program.program, arguments, str(log), environment))

    def _spawn(self, arguments: list[str], log: Path, environment: dict[str, str]) -> Started:
        return self._run([*self._command(), *arguments], log, environment)

    def _torchrun(self, arguments: list[str], log: Path, environment: dict[str, str]) -> Started:
        launcher = command(ROOT, ["-m", "torch.distributed.run"], with_parent=True)
        launcher += ["--standalone", "--nproc-per-node", str(self._slots), "--no-python"]  # on a free port
        return self._run([*launcher, *self._command(), *arguments], log, environment)

    def _command(self) -> list[str]:
        program = self._program
        return command(program.folder, program.program, program.options, with_parent=True)

    def _run(self, words: list[str], log: Path, environment: dict[str, str]) -> Started:
        with log.open("ab") as output:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        return process.pid, process.wait

    # Listening

    def _accept(self) -> None:
        """Let clients in, each of which is listened to by a thread of its own, whatever it does or does not do."""
        while not self._closed:
            try:
                connection = self._listener.accept()
            except OSError:  # closed; or a client hung up, or there are too many files open
                time.sleep(0.05)
                continue
            known = threading.Event()
            self._strangers.add(known)
            threading.Thread(target=self._listen, args=(connection, known), daemon=True).start()

    def _listen(self, connection: Connection, known: threading.Event) -> None:
        strange = (AuthenticationError, AssertionError, ValueError, LookupError, TypeError)
        with connection, suppress(EOFError, OSError, *strange):
            try:
                deliver_challenge(connection, self._key)
                answer_challenge(connection, self._key)
                self._read(connection, known)
            finally:
                self._strangers.discard(known)
                known.set()

    def _read(self, connection: Connection, known: threading.Event) -> None:
        number = None
        while True:
            message = json.loads(connection.recv_bytes())
            if number is None:
                number = int(message["trial"])
                with self._starting:
                    process = self._processes.get(number)
                if process is None:
                    return  # it has ended, and so it was told
                process.connection, process.reader = connection, threading.current_thread()
                known.set()
            if not SAYS[message["say"]] <= message.keys():
                raise ValueError(message)
            self.messages.put((number, message))

    def _wait(self, number: int, process: Process) -> None:
        code = process.wait()
        kill_tree(process.pid, process.mark)  # what it leaves behind holds its folder, and would train on
        deadline = time.monotonic() + STRANGERS
        for known in list(self._strangers) if process.reader is None else []:
            known.wait(max(0, deadline - time.monotonic()))
        if process.reader is not None:
            process.reader.join(LAST_WORDS)  # its last words come first
        elif self._program.trial is None and not process.told_to_leave:
            self._say_ended(number, f"{self._program.module} reported nothing to nas run; {CONTRACT}", "mute")
        del self._processes[number]
        self.messages.put((number, {"say": "exit", "code": code}))
