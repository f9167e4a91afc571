"""The recurrent space edge by edge, for a supernet: 36 edges, 5 activations each; to and from genotypes."""

from __future__ import annotations

from nas.core.errors import ConfigError
from nas.core.relaxation import Path, Paths, complete_cell
from randomNAS_files.architecture import ACTIVATIONS, NODES, Genotype

CELL = "recurrent"
RELAXATION = {CELL: complete_cell(NODES, 1, ACTIVATIONS, kept=1)}
"""One kind of cell."""


def genotype_of(paths: Paths) -> Genotype:
    """The genotype of a path that keeps one edge a node. Raises ConfigError if a node of the path has not one edge."""
    shape, nodes = RELAXATION[CELL], []
    for node in range(shape.nodes):
        edges = [
            (shape.operations[k], shape.edges[edge][1]) for edge in shape.entering(node) for k in paths[CELL][edge]
        ]
        if len(edges) != 1:
            raise ConfigError([f"a path must keep one edge a node, node {node + 1} has {len(edges)}"])
        nodes += edges
    return Genotype(tuple(nodes))


def paths_of(genotype: Genotype) -> dict[str, Path]:
    """The path of a genotype through the supernet.

    Raises:
        ConfigError: for what the supernet does not hold: another number of nodes, or an output that leaves some out.
    """
    shape, count = RELAXATION[CELL], len(genotype.recurrent)
    if count != NODES or sorted(genotype.concat) != list(range(1, NODES + 1)):
        raise ConfigError(
            [
                f"a cell must have {NODES} nodes and average all of them to lie in the supernet, "
                f"got {count} and concat {list(genotype.concat)}"
            ]
        )
    path: list[tuple[int, ...]] = [()] * len(shape.edges)
    for node, (name, state) in enumerate(genotype.recurrent):
        path[shape.edge(node, state)] = (ACTIVATIONS.index(name),)
    return {CELL: tuple(path)}
