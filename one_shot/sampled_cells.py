"""Whole cells as they are retrained, drawn by weights of edges and operations, with a straight-through gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from nas.core.relaxation import CellShape, Path, Relaxation
from one_shot.samplers import gumbel, gumbel_st


def sampled_cells(
    relaxation: Relaxation,
    logits: Mapping[str, torch.Tensor],
    edges: Mapping[str, torch.Tensor] | None,
    temperature: float,
    generator: torch.Generator,
) -> tuple[dict[str, torch.Tensor], dict[str, Path]]:
    """One architecture: each node keeps as many edges as a genotype does, each with one operation.

    Edges are drawn one after the other without replacement, by their weights: the largest of log w plus Gumbel noise (Kool
    et al. 2019, arXiv 1903.06059). Operations are drawn by the softmax of their logits, without those that no genotype has.
    So the mean size of these cells is what `cnn_nas.expected_cost` computes.

    Args:
        logits: for each kind of cell `(edges, operations)`.
        edges: for each kind of cell weights `(edges,)` that sum to 1 for each node; None: all edges of a node alike.
        temperature: of the gradient, as in `gumbel_st`.

    Returns:
        One-hot weights of operations, differentiable by the logits; the edges that are kept with their operation.
    """
    one_hot, order = {}, {}
    for kind, shape in relaxation.items():
        out = torch.tensor([name in shape.excluded for name in shape.operations], device=logits[kind].device)
        one_hot[kind] = gumbel_st(logits[kind].masked_fill(out, -math.inf), temperature, generator)
        noise = gumbel(logits[kind].detach()[:, 0], generator)
        order[kind] = noise if edges is None else edges[kind].detach().log() + noise
    chosen = torch.cat([table.detach().argmax(-1) for table in one_hot.values()])
    # All of it is brought to the host at once; numbers of operations are exact in any float.
    both = torch.stack([chosen.to(order[next(iter(order))]), torch.cat(list(order.values()))]).tolist()
    paths, start = {}, 0
    for kind, shape in relaxation.items():
        end = start + len(shape.edges)
        paths[kind] = _path(shape, [int(k) for k in both[0][start:end]], both[1][start:end])
        start = end
    return one_hot, paths


def _path(shape: CellShape, operations: list[int], order: list[float]) -> Path:
    path: list[tuple[int, ...]] = [()] * len(shape.edges)
    for node in range(shape.nodes):
        for edge in sorted(shape.open(node), key=order.__getitem__, reverse=True)[: shape.kept]:
            path[edge] = (operations[edge],)
    return tuple(path)
