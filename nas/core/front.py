"""`front.json`: what one search found for every budget, as networks of one size.

    {"space": "cnn_nas",
     "network": {"init_channels": 16, "layers": 8, "classes": 10, "input_size": [1, 28, 28]},
     "metric": "top1_accuracy", "smaller_is_better": false,
     "rows": [{"level": 0.25, "parameters": 250938, "macs": 33861952, "score": 0.91, "genotype": {...}, "by": "level"}, ...],
     "levels": [{"level": 0.0, "parameters": 261298, ...}, ...],
     "weights": [{"level": 0.0, "weights": {"normal": [[...]], "reduce": [[...]]}}, ...]}

Rows are architectures; none is both as small as another and better. `levels` are what all levels derive, each from its own
level to that of the next, and `weights` what others are decoded from, at some levels; both may be missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.core.space import Space

FILE = "front.json"
WAYS = ("level", "projection")


@dataclass(frozen=True)
class Row:
    """One architecture.

    Attributes:
        level: of complexity, from 0, free, to 1, smallest.
        parameters, macs: of the network of the front's size.
        score: with the shared weights.
        genotype: as JSON.
        by: `level`, if it is what the level derives; `projection`, if it was decoded under a budget.
    """

    level: float
    parameters: int
    macs: int
    score: float
    genotype: Mapping[str, Any]
    by: str


@dataclass(frozen=True)
class Front:
    """See the module.

    Attributes:
        space: package of the search space.
        network: the settings of `Space.size`.
        metric: what the score is.
        levels: what levels derive, in order; a score may be null.
        weights: by level, as `nas.core.relaxation.derive` takes them.
    """

    space: str
    network: Mapping[str, Any]
    metric: str
    smaller_is_better: bool
    rows: Sequence[Row]
    levels: Sequence[Row] = field(default_factory=list)
    weights: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Ready for `json.dump`."""
        return asdict(self)

    def best(self, rows: Sequence[Row]) -> Row:
        """The row with the best score, of equal ones the smallest."""
        sign = 1 if self.smaller_is_better else -1
        return min(rows, key=lambda row: (sign * row.score, row.parameters))

    def at(self, level: float) -> Row:
        """What a level derives; where that is not known, the row of the nearest level."""
        if not self.levels:
            return min(self.rows, key=lambda row: (abs(row.level - level), row.level))
        before = [row for row in self.levels if row.level <= level]
        return replace((before or self.levels[:1])[-1], level=level)


def read_front(path: Path, space: Space[Any]) -> Front:
    """A front from a file that somebody may have edited: every row is checked, and counted again.

    Raises:
        ConfigError: with the first thing that is wrong.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError([f"{path} cannot be read: {error}"]) from error
    try:
        rows, levels = [_row(each) for each in data["rows"]], [_row(each, False) for each in data.get("levels", [])]
        known = {each.name: data[each.name] for each in fields(Front) if each.name in data}
        front = Front(**{**known, "rows": rows, "levels": levels})
    except (KeyError, TypeError, ValueError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise ConfigError(
            [f"{path} is not a front that a search wrote ({why}); search again, or restore it"]
        ) from error
    if front.space != space.package:
        raise ConfigError([f"{path} is of the space {front.space!r}, and the search of {space.package}"])
    if not rows:
        raise ConfigError([f"{path} has no rows"])
    for name, each in (("row", rows), ("level", levels)):
        for number, row in enumerate(each):
            _check(f"{path}: {name} {number}", row, front, space)
    return front


def _row(data: Mapping[str, Any], scored: bool = True) -> Row:
    row = Row(**{each.name: data[each.name] for each in fields(Row)})
    if type(row.level) not in (int, float) or not 0 <= row.level <= 1:
        raise ValueError(f"level must be 0..1, got {row.level!r}")
    unscored = row.score is None and not scored
    if not unscored and (type(row.score) not in (int, float) or not math.isfinite(row.score)):
        raise ValueError(f"score must be a finite number, got {row.score!r}")
    if row.by not in WAYS:
        raise ValueError(f"by must be one of {', '.join(WAYS)}, got {row.by!r}")
    return row


def _check(where: str, row: Row, front: Front, space: Space[Any]) -> None:
    """Raises ConfigError unless the row's architecture costs what it says."""
    try:
        size = space.size(space.from_json(row.genotype), **front.network)
    except ConfigError as error:
        raise ConfigError([f"{where}: {problem}" for problem in error.problems[:1]]) from error
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError([f"{where} cannot be counted at the size {dict(front.network)}: {error}"]) from error
    for name in ("parameters", "macs"):
        says, is_ = getattr(row, name), getattr(size, name)
        if says != is_:
            rule = f"must be {is_:,}, what its genotype has at the size of the file, got {says!r}"
            raise ConfigError([f"{where}: {name} {rule}; restore the file, or search again"])
