"""How large a network of sampled cells is in the mean: a differentiable function of weights of edges and operations.

Each node samples two edges one after the other without replacement, by the weights w of the edges that enter it (which sum
to 1), and each of them an operation, by its weights p without `none`. An edge e is then among the two with probability

    pi_e = w_e + sum over f != e of w_f w_e / (1 - w_f),

the first draw, and the second after each other first one; the sum over a node is 2, and equal weights of n edges give 2 / n.
As an operation costs the same whatever else is chosen, the mean over all architectures is

    rest + sum over kinds of cell, edges e and operations o of pi_e p_eo cost_eo.

The architecture that a search derives is one of them, and costs something else: budgets are kept by `decoding`, not here.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from cnn_nas.counting import NetworkSize, cost_table, edge_costs, extremes
from cnn_nas.relaxation import RELAXATION
from nas.core.relaxation import CellShape, Relaxation

Tables = Mapping[str, torch.Tensor]
"""By kind of cell."""


class ExpectedCost(nn.Module):
    """The mean count of sampled architectures at one network size.

    Its buffers follow `.to(device)` and are part of no state.

    Attributes:
        low: the smallest count of the space at this size.
        high: the largest.
        rest: the count without any edge.

    Args:
        size: of the network that is counted, which is the one to be trained in the end, not the supernet.
        measure: `parameters` or `macs`.
        relaxation: the space; two edges a node are kept.
    """

    costs: torch.Tensor
    excluded: torch.Tensor
    edge_of: torch.Tensor
    place_of: torch.Tensor
    uniform: torch.Tensor
    alone: torch.Tensor
    different: torch.Tensor

    def __init__(self, size: NetworkSize, measure: str = "parameters", relaxation: Relaxation = RELAXATION) -> None:
        super().__init__()
        if any(shape.kept != 2 for shape in relaxation.values()):
            raise ValueError("two edges a node must be kept")
        self.kinds = tuple(relaxation)
        smallest, largest = extremes(size, relaxation)
        self.low, self.high = (int(getattr(end, measure)) for end in (smallest, largest))
        self.rest = int(getattr(cost_table(size, False, *_nodes(relaxation)).rest, measure))
        rows = [
            [float(getattr(cost, measure)) for cost in row]
            for table in edge_costs(size, relaxation).values()
            for row in table
        ]
        costs = torch.tensor(rows, dtype=torch.float64) / self.span  # (E, O), E edges of all kinds of cell
        excluded = [
            [name in shape.excluded for name in shape.operations] for shape in relaxation.values() for _ in shape.edges
        ]
        self._buffer("costs", costs.to(torch.get_default_dtype()))
        self._buffer("excluded", torch.tensor(excluded))
        nodes = _entering(relaxation)
        width = max(map(len, nodes))
        padded = [
            [*edges, *[len(rows)] * (width - len(edges))] for edges in nodes
        ]  # one edge beyond the last: weight 0
        places = {edge: n * width + k for n, edges in enumerate(nodes) for k, edge in enumerate(edges)}
        self._buffer("edge_of", torch.tensor(padded))  # (N, W), N nodes of all kinds of cell, W places for edges
        self._buffer("place_of", torch.tensor([places[edge] for edge in range(len(rows))]))  # (E,)
        share = {edge: 1 / len(edges) for edges in nodes for edge in edges}
        self._buffer(
            "uniform", torch.tensor([2 * share[edge] for edge in range(len(rows))])
        )  # (E,) pi of equal weights
        self._buffer("alone", torch.tensor([[1 / (len(edges) - 1)] for edges in nodes]))  # (N, 1)
        self._buffer("different", ~torch.eye(width, dtype=torch.bool))  # (W, W)

    def _buffer(self, name: str, value: torch.Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    @property
    def span(self) -> int:
        """From the smallest count to the largest; 1 where all architectures cost the same."""
        return max(self.high - self.low, 1)

    def forward(self, operations: Tables, edges: Tables | None = None) -> torch.Tensor:
        """The expected count.

        Args:
            operations: for each kind of cell weights `(edges, operations)`, not negative; excluded operations are left out,
                and the others of an edge divided by their sum.
            edges: for each kind of cell weights `(edges,)` that sum to 1 for each node; None: all edges of a node alike.
        """
        return self.rest + self.span * self._in_edges(operations, edges)

    def scaled(self, operations: Tables, edges: Tables | None = None) -> torch.Tensor:
        """The same from 0, the smallest network of the space, to 1, the largest: one unit for networks of all sizes."""
        return self._in_edges(operations, edges) + (self.rest - self.low) / self.span

    def inclusion(self, edges: Tables | None) -> torch.Tensor:
        """For each edge of all kinds of cell the probability that its node keeps it, `(E,)`."""
        if edges is None:
            return self.uniform
        flat = torch.cat([edges[kind] for kind in self.kinds])
        w = torch.cat([flat, flat.new_zeros(1)])[self.edge_of]  # (N, W)
        # 1 - w_f as the sum of the others, which is exact where w_f is close to 1. Where it is next to nothing, the
        # second edge is undefined, and all others are taken to be equally likely.
        first, second = w.unsqueeze(2), w.unsqueeze(1)  # (N, W, 1) and (N, 1, W): drawn first, drawn second
        left = torch.where(self.different, second, 0.0).sum(2, keepdim=True)  # (N, W, 1)
        defined = left > 1e3 * torch.finfo(w.dtype).tiny  # or gradients overflow
        given = second / torch.where(self.different & defined, left, 1.0)
        given = torch.where(defined, given, self.alone.unsqueeze(2))
        second = (first * torch.where(self.different, given, 0.0)).sum(1)
        return (w + second).flatten()[self.place_of]

    def _in_edges(self, operations: Tables, edges: Tables | None) -> torch.Tensor:
        """What the edges cost, in spans."""
        p = torch.cat([operations[kind] for kind in self.kinds]).masked_fill(self.excluded, 0.0)  # (E, O)
        p = p / p.sum(1, keepdim=True).clamp_min(torch.finfo(p.dtype).tiny)
        return torch.dot(self.inclusion(edges), (p * self.costs).sum(1))


def _nodes(relaxation: Relaxation) -> list[int]:
    return [shape.nodes for shape in relaxation.values()]


def _entering(relaxation: Relaxation) -> list[list[int]]:
    """The edges that enter each node of each kind of cell, numbered through all kinds."""
    found, start = [], 0
    for shape in relaxation.values():
        found += _of_cell(shape, start)
        start += len(shape.edges)
    return found


def _of_cell(shape: CellShape, start: int) -> list[list[int]]:
    return [[start + edge for edge in shape.entering(node)] for node in range(shape.nodes)]
