"""Hadamard cells edge by edge: an edge is what a node reads first, an operation all else about it; to and from genotypes.

States have the numbers of `hadamard.index_of`: node i, counted from 1, may read k = i + 1 states, c among them, and so has
4 k gates, 4 k^2 products and k (k - 1) / 2 sums. Beside the cell, one edge whose operations are the nodes says the next c.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from nas.core.errors import ConfigError
from nas.core.genotype_text import ALL_NODES
from nas.core.relaxation import CellShape, Path, Paths, complete_cell
from randomNAS_files.hadamard import ACTIVATIONS, KINDS, HadamardGenotype, Node, index_of, loose_ends, state_of

CELL, NEXT_C = "hadamard", "next_c"
"""The kinds of cells of this space's paths."""
GATE, PRODUCT, SUM = range(len(KINDS))


class Choice(NamedTuple):
    """What a node is, in numbers: of KINDS, of ACTIVATIONS, and of the states it reads; 0 for what it has not."""

    kind: int
    activation: int
    first: int
    second: int


@dataclass(frozen=True)
class HadamardShape(CellShape):
    """All Hadamard cells of some nodes. Not every operation goes with every edge: `choice` and `edge_of` say which do."""

    @property
    def states(self) -> int:
        """That the last node may read."""
        return self.nodes + 1

    def choices_of(self, node: int) -> list[Choice]:
        """All that a node, counted from 0, may be."""
        readable, activations = range(node + 2), range(len(ACTIVATIONS))
        gates = [Choice(GATE, a, p, 0) for a in activations for p in readable]
        products = [Choice(PRODUCT, a, p, q) for a in activations for p in readable for q in readable]
        return gates + products + [Choice(SUM, 0, p, q) for p, q in combinations(readable, 2)]

    def edge_of(self, node: int, choice: Choice) -> tuple[int, int]:
        """The edge and the operation of a node."""
        kind, activation, first, second = choice
        operation = {
            GATE: activation,
            PRODUCT: len(ACTIVATIONS) + activation * self.states + second,
            SUM: len(ACTIVATIONS) * (1 + self.states) + second,
        }[kind]
        return self.edge(node, first), operation

    def choice(self, edge: int, operation: int) -> Choice:
        """The inverse of `edge_of`."""
        first, count = self.edges[edge][1], len(ACTIVATIONS)
        if operation < count:
            return Choice(GATE, operation, first, 0)
        activation, second = divmod(operation - count, self.states)
        return Choice(SUM, 0, first, second) if activation == count else Choice(PRODUCT, activation, first, second)

    def path_of(self, choices: Sequence[Choice]) -> Path:
        """The path of a cell, of one choice a node."""
        path: list[tuple[int, ...]] = [()] * len(self.edges)
        for node, choice in enumerate(choices):
            edge, operation = self.edge_of(node, choice)
            path[edge] = (operation,)
        return tuple(path)

    def choices_on(self, path: Path) -> list[Choice]:
        """The inverse of `path_of`. Raises ConfigError if a node of the path is not one thing."""
        found = [self.choice(edge, operation) for edge, running in enumerate(path) for operation in running]
        counts = [sum(len(path[edge]) for edge in self.entering(node)) for node in range(self.nodes)]
        if set(counts) != {1}:
            raise ConfigError([f"a path must keep one edge a node, with one operation, got {counts} by node"])
        return found

    def count(self) -> int:
        return math.prod(len(self.choices_of(node)) for node in range(self.nodes))

    @property
    def numbers(self) -> int:
        return 4 * self.nodes

    def drawn(self, numbers: Sequence[float], with_excluded: bool = False) -> Path:
        """Of each node all kinds are equally likely, and all nodes of a kind: else four of five nodes were products."""
        found = []
        for node in range(self.nodes):
            kind, activation, first, second = numbers[4 * node : 4 * node + 4]
            of_kind, states, which = int(kind * len(KINDS)), node + 2, int(activation * len(ACTIVATIONS))
            pairs = list(combinations(range(states), 2))
            found.append(
                {
                    GATE: Choice(GATE, which, int(first * states), 0),
                    PRODUCT: Choice(PRODUCT, which, int(first * states), int(second * states)),
                    SUM: Choice(SUM, 0, *pairs[int(first * len(pairs))]),
                }[of_kind]
            )
        return self.path_of(found)


@lru_cache(maxsize=100)
def shape_of(nodes: int) -> HadamardShape:
    """The cells of so many nodes."""
    names = [str(state_of(index)) for index in range(nodes + 1)]
    operations = [f"gate {name}" for name in ACTIVATIONS]
    operations += [f"product {name} {state}" for name in ACTIVATIONS for state in names]
    operations += [f"sum {state}" for state in names]
    edges = complete_cell(nodes, 2, operations, kept=1).edges
    return HadamardShape(edges, tuple(operations), kept=1, excluded=())


def next_c_shape(nodes: int) -> CellShape:
    """A choice of one of the nodes."""
    return CellShape(((0, 0),), tuple(f"node {i}" for i in range(1, nodes + 1)), kept=1, excluded=())


def genotype_of(paths: Paths, nodes: int, output: str = "all") -> HadamardGenotype:
    """The genotype of a path. Raises ConfigError if it is none's.

    Args:
        output: `all` or `loose_ends`.
    """
    recurrent = []
    for choice in shape_of(nodes).choices_on(paths[CELL]):
        kind, reads = list(KINDS)[choice.kind], [state_of(choice.first), state_of(choice.second)]
        activation = [] if choice.kind == SUM else [ACTIVATIONS[choice.activation]]
        recurrent.append((kind, *activation, *reads[: 1 if choice.kind == GATE else 2]))
    ((next_c,),) = paths[NEXT_C]
    return HadamardGenotype(
        tuple(recurrent), next_c + 1, loose_ends(recurrent) if output == "loose_ends" else ALL_NODES
    )


def paths_of(genotype: HadamardGenotype, nodes: int, output: str = "all") -> dict[str, Path]:
    """The inverse. Raises ConfigError for a cell that the supernet does not hold: other nodes, or the mean of others."""
    count = len(genotype.recurrent)
    averaged = loose_ends(genotype.recurrent) if output == "loose_ends" else tuple(range(1, count + 1))
    if count != nodes or sorted(genotype.concat) != list(averaged):
        which = "all of them" if output == "all" else "those that no other reads (loose ends)"
        rule = f"a cell must have {nodes} nodes and average {which} to lie in the supernet"
        raise ConfigError([f"{rule}, got {count} and concat {list(genotype.concat)}"])
    choices = [_choice(node) for node in genotype.nodes]
    return {CELL: shape_of(nodes).path_of(choices), NEXT_C: ((genotype.next_c - 1,),)}


def _choice(node: Node) -> Choice:
    activation = 0 if node.activation is None else ACTIVATIONS.index(node.activation)
    first, *second = map(index_of, node.reads)
    return Choice(list(KINDS).index(node.kind), activation, first, second[0] if second else 0)
