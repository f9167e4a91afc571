"""One form for all cells that are the same graph, whatever the order of their edges and the numbers of their nodes.

Node numbers are found by colour refinement (McKay and Piperno 2014, arXiv 1301.1493, in its simplest form): nodes that differ
in what they read or in what reads them get different colours, until nothing more can be told apart; of nodes that still look
alike, each in turn is put first, and the smallest result is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from cnn_nas.architecture import ALL_OPERATIONS, Edge, used_states

Cell = tuple[tuple[Edge, ...], tuple[int, ...]]
"""Edges and concat."""

Colours = dict[int, int]
"""For each state the number of states that come before it; once all differ, it is the state's new number."""


def canonical_cell(edges: Sequence[Edge], concat: Sequence[int]) -> Cell:
    """The canonical form of a cell, which is its own canonical form.

    Two cells have the same form exactly if these steps turn one into the other: exchanging the two edges of a node,
    numbering the nodes in another order, listing the concat in another order, letting a `none` read another state, and
    dropping or adding nodes on which the output does not depend.
    """
    return renumbered(edges, concat, canonical_numbers(edges, concat))


def canonical_numbers(edges: Sequence[Edge], concat: Sequence[int]) -> dict[int, int]:
    """The number in the canonical form of each state that it keeps: both inputs, and the nodes that the output needs."""
    nodes = sorted(used_states(edges, concat) - {0, 1})
    graph = _Graph({node: _reads(edges, node) for node in nodes}, frozenset(concat))
    return min(graph.numberings(graph.by_depth()), key=lambda numbers: _key(renumbered(edges, concat, numbers)))


def renumbered(edges: Sequence[Edge], concat: Sequence[int], numbers: dict[int, int]) -> Cell:
    """The cell with other numbers for its states, without the nodes that have none; a node's edges and the concat sorted."""
    found: list[Edge] = []
    for node in sorted(numbers.keys() - {0, 1}, key=lambda node: numbers[node]):
        found += sorted(((name, numbers[state]) for name, state in _reads(edges, node)), key=_edge_key)
    return tuple(found), tuple(sorted(numbers[state] for state in concat))


class _Graph:
    """The nodes of a cell that its output needs.

    Args:
        reads: of each node, its two edges.
        concat: the nodes that are the output.
    """

    def __init__(self, reads: dict[int, tuple[Edge, Edge]], concat: frozenset[int]) -> None:
        self.reads, self.concat = reads, concat
        self.readers: dict[int, list[Edge]] = {node: [] for node in reads}  # operation and the node that reads
        for node, sides in reads.items():
            for name, state in sides:
                if state in reads and name != "none":
                    self.readers[state].append((name, node))

    def by_depth(self) -> Colours:
        """Colours by the longest way from an input, so that every order by colour has a node after what it reads."""
        depth = {0: 0, 1: 0}
        for node, sides in self.reads.items():
            depth[node] = 1 + max(depth[state] for _, state in sides)
        return self._colours({node: depth[node] for node in self.reads})

    def numberings(self, colours: Colours) -> list[Colours]:
        """All ways to tell the nodes apart, of which at least one for each graph that looks different."""
        colours = self._refined(colours)
        alike = next((group for group in self._groups(colours) if len(group) > 1), None)
        if alike is None:
            return [colours]
        first = [node for i, node in enumerate(alike) if not any(self._twins(node, other) for other in alike[:i])]
        return [
            numbers
            for node in first
            for numbers in self.numberings(colours | {other: colours[other] + 1 for other in alike if other != node})
        ]

    def _refined(self, colours: Colours) -> Colours:
        """Tell apart what differs in what it reads or in what reads it, until nothing changes."""
        while True:
            finer = self._colours({node: self._signature(node, colours) for node in self.reads})
            if finer == colours:
                return colours
            colours = finer

    def _signature(self, node: int, colours: Colours) -> tuple[object, ...]:
        reads, readers = (
            tuple(sorted(_edge_key((name, colours[state])) for name, state in edges))
            for edges in (self.reads[node], self.readers[node])
        )
        return colours[node], reads, node not in self.concat, readers

    def _colours(self, keys: dict[int, object]) -> Colours:
        """Colours in the order of the keys."""
        ordered = sorted(keys.values())  # type: ignore[type-var]
        return {0: 0, 1: 1} | {node: 2 + ordered.index(key) for node, key in keys.items()}

    def _groups(self, colours: Colours) -> list[list[int]]:
        """The nodes of each colour."""
        groups: dict[int, list[int]] = {}
        for node in sorted(self.reads, key=lambda node: colours[node]):
            groups.setdefault(colours[node], []).append(node)
        return list(groups.values())

    def _twins(self, one: int, two: int) -> bool:
        """Whether nothing changes if two nodes of one colour change places; then it is enough to put one of them first."""
        swap = {one: two, two: one}

        def swapped(node: int) -> list[Edge]:
            return sorted((name, swap.get(state, state)) for name, state in self.reads[node])

        touched = {one, two, *(node for each in (one, two) for _, node in self.readers[each])}
        return all(swapped(node) == sorted(self.reads[swap.get(node, node)]) for node in touched)


def _reads(edges: Sequence[Edge], node: int) -> tuple[Edge, Edge]:
    """The two edges of a node; what `none` reads makes no difference, and is state 0."""
    one, two = ((name, 0 if name == "none" else state) for name, state in edges[2 * node - 4 : 2 * node - 2])
    return one, two


def _edge_key(edge: Edge) -> tuple[int, int]:
    name, state = edge
    return state, ALL_OPERATIONS.index(name)


def _key(cell: Cell) -> tuple[object, ...]:
    edges, concat = cell
    return tuple(map(_edge_key, edges)), concat
