"""The most likely architecture within a budget, exactly: not a penalty that may miss it, and no search.

A search ends with a score for each operation on each edge, log(w_e p_eo). Without a budget each node keeps its best two
edges. Within one the nodes share what there is: we maximise the sum of scores of kept edges subject to ranges of parameters
and MACs and to `constraints`. That is a knapsack, but of few different weights: for each kind of cell `compositions` has
the best cell of every composition, and all pairs of a normal and a reduction cell within the ranges are compared.
Every budget between the smallest and the largest network of the space is thus met by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from cnn_nas.compositions import Compositions, Floats, Whole, drawn
from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize, cost_table, edge_costs
from cnn_nas.reach import limits, out_of_reach
from cnn_nas.relaxation import RELAXATION
from nas.core.budget import MEASURES, Budget, Decoder
from nas.core.errors import ConfigError
from nas.core.relaxation import Paths, Relaxation, derive
from nas.core.space import Size

Weights = Mapping[str, Sequence[Sequence[float]]]
LEAST = 1e-300  # in place of weights of 0, so that those of other edges still count


class CellDecoder(Decoder):
    """See `nas.core.budget.Decoder`.

    Args:
        budget: ranges of parameters and MACs.
        size: at which they are counted.
        rules: constraints; their ranges of parameters and MACs count as well.
        of: whose size that is, for messages.
        relaxation: the supernet.

    Raises:
        ConfigError: if no architecture keeps all of it: with what there is, and which network would.
    """

    def __init__(
        self,
        budget: Budget,
        size: NetworkSize,
        rules: Constraints | None = None,
        of: str = "the network",
        relaxation: Relaxation = RELAXATION,
    ) -> None:
        rules = rules or Constraints()
        self.relaxation, costs = relaxation, edge_costs(size, relaxation)
        nodes = [shape.nodes for shape in relaxation.values()]
        self.rest = cost_table(size, False, *nodes).rest
        self.cells = [Compositions(kind, shape, costs[kind], rules) for kind, shape in relaxation.items()]
        found = limits(budget, rules, {measure: self.counts(measure) for measure in MEASURES})
        if problems := out_of_reach(found, budget.names, size, of, relaxation):
            raise ConfigError(problems)
        # (compositions of normal cells, of reduction cells)
        self._within = np.ones([len(cell.rows) for cell in self.cells], bool)
        for limit in found:
            self._within &= limit.within

    def counts(self, measure: str) -> Whole:
        """Of all pairs of compositions, `(of normal cells, of reduction cells)`."""
        normal, reduce = (getattr(cell, measure) for cell in self.cells)
        found: Whole = int(getattr(self.rest, measure)) + normal[:, None] + reduce
        return found

    @cached_property
    def _pairs(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """The compositions of both cells, for each pair within the ranges."""
        normal, reduce = np.nonzero(self._within)
        return normal, reduce

    def size(self, paths: Paths) -> Size:
        rows = self._rows(paths)
        if None in rows:
            raise ValueError("the architecture does not keep the rules")
        sizes = [
            Size(int(cell.parameters[row]), int(cell.macs[row])) for cell, row in zip(self.cells, rows, strict=True)
        ]
        return self.rest + sizes[0] + sizes[1]

    def __contains__(self, paths: Paths) -> bool:
        normal, reduce = self._rows(paths)
        return normal is not None and reduce is not None and bool(self._within[normal, reduce])

    def _rows(self, paths: Paths) -> list[int | None]:
        return [cell.row_of(paths[kind]) for kind, cell in zip(self.relaxation, self.cells, strict=True)]

    def decode(self, weights: Weights) -> Paths:
        """As in the contract. Where what a search derives without a budget is within it, that is it, ties included.

        Raises:
            ValueError: if a weight is no finite number.
        """
        plain = derive(self.relaxation, weights)
        if plain in self:
            return plain
        best = self._best(weights)
        normal, reduce = self._pairs
        at = int(np.argmax(best[0][0][normal] + best[1][0][reduce]))
        return self._paths((int(normal[at]), int(reduce[at])), best)

    def front(self, weights: Weights, measure: str = "parameters") -> list[tuple[Paths, Size, float]]:
        """All architectures within everything of which none costs as little or less and is more likely, cheapest first.

        Each with what it costs, and the sum of its scores.
        """
        best = self._best(weights)
        if self._within.all():  # what is dominated within a kind of cell is so in the network
            rows = [_undominated(getattr(cell, measure), each[0]) for cell, each in zip(self.cells, best, strict=True)]
            normal, reduce = (each.ravel() for each in np.meshgrid(*rows, indexing="ij"))
        else:
            normal, reduce = self._pairs
        order = np.argsort(self.counts(measure)[normal, reduce], kind="stable")
        normal, reduce = normal[order], reduce[order]
        scores = best[0][0][normal] + best[1][0][reduce]
        highest = np.maximum.accumulate(scores)
        new = np.append(True, highest[1:] > highest[:-1])
        latest = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))
        costs = self.counts(measure)[normal, reduce]
        found = []
        for at in np.unique(latest[np.append(costs[1:] != costs[:-1], True)]):  # the best of each cost, if it is better
            paths = self._paths((int(normal[at]), int(reduce[at])), best)
            found.append((paths, self.size(paths), float(scores[at])))
        return found

    def draw(self, generator: np.random.RandomState) -> Paths:
        (normal, reduce), ways = self._pairs, self._ways
        at = drawn(self._chances, generator)
        rows = int(normal[at]), int(reduce[at])
        return {
            kind: cell.draw(row, of_cell, generator)
            for kind, cell, row, of_cell in zip(self.relaxation, self.cells, rows, ways, strict=True)
        }

    @cached_property
    def _ways(self) -> list[list[Whole]]:
        return [cell.ways() for cell in self.cells]

    @cached_property
    def _chances(self) -> Floats:
        """How many architectures there are of each pair of compositions."""
        normal, reduce = (
            ways[-1][cell.rows].astype(np.float64) for ways, cell in zip(self._ways, self.cells, strict=True)
        )
        found: Floats = normal[self._pairs[0]] * reduce[self._pairs[1]]
        return found

    def _best(self, weights: Weights) -> list[tuple[Floats, list[Whole], list[Whole]]]:
        found = []
        for kind, cell in zip(self.relaxation, self.cells, strict=True):
            table = np.asarray(weights[kind], np.float64)
            if not np.isfinite(table).all():
                raise ValueError(f"weights of {kind} cells must be finite")
            found.append(cell.best(np.log(np.maximum(table, LEAST))))
        return found

    def _paths(self, rows: tuple[int, int], best: Sequence[tuple[Floats, list[Whole], list[Whole]]]) -> Paths:
        return {
            kind: cell.path(row, *trace)
            for kind, cell, row, (_, *trace) in zip(self.relaxation, self.cells, rows, best, strict=True)
        }


def _undominated(costs: Whole, scores: Floats) -> npt.NDArray[np.intp]:
    """Entries than which none is as cheap or cheaper and has a higher score."""
    order = np.lexsort((-scores, costs))
    highest = np.maximum.accumulate(scores[order])
    found: npt.NDArray[np.intp] = order[np.append(True, highest[1:] > highest[:-1])]
    return found
