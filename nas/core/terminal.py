"""Printing where a terminal, a pipe or a locale such as C cannot show every letter: `?` for it, and no error."""

from __future__ import annotations

import sys


def print_anything() -> None:
    """Let what the output's encoding lacks be replaced, on both streams."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure") and (stream.encoding or "").lower().replace("-", "") != "utf8":
            stream.reconfigure(errors="replace")
