"""Processes forked from one that has imported torch already (multiprocessing's forkserver), which saves seconds a trial."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, resource_tracker
from pathlib import Path
from typing import Any

from nas.core.program import ROOT

NOT_FOR_THE_SERVER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that a whole group of processes may get at once; the engine then asks its trials, which needs the server."""

_lock = threading.Lock()  # a start reads the exit status of whoever has ended, which can be read only once


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
        resource_tracker.ensure_running()  # or the server would start it, and let the signals through
        with _held_back():
            forkserver.ensure_running()
    finally:
        os.chdir(here)
        os.environ.pop("PYTHONPATH")
        os.environ.update({} if known is None else {"PYTHONPATH": known})


def fork(target: Callable[..., None], arguments: Sequence[Any]) -> tuple[int, Callable[[], int]]:
    """Start `target(*arguments)`; returns the process's id, and what waits for its end and returns its exit status.

    Raises:
        OSError, EOFError: it could not be started.
    """
    process = multiprocessing.get_context("forkserver").Process(target=target, args=tuple(arguments))
    with _lock, _held_back():  # if somebody has killed the server, another one is started
        process.start()

    def wait() -> int:
        connection.wait([process.sentinel])
        with _lock:
            process.join()
            code = process.exitcode or 0
        process.close()
        return code

    assert process.pid is not None
    return process.pid, wait


def let_signals_through() -> None:
    """In a forked process: signals arrive again that the server holds back."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, NOT_FOR_THE_SERVER)


@atexit.register
def _end_server() -> None:
    """It would import to its end, and hold the output open, before it noticed that nobody is left."""
    if pid := getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def _held_back() -> Iterator[None]:
    """Signals that arrive within the block come after it; a process that is started within never gets them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_FOR_THE_SERVER)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
