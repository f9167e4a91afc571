"""Freed memory is kept, in a process of its own: what the C library was told holds until a process ends."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from support.runs import ROOT

CODE = """
import resource, statistics, torch
from nas.trial.allocator import keep_freed_memory
def faults_of_one():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(3_000_000), torch.ones(30_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
def faults():  # of most: the heap may grow once or twice until it has found its shape
    return round(statistics.median(faults_of_one() for _ in range(7)))
before, told, after = faults(), keep_freed_memory(), faults()
print(before, int(told), after)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_memory_that_was_freed_is_used_again() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True)
    before, told, after = map(int, done.stdout.split())
    assert told == 1
    assert after < before / 10, "pages are asked for again and again"


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.trial import allocator

    monkeypatch.setattr(sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: object())
    assert allocator.keep_freed_memory() is False
