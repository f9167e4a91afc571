"""Where trials run: devices and CPU threads, shared evenly."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from nas.core.errors import ConfigError

WORKERS_A_CPU = 16
"""Trials at once, at most: each is a process of some hundred MB that wants a CPU."""


@dataclass(frozen=True)
class Placement:
    """A place where one trial at a time can run: devices and CPU threads."""

    name: str
    device: str  # cpu, cuda or mps
    visible: tuple[str, ...]  # CUDA devices, as CUDA_VISIBLE_DEVICES names them
    threads: int
    settled: bool = True  # whether that is how many; else how many at most, of which the first trial chooses


def placements(
    device: str, gpus: Sequence[str], slots: int, workers: int | None, most: int, threads: int | None = None
) -> list[Placement]:
    """The places for trials: min(devices, most), or as many as `workers` says; they share CPU threads evenly.

    Args:
        device: cpu, cuda or mps.
        gpus: the CUDA devices there are.
        slots: GPUs, or processes, of one trial.
        workers: how many trials at once, if the user says so; more than there are GPUs share them.
        most: how many trials the searcher ever has at once.
        threads: CPU threads of a trial, if that is settled.

    Raises:
        ConfigError: if `workers` is more than a machine could take.
    """
    check_workers(workers)
    groups = [tuple(gpus[i : i + slots]) for i in range(0, len(gpus) - slots + 1, slots)] if device == "cuda" else [()]
    count = workers or min(len(groups), most)
    share = max(1, cpus() // count // slots)
    settled = threads is not None or device != "cpu" or share == 1 or slots > 1
    chosen = [groups[i % len(groups)] for i in range(count)]
    kind = {"cuda": "GPU", "mps": "MPS", "cpu": "CPU"}[device]
    names = [
        f"{kind} {','.join(group)}" if group else f"{kind} {i}" if count > 1 else kind for i, group in enumerate(chosen)
    ]
    return [
        Placement(name, device, group, threads or share, settled) for name, group in zip(names, chosen, strict=True)
    ]


def check_workers(workers: int | None) -> None:
    """Raises ConfigError if that is more trials at once than a machine could take."""
    if workers is not None and not 1 <= workers <= WORKERS_A_CPU * cpus():
        bound = f"1 to {WORKERS_A_CPU * cpus()}, {WORKERS_A_CPU} for each of the {cpus()} CPUs"
        raise ConfigError([f"--workers must be a whole number of {bound}; got {workers}"])


def cpus() -> int:
    """CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def visible_gpus(count: int) -> list[str]:
    """The names of the CUDA devices that this process sees, for CUDA_VISIBLE_DEVICES of others."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]
