"""Places a directed graph in layers from left to right, as Sugiyama, Tagawa and Toda do (1981).

Nodes stand in layers by their longest path from a source. An edge passes the layers between its ends through points of their
own, one of which holds its label, so that labels have room; a few sweeps order each layer by the means of its neighbours
(their barycentre heuristic), and keep the order with the fewest crossings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

Extent = tuple[float, float]
"""Width and height."""
Place = tuple[float, float]
"""The centre of something; y grows downwards."""

_SWEEPS, _ALIGNMENTS = 12, 40
_COLUMN_GAP, _ROW_GAP = 20.0, 10.0
_PASSING: Extent = (0.0, 8.0)


@dataclass(frozen=True)
class Layout:
    """Where everything goes.

    Attributes:
        nodes: centre of each node.
        routes: for each edge the points that it passes, from the tail's side to the head's.
        labels: for each edge the centre of its label, or None.
    """

    nodes: dict[str, Place]
    routes: list[list[Place]]
    labels: list[Place | None]
    width: float
    height: float


@dataclass
class _Layers:
    """The graph with a point in every layer that an edge passes. Points are numbered."""

    extents: list[Extent] = field(default_factory=list)
    layer: list[int] = field(default_factory=list)
    links: list[tuple[int, int]] = field(default_factory=list)

    def add(self, layer: int, extent: Extent) -> int:
        self.layer.append(layer)
        self.extents.append(extent)
        return len(self.layer) - 1

    def neighbours(self, point: int, side: int) -> list[int]:
        """Those in the layer before (side 0) or behind (side 1)."""
        return [link[side] for link in self.links if link[1 - side] == point]


def place(nodes: Mapping[str, Extent], edges: Sequence[tuple[str, str, Extent | None]]) -> Layout:
    """Place nodes of these extents; an edge is its tail, its head, and the extent of its label.

    Raises:
        ValueError: if the graph has a cycle.
    """
    ranks = _ranks(list(nodes), [(tail, head) for tail, head, _ in edges])
    layers = _Layers()
    number = {name: layers.add(2 * ranks[name], extent) for name, extent in nodes.items()}
    chains, labels = [], []
    for tail, head, label in edges:
        first, last = 2 * ranks[tail], 2 * ranks[head]
        middle = first + 1 + 2 * ((last - first - 1) // 4)
        inner = [layers.add(at, label if label and at == middle else _PASSING) for at in range(first + 1, last)]
        chains.append([number[tail], *inner, number[head]])
        layers.links += list(pairwise(chains[-1]))
        labels.append(inner[middle - first - 1] if label else None)
    order = _ordered(layers)
    x, y = _columns(layers, order), _rows(layers, order)
    top = min(y[i] - extent[1] / 2 for i, extent in enumerate(layers.extents))
    places = [(x[layers.layer[i]], y[i] - top) for i in range(len(y))]
    last_column = max(layers.layer)
    width = x[last_column] + max(layers.extents[i][0] for i in order[last_column]) / 2
    height = max(places[i][1] + extent[1] / 2 for i, extent in enumerate(layers.extents))
    routes = _routes(layers, chains, places)
    found = [None if label is None else places[label] for label in labels]
    return Layout({name: places[i] for name, i in number.items()}, routes, found, width, height)


def _routes(layers: _Layers, chains: Sequence[Sequence[int]], places: Sequence[Place]) -> list[list[Place]]:
    """The points of each edge. Several edges of a node begin and end side by side, in the order of where they lead."""
    starts: dict[int, Place] = {}
    ends: dict[int, Place] = {}
    for side, found in ((0, starts), (-1, ends)):
        for node in {chain[side] for chain in chains}:
            own = [i for i, chain in enumerate(chains) if chain[side] == node]
            own.sort(key=lambda i: places[chains[i][1 if side == 0 else -2]][1])
            width, height = layers.extents[node]
            x, y = places[node]
            for position, i in enumerate(own):
                shift = (position - (len(own) - 1) / 2) * min(7.0, 0.7 * height / len(own))
                found[i] = (x + width / 2 * (1 if side == 0 else -1), y + shift)
    return [[starts[i], *(places[k] for k in chain[1:-1]), ends[i]] for i, chain in enumerate(chains)]


def _ranks(nodes: Sequence[str], edges: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The longest path to each node from one that nothing leads to."""
    ranks = dict.fromkeys(nodes, 0)
    for _ in range(len(nodes) + 1):
        longer = [(head, ranks[tail] + 1) for tail, head in edges if ranks[head] <= ranks[tail]]
        if not longer:
            return ranks
        for head, rank in longer:
            ranks[head] = max(ranks[head], rank)
    raise ValueError("an architecture with a cycle cannot be drawn in layers")


