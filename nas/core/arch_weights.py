"""What goes into a supernet beside its inputs: how much each operation of each edge counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from nas.core.relaxation import Paths, Relaxation


@dataclass(frozen=True)
class ArchWeights:
    """How the operations of a supernet are mixed: an argument of its forward pass, never a part of its state.

    On an edge the outputs of the operations are summed with the weights; a node sums its edges.

    Attributes:
        operations: for each kind of cell `(edges, operations)`; None: every operation that runs counts 1.
        edges: for each kind of cell `(edges,)`, by which whole edges are multiplied (PC-DARTS, Xu et al. 2020, arXiv
            1907.05737, equation 2); None: 1.
        paths: the operations that run, known on the host, so that nothing waits for the device. What does not run costs
            nothing, and its weights get no gradient at all: not zero, which a decay or a momentum would still move. None:
            all run.
        auxiliary: what an auxiliary skip connection on every edge counts, where the supernet has them (DARTS-, Chu et al.
            2021, arXiv 2009.01027).
    """

    operations: Mapping[str, torch.Tensor] | None = None
    edges: Mapping[str, torch.Tensor] | None = None
    paths: Paths | None = None
    auxiliary: float = 0.0

    def running(self, cell: str, edge: int, count: int) -> tuple[int, ...]:
        """The operations, out of `count`, that run on an edge."""
        return tuple(range(count)) if self.paths is None else self.paths[cell][edge]

    def tensors(self) -> list[torch.Tensor]:
        """All weights: of operations, then of edges."""
        return [tensor for group in (self.operations, self.edges) for tensor in (group or {}).values()]

    def with_tensors(self, tensors: list[torch.Tensor]) -> ArchWeights:
        """The same with other weights, in the order of `tensors()`."""
        rest = iter(tensors)
        groups = [
            None if group is None else {name: next(rest) for name in group} for group in (self.operations, self.edges)
        ]
        return replace(self, operations=groups[0], edges=groups[1])

    def detach(self) -> ArchWeights:
        """The same as constants."""
        return self.with_tensors([tensor.detach() for tensor in self.tensors()])

    def copy(self) -> ArchWeights:
        """The same as constants, which no later change in place reaches."""
        return self.with_tensors([tensor.detach().clone() for tensor in self.tensors()])


def one_path(paths: Paths) -> ArchWeights:
    """The weights of a single architecture."""
    return ArchWeights(paths=dict(paths))


def as_numbers(paths: Paths, relaxation: Relaxation, like: torch.Tensor) -> dict[str, torch.Tensor]:
    """A path as weights of 0 and 1, `(edges, operations)` for each kind of cell, in the type and on the device of `like`."""
    found = {}
    for name, shape in relaxation.items():
        table = [[float(k in running) for k in range(len(shape.operations))] for running in paths[name]]
        found[name] = torch.tensor(table, dtype=like.dtype, device=like.device)
    return found
