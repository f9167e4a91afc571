"""The memory of a cell's fast form: allocated once, used again by later passes, with views for every time step.

T is time, B the batch's columns, H the hidden size, K the nodes of a group. Features come before columns, (H, B).
"""

from __future__ import annotations

import torch

from randomNAS_files.fast.plan import CARRIED, Group, Plan

_POOLED = 2  # free workspaces of a cell: one for training and one for evaluation


class Workspace:
    """The memory of one pass over at most `steps` time steps, with the views of it that each time step works on.

    Args:
        like: decides type and device.
        masked: whether states are multiplied by a mask before they are read.
    """

    def __init__(self, plan: Plan, steps: int, size: int, columns: int, like: torch.Tensor, masked: bool) -> None:
        self.key = (plan, size, columns, like.dtype, like.device, masked)
        self.plan, self.steps, self.size = plan, steps, size

        def empty(*shape: int) -> torch.Tensor:
            return torch.empty(*shape, dtype=like.dtype, device=like.device)

        self.outputs = empty(steps + 1, size, columns)  # h before each time step, and after the last one
        self.states = empty(steps, plan.slots, size, columns)
        self.gates = [
            empty(steps, 2, len(group), size, columns) for group in plan.groups
        ]  # for sigmoids, for activations
        self.sources = [empty(steps, size, columns) if masked else None for _ in plan.groups]
        self.turned = [empty(width * size * steps * columns) for width in (1, 2)]  # see by_feature
        self.states[:, list(plan.zero)] = 0
        self.at = [Step(self, t) for t in range(steps)]

    def memory(self) -> list[torch.Tensor]:
        """All of it."""
        sources = [source for source in self.sources if source is not None]
        return [self.outputs, self.states, *self.gates, *sources, *self.turned]

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


def own_copy(values: torch.Tensor) -> torch.Tensor:
    """In memory that later passes do not use again; `contiguous` would return a single column as it is."""
    return values.clone(memory_format=torch.contiguous_format)


class Step:
    """The views of a workspace that one time step reads and writes."""

    def __init__(self, space: Workspace, t: int) -> None:
        plan, states = space.plan, space.states[t]
        self.before, self.output = space.outputs[t], space.outputs[t + 1]  # (H, B) each
        self.averaged = [states[first:last] for first, last in plan.averaged]
        self.groups = []
        for group, gates, source in zip(plan.groups, space.gates, space.sources, strict=True):
            state = self.before if group.source == CARRIED else states[group.source]
            read = state if source is None else source[t]
            self.groups.append(GroupStep(group, gates[t], state, read, states[group.first : group.last]))


class GroupStep:
    """The views of one group in one time step.

    Args:
        gates: `(2, K, H, B)`: products, then what sigmoids and activations make of them, then gradients.
        state: `(H, B)`, what the nodes start from.
        read: the same, masked.
        new: `(K, H, B)`, their own states.
    """

    def __init__(
        self, group: Group, gates: torch.Tensor, state: torch.Tensor, read: torch.Tensor, new: torch.Tensor
    ) -> None:
        self.product = gates.flatten(0, 2)  # (2KH, B)
        self.c, self.g = gates.unbind(0)
        self.state, self.read, self.new = state, read, new
        self.runs = [(name, self.g[first:last]) for name, first, last in group.runs]


class WorkspacePool:
    """Free workspaces, for the next passes. One that a backward pass still needs is not in the pool."""

    def __init__(self) -> None:
        self._free: list[Workspace] = []

    def acquire(self, plan: Plan, steps: int, size: int, columns: int, like: torch.Tensor, masked: bool) -> Workspace:
        """Take a workspace for at least `steps` time steps out of the pool, or make one; see `Workspace`."""
        key = (plan, size, columns, like.dtype, like.device, masked)
        for space in self._free:
            if space.key == key:
                self._free.remove(space)
                if space.steps >= steps:
                    return space
                break
        return Workspace(plan, steps, size, columns, like, masked)

    def release(self, space: Workspace) -> None:
        """Return a workspace to the pool."""
        self._free = [space, *self._free][:_POOLED]
