"""Searches whose trials only pretend need no disk."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nas.runs import run_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that is possible: these tests write some ten thousand small files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the disk, as nobody cuts the power here, and for YAML: JSON is YAML, and read a hundred times as fast."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(run_folder, "parse", json.loads)
    monkeypatch.setattr(run_folder, "dump", json.dumps)
