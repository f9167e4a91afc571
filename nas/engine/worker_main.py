"""What runs in the process of a trial before the trial itself: its session, output and devices; then its program."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence

from nas.core.program import leave_with_parent, run_program
from nas.engine.forking import let_signals_through


def run(
    folder: str, program: Sequence[str], arguments: Sequence[str], log: str, environment: Mapping[str, str]
) -> None:
    """Run `["-m", module]` or `[script]` of that folder as Python would, with all output appended to the file `log`.

    The process leads a session of its own: Ctrl-C in the terminal is the engine's, which then asks its trials to stop.
    """
    os.setsid()
    leave_with_parent()
    let_signals_through()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)
    os.environ.update(environment)
    run_program(folder, program, arguments)
