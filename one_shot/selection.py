"""Choosing an architecture by what the supernet loses without each operation, instead of by its weights.

Wang et al. 2021, arXiv 2108.04392 (DARTS-PT), algorithm 1: an operation is worth what removing it costs in validation. Unlike
there, the supernet is not trained further between two decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from nas.core.arch_weights import ArchWeights
from nas.core.relaxation import CellShape, Path, Relaxation

Score = Callable[[Sequence[ArchWeights]], Sequence[float]]
"""The validation loss of the supernet with each of these weights."""


def select_by_perturbation(
    relaxation: Relaxation, mixture: ArchWeights, score: Score, generator: torch.Generator
) -> dict[str, Path]:
    """Decide edge by edge, in random order, then node by node.

    On an edge the operation stays whose removal, alone, raises the loss most; the others' weights become 0 and its own 1. A
    node then keeps the edges whose removal raises the loss most. Of equal losses the lower number wins.

    Args:
        mixture: the weights that the search ended with.
        score: see `Score`; one call decides one edge or node.
        generator: draws the order of the edges, on the CPU.
    """
    assert mixture.operations is not None
    tables = {name: table.clone() for name, table in mixture.operations.items()}

    def scored(name: str, changes: Sequence[torch.Tensor]) -> list[float]:
        entrants = [ArchWeights({**tables, name: table}, mixture.edges, None, mixture.auxiliary) for table in changes]
        return list(score(entrants))

    chosen: dict[str, dict[int, int]] = {}
    for name, shape in relaxation.items():
        chosen[name] = {}
        for edge in torch.randperm(len(shape.edges), generator=generator).tolist():
            losses = scored(name, list(_without_operation(tables[name], edge, shape.choices)))
            best = shape.choices[_worst(losses)]
            chosen[name][edge] = best
            tables[name][edge] = 0
            tables[name][edge, best] = 1
    return {name: _kept(shape, chosen[name], tables[name], name, scored) for name, shape in relaxation.items()}


def _kept(
    shape: CellShape,
    operations: dict[int, int],
    table: torch.Tensor,
    name: str,
    scored: Callable[[str, Sequence[torch.Tensor]], list[float]],
) -> Path:
    """The path of one kind of cell, each of whose edges has its operation."""
    path: list[tuple[int, ...]] = [()] * len(shape.edges)
    for node in range(shape.nodes):
        edges = shape.entering(node)
        losses = scored(name, list(_without_edge(table, edges)))
        for k in sorted(range(len(edges)), key=lambda k: (-_number(losses[k]), k))[: shape.kept]:
            path[edges[k]] = (operations[edges[k]],)
    return tuple(path)


def _without_operation(table: torch.Tensor, edge: int, operations: Sequence[int]) -> Iterator[torch.Tensor]:
    for operation in operations:
        changed = table.clone()
        changed[edge, operation] = 0
        yield changed


def _without_edge(table: torch.Tensor, edges: Sequence[int]) -> Iterator[torch.Tensor]:
    for edge in edges:
        changed = table.clone()
        changed[edge] = 0
        yield changed


def _worst(losses: Sequence[float]) -> int:
    """Of the highest loss."""
    return min(range(len(losses)), key=lambda k: (-_number(losses[k]), k))


def _number(loss: float) -> float:
    """What is no number is the highest loss of all."""
    return loss if loss == loss else float("inf")
