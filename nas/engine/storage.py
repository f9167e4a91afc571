"""The Optuna storage of an experiment: how it is opened, how long a write waits, and what is said when it fails."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import DBAPIError

from nas.core.errors import ConfigError
from nas.core.secrets import driver_reason, password_hint, without_password

T = TypeVar("T")

SQLITE = "sqlite:///"

PATIENCE = 120.0
"""Seconds that a write waits for a database that another program has locked, or that does not answer."""

_ATTEMPT = 2.0
"""Seconds that SQLite itself waits; signals are not heard meanwhile."""

_DAMAGED = ("malformed", "not a database", "disk i/o error", "corrupt")
_FULL = ("disk is full", "no space left")


class StorageError(ConfigError):
    """The storage of a study cannot be read or written."""


def sqlite_file(url: str) -> Path | None:
    """The database's file, if it is one of SQLite."""
    return Path(url.removeprefix(SQLITE).partition("?")[0]) if url.startswith(SQLITE) else None


def absolute(url: str) -> str:
    """The same storage, whatever folder a later command is typed in. Raises ConfigError for one that a kill would empty."""
    if url in ("sqlite://", SQLITE) or url.startswith((f"{SQLITE}:memory:", "sqlite:///?")):
        raise ConfigError([f"--storage {url} holds nothing once the command ends; name a file, like {SQLITE}study.db"])
    file = sqlite_file(url)
    return url if file is None else SQLITE + os.path.abspath(file.expanduser()) + url[len(SQLITE) + len(str(file)) :]


def open_storage(url: str) -> BaseStorage:
    """Open a storage. Raises StorageError with a sentence if that fails, or a file of SQLite is damaged."""
    file = sqlite_file(url)
    try:
        if file is not None and file.is_file() and file.stat().st_size:
            _check(file)
        options = {"connect_args": {"timeout": _ATTEMPT}} if file is not None else None
        return _patiently(lambda: RDBStorage(url, engine_kwargs=options), url, PATIENCE)
    except ConfigError:
        raise
    except Exception as error:  # of SQLAlchemy, its drivers, Alembic: each has its own
        reason = driver_reason(error, url)
        hint = "see --storage" if file is not None or "://" not in url else password_hint(url)
        raise StorageError([f"storage {without_password(url)} cannot be opened: {reason}; {hint}"]) from error


class Patience:
    """Calls a storage again while it is locked or does not answer.

    Attributes:
        seconds: to wait at most.
        say: is told once that it waits.
    """

    def __init__(self, url: str, say: Callable[[str], None] = lambda line: None) -> None:
        self.seconds, self.say, self._url = PATIENCE, say, url

    def __call__(self, write: Callable[..., T], *arguments: Any) -> T:
        """What `write` returns. Raises StorageError if it fails for longer, or can never work."""
        return _patiently(lambda: write(*arguments), self._url, self.seconds, self.say)


def _patiently(call: Callable[[], T], url: str, seconds: float, say: Callable[[str], None] = lambda line: None) -> T:
    end, waits = time.monotonic() + seconds, False
    while True:
        try:
            return call()
        except (optuna.exceptions.StorageInternalError, DBAPIError) as error:
            reason = driver_reason(error, url)
            if time.monotonic() > end or not _may_pass(reason):
                raise StorageError([_sentence(without_password(url), reason)]) from error
            if not waits:
                say(f"waiting for {without_password(url)}: {reason}")
            waits = True
            time.sleep(0.1)


def _check(file: Path) -> None:
    """Whether SQLite finds its pages in order."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=_ATTEMPT)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if not any(word in str(error).lower() for word in _DAMAGED):
            return  # locked, or in need of a recovery, which reading alone can not do
        found = str(error)
    if found != "ok":
        raise StorageError([_sentence(f"{SQLITE}{file}", found, damaged=True)])


def _may_pass(reason: str) -> bool:
    return not any(
        word in reason.lower() for word in (*_DAMAGED, *_FULL, "readonly", "no such table", "unable to open")
    )


def _sentence(url: str, reason: str, *, damaged: bool = False) -> str:
    low = reason.lower()
    if damaged or any(word in low for word in _DAMAGED):
        what = f"storage {url} is damaged ({reason})"
        return f"{what}; move it away, and the search is rebuilt from the folders of its trials when it goes on"
    if any(word in low for word in _FULL):
        return f"storage {url} cannot be written: no space left; free some"
    if "locked" in low or "busy" in low:
        return f"storage {url} is locked by another program, such as a viewer of databases; close it"
    return f"storage {url} cannot be used: {reason}"
