"""Which edges of a supernet cell run, in the pieces that `mixture.py` computes at once.

B is the batch's columns, H the hidden size, K the activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from nas.core.relaxation import Path
from randomNAS_files.architecture import ACTIVATIONS
from randomNAS_files.relaxation import shape_of


@dataclass(frozen=True)
class Block:
    """States next to each other that enter one node, each by an edge on which something runs.

    Attributes:
        number: counts the blocks of a cell.
        node: which they enter, counted from 0.
        opens: whether it is the first block of its node.
        first, last: the states from `first` up to but without `last`.
        edge: the number of the first one's edge.
        row: where that is among all edges on which something runs.
        runs: activations, and on which of the edges they run, from which to which, counted from the first of the block.
    """

    number: int
    node: int
    opens: bool
    first: int
    last: int
    edge: int
    row: int
    runs: tuple[tuple[str, int, int], ...]

    def __len__(self) -> int:
        return self.last - self.first


@lru_cache(maxsize=256)
def blocks_of(path: Path | None, count: int) -> tuple[tuple[Block, ...], ...]:
    """The blocks of each of so many nodes that something enters; None: all activations run on all edges."""
    shape, found = shape_of(count), list[tuple[Block, ...]]()
    number = row = 0
    for node in range(shape.nodes):
        edges = shape.entering(node)  # one from each state
        running = [_activations(None if path is None else path[edge]) for edge in edges]
        blocks: list[Block] = []
        for first, last in stretches([bool(names) for names in running]):
            runs = [
                (name, a, b)
                for name in ACTIVATIONS
                for a, b in stretches([name in names for names in running[first:last]])
            ]
            blocks.append(Block(number, node, not blocks, first, last, edges[first], row, tuple(runs)))
            number, row = number + 1, row + last - first
        if blocks:
            found.append(tuple(blocks))
    return tuple(found)


def _activations(running: Sequence[int] | None) -> set[str]:
    """By name, without `none`, which adds zeros."""
    names = ACTIVATIONS if running is None else [ACTIVATIONS[k] for k in running]
    return set(names) - {"none"}


def stretches(flags: Sequence[bool]) -> list[tuple[int, int]]:
    """Where flags next to each other are set: from which up to but without which."""
    ends = [*flags, False]
    starts = [i for i, flag in enumerate(flags) if flag and not (i and flags[i - 1])]
    return [(start, ends.index(False, start)) for start in starts]


Run = tuple[str, torch.Tensor, slice | None]
"""An activation, what it counts `(n, 1, 1)`, and on which edges of a block it runs; None: on all."""


class Constants(NamedTuple):
    """What a block needs in every time step; n is its length.

    Attributes:
        total: P of each edge, `(n, 1, 1)`.
        minus_total: -P.
        rising: what the activations with a slope of 1 at 0 count, `(n, 1, 1)`: the constant part of the slopes.
        c_weight, g_weight: the halves of the node's weight, `(H, H)`.
        scratch: memory that any block may use, `(n, B, H)` each.
    """

    runs: list[Run]
    total: torch.Tensor
    minus_total: torch.Tensor
    rising: torch.Tensor
    c_weight: torch.Tensor
    g_weight: torch.Tensor
    scratch: list[torch.Tensor]


class Part(NamedTuple):
    """What a block reads and writes in one time step, `(n, B, H)` each.

    Attributes:
        state: those that enter the node.
        read: the same, masked, `(nB, H)`.
        mixed: the bracket.
        slope: None if no backward pass follows.
        values: g, and the activations that are kept.
    """

    state: torch.Tensor
    read: torch.Tensor
    c: torch.Tensor
    mixed: torch.Tensor
    slope: torch.Tensor | None
    values: dict[str, torch.Tensor]


def constants_of(
    block: Block, coefficients: torch.Tensor, weight: torch.Tensor, scratch: Sequence[torch.Tensor]
) -> Constants:
    """Of what each activation of each edge counts `(edges, K)`, the node's weight `(H, 2H)`, and enough scratch memory."""
    edges = slice(block.edge, block.edge + len(block))
    each = {name: coefficients[edges, k].view(-1, 1, 1) for k, name in enumerate(ACTIVATIONS)}
    total, rising = coefficients[edges].sum(1).view(-1, 1, 1), each["tanh"] + each["identity"]
    c, g = weight.chunk(2, dim=1)
    runs = [(name, each[name][a:b], None if b - a == len(block) else slice(a, b)) for name, a, b in block.runs]
    return Constants(runs, total, -total, rising, c, g, [memory[: len(block)] for memory in scratch])


def some(values: torch.Tensor, edges: slice | None) -> torch.Tensor:
    """Of some edges of a block, or all."""
    return values if edges is None else values[edges]
