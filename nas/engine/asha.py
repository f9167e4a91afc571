"""The decisions of a Determined 0.38.1 master's asynchronous successive halving, without processes or storage.

Trials of a bracket pass rungs. At a validation that reaches the next rung a trial is compared with all that reached it before
(or passed it with an error), and stops unless it is among the best 1/divisor. Stop-only: a stopped trial never goes on.
ASHA: Li et al. 2020, arXiv 1810.05934, algorithm 2; the brackets of adaptive ASHA are those of Hyperband (Li et al. 2018,
arXiv 1603.06560).

    replay({"name": "adaptive_asha", "metric": "loss", "time_metric": "epochs", "max_time": 16, "max_trials": 4},
           [(0, 1, 5.2), (1, 1, 5.0), (2, "error")])

says for each event whether the trial stops and which trial is created, in which bracket: so that the record of a master can
be compared, decision by decision. `Asha` decides, for `replay` and for `nas run` alike.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.config.brackets import DEFAULTS, brackets
from nas.config.load import smaller_is_better

FAILED_METRIC = sys.float_info.max
"""What a trial that failed counts as at its rung."""

NOT_FINITE = math.nextafter(FAILED_METRIC, 0)
"""What a validation that is NaN or infinite counts as."""


@dataclass
class RungState:
    """Where a trial is in its bracket: the rung that it is to reach, and the values with which it reached those before.

    Nobody on a master remembers that a trial was stopped: one that goes on may be stopped, and replaced, once more.
    """

    rung: int = 0
    values: list[tuple[int, float]] = field(default_factory=list)  # (rung, metric), smaller is better
    stopped: bool = False  # by the last event
    departures: int = 0  # stops and errors so far


@dataclass(frozen=True)
class Decision:
    """What an event leads to: whether its trial stops, and the (trial, bracket) that is created in exchange."""

    stop: bool
    created: tuple[int, int] | None


class Asha:
    """A whole search in memory. Trials are numbered from 0 in the order of their creation; `add` creates them.

    Args:
        searcher: the config's section.
    """

    def __init__(self, searcher: Mapping[str, Any]) -> None:
        self.brackets = brackets(searcher)
        self.divisor = float(searcher.get("divisor") or DEFAULTS["divisor"])
        self._sign = 1 if smaller_is_better({"searcher": searcher}) else -1
        self._values: list[dict[int, list[float]]] = [{} for _ in self.brackets]  # by bracket and rung, sorted
        self._created, self._departures = [0] * len(self.brackets), [0] * len(self.brackets)
        self.states: list[RungState] = []
        self.bracket_of: list[int] = []

    def missing(self) -> list[int]:
        """The brackets of the trials that should be created now, in order."""
        return [
            i
            for i, bracket in enumerate(self.brackets)
            for _ in range(bracket.created(self._departures[i]) - self._created[i])
        ]

    def add(self, bracket: int, state: RungState | None = None) -> int:
        """A trial is created, or was, and stands where `state` says; returns its number."""
        self.bracket_of.append(bracket)
        self.states.append(RungState())
        self._created[bracket] += 1
        self._move(len(self.states) - 1, state or RungState())
        return len(self.states) - 1

    def validated(self, trial: int, time: float, metric: float) -> bool:
        """A validation at `time`, in units of the time metric; returns whether the trial stops.

        A metric that is not finite is worse than any number.
        """
        before = self.states[trial]
        bracket, others = self.brackets[self.bracket_of[trial]], self._values[self.bracket_of[trial]]
        value = self._signed(metric)
        values, rung, stopped = [*before.values], before.rung, False
        while not stopped and int(time) >= bracket.rungs[rung]:
            place = bisect_left(others.get(rung, ()), value)
            values.append((rung, value))
            top = rung == len(bracket.rungs) - 1
            stopped = top or place >= max(int((len(others.get(rung, ())) + 1) / self.divisor), 1)
            rung += not stopped
        self._move(trial, RungState(rung, values, stopped, before.departures + stopped))
        return stopped

    def failed(self, trial: int) -> None:
        """An error after all restarts."""
        before = self.states[trial]
        values = [*before.values, (before.rung, FAILED_METRIC)]
        self._move(trial, RungState(before.rung, values, True, before.departures + 1))

    def passed(self, bracket: int, validations: Mapping[int, float]) -> RungState:
        """Where a trial stands that nobody has stopped, by its validations (time -> metric) alone."""
        values = self._reached(bracket, validations)[: len(self.brackets[bracket].rungs) - 1]
        return RungState(len(values), values)

    def left_at(self, bracket: int, validations: Mapping[int, float]) -> RungState | None:
        """Where a trial stood when it was stopped by its last validation; None if it reached no rung."""
        values = self._reached(bracket, validations)
        return RungState(len(values) - 1, values, True, 1) if values else None

    def _reached(self, bracket: int, validations: Mapping[int, float]) -> list[tuple[int, float]]:
        values: list[tuple[int, float]] = []
        rungs = self.brackets[bracket].rungs
        for time in sorted(validations):
            while len(values) < len(rungs) and time >= rungs[len(values)]:
                values.append((len(values), self._signed(validations[time])))
        return values

    def at_top(self, trial: int) -> bool:
        """Whether the trial was stopped because it went all the way."""
        state = self.states[trial]
        top = len(self.brackets[self.bracket_of[trial]].rungs) - 1
        return state.stopped and state.rung == top and state.values[-1][1] != FAILED_METRIC

    def _signed(self, metric: float) -> float:
        return self._sign * metric if math.isfinite(metric) else NOT_FINITE

    def _move(self, trial: int, after: RungState) -> None:
        before, bracket = self.states[trial], self.bracket_of[trial]
        for rung, value in after.values[len(before.values) :]:
            insort(self._values[bracket].setdefault(rung, []), value)
        self._departures[bracket] += after.departures - before.departures
        self.states[trial] = after


class Replay:
    """A search in which each trial that leaves is replaced at once.

    Args:
        searcher: the config's section.
    """

    def __init__(self, searcher: Mapping[str, Any]) -> None:
        self.asha = Asha(searcher)
        self._create()

    def validated(self, trial: int, time: float, metric: float) -> Decision:
        """See `Asha.validated`."""
        return Decision(self.asha.validated(trial, time, metric), self._create())

    def failed(self, trial: int) -> Decision:
        """An error after all restarts."""
        self.asha.failed(trial)
        return Decision(True, self._create())

    def left(self, trial: int) -> Decision:
        """An end that nobody asked for: invalid hyperparameters, or less training than `max_time`. Nothing replaces it."""
        return Decision(False, None)

    def _create(self) -> tuple[int, int] | None:
        """Create what is missing; returns the first."""
        created = [(self.asha.add(bracket), bracket) for bracket in self.asha.missing()]
        return created[0] if created else None


Event = tuple[int, float, float] | tuple[int, str]


def replay(searcher: Mapping[str, Any], events: Iterable[Event]) -> list[Decision]:
    """The decisions for a sequence of events.

    Args:
        searcher: the config's section.
        events: (trial, time, metric) for a validation, (trial, "error") for a failure after all restarts, (trial, "left") for
            any other end. Trials are numbered from 0 in the order of their creation: those of the first bracket first, then
            each replacement.

    Raises:
        ValueError: for an event that is none of these, or of a trial that does not exist at that point.
    """
    search, decisions = Replay(searcher), list[Decision]()
    for event in events:
        if len(event) != 3 and (len(event) != 2 or event[1] not in ("error", "left")):
            raise ValueError(f"event {event!r} must be (trial, time, metric), (trial, 'error') or (trial, 'left')")
        if not 0 <= event[0] < len(search.asha.bracket_of):
            raise ValueError(f"event {event!r}: there is no trial {event[0]} at this point")
        if len(event) == 3:
            decisions.append(search.validated(*event))
        else:
            decisions.append(search.failed(event[0]) if event[1] == "error" else search.left(event[0]))
    return decisions
