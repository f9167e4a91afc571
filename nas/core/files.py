"""Files: written whole or not at all, known by their digest, and where caches go."""

from __future__ import annotations

import hashlib
import os
import tempfile
import uuid
from pathlib import Path

from nas.core.errors import DataError


def cache_folder(download_dir: str | None) -> Path:
    """Where fetched files and caches go: download_dir, else $NAS_DATA if writable, else nas in the user's cache.

    Raises:
        DataError: $NAS_DATA names no folder.
    """
    shared = os.environ.get("NAS_DATA")
    if shared and not Path(shared).is_dir():
        raise DataError(f"NAS_DATA names a folder that is not there, {shared}; make it, or unset NAS_DATA")
    if download_dir:
        return Path(download_dir).expanduser()
    # The mode counts for root too, who may write anywhere but should not where nobody is meant to.
    if shared and os.access(shared, os.W_OK) and Path(shared).stat().st_mode & 0o222:
        return Path(shared)
    home = os.environ.get("HOME") or tempfile.gettempdir()  # some containers run users without a home
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"), "nas")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 digest of a file. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part. Raises OSError, leaving nothing."""
    # Not tempfile: its files are private to the user, and a cache may be shared.
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with scratch.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
