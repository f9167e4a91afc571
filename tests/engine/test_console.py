"""What a person sees of a running search."""

from __future__ import annotations

import io
import re
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from support.engine import (
    ASHA,
    DIVERGING,
    HALVING,
    LENGTH,
    RANDOM,
    TROUBLES,
    Script,
    Search,
    drawn,
    interrupting,
    loss,
)

from nas.engine import console as consoles
from nas.engine.console import ConsoleReporter
from nas.engine.engine import Engine

pytestmark = pytest.mark.usefixtures("no_waiting")


class Clock:
    """Ten seconds pass whenever a trial has validated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        known = SimpleNamespace(monotonic=lambda: time.monotonic() + self.passed, strftime=time.strftime)
        monkeypatch.setattr(consoles, "time", known)

    def tick(self, event: tuple[Any, ...]) -> None:
        self.passed += 10 * (event[0] == "answer")


class Watched(ConsoleReporter):
    """Notes what the table shows each time, as text."""

    shown: list[str]

    def update(self, engine: Engine) -> None:
        super().update(engine)
        if self._live is not None:
            plain = Console(file=io.StringIO(), width=100)
            plain.print(self._live.get_renderable())
            self.shown.append(plain.file.getvalue())  # type: ignore[attr-defined]


def watch_reporter(search: Search, terminal: bool) -> Watched:
    search.console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
    reporter = Watched(search.console, search.folder / "log.txt", "epochs", LENGTH)
    reporter.shown = []
    search.engine._reporter = search.reporter = reporter
    return reporter


def test_in_a_terminal_a_table_shows_what_every_trial_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    search = Search(tmp_path, HALVING, TROUBLES, placements=2)
    reporter = watch_reporter(search, terminal=True)
    search.on = clock.tick
    with reporter:
        assert search.run() is True
    halfway = next(text for text in reporter.shown if "completed" in text)
    rows = [line.split() for line in halfway.splitlines()]
    assert rows[0] == ["trial", "architecture", "epochs", "loss", "rung", "on", "time"]
    assert any(row[:2] == ["best", "architecture"] for row in rows)
    seen: set[tuple[str, str]] = set()
    for text in reporter.shown:
        lines = [line.split() for line in text.split("best")[0].splitlines()[1:] if line.strip()]
        for number, *words in lines:
            trial = search.trials[int(number)]
            assert words[-2:-1][0] in ("0", "1") and words[-3] == "CPU" and re.fullmatch(r"\d:\d\d:\d\d", words[-1])
            rung = words[-4]
            assert re.fullmatch(r"[0-3]/3", rung)
            seen.add((number, rung))
            if words[:2] == ["cell", str(trial.user_attrs["seed"])] and len(words) == 8:
                epoch, value = float(words[2]), float(words[3])
                values = list(trial.intermediate_values.values())
                assert 0 < epoch <= LENGTH and any(
                    value == pytest.approx(each, rel=1e-4, nan_ok=True) for each in values
                )
    assert {rung for number, rung in seen if number == "0"} >= {"0/3", "1/3", "2/3"}
    leaders = [line.split() for line in reporter.shown[-1].split("best", 1)[1].splitlines()[1:6]]
    assert [int(row[0]) for row in leaders[:3]] == [trial.number for trial in search.store.leaderboard()[:3]]
    assert re.search(r"\d of 9 trials ended, 0:0\d:\d\d, about \d:\d\d:\d\d left", reporter.shown[-1])
    assert "trial 1 failed: exit status 1; restart 1 of 5" in search.output


def test_elsewhere_lines_say_what_happens(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "random", "max_trials": 2})
    reporter = watch_reporter(search, terminal=False)
    with reporter:
        assert search.run() is True
    expected = []
    for number, (hparams, seed) in enumerate(drawn(RANDOM, 2)):
        values = [f"{loss(seed, epoch):.5g}" for epoch in range(1, LENGTH + 1)]
        expected += [
            f"trial {number} starts on CPU 0: lr {hparams['lr']:.5g}",
            f"trial {number} after 1 epoch: {values[0]}",
        ]
        expected += [f"trial {number} after {epoch} epochs: {values[epoch - 1]}" for epoch in range(2, LENGTH + 1)]
        expected += [f"trial {number} completed after {LENGTH} epochs: {values[-1]}"]
    assert search.output.splitlines() == expected and reporter.shown == []
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [line[20:] for line in log] == expected
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in log)


LEFT = re.compile(r"(\d+) of (\d+) trials ended, .*, about (\d+):(\d\d):(\d\d) left")


def seconds_left(reporter: Watched) -> list[tuple[int, int]]:
    """The trials that had ended, and the seconds left, each time the table said so."""
    told = [match.groups() for text in reporter.shown if (match := LEFT.search(text))]
    return [(int(ended), 3600 * int(hours) + 60 * int(minutes) + int(rest)) for ended, _, hours, minutes, rest in told]


@pytest.mark.parametrize("placements", [1, 3])
@pytest.mark.parametrize(("searcher", "scripts"), [(RANDOM, {}), (ASHA, TROUBLES), (RANDOM, DIVERGING)])
def test_the_time_that_is_left_is_told_and_shrinks_to_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    searcher: dict[str, Any],
    scripts: dict[int, Script],
    placements: int,
) -> None:
    clock = Clock(monkeypatch)
    search = Search(tmp_path, searcher, scripts, placements=placements)
    reporter = watch_reporter(search, terminal=True)
    search.on = clock.tick
    with reporter:
        assert search.run() is True
    told = seconds_left(reporter)
    assert len(told) > 15
    assert not [text for text in reporter.shown if "day" in text]  # that would be less than nothing
    for ended, left in told if not scripts else []:
        if ended >= 2:  # each of 7 trials takes 40 seconds
            assert 40 * (7 - ended - placements) * 0.7 - 10 <= left <= 40 * (7 - ended) * 1.3
    assert told[-1][1] <= 20 or scripts


def test_the_time_that_is_left_is_told_at_the_pace_of_this_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained before it started took it no time."""
    search = Search(tmp_path, RANDOM)
    search.on = interrupting(search, 14, [signal.SIGINT])
    assert search.run() is False
    clock = Clock(monkeypatch)
    search.new_engine()
    reporter = watch_reporter(search, terminal=True)
    search.on = clock.tick
    with reporter:
        assert search.run() is True
    told = seconds_left(reporter)
    assert told[0][0] == 3
    assert all(abs(left - 40 * (7 - ended)) < 60 for ended, left in told if ended > 3)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    search = Search(tmp_path, {"name": "single"})
    search.console = Console(file=io.StringIO(), width=100, force_terminal=True)
    with ConsoleReporter(search.console, search.folder / "log.txt", "epochs", LENGTH) as reporter:
        search.engine._reporter = search.reporter = reporter
        assert search.run() is True
    assert "trial 0 after 1 epoch: " in search.output and "\x1b" not in search.output


