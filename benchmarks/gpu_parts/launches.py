"""Launches and busy time of a step by `torch.profiler`, of the plain form and of ours.

"Busy" is the sum of the kernels' times, the wall time is that of steps without the profiler. On a CPU operators take the
place of kernels.
"""

from __future__ import annotations

import os
import statistics
from collections import defaultdict
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task
from benchmarks.gpu_parts.works import BF16, FP32, PRECISIONS, Step, Work, set_up, works
from benchmarks.measuring import seconds

WARM_UP, TIMED, TOP = 3, 5, 10
os.environ.setdefault("KINETO_LOG_LEVEL", "5")


def items(task: Task) -> Items:
    """Every step, in every precision that each side has."""
    set_up(task.device)
    for work in works(task.device):
        kinds = PRECISIONS if work.name.startswith(("recurrent A", "CNN C")) else (work.ours[0], BF16)
        for kind in dict.fromkeys(kinds):
            yield f"{work.name}, {kind}", partial(compare, work, kind, task.device)


def compare(work: Work, kind: str, device: str) -> Found:
    """Both sides in one precision; ours is left out where it has no such form."""
    try:
        sides = dict(zip(("plain", "ours"), work.make(kind, kind, device), strict=True))
    except SkippedError:
        sides = {"plain": work.make(kind, FP32, device)[0]}
    found = {side: measure(step, device) for side, step in sides.items()}
    text = "; ".join(f"{side} {words(each)}" for side, each in found.items())
    return {"text": text, "work": work.words, "precision": kind, **found}


def words(found: dict[str, Any]) -> str:
    """Of a measurement."""
    wall, active = found["wall_ms"], found["busy_ms"]
    return f"{wall:.2f} ms, busy {active:.2f} ms ({found['share_busy']:.0%}), {found['kernels']:,} kernels"


def measure(step: Step, device: str) -> dict[str, Any]:
    """Wall time, busy time, number of kernels, and those that take most of the time."""
    for _ in range(WARM_UP):
        step()
    wall = statistics.median(seconds(step, device) for _ in range(TIMED))
    with recording(device) as record:
        step()
        if device == "cuda":
            torch.cuda.synchronize()
    return {"wall_ms": 1e3 * wall, **busy(record, device, wall)}


def recording(device: str) -> profile:
    """A profiler of what the device runs."""
    return profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device == "cuda" else [])])


def busy(record: profile, device: str, wall: float) -> dict[str, Any]:
    """Sum and number of the kernels of a step that takes `wall` seconds, and those that take most of the time."""
    kernels = kernels_of(record, device)
    total = sum(time for _, time in kernels)
    groups: dict[str, list[float]] = defaultdict(list)
    for name, time in kernels:
        groups[name].append(time)
    top = sorted(groups.items(), key=lambda each: -sum(each[1]))[:TOP]
    return {
        "busy_ms": total / 1e3,
        "share_busy": total / 1e6 / wall,
        "kernels": len(kernels),
        "top": [{"name": name[:160], "count": len(times), "ms": sum(times) / 1e3} for name, times in top],
    }


def kernels_of(record: profile, device: str) -> list[tuple[str, float]]:
    """Names and microseconds of all kernels, copies and fills included."""
    events = record.events() or []
    if device != "cuda":
        return [(event.name, event.self_cpu_time_total) for event in events if not event.cpu_children]
    kernels = [event for event in events if event.device_type == DeviceType.CUDA]
    # An optimiser marks its step, which is no kernel and would count twice
    marks = {event.name for event in events if event.device_type == DeviceType.CPU}
    return [(event.name, event.time_range.elapsed_us()) for event in kernels if event.name not in marks]
