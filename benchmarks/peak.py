"""The most that tensors take at once, of one implementation in a process of its own. From the root:

    python -m benchmarks.peak MODULE:FUNCTION WHICH [ARGUMENT ...]

FUNCTION makes of the arguments, the last of which is the device, two implementations of a step; WHICH is 0 or 1. It prints
megabytes.

All tensors count that are alive at the same time, from before the first call on: weights, data, gradients, the optimiser's
state, what a first call allocates for later ones, and all that a step needs for a while. On a GPU that is what torch's
allocator counts after a first call, and all memory of CUDA graphs, theirs whether they run or not. On a CPU it is what torch's
profiler notes, so that neither Python and its libraries nor what the C library keeps for itself is in it.
"""

from __future__ import annotations

import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.measuring import ROOT, Pair

CALLS = 3  # the optimiser's state and reused memory are there after the first
os.environ.setdefault("KINETO_LOG_LEVEL", "5")  # otherwise the profiler says that there is no GPU, as an error


def main() -> None:
    """Measure one implementation."""
    place, which, *words = sys.argv[1:]
    module, _, function = place.partition(":")
    factory = getattr(importlib.import_module(module), function)
    print(peak_bytes(list(factory(*words)), int(which), words[-1]) / 1e6)  # nothing here may hold the other one


def peaks(place: str, *words: str) -> Pair:
    """Megabytes of the plain implementation and of ours, one process after the other."""
    plain, ours = (in_a_process(place, which, words) for which in (0, 1))
    return plain, ours


def in_a_process(place: str, which: int, words: tuple[str, ...]) -> float:
    """Megabytes of one of them, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.peak", place, str(which), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return float(done.stdout.split()[-1])


def peak_bytes(implementations: list[Callable[[], object]], which: int, device: str) -> int:
    """Of `CALLS` calls of one of them; the others, which are taken from the list, are freed before."""
    run = implementations[which]
    implementations.clear()
    gc.collect()
    if device == "cuda":
        run()  # cuDNN may try kernels, and what each needs for that is not the step's
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(CALLS):
            run()
        segments = torch.cuda.memory_snapshot()
        graphs: int = sum(
            each["total_size"] for each in segments if tuple(each.get("segment_pool_id", (0, 0))) != (0, 0)
        )
        return max(torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated() + graphs)
    before = alive()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        for _ in range(CALLS):
            run()
    current = peak = 0
    for event in record.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            current += event.nbytes()
            peak = max(peak, current)
    return before + peak


def alive() -> int:
    """Bytes of all tensors that Python knows; views of the same memory count once."""
    tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
    return sum({each.untyped_storage()._cdata: each.untyped_storage().nbytes() for each in tensors}.values())


if __name__ == "__main__":
    main()
