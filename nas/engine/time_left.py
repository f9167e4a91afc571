"""An estimate of the time that a search still takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from nas.engine.searchers import Searcher
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
        trials = engine.store.trials()
        done = float(sum(trial.last_step or 0 for trial in trials))
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
        return units_left(engine.store.searcher, trials, self._length) / trained * max(elapsed, 1e-9)


def units_left(searcher: Searcher, trials: Sequence[FrozenTrial], length: float) -> float:
    """Units of the time metric that a search still takes, about.

    In each bracket, the trials to come are taken to be as long as the mean of those that have ended. Before any has, each rung
    is taken to pass exactly 1/divisor of the trials.
    """
    total = 0.0
    for i, bracket in enumerate(searcher.brackets):
        members = [trial for trial in trials if trial.user_attrs[BRACKET] == i]
        ended = [trial.last_step or 0 for trial in members if trial.state.is_finished()]
        mean = sum(ended) / len(ended) if ended else _expected(searcher, bracket.rungs, length)
        begun = [trial.last_step or 0 for trial in members if trial.state == TrialState.RUNNING]
        total += mean * (bracket.trials - len(ended) - len(begun)) + sum(max(mean - done, 1) for done in begun)
    return total


def _expected(searcher: Searcher, rungs: Sequence[int], length: float) -> float:
    if searcher.pruner is None:
        return length
    steps = zip(rungs, (0, *rungs), strict=False)
    return sum((rung - before) / searcher.pruner.divisor**k for k, (rung, before) in enumerate(steps))
