"""What a search space leaves open, edge by edge, so that a supernet can hold all of it; and what is chosen of it.

A cell has edges, each from a state to a node, and on every edge the same operations to choose from (Liu et al. 2019, arXiv
1806.09055, section 2.2). A *path* through the supernet says which operations run on which edges; a genotype is a path that
keeps a fixed number of edges a node, with one operation each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Path = tuple[tuple[int, ...], ...]
"""For each edge of a cell the operations that run on it, by number; none at all for most."""
Paths = Mapping[str, Path]
"""By kind of cell."""


@dataclass(frozen=True)
class CellShape:
    """One kind of cell with everything that can be chosen in it.

    Attributes:
        edges: node and state that it reads, for each edge; by node, then by state. Nodes are counted from 0.
        operations: what each edge offers.
        kept: edges a node that a genotype keeps.
        excluded: operations that no derived genotype has.
        closed: edges that no genotype keeps, by number.
        same_operation: whether all edges that a genotype keeps have the same.
        least_nodes: a genotype has so many nodes or more, the first ones; None: it has all.
    """

    edges: tuple[tuple[int, int], ...]
    operations: tuple[str, ...]
    kept: int
    excluded: tuple[str, ...] = ("none",)
    closed: frozenset[int] = frozenset()
    same_operation: bool = False
    least_nodes: int | None = None

    @property
    def nodes(self) -> int:
        """How many nodes the cell has."""
        return 1 + max(node for node, _ in self.edges)

    def entering(self, node: int) -> list[int]:
        """The edges that enter a node, by number."""
        return [edge for edge, (target, _) in enumerate(self.edges) if target == node]

    def open(self, node: int) -> list[int]:
        """Those of them that a genotype may keep."""
        return [edge for edge in self.entering(node) if edge not in self.closed]

    @property
    def sizes(self) -> range:
        """How many nodes a genotype may have."""
        return range(self.nodes if self.least_nodes is None else self.least_nodes, self.nodes + 1)

    def count(self) -> int:
        """How many genotypes there are."""
        found, sets = 0, 1
        for nodes in range(1, self.nodes + 1):
            sets *= math.comb(len(self.open(nodes - 1)), self.kept)
            if nodes in self.sizes:
                found += sets * len(self.choices) ** (1 if self.same_operation else self.kept * nodes)
        return found

    @property
    def numbers(self) -> int:
        """How many random numbers `drawn` takes."""
        return 2 * len(self.edges) + (len(self.sizes) > 1)

    def drawn(self, numbers: Sequence[float], with_excluded: bool = False) -> Path:
        """A genotype's path by `numbers` from [0, 1): each node keeps edges, all sets of them equally likely, each with an
        equally likely operation; all numbers of nodes are equally likely.

        Args:
            with_excluded: also operations that no derived genotype has.
        """
        choices = list(range(len(self.operations))) if with_excluded else self.choices
        count, sizes = len(self.edges), self.sizes
        order, operation = numbers[:count], numbers[count:]
        path: list[tuple[int, ...]] = [()] * count
        for node in range(sizes[int(numbers[-1] * len(sizes))]):
            for edge in sorted(self.open(node), key=order.__getitem__)[: self.kept]:
                path[edge] = (choices[int(operation[0 if self.same_operation else edge] * len(choices))],)
        return tuple(path)

    def edge(self, node: int, state: int) -> int:
        """The number of the edge from a state to a node."""
        return self.edges.index((node, state))

    @property
    def choices(self) -> list[int]:
        """The operations that a genotype may have, by number."""
        return [k for k, name in enumerate(self.operations) if name not in self.excluded]


Relaxation = Mapping[str, CellShape]
"""A search space: its kinds of cells by name."""


def complete_cell(
    nodes: int, inputs: int, operations: Sequence[str], kept: int, excluded: Sequence[str] = ("none",)
) -> CellShape:
    """A cell whose every node reads all states before it: `inputs` of them, and the nodes before."""
    edges = tuple((node, state) for node in range(nodes) for state in range(inputs + node))
    return CellShape(edges, tuple(operations), kept, tuple(excluded))


def short_tables(tables: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, list[list[float]]]:
    """Weights by kind of cell as files have them: with 6 significant digits."""
    return {kind: [[float(f"{value:.6g}") for value in row] for row in table] for kind, table in tables.items()}


def derive(relaxation: Relaxation, scores: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Path]:
    """The discrete architecture of scores: Liu et al. 2019, section 2.4.

    An edge is worth its best operation that is not excluded; each node keeps its best edges, with that operation. Of equal
    scores the lower number wins, of edges and of operations, so that equal scores give equal architectures.

    Args:
        scores: for each kind of cell, edge and operation: probabilities, not logits, as a logit can be compared with those
            of its own edge only.
    """
    found = {}
    for name, shape in relaxation.items():
        path: list[tuple[int, ...]] = [()] * len(shape.edges)
        for node in range(shape.nodes):
            best = [_best(shape, scores[name][edge], edge) for edge in shape.open(node)]
            for _, edge, operation in sorted(best)[: shape.kept]:
                path[edge] = (operation,)
        found[name] = tuple(path)
    return found


def _best(shape: CellShape, row: Sequence[float], edge: int) -> tuple[float, int, int]:
    """What sorts best edges first: minus the score, the edge, and its best operation."""
    score, operation = min((-row[k], k) for k in shape.choices)
    return score, edge, operation
