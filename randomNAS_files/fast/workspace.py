"""The memory of a cell's fast form: allocated once, and laid out anew for another cell, length or number of columns.

T is time, B the batch's columns, H the hidden size, K the nodes of a group. Features come before columns, (H, B).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch

from randomNAS_files.fast.plan import CARRIED, Group, Plan
from randomNAS_files.fast.precision import padded
from randomNAS_files.settings import EAGER

_FREE = 2  # arenas that a cell keeps between passes: two passes may wait for one backward pass
_LAYOUTS = 4  # that an arena remembers; making one takes some milliseconds
_ALIGNED = 64  # numbers; every part begins at a multiple


@dataclass(frozen=True)
class Layout:
    """What decides where in an arena the parts of a workspace are, but for the number of time steps.

    Attributes:
        size: H.
        columns: B.
        masked: whether states are multiplied by a mask before they are read.
        half: whether products take factors of bfloat16: what groups read is kept as such, in rows that `padded` widens.
    """

    plan: Plan
    size: int
    columns: int
    masked: bool
    half: bool = False

    @property
    def copied(self) -> bool:
        """Whether what a group reads is kept beside the state that it is made of."""
        return self.masked or self.half

    def rows(self, group: Group) -> int:
        """Of a group's gates in one time step."""
        count = 2 * len(group) * self.size
        return padded(count) if self.half else count

    def parts(self, steps: int) -> list[Part]:
        """Of the outputs, the states, the gates of each group, what it read if that is a copy, and see `by_feature`."""
        plan, each = self.plan, (self.size, self.columns)
        gates = [Part((steps, self.rows(group), self.columns)) for group in plan.groups]
        sources = [Part((steps, *each), self.half) for _ in plan.groups if self.copied]
        turned = [Part((width * self.size * steps * self.columns,), self.half) for width in (1, 2)]
        return [Part((steps + 1, *each)), Part((steps, plan.slots, *each)), *gates, *sources, *turned]

    def numbers(self, steps: int) -> int:
        """How many numbers an arena must hold for so many time steps."""
        return sum(part.numbers for part in self.parts(steps))


