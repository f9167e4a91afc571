"""One convolutional architecture as data: the genotype of the DARTS space for images, its codecs, and random sampling.

A cell has two inputs, the states 0 and 1, and nodes 1..n. Each node sums two edges, each an operation on an earlier state;
node k (counted from 1) is state k + 1, and may take the states 0..k. The cell's output is the concatenation of the states
in its `concat`. A network repeats two such cells, a normal one and a reduction cell that halves the image. DARTS: Liu et al.
2019, arXiv 1806.09055, section 2.1 and 3.1.1; the cells are those of NASNet: Zoph et al. 2018, arXiv 1707.07012.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.core.errors import ConfigError, unknown
from nas.core.genotype_text import (
    ALL_NODES,
    check_fields,
    edges_of,
    integral,
    misspelt,
    read_written,
    states_of,
)
from nas.core.seeds import numpy_generator

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""What DARTS searches. `none` is zero; sampling takes it only where it is asked for."""

EXTRA_OPERATIONS = ("sep_conv_7x7", "conv_7x1_1x7")
"""What published cells use beyond these."""

ALL_OPERATIONS = OPERATIONS + EXTRA_OPERATIONS
_ELSEWHERE = {
    **{"identity": "skip_connect", "skip": "skip_connect", "max_pool": "max_pool_3x3", "avg_pool": "avg_pool_3x3"},
    **{"zero": "none", "zeroize": "none"},
}
"""Names that other libraries have for operations of ours; of what they call otherwise nobody knows what it is."""
SEARCHED_OPERATIONS = OPERATIONS[1:]
NODES = 4
"""Nodes of a sampled cell, as in DARTS."""

CELLS = ("normal", "reduce")
FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
Edge = tuple[str, int]
FREE: tuple[tuple[None, None], ...] = ((None, None),) * (2 * NODES)
"""For `draw_cell`: no operation and no predecessor is fixed."""

_HPARAM = re.compile(r"(normal|reduce)_node\d+_edge\d+(_op)?")


