"""What `run.json` may hold. It is read by people and programs, and disks fail: each field is checked before it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.core.files import read_json
from nas.core.host import most_threads
from nas.core.identity import Identity

_TEXTS = ("status", "study", "storage", "sampler", "unit", "outcome", "program_folder", "trial", "resumed_from")
_SECTIONS = ("hyperparameters", "versions", "identity", "device", "metadata")
_CHECKPOINTS = ("latest", "best", "warm_start", "resumed")
LARGEST = 1 << 53
"""Of whole numbers: those below it a double holds exactly."""


def read_run(path: Path) -> dict[str, Any]:
    """The `run.json` of a folder, without sections that are null.

    Raises:
        OSError: it cannot be read.
        ValueError: with what is wrong with it.
    """
    run = read_json(path / "run.json")
    if not isinstance(run, dict):
        raise ValueError(f"it must hold fields, got {_shown(run)}")
    if found := problems(run):
        raise ValueError("; ".join(found))
    return {name: value for name, value in run.items() if value is not None or name not in _SECTIONS}


def readable_run(path: Path) -> dict[str, Any]:
    """See `read_run`. Raises ConfigError."""
    try:
        return read_run(path)
    except OSError as error:
        what = f"run.json cannot be read ({error.strerror})"
    except ValueError as error:
        what = f"run.json is damaged ({error})"
    raise ConfigError([f"{path} is not the folder of a run: {what}"])


def problems(run: Mapping[str, Any]) -> list[str]:
    """What cannot be right in a `run.json`; a field that is missing or null is not known, which may be."""
    found = [_problem(run, name, isinstance(run[name], str), "text") for name in _TEXTS if name in run]
    found += [_problem(run, name, isinstance(run[name], dict), "fields") for name in _SECTIONS if name in run]
    found += [_problem(run, name, is_count(run[name]), "a time") for name in ("created", "seconds") if name in run]
    if run.get("seed") is not None:
        found.append(_problem(run, "seed", is_whole(run["seed"]) and 0 <= run["seed"] < 1 << 32, "0..2^32-1"))
    if run.get("threads") is not None:
        holds, rule = is_whole(run["threads"]) and 1 <= run["threads"] <= most_threads(), f"1 to {most_threads()}"
        found.append(_problem(run, "threads", holds, rule))
    try:
        Identity.from_json(run["identity"] if isinstance(run.get("identity"), dict) else {})
    except ConfigError as error:
        found += error.problems
    for name in _CHECKPOINTS:
        found += checkpoint_problems(name, run[name]) if run.get(name) is not None else []
    listed = run.get("checkpoints")
    if listed is not None and not isinstance(listed, list):
        found.append(_problem(run, "checkpoints", False, "a list"))
    for i, entry in enumerate(listed if isinstance(listed, list) else ()):
        found += checkpoint_problems(f"checkpoints[{i}]", entry)
    return [each for each in found if each]


def checkpoint_problems(name: str, entry: Any) -> list[str]:
    """What is wrong with a checkpoint as `run.json` lists it."""
    if not isinstance(entry, dict):
        return [f"{name} must be a checkpoint, got {_shown(entry)}"]
    uuid, value = entry.get("uuid"), entry.get("value")
    is_name = isinstance(uuid, str) and uuid not in ("", ".", "..") and not set(uuid) & set("/\\\0")
    rules = {
        "uuid": (is_name, "the name of a folder"),
        "batches": (is_whole(entry.get("batches")) and 0 <= entry["batches"] < LARGEST, "a number of batches"),
        "epochs": (is_count(entry.get("epochs")), "a number of epochs"),
        "value": ("value" in entry and (value is None or _is_number(value)), "a number or null"),
    }
    return [
        f"{name}.{field} must be {rule}, got {_shown(entry.get(field))}"
        for field, (holds, rule) in rules.items()
        if not holds
    ]


def is_count(value: Any) -> bool:
    """Whether it is a finite number of at least 0 that counts something."""
    return _is_number(value) and math.isfinite(value) and 0 <= value < LARGEST


def _problem(run: Mapping[str, Any], name: str, holds: bool, rule: str) -> str:
    return "" if holds or run[name] is None else f"{name} must be {rule}, got {_shown(run[name])}"


def _is_number(value: Any) -> bool:
    """A double, which may be NaN, or a whole number that fits into one."""
    return isinstance(value, float) or (is_whole(value) and abs(value) < LARGEST)


def is_whole(value: Any) -> bool:
    """Whether it is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
