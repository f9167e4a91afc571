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

from benchmarks.gpu_parts.task import Found, Items, Task
from benchmarks.gpu_parts.works import DEFAULT, FP32, PRECISIONS, Step, Work, said, set_up, works
from benchmarks.measuring import seconds

WARM_UP, TIMED, TOP = 3, 5, 10
os.environ.setdefault("KINETO_LOG_LEVEL", "5")


def items(task: Task) -> Items:
    """The plain steps in each precision, ours by default and with the best settings."""
    set_up(task.device)
    for work in works(task.device):
        decides = work.name in ("recurrent ASHA", "CNN CONSTRAINED_ASHA")
        for kind in PRECISIONS if decides else PRECISIONS[:1]:
            yield f"{work.name}, plain in {kind}", partial(side, work, 0, kind, DEFAULT, task.device)
        for setting in dict.fromkeys((DEFAULT, *(work.best if decides else work.best[:1]))):
            yield f"{work.name}, ours {said(setting)}", partial(side, work, 1, FP32, setting, task.device)


def side(work: Work, which: int, plain: str, setting: str, device: str) -> Found:
    """The plain step or ours."""
    found = measure(work.steps(plain, setting, device)[which], device)
    return {"text": words(found), "work": work.words, **found}


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
