"""The process of a part: it reads its task from the standard input, and measures item after item.

Each result is on the disk before the next item begins. What an item raises is a result too, and the next one goes on.
"""

from __future__ import annotations

import faulthandler
import gc
import math
import pkgutil
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu_parts.records import BEGUN, DONE, FAILED, FULL, SKIPPED, UNFINISHED, Record, Records
from benchmarks.gpu_parts.summary import publish
from benchmarks.gpu_parts.task import ALONE, Found, SkippedError, Task, ToldError, UnfinishedError
from nas.core.program import leave_with_parent

AGAIN = 3
"""Exit status where the part goes on in another process: after an error that leaves CUDA unusable, and around `ALONE`."""

_LONGEST = 4000


def main() -> int:
    """Measure what is left of the part; returns the exit status."""
    leave_with_parent()
    task = Task.from_json(sys.stdin.read())
    records = Records(Path(task.folder), task.device, task.about["gpu"], task.about["date"][:10])

    def say(record: Record) -> None:
        records.append(record)
        if record.state != BEGUN:
            publish(records)
        if record.item and record.state != BEGUN:
            first = record.text.strip().split("\n")[0]
            print(f"  {record.item}: {first if record.state == DONE else f'{record.state}: {first}'}", flush=True)

    start, fresh = time.monotonic(), True
    state, text = DONE, ""
    try:
        for name, work in pkgutil.resolve_name(task.place)(task):
            if name in task.finished:
                continue
            if ALONE in name and not fresh:
                return AGAIN
            say(Record(task.part, name, BEGUN, result={"since": time.time()}, about=task.about))
            record, fresh = measured(task, name, work), False
            say(record)
            if "CUDA error" in record.text or ALONE in name:
                return AGAIN
    except UnfinishedError as error:
        state, text = UNFINISHED, str(error)
    except Exception as error:
        state, text = failure(error)
    say(Record(task.part, "", state, text, time.monotonic() - start, about=task.about))
    return 0


def measured(task: Task, name: str, work: Callable[[], Found]) -> Record:
    """What an item finds, or how it fails; an item that takes too long ends the process, which says where it was."""
    start, found = time.monotonic(), {}
    if task.longest < math.inf:
        faulthandler.dump_traceback_later(task.longest, exit=True)  # even where it holds Python's lock
    try:
        found = work()
        state, text = DONE, found.pop("text", "")
    except Exception as error:
        state, text = failure(error)
    faulthandler.cancel_dump_traceback_later()
    free_memory()
    return Record(task.part, name, state, text, time.monotonic() - start, found, task.about)


def failure(error: Exception) -> tuple[str, str]:
    """The state after an exception, and what to say."""
    if isinstance(error, SkippedError):
        return SKIPPED, str(error)
    if (needs := memory_needed(error)) is not None:
        return FULL, needs
    if isinstance(error, ToldError):
        return FAILED, str(error)[-_LONGEST:]
    lines = "".join(traceback.format_exception(error))
    return FAILED, f"{type(error).__name__}: {error}\n{lines[-_LONGEST:]}"


def memory_needed(error: Exception) -> str | None:
    """Of an error that says that memory is full: about how much is needed; None for any other error."""
    text = str(error)
    if not isinstance(error, MemoryError) and "out of memory" not in text:
        return None
    asked, held = _gib(r"allocate ([\d.]+) ([KMG])iB", text), _gib(r"([\d.]+) ([KMG])iB is allocated by PyTorch", text)
    total = _gib(r"total capacity of ([\d.]+) ([KMG])iB", text)
    if asked is None:
        return "needs more memory than is free"
    there = "" if total is None else f", and the GPU has {total:.1f} GiB"
    return f"needs about {asked + (held or 0):.1f} GiB or more{there}"


def _gib(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return float(found[1]) * {"K": 2**-20, "M": 2**-10, "G": 1.0}[found[2]] if found else None


def free_memory() -> None:
    """Nothing is held of an item any more: the next one may use it, and what it measures does not have it."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
