"""When a run on this machine ends before its time: who asks for it, and how all processes learn of it."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from determined import core

from nas.core.program import LOOK, leave_at_once, leave_with_parent
from nas.core.signals import handling_stops, leave_closed_terminal
from nas.trial import determined_private as private
from nas.trial.engine_client import EngineClient

logger = logging.getLogger(__name__)

PERIOD = 0.5
"""Seconds between two looks of several processes at whether to stop; the time of a batch comes on top."""

MOST_BATCHES = 32
"""Batches between two looks, at most, for a busy machine can make them a hundred times as slow."""

PARTING = 3.0
"""Seconds that a process has to notice the end of another one by itself."""


class StopRequest:
    """Whether somebody asked the run to stop (Ctrl-C, SIGTERM, a closed terminal, the engine); it then ends with a checkpoint.

    A second Ctrl-C cuts it.
    """

    def __init__(self, engine: EngineClient | None = None) -> None:
        self._engine, self._asked = engine, False

    @property
    def wanted(self) -> bool:
        return self._asked or (self._engine is not None and self._engine.told_to_leave)

    def ask(self) -> None:
        """Ask for it."""
        self._asked = True

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to the signals within the block; only the main thread can."""

        def handle(number: int, frame: Any) -> None:
            if number == signal.SIGHUP:
                leave_closed_terminal()
            if self._asked and number == signal.SIGINT:
                raise KeyboardInterrupt
            told, self._asked = self._asked, True
            if not told:
                logger.warning(
                    "stopping after this batch; a checkpoint will be written (Ctrl-C again to leave without one)"
                )

        with handling_stops(handle):
            yield


class StopCheck:
    """Whether to stop after this batch: asked on every process after each, it is answered alike on all.

    Several processes follow the first one, and hear from it about once in `PERIOD` seconds: it says with each answer how many
    batches later they ask again.
    """

    def __init__(
        self,
        distributed: core.DistributedContext,
        stop: StopRequest,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._distributed, self._stop, self._clock = distributed, stop, clock
        self._every = self._left = 1
        self._asked_at = clock()

    def __call__(self) -> bool:
        if self._distributed.size == 1:
            return self._stop.wanted
        self._left -= 1
        if self._left > 0:
            return False
        wanted, self._every = self._distributed.broadcast((self._stop.wanted, self._next()))
        self._left = self._every
        return bool(wanted)

    def _next(self) -> int:
        """How many batches take `PERIOD` seconds, by those since the last answer; twice as many as then at most."""
        now = self._clock()
        seconds, self._asked_at = now - self._asked_at, now
        return max(1, min(2 * self._every, MOST_BATCHES, int(PERIOD * self._every / max(seconds, 1e-9))))


class SignalPreemptContext(private.DummyPreemptContext):  # type: ignore[misc]
    """Answers "should this run stop?" from the first process's `StopRequest`, the same on all processes."""

    def __init__(self, distributed: core.DistributedContext, stop: StopRequest) -> None:
        super().__init__(distributed)
        self._stop = stop

    def should_preempt(self, auto_ack: bool = True) -> bool:
        return bool(self._dist.broadcast(self._stop.wanted))


@contextmanager
def parting_together(distributed: core.DistributedContext) -> Iterator[None]:
    """Within the block, which all processes of a machine enter and leave together, none outlives another or the launcher.

    If one is killed, the others would wait for it: torchrun ends them 30 s later, and if that was killed, nobody does.
    """
    if distributed.size == 1 or distributed.cross_size > 1:
        yield
        return
    leave_with_parent()
    done = threading.Event()
    others = [pid for pid in distributed.allgather(os.getpid()) if pid != os.getpid()]
    threading.Thread(target=_watch, args=(others, done), name="peers", daemon=True).start()
    try:
        yield
        distributed.allgather(None)
    finally:
        done.set()


def _watch(others: list[int], done: threading.Event) -> None:
    while not done.wait(LOOK):
        if not all(map(_is_there, others)) and not done.wait(PARTING):
            leave_at_once()


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
