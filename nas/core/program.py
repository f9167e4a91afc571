"""Run a Python program on an import path on which no module of the current folder can replace one of ours.

Python puts the current folder, or that of the script, first. Here the folder that the program belongs to comes first, so that
it can import its neighbours, then this repository, then all that was there; the current folder is left out.

    python3 nas/core/program.py FOLDER -m MODULE ARGUMENT ...
    python3 nas/core/program.py FOLDER SCRIPT ARGUMENT ...
    python3 nas/core/program.py --with-parent FOLDER ...        end when the process that started it does

This file imports nothing of the project, so that it can be run as a script.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages of this project: the repository, or where it is installed."""

ORPHANED = 4
"""Exit status of a process whose parent, or whose engine, is gone."""

LOOK = 0.5
"""Seconds between two looks at whether the parent is still there."""

_WITH_PARENT = "--with-parent"


def import_path(folder: Path | str | None = None) -> list[str]:
    """The `sys.path` for a program of that folder; None for one of this project."""
    first = [str(ROOT)] if folder is None else [str(folder), str(ROOT)]
    put_there_by_python = ("", os.getcwd(), os.path.dirname(os.path.abspath(__file__)))
    others = [entry for i, entry in enumerate(sys.path) if entry and (i or entry not in put_there_by_python)]
    return list(dict.fromkeys([*first, *others]))


def set_import_path(folder: Path | str | None = None) -> None:
    """Make it the `sys.path` of this process."""
    sys.path[:] = import_path(folder)


@contextmanager
def importing_from(folder: Path | str | None = None) -> Iterator[None]:
    """Make it the `sys.path` of this process within the block."""
    before = list(sys.path)
    set_import_path(folder)
    try:
        yield
    finally:
        sys.path[:] = before


def run_program(folder: Path | str, program: Sequence[str], arguments: Sequence[str]) -> None:
    """Run `("-m", module)` or `(script,)` as the main program of this process."""
    set_import_path(folder)
    sys.argv = [program[-1], *arguments]
    if program[0] == "-m":
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        beside = os.path.dirname(os.path.abspath(program[0]))
        if beside not in (str(folder), str(ROOT)):
            sys.path.insert(0, beside)  # as Python does
        runpy.run_path(program[0], run_name="__main__")


def command(
    folder: Path | str, program: Sequence[str], options: Sequence[str] = (), *, with_parent: bool = False
) -> list[str]:
    """The command that does the same in a process of its own; arguments go behind it.

    Args:
        options: Python's own, such as `-O`.
        with_parent: see `leave_with_parent`.
    """
    words = [sys.executable, *options, str(Path(__file__).resolve())]
    return [*words, *([_WITH_PARENT] if with_parent else []), str(folder), *program]


def leave_with_parent() -> None:
    """End this process, and the processes of its group, within a second of the end of the one that started it.

    A parent that is killed can stop nobody, and its children would train on without anybody who listens.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        leave_at_once()

    threading.Thread(target=watch, name="parent", daemon=True).start()


def leave_at_once() -> None:
    """End this process from any thread, and what it started in its own process group; nothing is cleaned up."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(ORPHANED)


if __name__ == "__main__":
    if sys.argv[1] == _WITH_PARENT:
        del sys.argv[1]
        leave_with_parent()
    _words = 2 if sys.argv[2] == "-m" else 1
    run_program(sys.argv[1], sys.argv[2 : 2 + _words], sys.argv[2 + _words :])
