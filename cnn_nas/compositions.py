"""All cells of one kind that rules allow, by what they are composed of.

What a cell costs, and whether it keeps rules over counts, depends on how many of its edges have which operation (and of a
reduction cell, whether with stride 2), not on where they are. There are at most a few thousand such compositions of the
10^9 cells. A number in base 2n + 1 with one digit for each kind of edge names a composition, so that the compositions of
two parts of a cell add up; node after node, the cells of each composition are then counted, or the best of them is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cnn_nas.architecture import edge_names
from cnn_nas.constraints import Constraints
from nas.core.budget import Range
from nas.core.errors import ConfigError
from nas.core.relaxation import CellShape, Path
from nas.core.space import Size

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Choice = tuple[int, int]
"""An edge and its operation, by number."""


class Groups:
    """Entries that are of one composition, brought together.

    Args:
        compositions: of each entry.

    Attributes:
        compositions: each once, in order.
    """

    def __init__(self, compositions: Whole) -> None:
        self.order = np.argsort(compositions, kind="stable")
        in_order = compositions[self.order]
        first = np.ones(len(in_order), bool)
        first[1:] = in_order[1:] != in_order[:-1]
        self.starts = np.flatnonzero(first)
        self.group = np.cumsum(first) - 1
        self.compositions = in_order[self.starts]

    def best(self, values: Floats) -> tuple[Floats, Whole]:
        """The largest value of each group, and which entry has it, the first of equal ones."""
        values = values[self.order]
        best = np.maximum.reduceat(values, self.starts)
        places = np.where(values == best[self.group], np.arange(len(values)), len(values))
        return best, self.order[np.minimum.reduceat(places, self.starts)]

    def sums(self, values: Whole) -> Whole:
        """The sum of each group."""
        summed: Whole = np.add.reduceat(values[self.order], self.starts)
        return summed

    def entries(self, group: int) -> Whole:
        """The entries of one group."""
        end = self.starts[group + 1] if group + 1 < len(self.starts) else len(self.order)
        return self.order[self.starts[group] : end]


class Node:
    """What one node may keep: two edges, each with an operation.

    Attributes:
        pairs: all that is allowed.
        edges, operations: of them, `(pairs, 2)`.
    """

    def __init__(self, pairs: Sequence[tuple[Choice, Choice]], digits: Mapping[Choice, int]) -> None:
        self.pairs = list(pairs)
        self.numbers = {pair: k for k, pair in enumerate(self.pairs)}
        numbers = np.array(self.pairs, np.int64).reshape(-1, 2, 2)
        self.edges, self.operations = numbers[:, :, 0], numbers[:, :, 1]
        self.composition = np.array([digits[one] + digits[other] for one, other in self.pairs], np.int64)
        self.groups = Groups(self.composition)


class Compositions:
    """The compositions of the cells of one kind that keep the rules.

    Args:
        kind: of cell.
        shape: what it offers.
        costs: of each operation of each edge.
        rules: of them the operations, what is fixed, and the counts in this kind of cell. As the edges of a node have no
            order in a supernet, what is fixed of them is so in one of the two orders.

    Attributes:
        rows: which of all compositions keep the rules over counts.
        parameters, macs: of their edges.

    Raises:
        ConfigError: if there are none.
    """

    def __init__(self, kind: str, shape: CellShape, costs: Sequence[Sequence[Size]], rules: Constraints) -> None:
        self.shape, counts = shape, getattr(rules, kind)
        kinds, digits, base = _digits(shape, costs, counts)
        fixed = [
            (rules.fixed.get(f"{name}_op"), rules.fixed.get(name))
            for name in edge_names(kind, shape.kept * shape.nodes)
        ]
        self.nodes = [Node(_pairs(shape, node, rules.operations, fixed), digits) for node in range(shape.nodes)]
        none = [f"no {kind} cell of the supernet keeps hyperparameters.constraints"]
        if not all(node.pairs for node in self.nodes):
            raise ConfigError(none)
        self.stages = [Groups(np.zeros(1, np.int64))]
        for node in self.nodes:
            sums = self.stages[-1].compositions[:, None] + node.groups.compositions
            self.stages.append(Groups(sums.ravel()))
        all_of_them = self.stages[-1].compositions
        numbers = np.stack(
            [all_of_them // base**k % base for k in range(len(kinds))], 1
        )  # (compositions, kinds of edges)
        self.rows = np.flatnonzero(_kept(shape, kinds, numbers, counts))
        if not len(self.rows):
            raise ConfigError(none)
        totals = numbers[self.rows] @ np.array([each[:2] for each in kinds], np.int64)
        self.parameters, self.macs = totals[:, 0], totals[:, 1]

    def row_of(self, path: Path) -> int | None:
        """Which of `rows` a cell is of; None if it is none that is allowed."""
        total = 0
        for k, node in enumerate(self.nodes):
            pair = tuple((edge, op) for edge in self.shape.entering(k) for op in path[edge])
            if pair not in node.numbers:  # in which edges are in order
                return None
            total += int(node.composition[node.numbers[pair]])  # type: ignore[index]
        row = int(np.searchsorted(self.stages[-1].compositions, total))
        found = np.flatnonzero(self.rows == row)
        return int(found[0]) if len(found) else None

    def best(self, scores: Floats) -> tuple[Floats, list[Whole], list[Whole]]:
        """For each of `rows` the largest sum of scores `(edges, operations)` of a cell of it, and what `path` needs."""
        values, chosen, pairs = np.zeros(1), [], []
        for node, stage in zip(self.nodes, self.stages[1:], strict=True):
            own, pair = node.groups.best(scores[node.edges, node.operations].sum(1))
            values, entry = stage.best((values[:, None] + own).ravel())
            chosen.append(entry)
            pairs.append(pair)
        return values[self.rows], chosen, pairs

    def path(self, row: int, chosen: Sequence[Whole], pairs: Sequence[Whole]) -> Path:
        """The cell that is the best of one of `rows`."""
        found, at = [], int(self.rows[row])
        for node, entry, pair in zip(reversed(self.nodes), reversed(chosen), reversed(pairs), strict=True):
            at, own = divmod(int(entry[at]), len(pair))
            found.append(node.pairs[pair[own]])
        return self._path(found)

    def ways(self) -> list[Whole]:
        """After each node, how many cells there are of each composition."""
        found = [np.ones(1, np.int64)]
        for node, stage in zip(self.nodes, self.stages[1:], strict=True):
            own = node.groups.sums(np.ones(len(node.pairs), np.int64))
            found.append(stage.sums((found[-1][:, None] * own).ravel()))
        return found

    def draw(self, row: int, ways: Sequence[Whole], generator: np.random.RandomState) -> Path:
        """A cell of one of `rows`, all equally likely."""
        found, at = [], int(self.rows[row])
        for k in reversed(range(len(self.nodes))):
            node, entries = self.nodes[k], self.stages[k + 1].entries(at)
            before, own = np.divmod(entries, len(node.groups.compositions))
            sizes = node.groups.sums(np.ones(len(node.pairs), np.int64))[own]
            picked = drawn(ways[k][before] * sizes, generator)
            choices = node.groups.entries(int(own[picked]))
            found.append(node.pairs[choices[generator.randint(len(choices))]])
            at = int(before[picked])
        return self._path(found)

    def _path(self, pairs: Sequence[tuple[Choice, Choice]]) -> Path:
        path: list[tuple[int, ...]] = [()] * len(self.shape.edges)
        for edge, operation in itertools.chain(*pairs):
            path[edge] = (operation,)
        return tuple(path)


def drawn(weights: npt.NDArray[np.int64] | Floats, generator: np.random.RandomState) -> int:
    """An index, as likely as its weight."""
    sums = np.cumsum(weights, dtype=np.float64)
    return min(int(np.searchsorted(sums, generator.random_sample() * sums[-1], side="right")), len(sums) - 1)


def _digits(
    shape: CellShape, costs: Sequence[Sequence[Size]], counts: Mapping[str, Range]
) -> tuple[list[tuple[int, int, int]], dict[Choice, int], int]:
    """Edges that are told apart, by parameters, MACs and, where it is counted, operation (-1: not); what each choice adds."""
    base = shape.kept * shape.nodes + 1
    kinds: dict[tuple[int, int, int], int] = {}
    digits: dict[Choice, int] = {}
    for edge, k in itertools.product(range(len(shape.edges)), shape.choices):
        counted = k if shape.operations[k] in counts else -1
        kind = (costs[edge][k].parameters, costs[edge][k].macs, counted)
        digits[edge, k] = base ** kinds.setdefault(kind, len(kinds))
    return list(kinds), digits, base


def _pairs(
    shape: CellShape, node: int, operations: Sequence[str], fixed: Sequence[tuple[str | None, int | None]]
) -> list[tuple[Choice, Choice]]:
    """Everything that a node may keep, edges in order."""
    choices, sides = [k for k in shape.choices if shape.operations[k] in operations], fixed[2 * node : 2 * node + 2]

    def agrees(choice: Choice, side: tuple[str | None, int | None]) -> bool:
        edge, k = choice
        return side[0] in (None, shape.operations[k]) and side[1] in (None, shape.edges[edge][1])

    found = [
        ((one, k), (other, j))
        for one, other in itertools.combinations(shape.entering(node), 2)
        for k, j in itertools.product(choices, repeat=2)
    ]
    return [
        (a, b)
        for a, b in found
        if (agrees(a, sides[0]) and agrees(b, sides[1])) or (agrees(b, sides[0]) and agrees(a, sides[1]))
    ]


def _kept(
    shape: CellShape, kinds: Sequence[tuple[int, int, int]], numbers: Whole, counts: Mapping[str, Range]
) -> npt.NDArray[np.bool_]:
    """Which compositions keep the rules over counts."""
    kept = np.ones(len(numbers), bool)
    for name, allowed in counts.items():
        columns = [i for i, kind in enumerate(kinds) if kind[2] >= 0 and shape.operations[kind[2]] == name]
        has = numbers[:, columns].sum(1)
        kept &= (has >= (allowed.low or 0)) & (has <= (np.inf if allowed.high is None else allowed.high))
    return kept
