"""What runs in the process of a trial before the trial itself: its session, output, devices; then its script."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(program: Sequence[str], arguments: Sequence[str], log: str, environment: Mapping[str, str]) -> None:
    """Run `["-m", module]` or `[script]` as Python would, with all output appended to a file.

    The process leads a session of its own: Ctrl-C in the terminal is the engine's, which then asks its trials to stop.
    """
    os.setsid()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.update(environment)
    if program[0] == "-m":
        sys.argv = [program[1], *arguments]
        sys.path.insert(0, os.getcwd())
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [program[0], *arguments]
        sys.path.insert(0, str(Path(program[0]).parent))
        runpy.run_path(program[0], run_name="__main__")