class Part(NamedTuple):
    """A tensor in an arena, of the arena's type or of bfloat16."""

    shape: tuple[int, ...]
    half: bool = False

    @property
    def numbers(self) -> int:
        """How many of the arena's numbers it takes."""
        count = prod(self.shape)
        count = -(-count // 2) if self.half else count
        return -(-count // _ALIGNED) * _ALIGNED

    def view(self, memory: torch.Tensor) -> torch.Tensor:
        """The tensor, at the beginning of some memory."""
        typed = memory[: self.numbers].view(torch.bfloat16) if self.half else memory
        return typed[: prod(self.shape)].view(self.shape)


class Arena:
    """One piece of memory, and the workspaces that were laid out in it last; one pass at a time uses it.

    Args:
        numbers: how many it holds.
        like: decides type and device.
    """

    def __init__(self, numbers: int, like: torch.Tensor) -> None:
        self.memory = torch.empty(numbers, dtype=like.dtype, device=like.device)
        self._spaces: list[Workspace] = []  # the last one first

    @property
    def space(self) -> Workspace:
        """The workspace that was laid out last."""
        return self._spaces[0]

    def lay_out(self, layout: Layout, steps: int) -> bool:
        """Make `space` one for at least `steps` time steps; false if the arena is too small for that."""
        found = self.remembered(layout, steps)
        if found is None:
            if self.memory.numel() < layout.numbers(steps):
                return False
            found = Workspace(self.memory, layout, steps)
        if not self._spaces or found is not self.space:
            found.clear()
        others = [space for space in self._spaces if space.layout != layout]
        self._spaces = [found, *others][:_LAYOUTS]
        return True

    def remembered(self, layout: Layout, steps: int) -> Workspace | None:
        """A workspace that is there already."""
        fits = (space for space in self._spaces if space.layout == layout and space.steps >= steps)
        return next(fits, None)


class Workspace:
    """The memory of one pass over at most `steps` time steps, with the views of it that each time step works on."""

    def __init__(self, memory: torch.Tensor, layout: Layout, steps: int) -> None:
        self.layout, self.steps = layout, steps
        self.plan, self.size = layout.plan, layout.size
        parts, start = [], 0
        for part in layout.parts(steps):
            parts.append(part.view(memory[start:]))
            start += part.numbers
        groups = len(self.plan.groups)
        self.outputs = parts[0]  # h before each time step, and after the last one
        self.states = parts[1]
        self.products = parts[2 : 2 + groups]  # (T, rows, B)
        self.gates = [  # for sigmoids, for activations, (T, 2, K, H, B): the same memory
            rows[:, : 2 * len(group) * self.size].unflatten(1, (2, len(group), self.size))
            for rows, group in zip(self.products, self.plan.groups, strict=True)
        ]
        self.sources: list[torch.Tensor | None] = [*parts[2 + groups : -2]] if layout.copied else [None] * groups
        self.turned = parts[-2:]  # see by_feature
        self.shares = _shares(self.plan, memory)
        self.at = [Step(self, t) for t in range(steps)]

    def clear(self) -> None:
        """Put zeros where they are to be, and where another workspace may have written."""
        for slot in self.plan.zero:
            self.states[:, slot].zero_()
        for rows, group in zip(self.products, self.plan.groups, strict=True):
            rows[:, 2 * len(group) * self.size :].zero_()

    def output(self, steps: int) -> torch.Tensor:
        """The outputs of the first `steps` time steps, `(T, B, H)`, in memory of their own."""
        return own_copy(self.outputs[1 : steps + 1].transpose(1, 2))

    @staticmethod
    def by_feature(values: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """`(T, P, F, B)` as `(P * F, T * B)`, copied to some memory."""
        steps, parts, features, columns = values.shape
        turned = memory[: values.numel()].view(parts, features, steps, columns)
        return turned.copy_(values.permute(1, 2, 0, 3)).view(parts * features, steps * columns)

    def read_by(self, index: int, steps: int) -> torch.Tensor:
        """What the group of that index read in the first `steps` time steps, `(T, H, B)`."""
        source, slot = self.sources[index], self.plan.groups[index].source
        if source is not None:
            return source[:steps]
        return self.outputs[:steps] if slot == CARRIED else self.states[:steps, slot]


def _shares(plan: Plan, like: torch.Tensor) -> torch.Tensor:
    """Of h before the time step, which is 0, and of each slot in the output's mean, `(S + 1, 1, 1)`.

    Filled where it is used: to copy numbers to a GPU is to wait for it.
    """
    shares = like.new_zeros(plan.slots + 1, 1, 1)
    for first, last in plan.averaged:
        shares[first + 1 : last + 1].fill_(max(plan.shares))
    return shares


def own_copy(values: torch.Tensor) -> torch.Tensor:
    """In memory that later passes do not use again; `contiguous` would return a single column as it is."""
    return values.clone(memory_format=torch.contiguous_format)


class Step:
    """The views of a workspace that one time step reads and writes."""

    def __init__(self, space: Workspace, t: int) -> None:
        self.t, plan, states = t, space.plan, space.states[t]
        self.before, self.output = space.outputs[t], space.outputs[t + 1]  # (H, B) each
        self.averaged = [states[first:last] for first, last in plan.averaged]
        self.groups = []
        parts = zip(plan.groups, space.products, space.gates, space.sources, strict=True)
        for group, products, gates, source in parts:
            state = self.before if group.source == CARRIED else states[group.source]
            read = state if source is None else source[t]
            new = states[group.first : group.last]
            self.groups.append(GroupStep(group, products[t], gates[t], state, read, new))


class GroupStep:
    """The views of one group in one time step.

    Args:
        product: `(2KH, B)`, or with more rows, which are 0.
        gates: `(2, K, H, B)`, the same memory: products, then what sigmoids and activations make of them, then gradients.
        state: `(H, B)`, what the nodes start from.
        read: the same, masked, and rounded where products take rounded factors.
        new: `(K, H, B)`, their own states.
    """

    def __init__(
        self,
        group: Group,
        product: torch.Tensor,
        gates: torch.Tensor,
        state: torch.Tensor,
        read: torch.Tensor,
        new: torch.Tensor,
    ) -> None:
        self.product = product
        self.c, self.g = gates.unbind(0)
        self.state, self.read, self.new = state, read, new
        self.runs = [(name, self.g[first:last]) for name, first, last in group.runs]


class WorkspacePool:
    """Free arenas, for the next passes. One that a backward pass still needs is not in the pool.

    Attributes:
        kernels: what computes between the products; see `kernels/choice.py`.
    """

    kernels = EAGER

    def __init__(self) -> None:
        self._free: list[Arena] = []  # the one that was used last first

    @property
    def nbytes(self) -> int:
        """What is kept between passes."""
        return sum(arena.memory.nbytes for arena in self._free)

    def reserve(self, layout: Layout, steps: int, like: torch.Tensor) -> None:
        """Have an arena for passes over at most `steps` time steps, which then allocate none, nor lay one out anew."""
        self.release(self.acquire(layout, steps, like))

    def acquire(self, layout: Layout, steps: int, like: torch.Tensor) -> Arena:
        """Take an arena out of the pool whose `space` is for at least `steps` time steps; `like` decides type and device.

        One that is too small is freed before a larger one is allocated in its place.
        """
        self._free = [a for a in self._free if (a.memory.dtype, a.memory.device) == (like.dtype, like.device)]
        self._free.sort(key=lambda arena: (arena.remembered(layout, steps) is None, -arena.memory.numel()))
        if self._free:
            arena = self._free.pop(0)
            if arena.lay_out(layout, steps):
                return arena
            del arena
        arena = Arena(layout.numbers(steps), like)
        arena.lay_out(layout, steps)
        return arena

    def release(self, arena: Arena) -> None:
        """Return an arena to the pool."""
        self._free = [arena, *self._free][:_FREE]
