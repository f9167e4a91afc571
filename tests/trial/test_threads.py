"""How many CPU threads a trial uses: what was asked for, what is fastest, and that the choice changes no result."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.runs import Laptop, after_step

from nas.core.host import most_threads
from nas.runs.run_json import read_run
from nas.trial import threads
from nas.trial.threads import Comparison


@pytest.fixture(autouse=True)
def nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of threads that are set, the last one in use: only said, for several on a busy machine take long."""
    numbers = [2]
    monkeypatch.setattr(torch, "set_num_threads", numbers.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: numbers[-1])
    return numbers


class Steps:
    """A clock, and steps that take as long as the number of threads in use says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float]) -> None:
        self.now, self.count, self.seconds = 0.0, 2, seconds
        self.used: list[int] = []
        monkeypatch.setattr(torch, "set_num_threads", self._use)
        monkeypatch.setattr(torch, "get_num_threads", lambda: self.count)

    def _use(self, count: int) -> None:
        self.count = count

    def take(self, comparison: Comparison) -> None:
        while not comparison.complete:
            with comparison.step():
                self.used.append(self.count)
                self.now += self.seconds(self.count)


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [({1: 1.0, 8: 0.2}, 8), ({1: 1.0, 8: 0.95}, 1), ({1: 1.0, 8: 1.0}, 1), ({1: 1.0, 8: 50.0}, 1), ({1: 90, 8: 9}, 8)],
)
def test_more_threads_are_used_where_they_are_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], chosen: int
) -> None:
    steps = Steps(monkeypatch, seconds.__getitem__)
    comparison = Comparison([1, 8], lambda: steps.now)
    steps.take(comparison)
    assert comparison.fastest == chosen
    assert set(steps.used) == {1, 8}
    assert steps.now <= threads.LIMIT + 2 * max(seconds.values())


def test_of_nothing_the_fewest_threads_are_the_choice() -> None:
    assert Comparison([4, 1]).fastest == 1


@pytest.mark.parametrize("fastest", [1, 2])
def test_looking_for_the_fastest_leaves_no_trace_but_the_choice(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, said: list[int], fastest: int
) -> None:
    straight = laptop.main([*laptop.arguments(train_epochs=2), "--threads", str(fastest)])
    monkeypatch.setattr(Comparison, "fastest", fastest)
    said.append(2)
    run = laptop.train(train_epochs=2)
    assert run.code == straight.code == 0, run.err
    assert (
        run.path != straight.path and run.read("run.json")["threads"] == fastest == said[-1] and {1, 2} <= set(said[2:])
    )
    assert run.metrics("training") == straight.metrics("training")
    assert run.metrics("validation") == straight.metrics("validation")
    assert ("2 are hardly faster" in run.out) == (fastest == 1)


def test_a_resume_keeps_the_number_of_threads(laptop: Laptop, monkeypatch: pytest.MonkeyPatch, said: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        after_step(patch, lambda trial, batches: os.kill(os.getpid(), signal.SIGTERM) if batches == 3 else None)
        begun = laptop.main([*laptop.arguments(train_epochs=2), "--threads", "2"])
    assert "go on with" in begun.out
    monkeypatch.setattr(threads, "choose", lambda *_: 1 / 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = laptop.resume(begun.path)
    assert run.code == 0 and run.read("run.json")["threads"] == 2 == said[-1]


@pytest.mark.parametrize(
    ("said", "expected"), [("1", 1), ("2", 2), ("3,2", 3), ("", None), ("many", None), ("00", None)]
)
def test_the_environment_is_heeded(monkeypatch: pytest.MonkeyPatch, said: str, expected: int | None) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert threads.asked_for(None, {}) == expected
    assert threads.asked_for(5, {"threads": 4}) == 5  # see `read_run` for what a run may say
    assert threads.asked_for(None, {"threads": 4}) == 4


def test_a_stop_while_it_looks_for_the_fastest_ends_the_run(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, said: list[int]
) -> None:
    step = Comparison.step

    def stopping(self: Comparison) -> object:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    monkeypatch.setattr(Comparison, "step", stopping)
    run = laptop.train(train_epochs=2)
    assert run.code == 130 and laptop.left() == []  # nothing was trained


def test_a_run_on_several_processes_or_a_gpu_is_not_timed(tmp_path: Path) -> None:
    assert threads.choose(None, None, torch.device("cuda"), None, 7) == 7  # type: ignore[arg-type]


def test_so_many_threads_that_openmp_crashes_are_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "9" * 5000)
    assert threads.asked_for(None, {}) == most_threads()
    for count in (0, -1, 100_000, 2.0, "2", True):
        (tmp_path / "run.json").write_text(json.dumps({"threads": count}))
        with pytest.raises(ValueError, match=r"^threads must be 1 to \d+, got "):
            read_run(tmp_path)
