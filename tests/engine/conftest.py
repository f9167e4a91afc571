"""Searches whose trials only pretend need no disk."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.runs import run_folder


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that is possible: these tests write some ten thousand small files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


class Json:
    """Stands in for ruamel's YAML: JSON is YAML, and read a hundred times as fast."""

    def __init__(self, **_: Any) -> None:
        self.load = json.loads


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the disk: nobody cuts the power here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(run_folder, "YAML", Json)
    monkeypatch.setattr(run_folder, "dump", json.dumps)
