"""Ranges of type `log` whose bounds were meant as values: a master takes them for exponents, and draws something else.

`{type: log, minval: 0.0001, maxval: 0.1}` draws 1.0002 .. 1.26. The master accepts that, and so does a learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

LEAST, MOST = 1e-30, 1e15
"""Values beyond these are those of no hyperparameter."""

_START = 0.1  # exponents that begin above 0 and below this, where 0 would do
_RATIO = 10.0  # and reach so many times as far


def range_problems(hyperparameters: Mapping[str, Any]) -> list[str]:
    """The ranges that can only be a mistake, a sentence each."""
    return [sentence for sentence, certain in _findings(hyperparameters) if certain]


def range_warnings(hyperparameters: Mapping[str, Any]) -> list[str]:
    """The ranges that may be one."""
    return [sentence for sentence, certain in _findings(hyperparameters) if not certain]


def power(base: float, exponent: float) -> float:
    """`base ** exponent`; infinity where that is more than a float holds, as the master computes it."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf


def _findings(hyperparameters: Mapping[str, Any], section: str = "hyperparameters") -> Iterator[tuple[str, bool]]:
    for key, spec in hyperparameters.items() if isinstance(hyperparameters, Mapping) else ():
        if isinstance(spec, Mapping) and "type" not in spec:
            yield from _findings(spec, f"{section}.{key}")
        elif isinstance(spec, Mapping) and spec["type"] == "log":
            yield from _finding(f"{section}.{key}", spec.get("minval"), spec.get("maxval"), spec.get("base", 10.0))


def _finding(name: str, low: Any, high: Any, base: Any) -> Iterator[tuple[str, bool]]:
    """The sentence for one range, if there is one, and whether it can only be a mistake."""
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in (low, high, base)):
        return  # the rules of the master say that
    if not low < high or base <= 1:
        return
    smallest, largest = power(base, low), power(base, high)
    draws = f"{name}: minval and maxval of type log are exponents of base {base:g}, so {low:g} and {high:g} draw"
    says = f"{draws} {smallest:.5g} .. {largest:.5g}"
    as_values = f"{says}; for {low:g} .. {high:g} write"
    if low > 0:
        exponents = f"minval: {math.log(low, base):.4g} and maxval: {math.log(high, base):.4g}"
        if (low < _START and high >= _RATIO * low) or largest > MOST:
            yield f"{as_values} {exponents}", True
        elif high <= 1:
            yield f"{as_values} {exponents}", False
    elif smallest < LEAST or largest > MOST:
        yield f"{says}; no hyperparameter has such values, write smaller exponents", True
