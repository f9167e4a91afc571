"""The passes of `eager.py` with one kernel a group and direction: starts those of `triton_kernels.py` on a workspace's views.

T is time, B the batch's columns, H the hidden size, G the groups of a plan. Nothing is allocated, and nothing waits for the
device, once a pass has begun.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from randomNAS_files.fast.kernels import triton_kernels
from randomNAS_files.fast.kernels.eager import EagerBackward, EagerForward
from randomNAS_files.fast.plan import Plan
from randomNAS_files.fast.workspace import Step, Workspace

BLOCK = 256
"""Numbers that one program of a kernel computes, a power of two; never tuned."""

_READER_BITS = 8


def fits(space: Workspace) -> bool:
    """Whether the kernels, whose indices have 32 bits, reach everything in a workspace, and write what is read in it."""
    if space.layout.copied and not space.layout.masked:
        return False  # they write what is read only where they mask it
    plan, numbers = space.plan, space.outputs[0].numel()
    widest = max(len(group) for group in plan.groups)
    reached = max(max(2 * widest, plan.slots, len(plan.groups)) * numbers, len(plan.groups) * _stride(space))
    return len(plan.groups) < 2**_READER_BITS and reached < 2**31


def _stride(space: Workspace) -> int:
    """From what one group read in a time step to what the next group read."""
    sources = [source for source in space.sources if source is not None]
    return int(sources[1].storage_offset() - sources[0].storage_offset()) if len(sources) > 1 else 0


@lru_cache(maxsize=64)
def constants(plan: Plan, masked: bool) -> list[dict[str, Any]]:
    """What the kernels of each group are compiled for; see `triton_kernels.py`."""
    reader_of = {group.source: index for index, group in enumerate(plan.groups, start=1)}
    averaged = {slot for first, last in plan.averaged for slot in range(first, last)}
    found = []
    for index, group in enumerate(plan.groups):
        names = [name for name, first, last in group.runs for _ in range(first, last)]
        slots = range(group.first, group.last)
        found.append(
            {
                "nodes": len(group),
                "codes": sum(triton_kernels.CODE_OF[name] << 2 * k for k, name in enumerate(names)),
                "readers": sum(reader_of.get(slot, 0) << _READER_BITS * k for k, slot in enumerate(slots)),
                "counted": sum(1 << k for k, slot in enumerate(slots) if slot in averaged),
                "masked": masked,
                "completes": index == len(plan.groups) - 1,
                "block": BLOCK,
            }
        )
    return found


def _grid(space: Workspace) -> tuple[int]:
    return (-(-space.outputs[0].numel() // BLOCK),)


class FusedForward(EagerForward):
    """`EagerForward` by one kernel a group, which also writes what the groups read that come later."""

    def __init__(self, space: Workspace, mask: torch.Tensor | None) -> None:
        super().__init__(space, mask)
        averaged = sum(1 << slot for first, last in space.plan.averaged for slot in range(first, last))
        self._constants = [
            {**each, "first": group.first, "averaged": averaged if each["completes"] else 0}
            for each, group in zip(constants(space.plan, mask is not None), space.plan.groups, strict=True)
        ]
        self._start = triton_kernels.gates_forward[_grid(space)]
        self._numbers, self._stride, self._steps = space.outputs[0].numel(), _stride(space), space.steps
        self._states, first = space.states.unbind(0), space.sources[0]
        self._sources = self._states if first is None else first.unbind(0)
        super().read(space.at[0], 0)
        for group, source in zip(space.plan.groups, space.sources, strict=True):
            if source is not None and group.source in space.plan.zero:  # which no kernel computes
                source.zero_()

    def read(self, step: Step, i: int) -> None:
        """Nothing to do: another kernel wrote it."""

    def gate(self, step: Step, i: int) -> None:
        views, t, constant = step.groups[i], step.t, self._constants[i]
        self._start(
            views.product,
            views.state,
            self._states[t],
            self._sources[t],
            self._sources[t] if self._mask is None else self._mask,
            step.output,
            self._stride,
            self._share,
            self._numbers,
            goes_on=constant["completes"] and t + 1 < self._steps,
            **constant,
        )


class FusedBackward(EagerBackward):
    """`EagerBackward` by one kernel a group, which reads from memory what the products of later groups left."""

    def __init__(self, space: Workspace, mask: torch.Tensor | None) -> None:
        plan, like = space.plan, space.outputs[0]
        self._mask, self._share, self._numbers = mask, max(plan.shares), like.numel()
        self._constants = constants(plan, mask is not None)
        self._start = triton_kernels.gates_backward[_grid(space)]
        self._carried, self._passed = like.new_empty(2, len(plan.groups), *like.shape).unbind(0)
        self._given = like.new_empty(like.shape)
        self._carried[0].zero_()
        self._passed[0].zero_()
        self.products = list(self._passed.unbind(0))

    def finish(self) -> torch.Tensor:
        carried, passed = self._carried[0], self._passed[0]
        return carried + passed if self._mask is None else torch.addcmul(carried, passed, self._mask)

    def start(self, grad: torch.Tensor) -> None:
        self._grad = grad

    def gates(self, step: Step, i: int) -> None:
        views = step.groups[i]
        self._start(
            views.product,
            views.state,
            self._grad,
            self._given,
            self._carried,
            self._passed,
            self._given if self._mask is None else self._mask,
            self._share,
            self._numbers,
            group=i,
            **self._constants[i],
        )

    def pass_on(self, i: int) -> None:
        """Nothing to do: another kernel reads it."""
