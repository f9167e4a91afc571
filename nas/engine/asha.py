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
    """A whole search in memory. Trials are numbered from 0 in the order of their creation.

    Args:
        searcher: the config's section.
        trials: the bracket and the state of each trial of a search that goes on; None starts one with its initial trials.
    """

    def __init__(self, searcher: Mapping[str, Any], trials: Iterable[tuple[int, RungState]] | None = None) -> None:
        self.brackets = brackets(searcher)
        self.divisor = float(searcher.get("divisor") or DEFAULTS["divisor"])
        self._sign = 1 if smaller_is_better({"searcher": searcher}) else -1
        self._values: list[dict[int, list[float]]] = [{} for _ in self.brackets]  # by bracket and rung, sorted
        self.states: list[RungState] = []
        self.bracket_of: list[int] = []
        for bracket, state in [] if trials is None else trials:
            self._add(bracket, state)
        if trials is None:
            self._create_missing()

    def missing(self) -> list[int]:
        """The brackets of the trials that should be created now, in order."""
        departures, created = [0] * len(self.brackets), [0] * len(self.brackets)
        for i, state in zip(self.bracket_of, self.states, strict=True):
            departures[i] += state.departures
            created[i] += 1
        return [
            i for i, bracket in enumerate(self.brackets) for _ in range(bracket.created(departures[i]) - created[i])
        ]

    def validated(self, trial: int, time: float, metric: float) -> Decision:
        """A validation at `time`, in units of the time metric. A metric that is not finite is worse than any number."""
        before = self.states[trial]
        bracket, others = self.brackets[self.bracket_of[trial]], self._values[self.bracket_of[trial]]
        value = self._sign * metric if math.isfinite(metric) else NOT_FINITE
        values, rung, stopped = [*before.values], before.rung, False
        while not stopped and int(time) >= bracket.rungs[rung]:
            place = bisect_left(others.get(rung, ()), value)
            values.append((rung, value))
            top = rung == len(bracket.rungs) - 1
            stopped = top or place >= max(int((len(others.get(rung, ())) + 1) / self.divisor), 1)
            rung += not stopped
        return self._move(trial, RungState(rung, values, stopped, before.departures + stopped))

    def failed(self, trial: int) -> Decision:
        """An error after all restarts."""
        before = self.states[trial]
        values = [*before.values, (before.rung, FAILED_METRIC)]
        return self._move(trial, RungState(before.rung, values, True, before.departures + 1))

    def left(self, trial: int) -> Decision:
        """An end that nobody asked for: invalid hyperparameters, or less training than `max_time`. Nothing replaces it."""
        return Decision(stop=False, created=None)

    def _move(self, trial: int, after: RungState) -> Decision:
        self._count(self.bracket_of[trial], after.values[len(self.states[trial].values) :])
        self.states[trial] = after
        created = self._create_missing()
        return Decision(after.stopped, created[0] if created else None)

    def _create_missing(self) -> list[tuple[int, int]]:
        return [(self._add(bracket, RungState()), bracket) for bracket in self.missing()]

    def _add(self, bracket: int, state: RungState) -> int:
        self.bracket_of.append(bracket)
        self.states.append(state)
        self._count(bracket, state.values)
        return len(self.states) - 1

    def _count(self, bracket: int, values: Iterable[tuple[int, float]]) -> None:
        for rung, value in values:
            insort(self._values[bracket].setdefault(rung, []), value)


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
    search, decisions = Asha(searcher), []
    for event in events:
        if len(event) != 3 and (len(event) != 2 or event[1] not in ("error", "left")):
            raise ValueError(f"event {event!r} must be (trial, time, metric), (trial, 'error') or (trial, 'left')")
        if not 0 <= event[0] < len(search.bracket_of):
            raise ValueError(f"event {event!r}: there is no trial {event[0]} at this point")
        if len(event) == 3:
            decisions.append(search.validated(*event))
        else:
            decisions.append(search.failed(event[0]) if event[1] == "error" else search.left(event[0]))
    return decisions
