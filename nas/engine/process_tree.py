"""End a trial with all that it has started, also in other sessions and by parents that are gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

MARK = "NAS_TRIAL_MARK"
"""Environment variable by which the processes of one trial are known, as children inherit it."""

_ROUNDS = 5
"""How often to look again: who is not killed yet may start another one meanwhile."""


def kill_tree(pid: int, mark: str) -> None:
    """Kill a process, its group, whoever has the mark in its environment, and all below them."""
    for _ in range(_ROUNDS):
        found = list(_family(pid, mark))
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        if not found:
            return


def _family(pid: int, mark: str) -> Iterator[psutil.Process]:
    everybody = {each.pid: each for each in psutil.process_iter(["ppid", "status", "environ"])}
    members = {other for other, each in everybody.items() if _belongs(other, each, pid, mark)}
    while children := {other for other, each in everybody.items() if each.info["ppid"] in members} - members:
        members |= children
    for member in members - {os.getpid()}:
        if everybody[member].info["status"] != psutil.STATUS_ZOMBIE:
            yield everybody[member]


def _belongs(other: int, process: psutil.Process, pid: int, mark: str) -> bool:
    try:
        return pid in (other, os.getpgid(other)) or (process.info["environ"] or {}).get(MARK) == mark
    except OSError:  # it has ended
        return False
