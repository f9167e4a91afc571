"""Memory that a training step frees stays with the process, for the next step to use again.

The C library of most Linux systems (glibc) gives large blocks back to the operating system as soon as they are freed, and
gets them anew, zeroed page by page, when they are wanted again. A training step frees and wants the same hundreds of
megabytes every time, and can spend a third of its time on that.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
KEEP = 2**31 - 1
"""Bytes: smaller blocks come from memory that is kept, and so much of it may lie free."""


def keep_freed_memory(keep: int = KEEP) -> bool:
    """Tell the C library to keep up to `keep` bytes of freed memory; returns whether it could be told."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl, for example, has none
        return False
    return bool(mallopt(_MMAP_THRESHOLD, keep)) and bool(mallopt(_TRIM_THRESHOLD, keep))
