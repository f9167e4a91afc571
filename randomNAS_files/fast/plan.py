"""A recurrent cell as a short list of matrix products, in the order in which `sequence.py` runs them.

Nodes that read the same state share one product: their weights stand side by side, first what goes into all sigmoids, then
what goes into all activations, sorted so that each activation works on one block. The initial state is a node like the
others, whose predecessor is the state h of the time step before. Nodes on which the output does not depend are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from randomNAS_files.architecture import Genotype

CARRIED = -1
"""The source of the first group: the state h that is carried over from the time step before."""

Run = tuple[str, int, int]  # an activation, and the children from which to which it is applied


@dataclass(frozen=True)
class Group:
    """Nodes that read one state.

    Attributes:
        source: the slot of the state that they read, or CARRIED.
        first, last: their own states are the slots from `first` up to but without `last`.
        nodes: which nodes of the genotype they are, counted from 1, in that order; 0 is the initial state.
        runs: which of them apply which activation, counted from the first of the group.
    """

    source: int
    first: int
    last: int
    nodes: tuple[int, ...]
    runs: tuple[Run, ...]

    def __len__(self) -> int:
        return len(self.nodes)


@dataclass(frozen=True)
class Plan:
    """How a cell is computed.

    Attributes:
        groups: in an order in which every state is there before it is read; the first holds the initial state alone.
        slots: how many states there are; slot 0 is the initial state.
        shares: for each slot its weight in the output's mean, 1 / n or 0.
        zero: the slots of nodes that apply `none`, whose states are zero.
    """

    groups: tuple[Group, ...]
    slots: int
    shares: tuple[float, ...]
    zero: tuple[int, ...]

    @property
    def averaged(self) -> list[tuple[int, int]]:
        """The slots that are averaged to the output, as runs from which to which; those that are zero are left out."""
        chosen = [slot for slot, share in enumerate(self.shares) if share and slot not in self.zero]
        runs = groupby(enumerate(chosen), key=lambda pair: pair[1] - pair[0])
        found = [[slot for _, slot in run] for _, run in runs]
        return [(run[0], run[-1] + 1) for run in found]


@lru_cache(maxsize=4096)
def plan_of(genotype: Genotype, init_op: str) -> Plan:
    """The plan of a cell whose initial state applies `init_op`."""
    zero = [i for i, (name, _) in enumerate(genotype.recurrent, start=1) if name == "none"]
    left_out = set(genotype.unused_nodes()) - set(zero)
    slot_of = {0: 0}
    groups = [Group(CARRIED, 0, 1, (0,), ((init_op, 0, 1),))]
    for node in zero:
        slot_of[node] = len(slot_of)
    for source, children in _families(genotype, left_out | set(zero)):
        first = len(slot_of)
        for node in children:
            slot_of[node] = len(slot_of)
        names = [genotype.recurrent[node - 1][0] for node in children]
        groups.append(Group(slot_of[source], first, len(slot_of), tuple(children), tuple(_runs(names))))
    shares = [0.0] * len(slot_of)
    for node in genotype.concat:
        shares[slot_of[node]] = 1 / len(genotype.concat)
    return Plan(tuple(groups), len(slot_of), tuple(shares), tuple(slot_of[node] for node in zero))


def _families(genotype: Genotype, without: set[int]) -> Iterator[tuple[int, list[int]]]:
    """Each state that is read, and the nodes that read it, sorted by activation."""
    for source in range(len(genotype.recurrent) + 1):
        children = [i for i, (_, pred) in enumerate(genotype.recurrent, start=1) if pred == source and i not in without]
        if children:
            yield source, sorted(children, key=lambda i: genotype.recurrent[i - 1][0])


def _runs(names: list[str]) -> Iterator[Run]:
    first = 0
    for name, run in groupby(names):
        last = first + len(list(run))
        yield name, first, last
        first = last
