"""Output goes to any terminal."""

from __future__ import annotations

import io
import sys

import pytest

from nas.cli import main


def test_a_terminal_without_utf8_gets_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))
    assert main(["draw", "ASHA"]) == 0 and main(["list", "gr\u00f6\u00dfer"]) == 2
    sys.stdout.flush(), sys.stderr.flush()
    assert b"relu" in raw.getvalue() and b"there is no folder gr??er" in raw.getvalue()
