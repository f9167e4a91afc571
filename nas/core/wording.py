"""Numbers in sentences."""

from __future__ import annotations


def plural(count: int, what: str) -> str:
    """Such as `1 trial` or `32 trials`."""
    return f"{count:,} {what}{'s' * (count != 1)}"
