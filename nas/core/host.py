"""What this machine is and has."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nas.core.errors import ConfigError


def refuse_windows() -> None:
    """Raises ConfigError on Windows, which has no processes that are forked, nor the signals that stop them."""
    if os.name == "nt":
        raise ConfigError(
            ["this runs on Linux and macOS; on Windows use WSL (wsl --install), and clone and install there"]
        )


def most_threads() -> int:
    """CPU threads that a process may be asked for; with some ten thousand OpenMP crashes."""
    return max(256, os.cpu_count() or 1)


def free_memory() -> int | None:
    """Bytes of main memory that processes can still have, where the system says so."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def threads_of_environment() -> int | None:
    """What OMP_NUM_THREADS says, at most `most_threads`; None if it says nothing."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if not said.isdecimal() or not said.strip("0"):
        return None
    return min(int(said[:9]), most_threads())


def thread_count(text: str) -> int:
    """The argument `--threads`. Raises argparse.ArgumentTypeError if it is no number from 1 to `most_threads`."""
    if not text.isdecimal() or not 1 <= int(text) <= most_threads():
        raise argparse.ArgumentTypeError(f"must be a whole number of 1 to {most_threads()}, got {text!r}")
    return int(text)