def test_a_narrow_terminal_shows_the_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    search = Search(tmp_path, HALVING, placements=2)
    search.on = clock.tick
    reporter = watch_reporter(search, terminal=True)
    search.console.width = 40
    with reporter:
        assert search.run() is True
    lines = [line for text in reporter.shown for line in text.splitlines()]
    assert {tuple(line.split()) for line in lines if line.startswith(("trial", "best"))} == {
        ("trial", "epochs", "loss", "rung"),
        ("best", "epochs", "loss"),
    }
    assert "…" not in "".join(lines) and max(len(line.rstrip()) for line in lines if not line[:1].isdigit()) <= 40


def test_of_the_best_trials_it_says_when_they_were_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    search = Search(tmp_path, {"name": "random", "max_trials": 3})
    search.on = clock.tick
    reporter = watch_reporter(search, terminal=True)
    with reporter:
        assert search.run() is True
    rows = [line.split() for line in reporter.shown[-1].split("best", 1)[1].splitlines() if "completed" in line]
    assert rows  # the others have just begun their last epoch
    for number, _, seed, epoch, value, _ in rows:
        assert search.trials[int(number)].user_attrs["seed"] == int(seed)
        values = {step: f"{loss(int(seed), step):.5g}" for step in range(1, LENGTH + 1)}
        assert values[int(epoch)] == value == min(values.values(), key=float)
