"""An estimate of the time that a search still takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nas.engine.searchers import Searcher
from nas.engine.study_store import Tally
from nas.runs.study_schema import BRACKET

if TYPE_CHECKING:
    from nas.engine.engine import Engine


class TimeLeft:
    """Seconds until the end of a search, at the pace of this session.

    Args:
        length: units of a full training.
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._before: float | None = None  # units that were trained when the session began

    def seconds(self, engine: Engine, elapsed: float) -> float | None:
        """The estimate after so many seconds of this session; None while nothing was trained in it."""
        store = engine.store
        begun = [(trial.user_attrs[BRACKET], trial.last_step or 0) for trial in store.live.values()]
        done = sum(tally.units for tally in store.tallies) + sum(units for _, units in begun)
        if self._before is None:
            self._before = done
        since_validation = sum(
            max(0.0, running.batches / running.total * self._length - running.time)
            for running in engine.running.values()
            if running.total
        )
        trained = done + since_validation - self._before
        if trained <= 0:
            return None
        return units_left(store.searcher, store.tallies, begun, self._length) / trained * max(elapsed, 1e-9)


def units_left(
    searcher: Searcher, tallies: Sequence[Tally], begun: Sequence[tuple[int, float]], length: float
) -> float:
    """Units of the time metric that a search still takes, about.

    In each bracket, the trials to come are taken to be as long as the mean of those that have ended. Before any has, each rung
    is taken to pass exactly 1/divisor of the trials.

    Args:
        searcher: whose brackets these are.
        tallies: what has ended, by bracket.
        begun: bracket and units of each trial that runs.
        length: units of a full training.
    """
    total = 0.0
    for i, (bracket, tally) in enumerate(zip(searcher.brackets, tallies, strict=True)):
        mean = tally.units / tally.ended if tally.ended else _expected(searcher, bracket.rungs, length)
        running = [units for each, units in begun if each == i]
        total += mean * (bracket.trials - tally.ended - len(running)) + sum(max(mean - done, 1) for done in running)
    return total


def _expected(searcher: Searcher, rungs: Sequence[int], length: float) -> float:
    if searcher.divisor is None:
        return length
    steps = zip(rungs, (0, *rungs), strict=False)
    return sum((rung - before) / searcher.divisor**k for k, (rung, before) in enumerate(steps))
