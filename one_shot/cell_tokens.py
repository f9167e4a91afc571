"""A recurrent cell as the decisions that a controller takes one after another, and back.

Of N nodes, as in ENAS (Pham et al. 2018, arXiv 1802.03268, figure 1): the activation of node 1, then of each node its
predecessor and its activation. What a space leaves no choice of is no decision: predecessors of a fixed topology, and all
activations but the first where nodes have the same. Where cells have fewer nodes too, their number is the first decision, and
those of nodes that a cell does not have are not taken: their tokens are 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nas.core.errors import ConfigError
from nas.core.relaxation import CellShape, Path, Paths, Relaxation, complete_cell

NODES, SIZE, ACTIVATION, PREDECESSOR = "nodes", "size", "activation", "predecessor"
"""What a decision says: how many nodes the cell has beyond the fewest, its size, what a node applies, which state it reads."""
KIND, SECOND, NEXT_C = "kind", "second predecessor", "next c"
"""The same of Hadamard cells only: what a node is, which other state it reads, and which node is the next second state."""
OF_CELL = (NODES, SIZE)
"""Those of the cell as a whole, which come first."""


class Decision(NamedTuple):
    """One choice among so many options.

    Attributes:
        kind: of NODES, SIZE, ACTIVATION, PREDECESSOR, KIND, SECOND, NEXT_C.
        node: counted from 0; 0 of those of the cell as a whole.
        needs: taken only in cells that have so many nodes beyond the fewest, or more.
        given: the numbers of earlier decisions by which some options are not open.
        open: for each combination of their tokens, the last one's first, which options are; where one is, it is no choice.
    """

    kind: str
    node: int
    options: int
    needs: int = 0
    given: tuple[int, ...] = ()
    open: tuple[tuple[bool, ...], ...] = ()

    @property
    def label(self) -> str:
        """For a reader: `reads 2`, `activation 1`, `nodes`, `size`."""
        if self.kind in (*OF_CELL, NEXT_C):
            return self.kind
        return f"{'reads' if self.predecessor else self.kind} {self.node + 1}"

    @property
    def predecessor(self) -> bool:
        """Whether it says which state the node reads."""
        return self.kind == PREDECESSOR


def decisions_of(shape: CellShape, sizes: int = 0) -> list[Decision]:
    """The decisions that make a cell, of so many hidden sizes; 0 where there is no choice."""
    found, activations = [], len(shape.choices)
    if len(shape.sizes) > 1:
        found.append(Decision(NODES, 0, len(shape.sizes)))
    if sizes:
        found.append(Decision(SIZE, 0, sizes))
    for node in range(shape.nodes):
        needs, states = max(0, node + 1 - shape.sizes[0]), len(shape.open(node))
        if states > 1:
            found.append(Decision(PREDECESSOR, node, states, needs))
        if node == 0 or not shape.same_operation:
            found.append(Decision(ACTIVATION, node, activations, needs))
    return found


class CellTokens:
    """The cells of a space as tokens, one for each decision.

    Raises:
        ConfigError: if the space is not of recurrent cells: one kind of cell, whose nodes read one state each, and perhaps a
            choice beside it.
    """

    def __init__(self, relaxation: Relaxation) -> None:
        (self.kind, self.shape), *others = relaxation.items()
        complete = complete_cell(self.shape.nodes, 1, self.shape.operations, 1)
        self.beside = others[0][0] if others else None
        sizes = sum(len(other.choices) for _, other in others)
        known = all(len(other.edges) == 1 for _, other in others) and len(others) < 2
        if not known or self.shape.kept != 1 or self.shape.edges != complete.edges:
            rule = "enas is built for recurrent cells only: space must be recurrent"
            raise ConfigError([f"hyperparameters.strategy {rule}"])
        self.decisions = decisions_of(self.shape, sizes)

    def paths_of(self, cell: Sequence[int]) -> Paths:
        """The path of a cell."""
        shape, said = self.shape, dict[tuple[str, int], int]()
        for decision, token in zip(self.decisions, cell, strict=True):
            said[decision.kind, decision.node] = token
        path: list[tuple[int, ...]] = [()] * len(shape.edges)
        for node in range(shape.sizes[said.get((NODES, 0), 0)]):
            edge = shape.open(node)[said.get((PREDECESSOR, node), 0)]  # in the order of the states that they come from
            path[edge] = (shape.choices[said[ACTIVATION, 0 if shape.same_operation else node]],)
        chosen = {} if self.beside is None else {self.beside: ((said[SIZE, 0],),)}
        return {self.kind: tuple(path), **chosen}

    def cell_of(self, paths: Paths) -> list[int]:
        """The inverse of `paths_of`."""
        path: Path = paths[self.kind]
        chosen = {edge: running[0] for edge, running in enumerate(path) if running}
        said = {(NODES, 0): self.shape.sizes.index(len(chosen))}
        if self.beside is not None:
            ((said[SIZE, 0],),) = paths[self.beside]
        for edge, operation in chosen.items():
            node, _ = self.shape.edges[edge]
            said[PREDECESSOR, node] = self.shape.open(node).index(edge)
            said[ACTIVATION, node] = self.shape.choices.index(operation)
        return [said.get((each.kind, each.node), 0) for each in self.decisions]
