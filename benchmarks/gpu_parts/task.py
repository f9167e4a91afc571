"""What the process of a part is told, and what its items may answer."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

Found = dict[str, Any]
"""What an item found. `text` says it in a few words; `rows`, with `machine`, are lines for docs/benchmarks.md."""

Items = Iterator[tuple[str, Callable[[], Found]]]
"""Names of items, and what measures each; names of one part differ."""


ALONE = "cudnn_benchmark"
"""Items of whose names this is a part are measured in a process of their own: torch remembers for as long as a process lives
which kernel it took for a convolution's shape, so that it measures none where another item was before, and the next item would
have those that it measured."""


class ToldError(Exception):
    """An item failed for a reason that a sentence says."""


class SkippedError(Exception):
    """An item cannot be measured here, for a reason that a sentence says."""


class UnfinishedError(Exception):
    """A part ends now and goes on at the next call."""


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        place: `module:function` of `(task) -> Items`.
        limit: seconds that it may take in one call; one item may take two thirds of them.
        least: seconds without which it is not begun.
        asked: it runs only if the command line names it.
    """

    name: str
    place: str
    limit: float
    least: float
    about: str
    asked: bool = False


@dataclass(frozen=True)
class Task:
    """What the process of a part is told.

    Attributes:
        folder: of the results.
        scratch: of what need not be kept: runs, texts, compiled code.
        seconds: until it is ended.
        longest: that one item may take.
        about: date, commit, hardware, versions and command, for every result.
        sets: settings of train_one_arch.yaml, `KEY=VALUE`, for the parts that train it.
        finished: items that are left out.
    """

    part: str
    place: str
    device: str
    folder: str
    scratch: str
    seconds: float
    about: dict[str, str]
    longest: float = math.inf
    data_dir: str = ""
    split: bool = False
    sets: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)

    @property
    def small(self) -> bool:
        """On a CPU it is the script that is tested, at sizes that take no time."""
        return self.device == "cpu"

    def to_json(self) -> str:
        """For the process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        """The inverse of `to_json`."""
        return cls(**json.loads(text))
