"""A Hadamard cell as the decisions that a controller takes one after another, and back.

Of each node its kind, its activation, the state that it reads and the other one that it reads; last, which node is the next
second state. Decisions about what a node has not are no choice: their token is 0. A sum says the earlier state first, so that
every cell has one sequence of tokens, and its probability is the product of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.core.relaxation import Paths, Relaxation
from one_shot.cell_tokens import ACTIVATION, KIND, NEXT_C, PREDECESSOR, SECOND, CellTokens, Decision
from randomNAS_files import hadamard_relaxation as cells
from randomNAS_files.hadamard import ACTIVATIONS, KINDS
from randomNAS_files.hadamard_relaxation import GATE, SUM, Choice, HadamardShape

HADAMARD = cells.CELL
"""Which a relaxation has that is of such cells."""
_OF_NODE = len(Choice._fields)


def tokens_of(relaxation: Relaxation) -> CellTokens:
    """The tokens of the cells of a space. Raises ConfigError if it is not of recurrent cells."""
    return HadamardTokens(relaxation) if HADAMARD in relaxation else CellTokens(relaxation)


class HadamardTokens(CellTokens):
    """The cells of a space as tokens, one for each decision."""

    def __init__(self, relaxation: Relaxation) -> None:
        shape = relaxation[HADAMARD]
        assert isinstance(shape, HadamardShape)
        self.kind, self.shape, self.of_node = HADAMARD, shape, shape
        self.decisions = decisions_of(shape)

    def paths_of(self, cell: Sequence[int]) -> Paths:
        nodes = self.of_node.nodes
        rows = [cell[_OF_NODE * node : _OF_NODE * (node + 1)] for node in range(nodes)]
        path = self.of_node.path_of([Choice(*row) for row in rows])
        return {self.kind: path, cells.NEXT_C: ((cell[-1] if nodes > 1 else 0,),)}

    def cell_of(self, paths: Paths) -> list[int]:
        tokens = [token for choice in self.of_node.choices_on(paths[self.kind]) for token in choice]
        ((next_c,),) = paths[cells.NEXT_C]
        return [*tokens, next_c] if self.of_node.nodes > 1 else tokens


def decisions_of(shape: HadamardShape) -> list[Decision]:
    """The decisions that make a cell."""
    found, kinds = list[Decision](), range(len(KINDS))
    for node in range(shape.nodes):
        number, states = len(found), range(node + 2)
        activations = range(len(ACTIVATIONS))
        found += [
            Decision(KIND, node, len(kinds)),
            Decision(
                ACTIVATION,
                node,
                len(activations),
                given=(number,),
                open=tuple(tuple(kind != SUM or a == 0 for a in activations) for kind in kinds),
            ),
            Decision(
                PREDECESSOR,
                node,
                len(states),
                given=(number,),
                open=tuple(tuple(kind != SUM or p + 1 < len(states) for p in states) for kind in kinds),
            ),
            Decision(
                SECOND,
                node,
                len(states),
                given=(number, number + 2),
                open=tuple(tuple(_may_follow(kind, p, q) for q in states) for kind in kinds for p in states),
            ),
        ]
    return found + ([Decision(NEXT_C, 0, shape.nodes)] if shape.nodes > 1 else [])


def _may_follow(kind: int, first: int, second: int) -> bool:
    """Whether a node of a kind may read a state beside the first one that it reads."""
    return {GATE: second == 0, SUM: second > first}.get(kind, True)