@dataclass(frozen=True, kw_only=True)
class Genotype:
    """A normal and a reduction cell.

    Args:
        normal: the edges of the normal cell, two a node in the order of the nodes, each an operation and a predecessor.
        normal_concat: the states that are its output, among 2..n + 1; all of them if left out. An empty one is refused.
        reduce: the edges of the reduction cell.
        reduce_concat: likewise.

    Raises:
        ConfigError: with every operation, predecessor, number of edges or concat entry that is not allowed.
    """

    normal: tuple[Edge, ...]
    normal_concat: tuple[int, ...] = ALL_NODES
    reduce: tuple[Edge, ...]
    reduce_concat: tuple[int, ...] = ALL_NODES

    def __post_init__(self) -> None:
        problems = []
        for cell in CELLS:
            edges = tuple((name, pred) for name, pred in getattr(self, cell))
            concat = getattr(self, f"{cell}_concat")
            concat = tuple(range(2, 2 + len(edges) // 2)) if concat is ALL_NODES else tuple(concat)
            object.__setattr__(self, cell, edges)
            object.__setattr__(self, f"{cell}_concat", concat)
            problems += _cell_problems(cell, edges, concat)
        if problems:
            raise ConfigError(problems)

    def __str__(self) -> str:
        """One line for a reader: `normal: 2 sep_conv_3x3(0)+skip_connect(1)  concat 2; reduce: ...`."""
        return "; ".join(f"{cell}: {_line(getattr(self, cell), getattr(self, f'{cell}_concat'))}" for cell in CELLS)

    def to_json(self) -> dict[str, Any]:
        """Plain lists, ready for `json.dump`."""
        return {
            "normal": [list(edge) for edge in self.normal],
            "normal_concat": list(self.normal_concat),
            "reduce": [list(edge) for edge in self.reduce],
            "reduce_concat": list(self.reduce_concat),
        }

    def to_text(self) -> str:
        """The `Genotype(...)` line that DARTS logs print; it is also valid code for `genotypes.py`."""
        return f"Genotype({', '.join(f'{field}={list(getattr(self, field))!r}' for field in FIELDS)})"

    def named_values(self) -> dict[str, Any]:
        """`normal_node1_edge1`, `normal_node1_edge1_op`, ...: every edge under its name, whatever the concat."""
        return {
            name + suffix: value
            for cell in CELLS
            for name, (operation, pred) in zip(
                edge_names(cell, len(getattr(self, cell))), getattr(self, cell), strict=True
            )
            for suffix, value in (("", pred), ("_op", operation))
        }

    def to_hparams(self) -> dict[str, Any]:
        """The values under their names, as a config spells them; only for cells of four nodes with all in the concat."""
        for cell in CELLS:
            edges, concat = getattr(self, cell), getattr(self, f"{cell}_concat")
            if len(edges) != 2 * NODES or concat != tuple(range(2, 2 + NODES)):
                raise ConfigError(
                    [
                        f"hyperparameters describe cells of {NODES} nodes that concatenate all of them, "
                        f"{cell} has {len(edges) // 2} nodes and concat {list(concat)}"
                    ]
                )
        return self.named_values()


def edge_names(cell: str, edges: int = 2 * NODES) -> list[str]:
    """The names of a cell's predecessors in order, `normal_node1_edge1`, ...; those of the operations end in `_op`."""
    return [f"{cell}_node{i // 2 + 1}_edge{i % 2 + 1}" for i in range(edges)]


def operation_problems(name: str, operation: Any) -> list[str]:
    """What is wrong with an operation called `name`."""
    if isinstance(operation, str) and operation in ALL_OPERATIONS:
        return []
    if isinstance(operation, str) and operation in _ELSEWHERE:
        return [f"{name} {operation!r} is not an operation here; DARTS calls it {_ELSEWHERE[operation]}"]
    return [unknown(f"{name} {operation!r}", str(operation), ALL_OPERATIONS, "is not an operation")]


def predecessor_problems(name: str, pred: Any, edge: int) -> list[str]:
    """What is wrong with the predecessor of the edge of that index, counted from 0, called `name`."""
    last = edge // 2 + 1
    return [] if type(pred) is int and 0 <= pred <= last else [f"{name} must be 0..{last}, got {pred!r}"]


def _cell_problems(cell: str, edges: Sequence[Edge], concat: Sequence[int]) -> list[str]:
    problems = [] if edges else [f"{cell}: a cell needs at least one node, got none"]
    if len(edges) % 2:
        problems.append(f"{cell} must have two edges a node, got {len(edges)} edges")
    for i, (name, (operation, pred)) in enumerate(zip(edge_names(cell, len(edges)), edges, strict=True)):
        problems += operation_problems(f"{name}_op", operation) + predecessor_problems(name, pred, i)
    last = len(edges) // 2 + 1
    if edges and not concat:
        problems.append(f"{cell}_concat must name at least one of the states 2..{last}, got []; leave it out for all")
    if any(type(i) is not int or not 2 <= i <= last for i in concat):
        problems.append(f"{cell}_concat must name states 2..{last}, got {list(concat)}")
    elif len(set(concat)) != len(concat):
        problems.append(f"{cell}_concat must name each state once, got {list(concat)}")
    return problems


def used_states(edges: Sequence[Edge], concat: Sequence[int]) -> set[int]:
    """The inputs and nodes of a cell on which its output depends; nothing depends on what goes through `none`."""
    used = set(concat)
    for node in reversed(range(len(edges) // 2)):
        if 2 + node in used:
            used |= {state for name, state in edges[2 * node : 2 * node + 2] if name != "none"}
    return used


def _line(edges: Sequence[Edge], concat: Sequence[int]) -> str:
    sides = [f"{operation}({pred})" for operation, pred in edges]
    nodes = [f"{i + 2} {'+'.join(sides[2 * i : 2 * i + 2])}" for i in range(len(edges) // 2)]
    full = tuple(concat) == tuple(range(2, len(nodes) + 2)) and len(nodes) > 1
    return "  ".join([*nodes, f"concat {f'2-{len(nodes) + 1}' if full else ' '.join(map(str, concat))}"])


def from_json(data: Mapping[str, Any]) -> Genotype:
    """The inverse of `Genotype.to_json`; a concat may be left out. Raises ConfigError if the data is no architecture's."""
    if not isinstance(data, Mapping):
        like = '{"normal": [["sep_conv_3x3", 0], ...], "normal_concat": [2, ...], "reduce": ..., "reduce_concat": ...}'
        raise ConfigError([f"a genotype must look like {like}, got {data!r}"])
    names = [f"{cell}_concat" for cell in CELLS]
    check_fields(data, CELLS, names)
    normal, reduce = (edges_of(cell, data[cell]) for cell in CELLS)
    concats = {name: states_of(name, data[name]) for name in names if name in data}
    return Genotype(normal=normal, reduce=reduce, **concats)


def from_text(text: str) -> Genotype:
    """Read a `Genotype(normal=[...], normal_concat=range(2, 6), ...)` of a DARTS log, or the same in other forms."""
    return read_written(text, FIELDS).build(from_json, edge_names)


def edge_hparams(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the hyperparameters that spell out an architecture: `normal_node1_edge1`, `normal_node1_edge1_op`, ..."""
    return {name: value for name, value in hparams.items() if _HPARAM.fullmatch(str(name))}


def from_hparams(hparams: Mapping[str, Any]) -> Genotype:
    """The inverse of `Genotype.to_hparams`; other hyperparameters are ignored, unless they look like a misspelt edge.

    Raises:
        ConfigError: if an edge lacks its predecessor or operation, is none of the four nodes', or is not valid.
    """
    given = edge_hparams(hparams)
    wanted = [name + suffix for cell in CELLS for name in edge_names(cell) for suffix in ("", "_op")]
    problems = [f"{name} is missing; a cell of {NODES} nodes needs it" for name in wanted if name not in given]
    problems += [
        f"{name} is no edge; a cell has nodes 1..{NODES} with edges 1..2" for name in given if name not in wanted
    ]
    problems += misspelt([name for name in hparams if name not in given], wanted)
    if problems:
        raise ConfigError(problems)
    normal, reduce = (
        tuple((given[f"{name}_op"], integral(given[name])) for name in edge_names(cell)) for cell in CELLS
    )
    return Genotype(normal=normal, reduce=reduce)


def sample(
    seed: int,
    *labels: str | int,
    operations: Sequence[str] = SEARCHED_OPERATIONS,
    distinct_predecessors: bool = True,
) -> Genotype:
    """Draw an architecture uniformly: each edge an operation, and predecessors among all earlier states.

    The same arguments give the same architecture with every version of every library.

    Args:
        seed: with the labels, what to draw.
        labels: what the draw is for.
        operations: what to draw from; `none` only if it is listed.
        distinct_predecessors: whether a node's two edges come from two different states, drawn without replacement, as in
            DARTS (section 3.1.1) and in Li & Talwalkar 2019 (arXiv 1902.07638, section 4).
    """
    generator = numpy_generator(seed, "architecture", *labels)
    normal, reduce = (draw_cell(generator, operations, distinct_predecessors) for _ in CELLS)
    return Genotype(normal=normal, reduce=reduce)


def draw_cell(
    generator: np.random.RandomState,
    operations: Sequence[str],
    distinct_predecessors: bool,
    fixed: Sequence[tuple[str | None, int | None]] = FREE,
) -> tuple[Edge, ...]:
    """Draw one cell uniformly among those with the fixed operations and predecessors; None is free."""
    cell: list[Edge] = []
    for node in range(NODES):
        sides = fixed[2 * node : 2 * node + 2]
        drawn = [name or operations[generator.randint(len(operations))] for name, _ in sides]
        preds = _draw_predecessors(generator, node + 2, distinct_predecessors, sides[0][1], sides[1][1])
        cell += zip(drawn, preds, strict=True)
    return tuple(cell)


def _draw_predecessors(
    generator: np.random.RandomState, states: int, distinct: bool, first: int | None, second: int | None
) -> tuple[int, int]:
    """An ordered pair of states, uniform among the pairs that agree with what is fixed."""

    def other(taken: int | None) -> int:
        if taken is None or not distinct:
            return int(generator.randint(states))
        drawn = int(generator.randint(states - 1))
        return drawn + (drawn >= taken)

    first = other(second) if first is None else first
    return first, other(first) if second is None else second
