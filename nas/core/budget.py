"""How large a network may be, and the contract of what finds an architecture within that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.core.errors import ConfigError, unknown
from nas.core.fields import field, read
from nas.core.relaxation import Paths
from nas.core.space import Size

MEASURES = ("parameters", "macs")
SECTION = "hyperparameters.budget"
_LIKE = "a number such as 3.3e6, or [lowest, highest] with null for an open end"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; None is open."""

    low: float | None = field(None, ge=0)
    high: float | None = field(None, ge=0)

    def __contains__(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        low, high = (None if end is None else f"{end:,.12g}" for end in (self.low, self.high))
        if low is None or high is None:
            return f"at least {low}" if low else f"at most {high}" if high else "any number"
        return low if low == high else f"{low}..{high}"

    def problems(self) -> list[str]:
        """Rules over both ends."""
        if self.low is None or self.high is None or self.low <= self.high:
            return []
        return [f"low must be at most high, got {self.low:,.12g} and {self.high:,.12g}"]


OPEN = Range()
"""Any number."""


def read_range(value: Any, name: str, problems: list[str]) -> Range:
    """A range as `[lowest, highest]`; what is wrong with it is added to the problems."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        problems.append(f"{name} must be [lowest, highest] with null for an open end, got {value!r}")
        return OPEN
    try:
        (found,) = read({"low": value[0], "high": value[1]}, Range, section=name)
    except ConfigError as error:
        problems += error.problems
        return OPEN
    assert isinstance(found, Range)
    return found


@dataclass(frozen=True)
class Budget:
    """What the network of an architecture may cost.

    Attributes:
        parameters: of the network without the auxiliary tower.
        macs: multiply-accumulates for one image.
        names: what the user wrote them under.
    """

    parameters: Range = OPEN
    macs: Range = OPEN
    names: tuple[str, str] = (f"{SECTION}.parameters", f"{SECTION}.macs")

    @classmethod
    def from_mapping(cls, mapping: Any) -> Budget:
        """Read the budget of a config: `{parameters: 3.3e6}`, at most so many, or `{macs: [4e8, 5e8]}`, or both.

        Raises:
            ConfigError: with every problem.
        """
        if not isinstance(mapping, Mapping) or not mapping:
            raise ConfigError(
                [f"{SECTION} must be like {{parameters: 3.3e6}} or {{macs: [4e8, 5e8]}}, got {mapping!r}"]
            )
        problems = [
            unknown(f"{SECTION}.{key}", str(key), MEASURES, "cannot be limited")
            for key in mapping
            if key not in MEASURES
        ]
        ranges = {name: limit(mapping[name], f"{SECTION}.{name}", problems) for name in MEASURES if name in mapping}
        if problems:
            raise ConfigError(problems)
        return cls(ranges.get("parameters", OPEN), ranges.get("macs", OPEN))


def limit(value: Any, name: str, problems: list[str]) -> Range:
    """A range as `[lowest, highest]`, or the most that is allowed as a number; problems as for `read_range`."""
    if isinstance(value, list | tuple) and len(value) == 2 and any(end is not None for end in value):
        return read_range(value, name, problems)
    if type(value) not in (int, float):
        problems.append(f"{name} must be {_LIKE}, got {value!r}")
        return OPEN
    found: list[str] = []
    limit = read_range([None, value], name, found)
    problems += [problem.replace(f"{name}.high", name).replace(" or null", "") for problem in found]
    return limit


class Decoder(ABC):
    """Architectures of a supernet within a budget, and within rules of the space, at one network size."""

    @abstractmethod
    def size(self, paths: Paths) -> Size:
        """What the network of an architecture costs."""

    @abstractmethod
    def __contains__(self, paths: Paths) -> bool:
        """Whether an architecture keeps everything."""

    @abstractmethod
    def decode(self, weights: Mapping[str, Sequence[Sequence[float]]]) -> Paths:
        """The most likely architecture of those that keep everything; there is one.

        Args:
            weights: as those of `nas.core.relaxation.derive`; the logarithms of what is kept are summed.
        """

    @abstractmethod
    def draw(self, generator: np.random.RandomState) -> Paths:
        """One of those that keep everything, all equally likely."""