def _ordered(layers: _Layers) -> list[list[int]]:
    """The points of each layer from top to bottom."""
    order: list[list[int]] = [[] for _ in range(max(layers.layer) + 1)]
    for point, layer in enumerate(layers.layer):
        order[layer].append(point)
    before = {i: layers.neighbours(i, 0) for i in range(len(layers.layer))}
    behind = {i: layers.neighbours(i, 1) for i in range(len(layers.layer))}
    best, fewest = [list(row) for row in order], _crossings(order, behind)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for row in order if forward else reversed(order):
            position = {point: i for each in order for i, point in enumerate(each)}
            sides = before if forward else behind

            def mean(point: int, sides: Mapping[int, list[int]] = sides, at: Mapping[int, int] = position) -> float:
                return sum(at[i] for i in sides[point]) / len(sides[point]) if sides[point] else at[point]

            row.sort(key=mean)
        crossings = _crossings(order, behind)
        if crossings < fewest:
            best, fewest = [list(row) for row in order], crossings
    return best


def _crossings(order: Sequence[Sequence[int]], behind: Mapping[int, Sequence[int]]) -> int:
    position = {point: i for row in order for i, point in enumerate(row)}
    total = 0
    for row in order:
        links = [(position[a], position[b]) for a in row for b in behind[a]]
        total += sum((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(links, 2))
    return total


def _columns(layers: _Layers, order: Sequence[Sequence[int]]) -> list[float]:
    """The centre of each layer."""
    found, left = [], 0.0
    for row in order:
        width = max((layers.extents[i][0] for i in row), default=0.0)
        found.append(left + width / 2)
        left += width + _COLUMN_GAP
    return found


def _rows(layers: _Layers, order: Sequence[Sequence[int]]) -> list[float]:
    """The height of each point: as near to the mean of its neighbours as its layer leaves room."""
    y = [0.0] * len(layers.layer)
    both = {i: layers.neighbours(i, 0) + layers.neighbours(i, 1) for i in range(len(y))}
    for row in order:
        _spread(layers, row, [0.0] * len(row), y)
    for turn in range(_ALIGNMENTS):
        for row in order if turn % 2 == 0 else reversed(order):
            wanted = [sum(y[k] for k in both[i]) / len(both[i]) if both[i] else y[i] for i in row]
            _spread(layers, row, wanted, y)
    return y


def _spread(layers: _Layers, row: Sequence[int], wanted: Sequence[float], y: list[float]) -> None:
    """Move the points of a layer to where they want to be, in their order and without overlap.

    The mean of two solutions: pushed down from the top, and pushed up from the bottom.
    """
    if not row:
        return
    gaps = [(layers.extents[a][1] + layers.extents[b][1]) / 2 + _ROW_GAP for a, b in pairwise(row)]
    down, up = list(wanted), list(wanted)
    for i, gap in enumerate(gaps, start=1):
        down[i] = max(down[i], down[i - 1] + gap)
    for i in range(len(row) - 2, -1, -1):
        up[i] = min(up[i], up[i + 1] - gaps[i])
    for point, a, b in zip(row, down, up, strict=True):
        y[point] = (a + b) / 2
