"""A search that is interrupted goes on as if nothing had been."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState
from support.engine import (
    ASHA,
    KEEPING,
    RANDOM,
    TROUBLES,
    Script,
    Search,
    interrupting,
)

from nas.runs.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("after", [1, 3, 4, 5, 9])
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(tmp_path: Path, after: int, sign: signal.Signals) -> None:
    straight = Search(tmp_path / "straight", ASHA, TROUBLES, **KEEPING)
    assert straight.run() is True
    search = Search(tmp_path / "again", ASHA, TROUBLES, **KEEPING)
    search.on = interrupting(search, after, [sign])
    before = signal.getsignal(sign)
    assert search.run() is False
    assert signal.getsignal(sign) == before
    happened = [event[0] for event in search.pool.happened]
    assert "start" not in happened[happened.index("signal") :] and search.pool.numbers == []
    assert "stopping: each trial writes a checkpoint first" in search.output
    assert search.go_on() is True
    assert search.contents() == straight.contents()
    assert [search.checkpoints(n) for n in range(9)] == [straight.checkpoints(n) for n in range(9)]


def test_an_interrupt_asks_each_trial_once_and_leaves_them_as_running(tmp_path: Path) -> None:
    search = Search(tmp_path, RANDOM, placements=3)
    search.on = interrupting(search, 5, [signal.SIGINT])
    assert search.run() is False
    running = [trial.number for trial in search.trials if trial.state == TrialState.RUNNING]
    assert len(running) == 3
    assert sorted(search.happened("signal")) == [("signal", number, signal.SIGTERM) for number in running]
    stopped_at = {}
    for number in running:
        folder, _ = RunFolder.open(search.engine.path(number))
        stopped_at[number] = folder.run["latest"]["epochs"]
        assert search.trials[number].last_step == stopped_at[number]
    assert search.go_on() is True
    assert {number: search.starts(number)[-1][1] for number in running} == stopped_at
    assert set(search.ends) == {"completed"}


def test_a_second_interrupt_kills(tmp_path: Path) -> None:
    straight = Search(tmp_path / "straight", ASHA)
    assert straight.run() is True
    search = Search(tmp_path / "again", ASHA)
    search.on = interrupting(search, 3, [signal.SIGINT, signal.SIGINT])
    assert search.run() is False
    assert [event[2] for event in search.happened("signal")] == [signal.SIGTERM, signal.SIGKILL]
    assert search.happened("exit")[-1][2] == -9 and search.ends[0] is None
    assert search.go_on() is True
    assert search.contents() == straight.contents()


@pytest.mark.parametrize(
    "signs", [[signal.SIGTERM, signal.SIGHUP], [signal.SIGHUP, signal.SIGTERM, signal.SIGTERM]], ids=str
)
def test_only_a_ctrl_c_after_another_stop_kills(tmp_path: Path, signs: list[signal.Signals]) -> None:
    """The end of a session sends several signals at once, and nobody means to lose a checkpoint by that."""
    search = Search(tmp_path, ASHA)
    search.on = interrupting(search, 3, signs)
    assert search.run() is False
    assert [event[2] for event in search.happened("signal")] == [signal.SIGTERM]
    search.on = interrupting(search, 6, [signal.SIGHUP, signal.SIGINT])
    assert search.go_on() is False
    assert search.happened("signal")[-1][2] == signal.SIGKILL


def test_a_signal_while_a_trial_is_being_started_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(tmp_path, {"name": "single"}, {})
    start = search.pool.start

    def interrupted_start(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        start(*arguments)

    monkeypatch.setattr(search.pool, "start", interrupted_start)
    assert search.run() is False
    assert search.happened("signal") == [("signal", 0, signal.SIGTERM)] and search.happened("validation") == []


def test_a_trial_that_missed_the_signal_is_stopped_by_the_next_answer(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {0: Script(deaf=True)})
    search.on = interrupting(search, 2, [signal.SIGINT])
    assert search.run() is False
    assert search.trials[0].last_step == 2 and search.trials[0].state == TrialState.RUNNING
    assert search.go_on() is True
    assert search.starts() == [(0, 0), (0, 2)]
