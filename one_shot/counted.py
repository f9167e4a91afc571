"""What the networks cost that the cells of a search are retrained in; and cells of given sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.core.arch_weights import one_path
from nas.core.budget import Budget, Range
from nas.core.relaxation import Paths
from one_shot.front import Row

Ranked = Mapping[str, Sequence[Sequence[float]]]
"""What cells are ranked by, see `nas.core.relaxation.derive`."""
Cell = tuple[float | None, Paths, str]
"""Level, cell, and by what it was found; see `one_shot.front.Row`."""

NEAR = 0.01
"""By which share the size of a random cell may differ from that of the cell that it is compared with."""


class Expected(nn.Module):
    """The mean count of sampled cells, from `low` to `high`, such as `cnn_nas.expected_cost.ExpectedCost`."""

    low: int
    high: int

    def scaled(
        self, operations: Mapping[str, torch.Tensor], edges: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """From 0, the smallest network of the space, to 1, the largest."""
        raise NotImplementedError


@dataclass(frozen=True)
class Counted:
    """The networks that are counted.

    Attributes:
        expected: by measure, see `Expected`.
        decoder: within a budget: a `nas.core.budget.Decoder`, which also has a `front` of all sizes.
        network: their size, by the settings of `Space.size`.
    """

    expected: Callable[[str], Any]
    decoder: Callable[[Budget], Any]
    network: Mapping[str, Any]

    def rows(self, cells: Sequence[Cell], score: Any) -> list[Row]:
        """Cells with their sizes and their scores with the shared weights; each is scored once, however often it comes."""
        decoder = self.decoder(Budget())
        keys = [tuple(paths.items()) for _, paths, _ in cells]
        different = {key: paths for key, (_, paths, _) in zip(keys, cells, strict=True)}
        found = dict(zip(different, score([one_path(paths) for paths in different.values()]), strict=True))
        return [
            Row(level, paths, decoder.size(paths), found[key], by)
            for key, (level, paths, by) in zip(keys, cells, strict=True)
        ]

    def projections(
        self,
        decoder: Any,
        ranked: Callable[[float], Ranked],
        counts: Mapping[float, float],
        budgets: Sequence[int],
        measure: str,
    ) -> list[Cell]:
        """For each budget the most likely cell within it, at the level whose expected count is the nearest.

        Args:
            decoder: with which cells are decoded.
            ranked: by level.
            counts: of several levels the expected count.
        """
        cells: list[Cell] = []
        fronts: dict[float, list[Any]] = {}
        for budget in budgets:
            level = min(counts, key=lambda each: abs(counts[each] - budget))
            if level not in fronts:
                fronts[level] = decoder.front(ranked(level), measure)
            within = [paths for paths, size, _ in fronts[level] if getattr(size, measure) <= budget]
            cells += [(level, within[-1], "projection")] if within else []
        return cells

    def random(self, sizes: Sequence[int], measure: str, seed: int) -> list[Cell]:
        """A uniformly drawn cell of about each of the sizes, of which there is one."""
        draws = np.random.RandomState(seed)
        cells: list[Cell] = []
        for size in sizes:
            near = Range((1 - NEAR) * size, (1 + NEAR) * size)
            budget = Budget(parameters=near) if measure == "parameters" else Budget(macs=near)
            cells.append((None, self.decoder(budget).draw(draws), "random"))
        return cells
