"""A network for every budget: the cells of a search of which none is at least as small and scores higher."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.core.relaxation import Paths, short_tables
from nas.core.space import Size, Space

GRID = 257
"""Levels, equally spaced, whose cells are derived at least."""
NEAREST = 1e-4
"""As near to each other are the two levels between which a cell gives way to another."""
QUALITIES = ("top1_accuracy", "r2")
"""What cells are compared by, larger is better; the first that there is, or minus the loss."""


@dataclass(frozen=True)
class Row:
    """A cell that was scored with the shared weights.

    Attributes:
        level: at which it is the one that is derived, or the most likely of its size.
        size: of the network that is retrained.
        scores: its metrics on all validation data.
        by: `level`, or `projection` on a budget, or `random`.
    """

    level: float | None
    paths: Paths
    size: Size
    scores: Mapping[str, float]
    by: str

    @property
    def quality(self) -> float:
        """What cells are compared by; what is no number is the worst."""
        value = next((self.scores[name] for name in QUALITIES if name in self.scores), -self.scores["loss"])
        return value if math.isfinite(value) else -math.inf

    def to_json(self, space: Space[Any]) -> dict[str, Any]:
        """Plain types; a score that is no finite number is null."""
        scores = {name: value if math.isfinite(value) else None for name, value in self.scores.items()}
        return {
            **({} if self.level is None else {"level": self.level}),
            **{"parameters": self.size.parameters, "macs": self.size.macs},
            "score": self.quality if math.isfinite(self.quality) else None,
            "genotype": space.genotype_of(self.paths).to_json(),
            "by": self.by,
            "scores": scores,
        }


@dataclass(frozen=True)
class Front:
    """What a search for all budgets ends with.

    Attributes:
        rows: the Pareto front of count and quality, smallest first.
        levels: what is derived, in the order of levels: each from its own level to that of the next.
        about: what belongs to all rows.
        weights: by level, what cells are ranked by, see `nas.core.relaxation.derive`.
        random: cells drawn uniformly, for comparison.
    """

    rows: list[Row]
    levels: list[Row]
    about: Mapping[str, Any]
    weights: list[dict[str, Any]] = field(default_factory=list)
    random: list[Row] = field(default_factory=list)

    def to_json(self, space: Space[Any]) -> dict[str, Any]:
        """Ready for `json.dump`; `nas.core.front` reads it."""
        metric = next((name for name in QUALITIES if name in self.rows[0].scores), "minus the loss")
        found = {"space": space.package, **self.about, "metric": metric, "smaller_is_better": False}
        parts = {name: [row.to_json(space) for row in getattr(self, name)] for name in ("rows", "levels", "random")}
        return {
            **found,
            **parts,
            "weights": [{**each, "weights": short_tables(each["weights"])} for each in self.weights],
        }


def changes(derive: Callable[[float], Paths], low: float = 0.0, high: float = 1.0) -> list[tuple[float, Paths]]:
    """The cells along all levels, in order: each with a level at which it begins, to within `NEAREST`.

    They are looked for on a grid and halfway between levels whose cells differ; no order of their sizes is relied on.
    """
    levels = [low + (high - low) * k / (GRID - 1) for k in range(GRID)] if high > low else [low]
    found = [(level, derive(level)) for level in levels]
    runs = [found[0]]
    for before, after in itertools.pairwise(found):
        for each in [*_between(derive, before, after), after]:
            if each[1] != runs[-1][1]:
                runs.append(each)
    return runs


def _between(
    derive: Callable[[float], Paths], before: tuple[float, Paths], after: tuple[float, Paths]
) -> Iterable[tuple[float, Paths]]:
    """What is derived at levels between two whose cells differ."""
    if before[1] == after[1] or after[0] - before[0] <= NEAREST:
        return []
    middle = (before[0] + after[0]) / 2
    here = (middle, derive(middle))
    return [*_between(derive, before, here), here, *_between(derive, here, after)]


def undominated(rows: Sequence[Row], measure: str) -> list[Row]:
    """Those than which none costs at most as much and scores at least as well, smallest first; of equals the first."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: (getattr(row.size, measure), -row.quality)):
        if math.isfinite(row.quality) and (not kept or row.quality > kept[-1].quality):
            kept.append(row)
    return kept


def largest_gap(rows: Sequence[Row], measure: str, low: int, high: int) -> float:
    """The largest share of the way from the smallest to the largest network of the space on which no row lies."""
    counts = [low, *(getattr(row.size, measure) for row in rows), high]
    return float(max(after - before for before, after in itertools.pairwise(counts)) / max(high - low, 1))


def violation(counts: Sequence[float]) -> float:
    """How far a count rises again as the level rises, at most; 0 if it never does."""
    least, found = math.inf, 0.0
    for count in counts:
        least = min(least, count)
        found = max(found, count - least)
    return found
