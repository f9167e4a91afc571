"""Numbers that change over a search, as functions of how far it is: nothing to save, and nothing to go wrong on a resume."""

from __future__ import annotations

import math

KINDS = ("constant", "linear", "cosine", "exponential")


def at(fraction: float, start: float, end: float, kind: str) -> float:
    """The value when a fraction of the search, from 0 to 1, is done: `start` at 0, `end` at 1.

    Args:
        kind: one of KINDS; "constant" is `start` all the time, "exponential" needs both above 0.

    Raises:
        ValueError: for a kind that is not known.
    """
    if kind == "constant":
        return start
    if kind == "linear":
        return start + (end - start) * fraction
    if kind == "cosine":
        return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2
    if kind == "exponential":
        return float(start * (end / start) ** fraction)
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
