"""The tests that need a GPU, by pytest in a process of its own; each outcome is noted at once.

On a CPU a few tests take their place that run on either.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import partial
from typing import IO, Any

from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task, ToldError
from nas.core.program import ROOT
from nas.core.signals import describe_status

FIRST = ("tests/test_gpu.py", "tests/cnn_nas/test_on_a_gpu.py")
MARK = re.compile(r"mark\.gpu\b")
ON_A_CPU = ("tests/randomNAS_files/test_determinism.py", "-k", "twice and cpu")


def items(task: Task) -> Items:
    """Every test, in the order in which pytest runs them; one that ends pytest's process fails, and the others go on."""
    done = list(task.finished)
    while True:
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
            process, lines = _pytest(task, done, output)
            running = ""
            with process, lines:
                for said in map(json.loads, lines):
                    running = "" if "outcome" in said else said["test"]
                    if not running:
                        done.append(said["test"])
                        yield said["test"], partial(outcome, said)
            output.seek(0)
            said_at_the_end = output.read().strip().splitlines() or ["pytest said nothing"]
        if process.returncode >= 0 or not running:
            break
        done.append(running)
        yield (
            running,
            partial(outcome, {"outcome": "failed", "text": f"its process was {describe_status(process.returncode)}"}),
        )
    yield f"pytest after {len(task.finished)} done before", partial(ended, process.returncode, said_at_the_end)


def _pytest(task: Task, done: list[str], output: IO[str]) -> tuple[subprocess.Popen[str], IO[str]]:
    """Its process, and the lines of `reporting`."""
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "benchmarks.gpu_parts.reporting",
        "-p",
        "no:cacheprovider",
        "--tb=short",
    ]
    words += [*ON_A_CPU] if task.small else [*test_files(), "-m", "gpu"]
    reading, writing = os.pipe()
    environment = {**os.environ, "GPU_TESTS_TO": str(writing), "GPU_TESTS_DONE": json.dumps(done)}
    environment |= {} if task.small else {"NAS_TEST_GPU": "1"}
    files: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(words, cwd=ROOT, env=environment, pass_fds=(writing,), text=True, **files)
    os.close(writing)
    return process, os.fdopen(reading, encoding="utf-8")


def outcome(said: dict[str, Any]) -> Found:
    """Of one test."""
    if said["outcome"] == "skipped":
        raise SkippedError(said["text"])
    if said["outcome"] != "passed":
        raise ToldError(said["text"] or said["outcome"])
    return {"text": "passed", "took": said["seconds"]}


def ended(code: int, output: list[str]) -> Found:
    """Pytest's last line; anything but passed, failed and nothing to do is an error of pytest's."""
    if code not in (0, 1, 5):
        raise ToldError("\n".join([output[-1], *output[-30:]]))
    return {"text": output[-1].strip("= ")}


def test_files() -> list[str]:
    """Those that have tests for a GPU, the most important first."""
    found = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if MARK.search(path.read_text(encoding="utf-8"))
    )
    return [*FIRST, *(name for name in found if name not in FIRST)]
