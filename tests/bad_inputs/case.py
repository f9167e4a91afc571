"""One bad input, and what may be said of it: one short sentence a mistake, on the error stream, and an exit status above 0."""

from __future__ import annotations

import contextlib
import io
import os
import re
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError, DataError

SECONDS = 20.0
"""That an answer may take; what is refused at once takes some hundredths."""
LONGEST = 700
"""Characters of a sentence, paths and a list of known names included."""
MEMORY = 2 << 30
"""Bytes that an answer may take beside what the process has already."""
MOST = 6
"""Sentences; a case with more mistakes says so."""

_NOT_FOR_READERS = re.compile(r"object at 0x|NoneType|<class |Traceback|did you mean \?")


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        kind: what it is bad in, such as `hyperparameters`.
        name: what is wrong, in words or as it is written.
        act: gives it to the program, in a scratch folder that is the current one; returns the exit status.
        says: what the answer must hold, each of them.
        sentences: how many there may be at most.
    """

    kind: str
    name: str
    act: Callable[[Path], int]
    says: tuple[str, ...]
    sentences: int = MOST

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


class TooSlowError(BaseException):
    """Nothing may catch it but what measures."""


def faults(case: Case, folder: Path) -> list[str]:
    """What is wrong with the answer to a bad input; empty if it is one that helps."""
    said, status, trace = _answer(case, folder)
    lines = [line for line in said.splitlines() if line.startswith("error:") or ": error:" in line]
    found = [f"ends in a traceback: {trace}"] if trace else []
    if trace is None and status == 0:
        return ["is accepted in silence"]
    if trace is None and not lines:
        found.append(f"says nothing: {said[-200:]!r}")
    found += [f"is cryptic: {line!r}" for line in lines if _NOT_FOR_READERS.search(line)]
    found += [f"is long ({len(line)}): {line[:80]!r}..." for line in lines if len(line) > LONGEST]
    if len(lines) > case.sentences:
        found.append(f"says {len(lines)} sentences, first {lines[0][:80]!r}")
    if trace is None:
        found += [f"does not say {each!r}: {' / '.join(lines)[:300]!r}" for each in case.says if each not in said]
    return found


def _answer(case: Case, folder: Path) -> tuple[str, int, str | None]:
    """What is said on the error stream, the exit status, and the last line of a traceback if there is one."""
    error, before = io.StringIO(), Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stderr(error), contextlib.redirect_stdout(io.StringIO()), within(SECONDS):
            status = case.act(folder)
        return error.getvalue(), status, None
    except TooSlowError:
        return error.getvalue(), 1, f"no answer within {SECONDS:g} s"
    except SystemExit as left:  # argparse
        return error.getvalue(), left.code if isinstance(left.code, int) else 1, None
    except (ConfigError, DataError) as refused:  # of a reader that is called by itself; every command prints these
        problems = refused.problems if isinstance(refused, ConfigError) else [str(refused)]
        return error.getvalue() + "".join(f"error: {each}\n" for each in problems), 2, None
    except (Exception, KeyboardInterrupt) as raised:
        place = traceback.extract_tb(raised.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        return error.getvalue(), 1, f"{type(raised).__name__}: {str(raised)[:160]} ({where})"
    finally:
        os.chdir(before)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raises TooSlowError in the block when the time is over, and MemoryError when it takes much."""

    def ring(number: int, frame: Any) -> None:
        raise TooSlowError

    handler = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def measure(case: Case, folder: Path) -> tuple[list[str], float]:
    """The faults, and the seconds that they took to find."""
    begun = time.perf_counter()
    return faults(case, folder), time.perf_counter() - begun
