"""Numbers as people read them: counts, durations, ages."""

from __future__ import annotations

import math

from nas.runs.ranking import is_measurement


def short_count(count: float | None) -> str:
    """Three digits and a unit, such as 1.2 M; "" if it is not known."""
    if count is None or not math.isfinite(count):
        return ""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= 0.9995 * size:
            value = count / size
            return f"{value:.0f} {unit}" if abs(value) >= 99.95 else f"{value:.1f} {unit}"
    return f"{count:.0f}"


def duration(seconds: float | None) -> str:
    """In the largest unit of which there is at least one and a half; "" if it is not known."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"


def age(seconds: float | None) -> str:
    """In whole units; "" if it is not known, and "now" for less than a second or a clock that went wrong."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= (2 if size > 1 else 1) * size:
            return f"{seconds // size:.0f} {unit}"
    return "now"


def value_text(value: float | None) -> str:
    """A metric; one that is not finite is called that, and "" if it is not known."""
    return "" if value is None else f"{value:.6g}" if is_measurement(value) else "not finite"
