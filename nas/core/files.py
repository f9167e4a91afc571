"""Files: written whole or not at all, known by their digest, and where caches go."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

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


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError if it cannot be read, ValueError if it is none."""
    text = path.read_text(encoding="utf-8")
    try:
        content = json.loads(text)
        if "\\ud" in text.lower():  # half of a pair that stands for one character can be printed nowhere
            json.dumps(content, ensure_ascii=False).encode()
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    return content


def sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, before anything else is done; it then survives a power cut."""
    if path.is_dir():
        with suppress(OSError):  # some network file systems have no such thing for folders
            _fsync(path)
    else:
        _fsync(path)


def _fsync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def damaged_name(path: Path) -> Path:
    """The first free `<path>.damaged-<n>`: a damaged file is renamed, and never deleted."""
    number = 1
    while (place := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return place


def free_bytes(folder: Path) -> int:
    """On the disk of a folder; of one that is gone, on the disk where it was."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free
