"""The recurrent space edge by edge, for a supernet: 36 edges, 5 activations each; to and from genotypes.

A path says nothing of the output: a supernet takes the mean of all nodes, as DARTS does, or of the loose ends, the nodes that
no other reads, as ENAS does (Pham et al. 2018, arXiv 1802.03268, section 2.1).
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.core.errors import ConfigError
from nas.core.relaxation import Path, Paths, complete_cell
from randomNAS_files.architecture import ACTIVATIONS, NODES, Genotype

CELL = "recurrent"
RELAXATION = {CELL: complete_cell(NODES, 1, ACTIVATIONS, kept=1)}
"""One kind of cell."""

OUTPUTS = ("all", "loose_ends")
"""The nodes of which a cell's output is the mean."""


def loose_ends(recurrent: Sequence[tuple[str, int]]) -> tuple[int, ...]:
    """The nodes, counted from 1, that no other node reads; the last one always is one of them."""
    read = {predecessor for _, predecessor in recurrent}
    return tuple(i for i in range(1, len(recurrent) + 1) if i not in read)


def genotype_of(paths: Paths, output: str = "all") -> Genotype:
    """The genotype of a path that keeps one edge a node. Raises ConfigError if a node of the path has not one edge.

    Args:
        output: of OUTPUTS.
    """
    shape, nodes = RELAXATION[CELL], []
    for node in range(shape.nodes):
        edges = [
            (shape.operations[k], shape.edges[edge][1]) for edge in shape.entering(node) for k in paths[CELL][edge]
        ]
        if len(edges) != 1:
            raise ConfigError([f"a path must keep one edge a node, node {node + 1} has {len(edges)}"])
        nodes += edges
    return Genotype(tuple(nodes)) if output == "all" else Genotype(tuple(nodes), loose_ends(nodes))


def paths_of(genotype: Genotype, output: str = "all") -> dict[str, Path]:
    """The path of a genotype through the supernet.

    Args:
        output: of OUTPUTS, the supernet's.

    Raises:
        ConfigError: for what the supernet does not hold: another number of nodes, or the mean of others.
    """
    shape, count = RELAXATION[CELL], len(genotype.recurrent)
    averaged = tuple(range(1, count + 1)) if output == "all" else loose_ends(genotype.recurrent)
    if count != NODES or sorted(genotype.concat) != list(averaged):
        which = "all of them" if output == "all" else "those that no other reads (loose ends)"
        raise ConfigError(
            [
                f"a cell must have {NODES} nodes and average {which} to lie in the supernet, "
                f"got {count} and concat {list(genotype.concat)}"
            ]
        )
    path: list[tuple[int, ...]] = [()] * len(shape.edges)
    for node, (name, state) in enumerate(genotype.recurrent):
        path[shape.edge(node, state)] = (ACTIVATIONS.index(name),)
    return {CELL: tuple(path)}
