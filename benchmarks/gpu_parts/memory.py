"""Peak memory of a step, of each side in a process of its own; see `benchmarks.peak`. Some run at a time: memory is no time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import torch

from benchmarks.gpu_parts.rows import row
from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task, ToldError
from benchmarks.gpu_parts.works import DEFAULT, FP32, Step, Work, said, set_up, works
from benchmarks.measuring import smaller
from benchmarks.peak import in_a_process

MUST = 0.6
STEPS = "benchmarks.gpu_parts.memory:steps"
EACH, MOST = 10 * 2**30, 8
"""Bytes that a process may need, and how many run at a time where a GPU has enough."""


def items(task: Task) -> Items:
    """Every work with the best settings, then by default; the plain one in float32."""
    set_up(task.device)
    total = torch.cuda.get_device_properties(0).total_memory if task.device == "cuda" else 0
    pool = ThreadPoolExecutor(max(min(total // EACH, MOST), 1))
    pairs = [(work, work.best[0]) for work in works(task.device)] + [(work, DEFAULT) for work in works(task.device)]
    pairs = [(work, setting) for work, setting in pairs if f"{work.name} {said(setting)}" not in task.finished]
    plain: dict[str, Future[float]] = {}
    ours = []
    for work, setting in pairs:
        if work.name not in plain:
            plain[work.name] = pool.submit(in_a_process, STEPS, 0, (work.name, DEFAULT, task.device))
        ours.append(pool.submit(_ours, work, setting, task.device))
    try:
        for (work, setting), own in zip(pairs, ours, strict=True):
            yield f"{work.name} {said(setting)}", partial(peak, work, setting, plain[work.name], own, task.device)
    finally:
        pool.shutdown(cancel_futures=True)


def _ours(work: Work, setting: str, device: str) -> float:
    work.chosen(setting, device)
    return in_a_process(STEPS, 1, (work.name, setting, device))


def peak(work: Work, setting: str, plain: Future[float], ours: Future[float], device: str) -> Found:
    """One row. A second measurement would give the same: what is allocated does not vary."""
    try:
        pair = plain.result(), ours.result()
    except SkippedError:
        raise
    except RuntimeError as error:
        if "ToldError: " in str(error):
            raise ToldError(str(error).rpartition("ToldError: ")[2]) from error
        raise
    words = f"peak memory of the {work.words}, plain in {FP32}, ours {said(setting)}"
    return row(smaller(words, [pair, pair], MUST), device)


def steps(name: str, setting: str, device: str) -> tuple[Step, Step]:
    """For the process that measures one of them."""
    set_up(device)
    return next(work for work in works(device) if work.name == name).steps(FP32, setting, device)
