"""Cells of a trained controller and as many uniform ones, to be trained alike: the hyperparameter `cells`.

A search writes it, a trial reads which of the cells it trains, and `nas compare --groups` which group a result is of. A trial's
`drawn_by` names the group and `pair` the cell; the two trainings of a pair, one a group, have the same seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.core.fields import field, read
from nas.core.seeds import derive

CELLS, DRAWN_BY, PAIR = "cells", "drawn_by", "pair"
TRAINED, UNIFORM = GROUPS = ("trained", "uniform")
TESTS = ("better", "different")
"""What the confirmatory test asks of trained cells: whether they are better than uniform ones, or whether they differ."""

_SEEDS = 2**31


@dataclass(frozen=True)
class Contenders:
    """The section `hyperparameters.cells`."""

    search: str  # its name
    settings: str  # digest of its hyperparameters and data: searches with equal ones differ in their seeds only
    strategy: str
    trained: list[str]  # genotypes that the search's final controller drew
    uniform: list[str]  # genotypes of the same space, all cells equally likely
    search_seed: int = field(ge=0)  # of the trial that searched; the seeds of the pairs follow from it
    test: str = field("better", choices=TESTS)  # the confirmatory one, named before anything is trained

    def problems(self) -> list[str]:
        """Rules over several fields."""
        if len(self.trained) == len(self.uniform):
            return []
        return [f"uniform must have as many cells as trained, {len(self.trained)}, got {len(self.uniform)}"]

    def cell(self, drawn_by: str, pair: int) -> str:
        """The text of a genotype."""
        return (self.trained if drawn_by == TRAINED else self.uniform)[pair]

    def seed(self, pair: int) -> int:
        """Of both trainings of a pair, in place of the trials' own."""
        return derive(self.search_seed, "pair", pair) % _SEEDS


def read_contenders(cells: Mapping[str, Any]) -> Contenders:
    """The section as it stands in a config. Raises ConfigError with every problem."""
    (found,) = read(cells, Contenders, section=f"hyperparameters.{CELLS}")
    assert isinstance(found, Contenders)
    return found
