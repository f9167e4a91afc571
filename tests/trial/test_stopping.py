"""A stop reaches all processes at the same batch, within about a second, and none outlives another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nas.trial import local, stopping
from nas.trial.stopping import StopCheck, StopRequest, parting_together


class Line:
    """Broadcasts of the first of two processes, which act in turn, and how many there were."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.now = 0.0

    def end(self, rank: int) -> SimpleNamespace:
        received = iter(range(10**9))

        def broadcast(what: Any) -> Any:
            if rank == 0:
                self.sent.append(what)
            return self.sent[next(received)]

        return SimpleNamespace(size=2, rank=rank, broadcast=broadcast)


@pytest.mark.parametrize("seconds", [0.001, 0.02, 0.4, 7.0])
@pytest.mark.parametrize("after", [0, 1, 50, 3000])
def test_a_stop_is_heard_within_a_second_by_all_alike(seconds: float, after: int) -> None:
    line, stops = Line(), (StopRequest(), StopRequest())
    checks = [StopCheck(line.end(rank), stops[rank], lambda: line.now) for rank in (0, 1)]
    for _ in range(after):
        line.now += seconds
        assert [check() for check in checks] == [False, False]
    stops[0].ask()
    asked = line.now
    while True:
        line.now += seconds
        first, second = checks[0](), checks[1]()
        assert first == second
        if first:
            break
    assert line.now - asked <= 1 + seconds
    assert len(line.sent) <= 12 + line.now / 0.25 + after / 32  # and they do not speak after each batch


def test_batches_that_become_slow_are_noticed() -> None:
    line, stop = Line(), StopRequest()
    check = StopCheck(line.end(0), stop, lambda: line.now)
    for _ in range(2000):
        line.now += 0.001
        assert not check()
    stop.ask()
    asked = line.now
    while not check():
        line.now += 0.1
    assert line.now - asked < 5


def test_one_process_asks_nobody() -> None:
    stop = StopRequest()
    check = StopCheck(SimpleNamespace(size=1), stop)  # type: ignore[arg-type]
    assert not check()
    stop.ask()
    assert check()


def test_the_engine_asks_as_well() -> None:
    engine = SimpleNamespace(told_to_leave=False)
    stop = StopRequest(engine)  # type: ignore[arg-type]
    assert not stop.wanted
    engine.told_to_leave = True
    assert stop.wanted


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_ask_and_only_a_second_ctrl_c_cuts(sign: signal.Signals) -> None:
    stop = StopRequest()
    with stop.on_signals():
        signal.raise_signal(sign)
        assert stop.wanted
        for again in (signal.SIGTERM, signal.SIGHUP):  # a batch system or a closed session sends several
            signal.raise_signal(again)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once the process would have left."""
    event = threading.Event()
    monkeypatch.setattr(stopping, "leave_with_parent", lambda: None)
    monkeypatch.setattr(stopping, "leave_at_once", event.set)
    monkeypatch.setattr(stopping, "LOOK", 0.01)
    monkeypatch.setattr(stopping, "PARTING", 0.05)
    return event


def others(pid: int, size: int = 2, machines: int = 1) -> Any:
    return SimpleNamespace(size=size, cross_size=machines, allgather=lambda _: [os.getpid(), pid])


def dead() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_process_leaves_when_another_one_is_gone(left: threading.Event) -> None:
    with parting_together(others(dead())):
        assert left.wait(60)


@pytest.mark.parametrize("distributed", [others(os.getppid()), others(-1, machines=2), others(-1, size=1)])
def test_it_stays_while_the_others_do_or_where_they_cannot_be_seen(left: threading.Event, distributed: Any) -> None:
    with parting_together(distributed):
        assert not left.wait(0.2)


def test_who_is_done_does_not_leave_for_those_that_end_first(left: threading.Event) -> None:
    distributed = others(dead())
    with pytest.raises(KeyError), parting_together(distributed):
        raise KeyError  # what it has to say of that is said before the end
    assert not left.wait(0.2)


def test_a_process_may_be_silent_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first process that reads data or validates alone, or a machine that sleeps, is no reason to fail."""
    begun: dict[str, Any] = {}

    def begin(backend: str, **how: Any) -> None:
        begun.update(how)
        raise InterruptedError

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("USE_TORCH_DISTRIBUTED", "True")  # which `join` sets
    monkeypatch.setattr(torch.distributed, "init_process_group", begin)
    with pytest.raises(InterruptedError):
        local.join(torch.device("cpu"))
    assert begun["timeout"] > timedelta(hours=12)
