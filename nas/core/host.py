"""What this machine has."""

from __future__ import annotations

from pathlib import Path


def free_memory() -> int | None:
    """Bytes of main memory that processes can still have, where the system says so."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
