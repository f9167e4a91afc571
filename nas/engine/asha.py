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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.config.load import smaller_is_better

FAILED_METRIC = sys.float_info.max
"""What a trial that failed counts as at its rung."""

NOT_FINITE = math.nextafter(FAILED_METRIC, 0)
"""What a validation that is NaN or infinite counts as."""

DEFAULTS: dict[str, Any] = {"mode": "standard", "max_rungs": 5, "divisor": 4, "max_concurrent_trials": 16}
"""Of the master, for what a config leaves out."""


@dataclass(frozen=True)
class Bracket:
    """One run of successive halving.

    Args:
        rungs: units of the time metric that each rung needs.
        trials: how many trials it creates at most.
        initial: how many of them at the start.
    """

    rungs: tuple[int, ...]
    trials: int
    initial: int

    def created(self, departures: int) -> int:
        """How many trials there should be after so many stops and errors: each is replaced while there are more to come."""
        return min(self.trials, self.initial + departures)


@dataclass
class RungState:
    """Where a trial is in its bracket: the rung that it is to reach, and the values with which it reached those before.

    Nobody on a master remembers that a trial was stopped: one that goes on may be stopped, and replaced, once more.
    """

    rung: int = 0
    values: list[tuple[int, float]] = field(default_factory=list)  # (rung, metric), smaller is better
    stopped: bool = False  # by the last event
    departures: int = 0  # stops and errors so far


def brackets(searcher: Mapping[str, Any]) -> list[Bracket]:
    """The brackets of a searcher's config (adaptive_asha or async_halving), in the order in which their trials are created."""
    settings = {**DEFAULTS, **{name: value for name, value in searcher.items() if value is not None}}
    divisor, most = float(settings["divisor"]), int(settings["max_trials"])
    concurrent = int(settings["max_concurrent_trials"])
    if settings["name"] == "async_halving":
        rungs = int(settings.get("num_rungs", settings["max_rungs"]))
        return [_bracket(rungs, settings["max_time"], divisor, most, concurrent)]
    counts = sorted(settings.get("bracket_rungs") or _rung_counts(settings, divisor), reverse=True)
    weights = [divisor ** (count - 1) / count for count in counts]
    total = 0.0
    for weight in weights:  # in this order and without sum(), which rounds better than the master
        total += weight
    trials = [max(int(weight / total * most), 1) for weight in weights]
    trials[0] += max(most - sum(trials), 0)
    at_once = _concurrent(concurrent, int(divisor), trials)
    return [
        _bracket(count, settings["max_time"], divisor, share, initial)
        for count, share, initial in zip(counts, trials, at_once, strict=True)
    ]


def _rung_counts(settings: Mapping[str, Any], divisor: float) -> Sequence[int]:
    most = min(
        int(settings["max_rungs"]),
        int(_log(settings["max_time"]) / _log(divisor)) + 1,
        int(_log(settings["max_trials"]) / _log(divisor)) + 1,
    )
    first = {"conservative": 1, "standard": (most - 1) // 2 + 1, "aggressive": most}[settings["mode"]]
    return range(first, most + 1)


def _concurrent(concurrent: int, divisor: int, trials: Sequence[int]) -> list[int]:
    """Trials at once of each bracket: an even share, the first brackets taking what is left over."""
    if concurrent == 0:
        return [max(trials[-1], divisor)] * len(trials)
    share, more = divmod(max(concurrent, len(trials)), len(trials))
    return [share + (i < more) for i in range(len(trials))]


def _bracket(count: int, max_time: int, divisor: float, trials: int, concurrent: int) -> Bracket:
    rungs = tuple(max(int(max_time / divisor ** (count - 1 - i)), 1) for i in range(count))
    initial = min(concurrent, trials) if concurrent > 0 else max(1, min(int(divisor ** (count - 1)), trials))
    return Bracket(rungs, trials, initial)


def _log(value: float) -> float:
    """The natural logarithm, rounded as the master's is (FreeBSD's e_log.c, as in Go): log(243) / log(3) is 5 there.

    The C library's differ in the last bit, and at exact powers of the divisor that bit is a rung.
    """
    fraction, power = math.frexp(value)
    if fraction < math.sqrt(2) / 2:
        fraction, power = 2 * fraction, power - 1
    f = fraction - 1
    s = f / (2 + f)
    s2 = s * s
    s4 = s2 * s2
    odd = s2 * (6.666666666666735130e-01 + s4 * (2.857142874366239149e-01 + s4 * (1.818357216161805012e-01 + s4 * _L7)))
    even = s4 * (3.999999999940941908e-01 + s4 * (2.222219843214978396e-01 + s4 * 1.531383769920937332e-01))
    half = 0.5 * f * f
    return power * _LN2_HIGH - ((half - (s * (half + (odd + even)) + power * _LN2_LOW)) - f)


_L7 = 1.479819860511658591e-01
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


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
