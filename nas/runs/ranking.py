"""Which value is the best: one rule for checkpoints, the searcher's table, the leaderboard and the curves.

A value that is missing, NaN, infinite, or what a trial reports in place of these, never wins and has no rank. Of equal values
the one that comes first is the better.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")

NONFINITE_PLACEHOLDER = 1e10
"""What a trial reports in place of NaN or infinity: a searcher can sort it, and nobody mistakes it for a result."""


def is_measurement(value: float | None) -> bool:
    """Whether a metric says something: it is there, finite, and not what stands for NaN."""
    return value is not None and math.isfinite(value) and abs(value) < NONFINITE_PLACEHOLDER


def rank(items: Iterable[T], value: Callable[[T], float | None], *, smaller_is_better: bool) -> list[T]:
    """The items from the best to the worst; those whose value is no measurement are left out."""
    sign = 1 if smaller_is_better else -1
    valued = ((value(item), item) for item in items)
    keyed = [(sign * found, item) for found, item in valued if found is not None and is_measurement(found)]
    return [item for _, item in sorted(keyed, key=lambda pair: pair[0])]


def best(items: Iterable[T], value: Callable[[T], float | None], *, smaller_is_better: bool) -> T | None:
    """The first of `rank`, or None if no item has a finite value."""
    ranked = rank(items, value, smaller_is_better=smaller_is_better)
    return ranked[0] if ranked else None


def best_value(values: Iterable[float | None], *, smaller_is_better: bool) -> float | None:
    """The best of a trial's values so far, or None if none of them is finite."""
    return best(values, lambda value: value, smaller_is_better=smaller_is_better)
