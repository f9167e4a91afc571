"""Processes of a trial without what starting them costs: torch and the trial are imported once for all of them.

`start` and `torchrun` in `runs.py` start what users start: a process takes two seconds of a CPU to import torch, and for two
processes there is a launcher, too. That they start is the matter of a few tests only; to the others these are the same.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch.distributed import TCPStore

from support.runs import DEADLINE, ROOT, Kind, environment

SERVER = Path(__file__).with_name("fork_server.py")
HOST = "127.0.0.1"


def _facts(store: TCPStore) -> list[dict[str, str]]:
    """What torchrun tells each of its two processes; the store is the launcher's there too."""
    common = {"MASTER_ADDR": HOST, "MASTER_PORT": str(store.port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    common |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), "2") | {"GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    common |= {"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0", "TORCHELASTIC_RUN_ID": "none"}
    return [{**common, **dict.fromkeys(("RANK", "LOCAL_RANK", "ROLE_RANK"), str(rank))} for rank in range(2)]


class Server:
    """The process from which they are forked; of one process of the tests, and ends with it."""

    def __init__(self) -> None:
        variables = {**environment(), "PYTHONPATH": str(ROOT)}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, str(SERVER)], cwd=ROOT, env=variables, **pipes)
        self._lock, self._read, self.codes = threading.RLock(), b"", dict[int, int]()
        atexit.register(self._process.kill)

    def start(self, request: dict[str, Any]) -> list[int]:
        """The processes' ids."""
        with self._lock:
            assert self._process.stdin is not None
            self._process.stdin.write((json.dumps(request) + "\n").encode())
            self._process.stdin.flush()
            while not (said := self.listen(None)):
                pass
            return said

    def listen(self, seconds: float | None = 0.0) -> list[int]:
        """Note who has ended; returns the ids of those who have started."""
        with self._lock:
            started: list[int] = []
            assert self._process.stdout is not None
            while not started and select.select([self._process.stdout], [], [], seconds)[0]:
                read = os.read(self._process.stdout.fileno(), 1 << 16)
                assert read, "the server from which processes are forked has ended"
                *lines, self._read = (self._read + read).split(b"\n")
                for said in map(json.loads, lines):
                    if "pids" in said:
                        started = said["pids"]
                    else:
                        self.codes[said["pid"]] = said["code"]
            return started


_first = threading.Lock()


def server() -> Server:
    """The one there is; two threads that ask at once start one."""
    with _first:
        return _started()


_started = functools.cache(Server)


class Forked:
    """Processes of a trial in a group of their own, with the interface of one `subprocess.Popen`.

    Args:
        facts: for each process, what it is told in its environment.
    """

    def __init__(
        self, arguments: list[str], kind: Kind, cwd: Path = ROOT, facts: Sequence[dict[str, str]] = ({},)
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = {name: str(Path(self._folder.name, name)) for name in ("out", "err")}
        request = {"trial": kind.trial, "arguments": arguments, "environments": facts, "cwd": str(cwd)}
        self._server = server()
        self._pids = self._server.start({**request, **self._files})
        self.pid = self._pids[0]

    @property
    def returncode(self) -> int | None:
        """That of the first that failed; None while one runs."""
        codes = [self._server.codes.get(pid) for pid in self._pids]
        return None if None in codes else next((code for code in codes if code), 0)

    def poll(self) -> int | None:
        self._server.listen()
        return self.returncode

    def communicate(self, timeout: float = DEADLINE) -> tuple[str, str]:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"processes {self._pids}", timeout)
            time.sleep(0.01)
        out, err = (Path(file).read_text() if os.path.exists(file) else "" for file in self._files.values())
        return out, err

    def wait(self) -> int:
        self.communicate()
        assert self.returncode is not None
        return self.returncode

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)


class Two(Forked):
    """What `torchrun` in `runs.py` starts, without the launcher."""

    def __init__(self, arguments: list[str], kind: Kind) -> None:
        self._store = TCPStore(HOST, 0, is_master=True, wait_for_workers=False)
        super().__init__([*arguments, "--device", "cpu"], kind, facts=_facts(self._store))
