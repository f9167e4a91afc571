"""Parts of the GPU script that measure nothing."""

from __future__ import annotations

import os
import time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task, ToldError, UnfinishedError


def items(task: Task) -> Items:
    """By the name of the part."""
    yield from globals()[task.part](task)


def said(text: str, **more: Any) -> Found:
    return {"text": text, **more}


def good(task: Task) -> Items:
    for name in ("one", "two", "three"):
        yield name, partial(said, f"found {name}")


def mixed(task: Task) -> Items:
    """Everything that an item can do."""

    def fail() -> Found:
        raise ValueError("no such kernel")

    def tell() -> Found:
        raise ToldError("weights differ")

    def skip() -> Found:
        raise SkippedError("torchvision is missing")

    def fill() -> Found:
        raise RuntimeError(
            "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.00 GiB is "
            "free. Of the allocated memory 6.00 GiB is allocated by PyTorch, and 10.00 MiB is reserved"
        )

    def crash() -> Found:
        os.kill(os.getpid(), 11)
        return {}

    def break_cuda() -> Found:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    yield from (("fails", fail), ("tells", tell), ("skips", skip), ("fills", fill))
    yield from (("crashes", crash), ("breaks", break_cuda), ("goes on", partial(said, "as ever")))


def slow(task: Task) -> Items:
    """Its second item ends only once a file is there."""

    def wait() -> Found:
        while not Path(task.scratch, "go").exists():
            Path(task.scratch, "waiting").touch()
            time.sleep(0.02)
        return said("waited")

    yield "first", partial(said, "quick")
    yield "second", wait


def apart(task: Task) -> Items:
    """The second one must have a process of its own."""
    for name in ("before", "images with cudnn_benchmark=true", "after"):
        yield name, lambda: said(f"in {os.getpid()}")


def endless(task: Task) -> Items:
    """Two calls end it."""
    if "step 1" in task.finished:
        yield "step 2", partial(said, "end")
        return
    yield "step 1", partial(said, "begin")
    raise UnfinishedError("half of it is done")


def broken(task: Task) -> Items:
    raise ToldError("there is no data")
    yield


def rows(task: Task) -> Items:
    row = {"work": "a step", "unit": "s", "plain": 2.0, "ours": 1.0, "ratio": 2.0, "low": 1.9, "high": 2.1, "rounds": 3}
    row |= {"must": 4.0, "ambition": None, "note": "", "reached": "not reached"}
    yield "a step", partial(said, "2x", rows=[row], machine={"cpu": "CPU", "cores": 2, "threads": 1, "gpu": "GPU"})


def real(task: Task) -> Items:
    """The first item of parts that measure, on a CPU."""
    from benchmarks.gpu_parts import compiled, depthwise, launches, products, rows

    first = {"products": products.items, "depthwise": depthwise.items, "launches": launches.items, "rows": rows.items}
    wanted = {"launches": "recurrent ASHA, ours by default", "rows": "scoring"}  # whose optimisers import no compiler
    for part, items in first.items():
        yield from islice((item for item in items(task) if item[0].startswith(wanted.get(part, ""))), 1)
    found = (items(task) for items in (rows.items, rows.more, compiled.items))
    yield "listed", partial(said, "\n".join(name for names in found for name, _ in names))
