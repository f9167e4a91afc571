"""Signals that ask for an end, and a terminal that is closed."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from support.runs import DEADLINE, ROOT

from nas.core.program import command
from nas.core.signals import STOPS, handling_stops


def test_all_of_them_are_handled_within_the_block_only() -> None:
    before = [signal.getsignal(number) for number in STOPS]
    heard = []
    with handling_stops(lambda number, _: heard.append(number)):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.raise_signal(number)
    assert heard == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    assert [signal.getsignal(number) for number in STOPS] == before


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling_stops(lambda *_: None):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


PRINTS = """
import os, sys
from nas.core.signals import leave_closed_terminal
sys.stdin.readline()
leave_closed_terminal()
os.write(1, b"nobody reads this")
os.write(2, b"error")
"""


def test_nothing_fails_for_a_closed_terminal_and_a_file_stays_what_it_is(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-c", PRINTS], stdin=subprocess.PIPE, stdout=theirs, stderr=err, cwd=ROOT
        )
    os.close(theirs)
    os.close(ours)
    process.communicate(b"\n", timeout=DEADLINE)
    assert process.returncode == 0 and (tmp_path / "err").read_bytes() == b"error"


def test_a_program_leaves_with_the_process_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    words = command(tmp_path, [str(tmp_path / "child.py")], with_parent=True)
    starts = f"import subprocess, time\nsubprocess.Popen({words!r}, start_new_session=True)\ntime.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", starts], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    child.wait(DEADLINE)
