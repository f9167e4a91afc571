"""The peak of what tensors take while something runs."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # otherwise the profiler says that there is no GPU, as an error


def peak_megabytes(run: Callable[[], object], device: str) -> float:
    """The most that was allocated at once while `run` ran, above what is kept after it, plus what it kept before.

    On a GPU what its allocator says. On a CPU the sum of all allocations and releases that torch's profiler notes, so that
    the result does not depend on what the C library keeps for itself; called twice, so that what the first call leaves
    behind (gradients, reused memory) counts as kept.
    """
    run()
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated() / 1e6
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    current = peak = 0
    for event in record.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    return peak / 1e6
