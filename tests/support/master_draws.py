"""A Mersenne Twister and what a Determined 0.38.1 master draws from it, written out: an independent transcription."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

WORD = 2**32 - 1


class Twister:
    """MT19937 of Matsumoto and Nishimura, and what NumPy's legacy generator and a master make of its numbers."""

    def __init__(self, seed: int) -> None:
        state = [seed]
        for i in range(1, 624):
            state.append((1812433253 * (state[-1] ^ (state[-1] >> 30)) + i) & WORD)
        self._words = self._from(state)

    @staticmethod
    def _from(state: list[int]) -> Iterator[int]:
        for i in itertools.count():
            mixed = (state[i] & 0x80000000) | (state[i + 1] & 0x7FFFFFFF)
            state.append(state[i + 397] ^ (mixed >> 1) ^ (0x9908B0DF if mixed & 1 else 0))
            word = state[-1]
            word ^= word >> 11
            word ^= (word << 7) & 0x9D2C5680
            word ^= (word << 15) & 0xEFC60000
            yield word ^ (word >> 18)

    def word(self) -> int:
        return next(self._words)

    def unit(self) -> float:
        """At least 0, below 1."""
        high = self.word() >> 5
        return (high * 2**26 + (self.word() >> 6)) / 2**53

    def below(self, count: int) -> int:
        """At least 0, below `count`."""
        limit = count - 1
        bits = limit.bit_length()
        while bits:
            number = self.word()
            if bits > 32:
                number = (number << 32) + self.word()
            number %= 2**bits
            if number <= limit:
                return number
        return 0

    def request_id(self) -> None:
        """A master's name for a trial: 16 bytes."""
        for _ in range(4):
            self.word()


def members(space: dict[str, Any], section: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """What is searched, in the order in which a master comes to it."""
    for key in sorted(space):
        spec = space[key]
        if isinstance(spec, dict) and "type" not in spec:
            yield from members(spec, f"{section}{key}.")
        elif isinstance(spec, dict) and spec["type"] != "const":
            yield f"{section}{key}", spec


def value_of(spec: dict[str, Any], twister: Twister) -> Any:
    if spec["type"] == "categorical":
        return spec["vals"][twister.below(len(spec["vals"]))]
    low, high = spec["minval"], spec["maxval"]
    if spec["type"] == "int":
        return low + twister.below(high - low + 1)
    value = low + (high - low) * twister.unit()
    return value if spec["type"] == "double" else spec.get("base", 10) ** value


def as_tree(space: dict[str, Any], chosen: dict[str, Any], section: str = "") -> dict[str, Any]:
    tree = {}
    for key, spec in space.items():
        if not isinstance(spec, dict):
            tree[key] = spec
        elif "type" not in spec:
            tree[key] = as_tree(spec, chosen, f"{section}{key}.")
        else:
            tree[key] = chosen.get(f"{section}{key}", spec.get("val"))
    return tree


def created(space: dict[str, Any], seed: int, count: int) -> list[tuple[dict[str, Any], int]]:
    """Hyperparameters and seed of the first trials that any searcher but grid creates, replacements among them."""
    twister, trials = Twister(seed), []
    for _ in range(count):
        chosen = {name: value_of(spec, twister) for name, spec in members(space)}
        twister.request_id()
        trials.append((as_tree(space, chosen), twister.below(2**31)))
    return trials
