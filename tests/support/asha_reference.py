"""What a Determined 0.38.1 master decides under ASHA, written as its rules say and as plainly as possible, for `local_engine`.

Slow, in rational numbers, and with nothing in common with what it checks but the names of a config's keys.

 1. With d the divisor (4), there are at most R rungs: the least of max_rungs (5), floor(log_d max_time) + 1 and
    floor(log_d max_trials) + 1.
 2. A bracket is told by how many rungs it has. The modes: aggressive has the one with R; standard (the mode unless said)
    those with (R - 1) / 2 + 1 to R, halves rounded down; conservative those with 1 to R. A bracket_rungs that is not empty
    says them instead. More rungs come first.
 3. A bracket with r rungs weighs d^(r - 1) / r. Of max_trials it gets its share by weight, rounded down, at least one; what
    is left over goes to the first.
 4. max_concurrent_trials (16), but at least one for each bracket, is dealt out evenly, and what is left over one by one to
    the first ones. Where it is 0, each bracket may have as many as the last has trials, at least floor(d).
 5. Counted from 0, rung i of n is reached at floor(max_time / d^(n - 1 - i)) units of the time metric, at least 1.
 6. A bracket starts with as many trials as it may have at once, and has.
 7. A validation is held against the rungs from its trial's current one on. If it is too early for the rung, the trial goes
    on, and waits there. Else its metric (negated where larger is better) goes into the rung's sorted list, before its equals.
    On the last rung the trial stops. So it does where at least max(1, floor(n / d)) others stand before it, n counting all in
    the list. Otherwise the next rung looks at the same validation.
 8. When a trial stops, its bracket creates another, if it has not created all of its trials.
 9. An error puts the worst value there is into the current rung's list, and counts as a stop for rule 8. A trial that leaves
    early for any other reason changes nothing.
10. async_halving is one bracket with num_rungs rungs and max_trials trials. Where max_concurrent_trials is 0, it starts with
    floor(d^(num_rungs - 1)) trials, at least 1 and at most all.
11. Nobody remembers that a trial was stopped: what it reports afterwards is treated alike, from the rung where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

FAILED_METRIC = 2.0**1023 * (2 - 2.0**-52)
"""The largest number that a double holds."""


def floor_log(divisor: Fraction, number: int) -> int:
    """How often the number can be divided before it falls below 1; exact."""
    power, reached = 0, divisor
    while reached <= number:
        power, reached = power + 1, reached * divisor
    return power


def double(value: Fraction) -> Fraction:
    """Rounded as the result of one operation on doubles is."""
    return Fraction(value.numerator / value.denominator)


class ReferenceBracket:
    """Rules 5 to 9."""

    def __init__(self, divisor: Fraction, rungs: int, max_time: int, trials: int, initial: int) -> None:
        self.divisor = divisor
        self.needs = [max(1, max_time // divisor ** (rungs - 1 - i)) for i in range(rungs)]
        self.trials = trials
        self.initial = initial
        self.rung_of: dict[int, int] = {}
        self.lists: list[list[tuple[float, int]]] = [[] for _ in range(rungs)]

    def insert(self, rung: int, metric: float, trial: int) -> int:
        """Where the metric stands afterwards."""
        place = 0
        while place < len(self.lists[rung]) and self.lists[rung][place][0] < metric:
            place += 1
        self.lists[rung] = [*self.lists[rung][:place], (metric, trial), *self.lists[rung][place:]]
        return place

    def stops(self, trial: int, time: float, metric: float) -> bool:
        """Rule 7."""
        while True:
            rung = self.rung_of[trial]
            if time < self.needs[rung]:
                return False
            place = self.insert(rung, metric, trial)
            if rung == len(self.needs) - 1:
                return True
            if place >= max(1, len(self.lists[rung]) // self.divisor):
                return True
            self.rung_of[trial] = rung + 1


class Reference:
    """A search; trials are numbered in the order of their creation."""

    def __init__(self, searcher: Mapping[str, Any]) -> None:
        def field(name: str, default: Any) -> Any:
            return default if searcher.get(name) is None else searcher[name]

        self.smaller_is_better = field("smaller_is_better", True)
        divisor, concurrent = Fraction(field("divisor", 4)), field("max_concurrent_trials", 16)
        max_time, max_trials = searcher["max_time"], searcher["max_trials"]
        if searcher["name"] == "async_halving":
            rungs = [searcher["num_rungs"]]
            trials = [max_trials]
            at_once = [concurrent or max(1, min(int(divisor ** (rungs[0] - 1)), max_trials))]
        else:
            rungs = self._rungs(divisor, field("max_rungs", 5), field("mode", "standard"), searcher)
            trials = self._shares(divisor, rungs, max_trials)
            at_once = self._at_once(concurrent, int(divisor), trials)
        self.brackets = [
            ReferenceBracket(divisor, rungs[i], max_time, trials[i], min(at_once[i], trials[i]))
            for i in range(len(rungs))
        ]
        self.bracket_of: list[int] = []
        for i, bracket in enumerate(self.brackets):
            for _ in range(bracket.initial):
                self._create(i)

    @staticmethod
    def _rungs(divisor: Fraction, most: int, mode: str, searcher: Mapping[str, Any]) -> list[int]:
        if searcher.get("bracket_rungs"):
            return sorted(searcher["bracket_rungs"])[::-1]
        for number in (searcher["max_time"], searcher["max_trials"]):
            most = min(most, floor_log(divisor, number) + 1)
        if mode == "aggressive":
            return [most]
        rungs, least = [], {"standard": (most - 1) // 2 + 1, "conservative": 1}[mode]
        while most >= least:
            rungs.append(most)
            most -= 1
        return rungs

    @staticmethod
    def _shares(divisor: Fraction, rungs: list[int], max_trials: int) -> list[int]:
        """The master computes in doubles: a share that should be a whole number can come out one lower."""
        weights = [double(divisor ** (r - 1) / r) for r in rungs]
        total = Fraction(0)
        for weight in weights:
            total = double(total + weight)
        trials = [max(1, int(double(double(weight / total) * max_trials))) for weight in weights]
        if sum(trials) < max_trials:
            trials[0] += max_trials - sum(trials)
        return trials

    @staticmethod
    def _at_once(concurrent: int, divisor: int, trials: list[int]) -> list[int]:
        if concurrent == 0:
            return [max(trials[-1], divisor) for _ in trials]
        dealt, turn = [1 for _ in trials], 0
        for _ in range(concurrent - len(trials)):
            dealt[turn] += 1
            turn = (turn + 1) % len(trials)
        return dealt

    def validation(self, trial: int, time: float, metric: float) -> tuple[bool, tuple[int, int] | None]:
        """Whether the trial stops, and the (trial, bracket) created in exchange."""
        bracket = self.brackets[self.bracket_of[trial]]
        stop = bracket.stops(trial, time, metric if self.smaller_is_better else -metric)
        return stop, self._replace(trial) if stop else None

    def error(self, trial: int) -> tuple[int, int] | None:
        """The (trial, bracket) created in exchange."""
        bracket = self.brackets[self.bracket_of[trial]]
        bracket.insert(bracket.rung_of[trial], FAILED_METRIC, trial)
        return self._replace(trial)

    def _replace(self, trial: int) -> tuple[int, int] | None:
        i = self.bracket_of[trial]
        return (self._create(i), i) if len(self.brackets[i].rung_of) < self.brackets[i].trials else None

    def _create(self, i: int) -> int:
        self.bracket_of.append(i)
        self.brackets[i].rung_of[len(self.bracket_of) - 1] = 0
        return len(self.bracket_of) - 1
