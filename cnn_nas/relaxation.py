"""The convolutional space edge by edge, for a supernet: 14 edges a cell, 8 operations each; to and from genotypes."""

from __future__ import annotations

from cnn_nas.architecture import CELLS, NODES, OPERATIONS, Edge, Genotype
from nas.core.errors import ConfigError
from nas.core.relaxation import Path, Paths, complete_cell

INPUTS = 2
_CELL = complete_cell(NODES, INPUTS, OPERATIONS, kept=2)
RELAXATION = dict.fromkeys(CELLS, _CELL)
"""Both kinds of cells offer the same."""


def genotype_of(paths: Paths) -> Genotype:
    """The genotype of a path that keeps two edges a node; each node's edges are in the order of the states they read.

    Raises:
        ConfigError: if a node of the path has not two edges.
    """
    normal, reduce = (_edges(cell, paths[cell]) for cell in CELLS)
    return Genotype(normal=normal, reduce=reduce)


def _edges(cell: str, path: Path) -> tuple[Edge, ...]:
    found: list[Edge] = []
    for node in range(NODES):
        edges = [(_CELL.operations[k], _CELL.edges[edge][1]) for edge in _CELL.entering(node) for k in path[edge]]
        if len(edges) != 2:
            raise ConfigError([f"a path must keep two edges a node, {cell} node {node + 1} has {len(edges)}"])
        found += edges
    return tuple(found)


def paths_of(genotype: Genotype) -> dict[str, Path]:
    """The path of a genotype through the supernet.

    Raises:
        ConfigError: for what the supernet does not hold: another number of nodes, an operation that DARTS does not search,
            an output that leaves nodes out, or an operation twice between the same states.
    """
    problems, found = [], {}
    for cell, edges, concat in (
        ("normal", genotype.normal, genotype.normal_concat),
        ("reduce", genotype.reduce, genotype.reduce_concat),
    ):
        if len(edges) != 2 * NODES or sorted(concat) != list(range(INPUTS, INPUTS + NODES)):
            problems.append(
                f"{cell} must have {NODES} nodes and concatenate all of them to lie in the supernet, "
                f"got {len(edges) // 2} and concat {list(concat)}"
            )
            continue
        path: list[tuple[int, ...]] = [()] * len(_CELL.edges)
        for k, (name, state) in enumerate(edges):
            edge = _CELL.edge(k // 2, state)
            if name not in OPERATIONS:
                problems.append(f"{cell}: the supernet has no {name}; it has {', '.join(OPERATIONS)}")
            elif OPERATIONS.index(name) in path[edge]:
                problems.append(
                    f"{cell}: node {k // 2 + 1} has {name} of state {state} twice, the supernet has it once"
                )
            else:
                path[edge] = tuple(sorted((*path[edge], OPERATIONS.index(name))))
        found[cell] = tuple(path)
    if problems:
        raise ConfigError(problems)
    return found
