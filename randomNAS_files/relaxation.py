"""The recurrent space edge by edge, for a supernet of N nodes: N (N + 1) / 2 edges, 5 activations each; to and from genotypes.

A path says nothing of the output: a supernet takes the mean of all nodes, as DARTS does, or of the loose ends, the nodes that
no other reads, as ENAS does (Pham et al. 2018, arXiv 1802.03268, section 2.1).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from nas.core.errors import ConfigError
from nas.core.relaxation import CellShape, Path, Paths, complete_cell
from randomNAS_files.architecture import ACTIVATIONS, NODES, TOPOLOGIES, Genotype
from randomNAS_files.outputs import with_output

CELL = "recurrent"
"""The one kind of cell."""
HIDDEN = "hidden"
"""Beside it, where sizes are chosen: one edge whose operations they are."""
MOST_NODES = 100


@lru_cache(maxsize=MOST_NODES)
def shape_of(nodes: int) -> CellShape:
    """A cell of so many nodes; the edges of one with fewer are the first ones."""
    return complete_cell(nodes, 1, ACTIVATIONS, kept=1)


@lru_cache(maxsize=MOST_NODES)
def restricted_shape(nodes: int, least: int | None, one_activation: bool, topology: str | None) -> CellShape:
    """The same cell with fewer genotypes; the arguments are those of `architecture.sample`."""
    shape, closed = shape_of(nodes), list[int]()
    if topology is not None:
        reads = TOPOLOGIES[topology]
        closed = [edge for edge, (node, state) in enumerate(shape.edges) if state != reads(node + 1)]
    return replace(shape, closed=frozenset(closed), same_operation=one_activation, least_nodes=least)


def sizes_shape(sizes: tuple[int, ...]) -> CellShape:
    """A choice of one of some hidden sizes."""
    return CellShape(((0, 0),), tuple(map(str, sizes)), kept=1, excluded=())


def nodes_of(path: Path) -> int:
    """How many nodes the supernet of a path has, by the number of its edges."""
    nodes = 0
    while nodes * (nodes + 1) // 2 < len(path):
        nodes += 1
    return nodes


def kept_nodes(path: Path, least: int | None) -> int:
    """How many nodes the cell of a path has: all, or if it may have fewer, down to `least`, those up to the last one with an
    edge.
    """
    if least is None:
        return nodes_of(path)
    last = max((edge for edge, running in enumerate(path) if running), default=0)
    return max(least, nodes_of(path[: last + 1]))


def genotype_of(paths: Paths, output: str = "all", least: int | None = None) -> Genotype:
    """The genotype of a path that keeps one edge a node. Raises ConfigError if a node of the path has not one edge.

    Args:
        output: of `outputs.RULES`.
        least: see `kept_nodes`.
    """
    shape, nodes = shape_of(kept_nodes(paths[CELL], least)), []
    for node in range(shape.nodes):
        edges = [
            (shape.operations[k], shape.edges[edge][1]) for edge in shape.entering(node) for k in paths[CELL][edge]
        ]
        if len(edges) != 1:
            raise ConfigError([f"a path must keep one edge a node, node {node + 1} has {len(edges)}"])
        nodes += edges
    return with_output(Genotype(tuple(nodes)), output)


def paths_of(genotype: Genotype, output: str = "all", nodes: int = NODES, least: int | None = None) -> dict[str, Path]:
    """The path of a genotype through the supernet.

    Args:
        output: of `outputs.RULES`, the supernet's.
        nodes: of the supernet.
        least: cells may have fewer nodes, down to so many.

    Raises:
        ConfigError: for what the supernet does not hold: another number of nodes, or the mean of others.
    """
    shape, count = shape_of(nodes), len(genotype.recurrent)
    fewest = nodes if least is None else least
    if not fewest <= count <= nodes or sorted(genotype.concat) != list(with_output(genotype, output).concat):
        which = "all of them" if output == "all" else "those that no other reads (loose ends)"
        held = nodes if least is None else f"{least} to {nodes}"
        rule = f"a cell must have {held} nodes and average {which} to lie in the supernet"
        raise ConfigError([f"{rule}, got {count} and concat {list(genotype.concat)}"])
    path: list[tuple[int, ...]] = [()] * len(shape.edges)
    for node, (name, state) in enumerate(genotype.recurrent):
        path[shape.edge(node, state)] = (ACTIVATIONS.index(name),)
    return {CELL: tuple(path)}


RELAXATION = {CELL: shape_of(NODES)}
"""The space of DARTS, of 8 nodes."""
