"""Signals that ask for an end: Ctrl-C, SIGTERM, and SIGHUP, which a terminal sends when it is closed; those that ended one."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

STOPS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def handling_stops(handle: Callable[[int, Any], None]) -> Iterator[None]:
    """Let `handle` have them within the block, except those that are ignored, as `nohup` ignores SIGHUP.

    Only the main thread can.
    """
    heeded = [number for number in STOPS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_closed_terminal() -> None:
    """Drop what is printed from now on if the terminal is gone, where writing would fail."""
    for stream in (1, 2):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode) and _is_gone(stream):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)


def _is_gone(stream: int) -> bool:
    import termios  # Windows has none

    try:
        termios.tcgetattr(stream)
    except termios.error:
        return True
    return False


def describe_status(code: int) -> str:
    """How a process ended, by its exit status as Python gives it: negative for a signal."""
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
