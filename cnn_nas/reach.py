"""Why no architecture keeps a budget, in a sentence that says what there is and which network would keep it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cnn_nas.constraints import SECTION, Constraints
from cnn_nas.counting import NetworkSize, extremes
from nas.core.budget import MEASURES, OPEN, Budget, Range
from nas.core.relaxation import Relaxation

WORDS = {"parameters": "parameters", "macs": "MACs"}
MOST = {"init_channels": 16_384, "layers": 300}


@dataclass(frozen=True, eq=False)
class Limit:
    """One range that an architecture must be within.

    Attributes:
        name: what the user wrote it under.
        measure: parameters or macs.
        counts: of all architectures that keep the rules but for such ranges.
        within: which of them are within this one.
    """

    name: str
    measure: str
    allowed: Range
    counts: npt.NDArray[np.int64]
    within: npt.NDArray[np.bool_]

    def __str__(self) -> str:
        return f"{self.name} {self.allowed}"


def limits(budget: Budget, rules: Constraints, counts: Mapping[str, npt.NDArray[np.int64]]) -> list[Limit]:
    """The ranges of a budget and of constraints that limit something."""
    given = [(name, measure, getattr(budget, measure)) for name, measure in zip(budget.names, MEASURES, strict=True)]
    given += [(f"{SECTION}.{measure}", measure, getattr(rules, measure)) for measure in MEASURES]
    return [
        Limit(name, measure, allowed, counts[measure], _within(counts[measure], allowed))
        for name, measure, allowed in given
        if allowed != OPEN
    ]


def out_of_reach(
    limits: Sequence[Limit], of_the_budget: Sequence[str], size: NetworkSize, of: str, relaxation: Relaxation
) -> list[str]:
    """What is wrong; nothing if there is an architecture.

    Args:
        of_the_budget: names of limits that may not be idle.
        size: of the network.
        of: whose size it is.
    """
    problems = []
    for limit in limits:
        problems += _outside_the_space(limit, size, of, relaxation, limit.name in of_the_budget)
    problems = problems or [_between(limit, of) for limit in limits if not limit.within.any()]
    if problems or not limits or np.logical_and.reduce([limit.within for limit in limits]).any():
        return problems
    for one, other in itertools.combinations(limits, 2):
        if not (one.within & other.within).any():
            has = other.counts[one.within]
            there = f"with {one} {of} has {has.min():,}..{has.max():,} {WORDS[other.measure]}"
            gap = has.min() <= other.counts[other.within].max() and other.counts[other.within].min() <= has.max()
            return [
                f"{one.name} and {other.name} exclude each other: {there}{', but none that both allow' * bool(gap)}"
            ]
    return [f"{', '.join(map(str, limits))}: {of} has no architecture that keeps all of them"]


def _within(counts: npt.NDArray[np.int64], allowed: Range) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = counts >= (allowed.low or 0)
    return found if allowed.high is None else found & (counts <= allowed.high)


def _outside_the_space(
    limit: Limit, size: NetworkSize, of: str, relaxation: Relaxation, refuse_idle: bool
) -> list[str]:
    """Of a range that no network of this size reaches, whatever its architecture; or that all are within."""
    measure, name, allowed = limit.measure, limit.name, limit.allowed
    smallest, largest = (int(getattr(end, measure)) for end in extremes(size, relaxation))
    there = f"{of} (init_channels {size.init_channels}, layers {size.layers}) has {smallest:,}..{largest:,} {WORDS[measure]}"
    if allowed.high is not None and allowed.high < smallest:
        high = allowed.high
        fits = _other(size, -1, lambda it: getattr(extremes(it, relaxation)[0], measure) <= high)
        return [f"{name} must be at least {smallest:,}: {there}, got {allowed}{fits}"]
    low = allowed.high if allowed.low is None and refuse_idle else allowed.low
    if low is not None and low > largest:
        wanted = low
        fits = _other(size, 1, lambda it: getattr(extremes(it, relaxation)[1], measure) >= wanted)
        return [f"{name} must be at most {largest:,}: {there}, got {allowed}{fits}"]
    return []


def _other(size: NetworkSize, way: int, fits: Callable[[NetworkSize], bool]) -> str:
    """The nearest channels and layers, smaller or larger, with which the range is reached."""
    found = []
    for name, most in MOST.items():
        now = int(getattr(size, name))
        values: Any = range(1, now) if way < 0 else range(now + 1, most + 1)
        value = _nearest(values, way, partial(_fits_with, fits, size, name))
        found += [] if value is None else [f"{name} {value}"]
    return f"; with {' or '.join(found)} it would fit" if found else "; no init_channels and no layers would fit"


def _fits_with(fits: Callable[[NetworkSize], bool], size: NetworkSize, name: str, value: int) -> bool:
    changed: dict[str, Any] = {name: value}
    return fits(replace(size, **changed))


def _nearest(values: range, way: int, fits: Callable[[int], bool]) -> int | None:
    """The largest that fits of values of which small ones do, or the smallest of which large ones do."""
    low, high = 0, len(values)  # values before low fit (way -1), or do not (way 1)
    while low < high:
        middle = (low + high) // 2
        if fits(values[middle]) == (way < 0):
            low = middle + 1
        else:
            high = middle
    at = low - 1 if way < 0 else low
    return values[at] if 0 <= at < len(values) else None


def _between(limit: Limit, of: str) -> str:
    """Of a range in which no architecture that keeps the other rules lies."""
    allowed, counts = limit.allowed, limit.counts
    below = counts[counts < (allowed.low or 0)]
    above = counts[counts > (np.inf if allowed.high is None else allowed.high)]
    nearest = [
        f"{end:,}" for part, best in ((below, np.max), (above, np.min)) if part.size for end in [int(best(part))]
    ]
    told = f"{limit.name} is {allowed} for {of}, and no architecture that keeps the rules is"
    return f"{told}: the nearest {'have' if len(nearest) > 1 else 'has'} {' and '.join(nearest)} {WORDS[limit.measure]}"
