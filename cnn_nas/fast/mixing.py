"""The edges of a supernet's cells in the order in which `supernet.py` computes them, and what each operation counts on them."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch

from cnn_nas.relaxation import RELAXATION
from nas.core.arch_weights import ArchWeights


class Slot(NamedTuple):
    """An edge, with the state that it leaves and the node that it enters."""

    edge: int
    state: int
    node: int


SLOTS = sorted(
    (Slot(e, state, node) for e, (node, state) in enumerate(RELAXATION["normal"].edges)), key=lambda s: s[1:]
)
"""The edges in the order of the states that they leave, so that neighbours run together."""
OPERATIONS = RELAXATION["normal"].operations
POOLS = tuple(k for k, name in enumerate(OPERATIONS) if "pool" in name)
CONVOLUTIONS = tuple(k for k, name in enumerate(OPERATIONS) if "conv" in name)
Slots = tuple[int, ...]
"""Some edges, by their places in `SLOTS`."""


class Mixing:
    """What runs in the cells of a kind, and how much it counts.

    Attributes:
        running: the operations of each slot.
        operations: `(operations, slots)`, of edges and operations together; None: 1.
        edges: `(slots,)`; None: 1.
        auxiliary: of auxiliary skip connections.
    """

    def __init__(self, kind: str, weights: ArchWeights, dtype: torch.dtype) -> None:
        self.running = [weights.running(kind, slot.edge, len(OPERATIONS)) for slot in SLOTS]
        self.auxiliary = weights.auxiliary
        self.edges = None if weights.edges is None else _by_slot(weights.edges[kind].to(dtype))
        self.operations: torch.Tensor | None = None
        if weights.operations is not None:
            of_operations = _by_slot(weights.operations[kind].to(dtype)).t()
            self.operations = of_operations if self.edges is None else of_operations * self.edges
        elif self.edges is not None:
            self.operations = self.edges.expand(len(OPERATIONS), -1)

    def of(self, k: int, slots: Slots) -> torch.Tensor | None:
        """What operation k counts on some edges, `(slots,)`."""
        return None if self.operations is None else select(self.operations[k], slots)

    def scale(self, k: int, slots: Slots, channels: int) -> torch.Tensor | None:
        """The same for each of their channels, `(slots * channels,)`."""
        row = self.of(k, slots)
        if row is None:
            return None
        # Contiguous, as the gradient of a batch norm on a CPU reads wrong weights otherwise, without a word (torch 2.15)
        return row.unsqueeze(1).expand(-1, channels).reshape(-1).contiguous()


def _by_slot(rows: torch.Tensor) -> torch.Tensor:
    """Rows of the edges `(edges, ...)` in the order of the slots."""
    return rows[_order(rows.device)]


@lru_cache(maxsize=8)  # a copy to the device in each pass would make the CPU wait for it, which a CUDA graph cannot
def _order(device: torch.device) -> torch.Tensor:
    """The edge of each slot."""
    with torch.inference_mode(False):  # else it would serve no training later
        return torch.tensor([slot.edge for slot in SLOTS], device=device)


def select(row: torch.Tensor, slots: Slots) -> torch.Tensor:
    """What of a row `(slots,)` is of some edges."""
    if slots[-1] - slots[0] == len(slots) - 1:
        return row.narrow(0, slots[0], len(slots))
    return torch.stack([row[slot] for slot in slots])
