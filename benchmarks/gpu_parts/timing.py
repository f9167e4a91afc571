"""What the GPU itself takes for a short piece of work, without the time to launch it."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch

from benchmarks.measuring import seconds


def device_seconds(run: Callable[[], object], device: str, calls: int = 1, rounds: int = 5) -> float:
    """Seconds of one of the `calls` that `run` makes: of a replayed CUDA graph, the median of some rounds."""
    repeated = captured(run) if device == "cuda" else run
    repeated()
    return statistics.median(seconds(repeated, device) for _ in range(rounds)) / calls


def captured(run: Callable[[], object]) -> Callable[[], object]:
    """Its kernels as one CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):  # libraries choose kernels and take their memory before
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
