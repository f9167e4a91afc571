"""The brackets and rungs of a Determined 0.38.1 master's asynchronous successive halving, from the config of its searcher.

ASHA: Li et al. 2020, arXiv 1810.05934; the brackets of adaptive ASHA are those of Hyperband (Li et al. 2018, arXiv 1603.06560).
How trials pass the rungs is in `nas/engine/asha.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
