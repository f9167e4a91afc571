"""Starts the process of a part, and ends it when its time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace

from benchmarks.gpu_parts.child import AGAIN
from benchmarks.gpu_parts.records import CUT, FAILED, SLOW, Record, Records, finished_items, open_item, state_of
from benchmarks.gpu_parts.task import Part, Task
from nas.core.program import ROOT
from nas.core.signals import describe_status

SHARE = 2 / 3
"""Of the time of its part that one item may take; it would take it again at every call."""


def run_part(part: Part, task: Task, records: Records, left: float) -> str:
    """Measure what is left of a part; returns what is to be said of it as a whole.

    Args:
        left: seconds of the whole run.
    """
    end = time.monotonic() + min(part.limit, left)
    while True:
        known = records.all()
        seconds = end - time.monotonic()
        task = replace(task, seconds=seconds, longest=part.limit * SHARE, finished=finished_items(known, part.name))
        code, errors = _process(task, seconds)
        item = open_item(records.all(), part.name)
        if code is None:
            text = f"after {task.seconds:.0f} s; call again to go on"
            records.append(Record(part.name, "", CUT, text, task.seconds, about=task.about))
            return CUT
        if code == 0:
            return state_of(records.all(), part.name)
        if code == AGAIN:
            continue
        text, state = f"its process ended, {describe_status(code)}\n{errors[-2000:]}", FAILED
        if item is None:
            records.append(Record(part.name, "", FAILED, text, about=task.about))
            return FAILED
        if time.time() - float(item.result["since"]) >= task.longest:
            text, state = f"it did not end within {task.longest:.0f} s\n{errors[-2000:]}", SLOW
        records.append(Record(part.name, item.item, state, text, about=task.about))
        print(f"  {item.item}: {state}: {text.splitlines()[0]}", flush=True)


def _process(task: Task, seconds: float) -> tuple[int | None, str]:
    """Exit status of the part's process, None if its time was over; and the end of what it complained of."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.gpu_parts.child"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
        )
        try:
            process.communicate(task.to_json(), timeout=max(seconds, 0.1))
            code: int | None = process.returncode
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):  # also what it left behind
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.seek(0)
        return code, errors.read()[-20000:].strip()
