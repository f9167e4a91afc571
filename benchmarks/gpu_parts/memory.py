"""Peak memory of a step, of each side in a process of its own; see `benchmarks.peak`."""

from __future__ import annotations

from functools import partial

from benchmarks.gpu_parts.rows import row
from benchmarks.gpu_parts.task import Found, Items, Task
from benchmarks.gpu_parts.works import FP32, Step, Work, set_up, works
from benchmarks.measuring import smaller
from benchmarks.peak import peaks

MUST = 0.6


def items(task: Task) -> Items:
    """Every work, the plain one in float32 and ours as it trains by default."""
    set_up(task.device)
    for work in works(task.device):
        yield work.name, partial(peak, work, task.device)


def peak(work: Work, device: str) -> Found:
    """One row. A second measurement would give the same: what is allocated does not vary."""
    pair = peaks("benchmarks.gpu_parts.memory:steps", work.name, work.ours[0], device)
    words = f"peak memory of the {work.words}, plain in {FP32}, ours in {work.ours[0]}"
    return row(smaller(words, [pair, pair], MUST), device)


def steps(name: str, ours: str, device: str) -> tuple[Step, Step]:
    """For the process that measures one of them."""
    set_up(device)
    return next(work for work in works(device) if work.name == name).make(FP32, ours, device)
