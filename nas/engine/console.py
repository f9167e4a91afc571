"""What a person sees of a running search: a table that lives in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from nas.core.wording import plural
from nas.engine.time_left import TimeLeft
from nas.runs.run_json import read_run
from nas.runs.study_schema import OUTCOME, in_words

if TYPE_CHECKING:
    from nas.engine.engine import Engine
    from nas.engine.running import Running

LEADERS = 5
"""Best trials in the live table."""

WIDE = 60
"""Columns from which a terminal has room for architectures; a narrower one shows numbers."""


class ConsoleReporter:
    """Shows the events of a search, and writes them to a log.

    Args:
        console: where to.
        log: file that gets every line with its time.
        unit: of the length of a training, epochs or batches.
        length: units of a full training.
    """

    def __init__(self, console: Console, log: Path, unit: str, length: int) -> None:
        self.console, self.unit, self.length = console, unit, length
        self._log = log
        # A terminal that cannot move its cursor (TERM=dumb, such as in an editor) gets lines.
        moves = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, refresh_per_second=2, transient=True) if moves else None
        self._began = time.monotonic()
        self._time_left = TimeLeft(length)
        self._architectures: dict[int, str] = {}
        self._shown = 0.0

    def __enter__(self) -> ConsoleReporter:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print a line, and write it to the log."""
        with suppress(OSError):  # of a terminal that was closed; the log says it too
            self.console.print(escape(line), highlight=False, soft_wrap=True)
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")

    def started(self, running: Running, trial: FrozenTrial) -> None:
        """A trial's process starts."""
        again = f" goes on from {self.unit[:-1]} {running.begun:g}" if running.begun else " starts"
        chosen = ", ".join(f"{name} {_short(value)}" for name, value in list(trial.params.items())[:3])
        more = ", ..." if len(trial.params) > 3 else ""
        self.say(f"trial {running.number}{again} on {running.placement.name}" + (f": {chosen}{more}" if chosen else ""))

    def validated(self, running: Running, trial: FrozenTrial, stop: bool) -> None:
        """A trial reported a validation."""
        if self._live is None and not stop:
            metric = "" if running.metric is None else f": {_short(running.metric)}"
            self.say(f"trial {running.number} after {_count(running.time, self.unit)}{metric}")

    def failed(self, number: int, reason: str, then: str) -> None:
        """A trial's process failed."""
        self.say(f"trial {number} failed: {reason}; {then}")

    def ended(self, trial: FrozenTrial, outcome: str, errors: list[str]) -> None:
        """A trial is over."""
        words = {"invalid": "has invalid hyperparameters", "error": "is given up"}.get(outcome, in_words(outcome))
        step = f" after {_count(trial.last_step, self.unit)}" if trial.last_step is not None else ""
        last = f": {_short(trial.intermediate_values[trial.last_step])}" if trial.last_step is not None else ""
        reason = f" ({'; '.join(errors)})" if errors and outcome == "invalid" else ""
        self.say(f"trial {trial.number} {words}{step}{last}{reason}")

    def update(self, engine: Engine) -> None:
        """Redraw the table, twice a second at most."""
        if self._live is None or time.monotonic() - self._shown < 0.5:
            return
        self._shown = time.monotonic()
        self._live.update(Group(self._running(engine), self._leaders(engine), Text(self._summary(engine))))

    def _running(self, engine: Engine) -> Table:
        names = ("trial", "architecture", self.unit, engine.store.metric, "rung", "on", "time")
        table = self._table(*(names if self._wide else names[:1] + names[2:5]))
        for number, running in sorted(engine.running.items()):
            done = running.batches / running.total * self.length if running.total else running.time
            numbers: tuple[str, ...] = (
                f"{done:.1f}" if self.unit == "epochs" else f"{done:.0f}",
                "" if running.metric is None else _short(running.metric),
                engine.store.searcher.rung(number),
            )
            if self._wide:
                since = _duration(time.monotonic() - running.since)
                numbers = (self._architecture(engine, number), *numbers, running.placement.name, since)
            table.add_row(str(number), *numbers)
        return table

    @property
    def _wide(self) -> bool:
        """Whether there is room for more than numbers."""
        return self.console.width >= WIDE

    def _table(self, *names: str) -> Table:
        table = Table(expand=self._wide, box=None, pad_edge=False)
        for name in names:
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1 if name == "architecture" else None)
        return table

    def _leaders(self, engine: Engine) -> Table:
        names = ("best", "architecture", self.unit, engine.store.metric, "")
        table = self._table(*(names if self._wide else names[:1] + names[2:4]))
        for trial, value, step in engine.store.leaders(LEADERS):
            numbers: tuple[str, ...] = (str(step), _short(value))
            if self._wide:
                outcome = "" if trial.state == TrialState.RUNNING else str(trial.user_attrs.get(OUTCOME, ""))
                numbers = (self._architecture(engine, trial.number), *numbers, in_words(outcome) if outcome else "")
            table.add_row(str(trial.number), *numbers)
        return table

    def _architecture(self, engine: Engine, number: int) -> str:
        if number not in self._architectures:
            try:
                self._architectures[number] = str(read_run(engine.path(number))["metadata"]["architecture"])
            except (OSError, ValueError, KeyError):  # it is not there yet
                return ""
        return escape(self._architectures[number])

    def _summary(self, engine: Engine) -> str:
        ended = sum(tally.ended for tally in engine.store.tallies)
        elapsed = time.monotonic() - self._began
        line = f"{ended} of {plural(engine.store.searcher.trials, 'trial')} ended, {_duration(elapsed)}"
        left = self._time_left.seconds(engine, elapsed)
        return f"{line}, about {_duration(left)} left at this pace" if left is not None else line


def _short(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _count(count: float | None, unit: str) -> str:
    return f"{count:g} {unit[:-1] if count == 1 else unit}" if count is not None else f"0 {unit}"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
