"""Files that a user names: small texts are read; a pipe, a device or a folder is said, and never waited for."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from nas.core.errors import ConfigError, DataError

LARGEST = 10_000_000
"""Bytes of a text that is a config or a genotype; more is something else."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class NotThereError(DataError):
    """There is no such file."""


def expanded(path: str, field: str) -> Path:
    """A path with ~ and ~user replaced. Raises ConfigError if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        user = path.partition("/")[0]
        raise ConfigError([f"{field} begins with the home of a user that is not here, {user}, got {path!r}"]) from error


def path_problem(path: str | None) -> str | None:
    """What keeps a text from being a path: the user of `~user` is not here, or it is longer than paths may be."""
    try:
        os.stat(expanded(path or "", "it"))
    except ConfigError:
        return f"must be a path, but there is no user {(path or '').partition('/')[0][1:]} here, got {path!r}"
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return f"must be a path, which none of {len(path or '')} letters is, got {_short(path or '')!r}"
    return None


def exists(path: str | Path) -> bool:
    """Whether something is there; never raises, whatever the name."""
    return os.path.exists(path)


def check_is_file(path: str | Path) -> None:
    """Raises NotThereError or DataError unless this is a file, or a link to one; opens nothing."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        kind = NotThereError if isinstance(error, FileNotFoundError) else DataError
        raise kind(f"{_short(path)} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not stat.S_ISREG(mode):
        raise DataError(f"{_short(path)} cannot be read (it is {_KINDS.get(stat.S_IFMT(mode), 'no file')}, not a file)")


def read_text(path: str | Path) -> str:
    """The text of a small file.

    Raises:
        NotThereError: there is nothing of that name.
        DataError: it is no file, is large, is not UTF-8, or may not be read.
    """
    check_is_file(path)
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise DataError(f"{_short(path)} is too large to be a config or a genotype, more than {LARGEST:,} bytes")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{_short(path)} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{_short(path)} is not UTF-8: byte 0x{error.object[error.start]:02x} in line {line}"
        ) from error


def _short(path: str | Path) -> str:
    text = str(path)
    return text if len(text) <= 200 else f"{text[:97]}...{text[-100:]}"
