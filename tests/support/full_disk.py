"""A disk that fills up while a file is written."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest


class FullDisk:
    """Opens files as usual, but those for writing take a few bytes and then the disk is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: int = errno.ENOSPC) -> None:
        self.error, self.real = error, Path.open
        disk = self
        monkeypatch.setattr(Path, "open", lambda path, *args, **kwargs: disk.open(path, *args, **kwargs))

    def open(self, path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = self.real(path, mode, *args, **kwargs)
        if mode[0] not in "wax":
            return file
        inner, disk = file, self

        class Full(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: Any) -> int:
                inner.write(bytes(data)[:10])
                inner.flush()
                raise OSError(disk.error, os.strerror(disk.error), str(path))

            def close(self) -> None:
                inner.close()
                super().close()

        return Full()
