"""Distances between the final states of a controller's cells, and whether they go with what the cells have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nas.core.drawn_cells import ControllerCells, DrawnCells
from nas.core.errors import ConfigError
from nas.results.mantel import PERMUTATIONS, Floats, Mantel, mantel

DISTANCES = ("L2", "cosine")
AGAINST = ("common edges", "common edges with activation", "tree edit distance", "difference of loss")
COEFFICIENTS = ("Spearman", "Pearson")
TRAINED, CONTROL, UNTRAINED = "trained", "same cells, untrained", "untrained"
SHOWN = 5
"""Nearest pairs, and farthest ones."""
FEWEST, MOST = 5, 1000
"""Cells to draw."""

Test = tuple[str, str, str]
"""A distance, what it is compared with, and the coefficient."""


@dataclass(frozen=True)
class Group:
    """The cells of one controller whose loss is a number, by their place among all of its different cells.

    Attributes:
        distances: `(n, n)` for each of DISTANCES.
        against: `(n, n)` for each of AGAINST.
        tests: None where a correlation is not defined.
    """

    cells: DrawnCells
    kept: list[int]
    distances: Mapping[str, Floats]
    against: Mapping[str, Floats]
    tests: Mapping[Test, Mantel | None]

    @property
    def losses(self) -> list[float]:
        """Of those that are kept."""
        return [self.cells.losses[i] for i in self.kept]


@dataclass(frozen=True)
class Findings:
    """What was found of a trained controller, and the same of the one it started as: what any controller shows.

    Attributes:
        control: the cells of the trained one, with the states that the untrained one has of them.
        nearest, farthest: pairs of cells of the trained one, by L2 between their states; places among its different cells.
    """

    source: ControllerCells
    trained: Group
    control: Group
    fresh: Group
    nearest: list[tuple[int, int]]
    farthest: list[tuple[int, int]]

    @property
    def groups(self) -> dict[str, Group]:
        """All of them by what they are called."""
        return {TRAINED: self.trained, CONTROL: self.control, UNTRAINED: self.fresh}


def check_count(cells: int) -> None:
    """Raises ConfigError for too few or too many cells to draw."""
    if not FEWEST <= cells <= MOST:
        rule = (
            f"must be {FEWEST}..{MOST}, as fewer have too few arrangements for a test and pairs grow with their square"
        )
        raise ConfigError([f"--cells {rule}, got {cells}"])


def findings(source: ControllerCells, permutations: int = PERMUTATIONS) -> Findings:
    """Compute all of it.

    Raises:
        ConfigError: no cell of the trained controller has a loss that is a number.
    """
    all_cells = source.trained, source.control, source.fresh
    trained, control, fresh = (group_of(cells, permutations) for cells in all_cells)
    if not trained.kept:
        what = f"the losses of all {len(source.trained.losses)} cells are not finite (NaN or infinity)"
        raise ConfigError([f"{what}, as the shared weights have diverged; name an earlier checkpoint, by its folder"])
    first, second = np.triu_indices(len(trained.kept), 1)
    order = np.argsort(trained.distances["L2"][first, second], kind="stable")
    pairs = [(trained.kept[first[k]], trained.kept[second[k]]) for k in order]
    shown = min(SHOWN, len(pairs) // 2)
    return Findings(source, trained, control, fresh, pairs[:shown], pairs[len(pairs) - shown :][::-1])


def group_of(cells: DrawnCells, permutations: int) -> Group:
    """Of one controller."""
    kept = [i for i, loss in enumerate(cells.losses) if math.isfinite(loss)]
    square = np.ix_(kept, kept)
    losses = np.array([cells.losses[i] for i in kept])
    tables = (cells.common_edges, cells.common_pairs, cells.tree_distances)
    counted = [np.array(table, dtype=np.float64)[square] for table in tables]
    against = dict(zip(AGAINST, [*counted, np.abs(losses[:, None] - losses[None])], strict=True))
    states = np.array(cells.states, dtype=np.float64)[kept]
    distances = {"L2": l2(states), "cosine": cosine(states)}
    tests: dict[Test, Mantel | None] = {}
    for name, distance in distances.items():
        for coefficient in COEFFICIENTS:
            found = mantel(distance, list(against.values()), ranks=coefficient == "Spearman", permutations=permutations)
            tests |= {(name, other, coefficient): each for other, each in zip(against, found, strict=True)}
    return Group(cells, kept, distances, against, tests)


def l2(states: Floats) -> Floats:
    """Euclidean distances `(n, n)` of states `(n, H)`."""
    return np.array([np.linalg.norm(states - each, axis=1) for each in states]).reshape(len(states), len(states))


def cosine(states: Floats) -> Floats:
    """1 less the cosine of the angle between two states, `(n, n)`."""
    lengths = np.linalg.norm(states, axis=1, keepdims=True)
    units = states / np.where(lengths > 0, lengths, 1.0)
    return l2(units) ** 2 / 2  # of unit vectors; exact for small angles, as 1 - cos is not
