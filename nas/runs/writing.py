"""A run's folder that cannot be written, in a sentence."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class UnwritableFolderError(OSError):
    """The folder of a run cannot be written: the disk is full, or the folder is gone. The message says which and why."""

    @classmethod
    def of(cls, path: Path, error: OSError) -> UnwritableFolderError:
        """In a sentence, with the error's number."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"disk full: no space left in {path}; free some"
        elif error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESTALE) and not path.is_dir():
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
