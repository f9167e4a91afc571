"""A run's folder that cannot be written, in a sentence."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.core.files import free_bytes

NEARLY_FULL = 64 << 20
"""Bytes: if fewer are free after a failure, the disk is taken to be its cause."""


def disk_full(path: Path) -> str:
    """The sentence for it."""
    return f"disk full: no space left in {path}; free some"


class UnwritableFolderError(OSError):
    """The folder of a run cannot be written: the disk is full, or the folder is gone. The message says which and why."""

    @classmethod
    def of(cls, path: Path, error: OSError) -> UnwritableFolderError:
        """In a sentence, with the error's number."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = disk_full(path)
        elif error.errno in (errno.ENOENT, errno.ESTALE) and not path.is_dir():
            what = f"the run folder {path} is gone: somebody deleted or moved it while the run wrote to it; put it back"
        else:
            what = f"{error.filename or path} cannot be written ({error.strerror or error}); mend that"
        told = cls(what)
        told.errno = error.errno
        return told


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises UnwritableFolderError instead of the system's own errors."""
    try:
        yield
    except OSError as error:
        raise UnwritableFolderError.of(path, error) from error


@contextmanager
def saving_weights(path: Path) -> Iterator[None]:
    """The same for checkpoints that torch writes: of a disk that is full it raises a RuntimeError of its own."""
    try:
        yield
    except UnwritableFolderError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UnwritableFolderError.of(path, error) from error
    except RuntimeError as error:
        if not any(word in str(error) for word in ("inline_container", "PytorchStreamWriter")):
            raise
        number = errno.ENOSPC if free_bytes(path) < NEARLY_FULL else errno.EIO
        raise UnwritableFolderError.of(path, OSError(number, os.strerror(number), str(path / "checkpoints"))) from error
