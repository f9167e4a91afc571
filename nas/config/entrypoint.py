"""Which trial an experiment's entrypoint runs, and whether it starts one process for each slot."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.core.fields import ConfigError, unknown

TRIALS = {"model_def": "model_def:RecurrentTrial", "cnn_nas.trial": "cnn_nas.trial:ImageTrial"}
"""Modules with a trial, and the class in them."""

LAUNCHER = "python3 -m determined.launch.torch_distributed"
_EXAMPLE = f"{LAUNCHER} python3 model_def.py, or {LAUNCHER} python3 -m cnn_nas.trial"
_PYTHON = re.compile(r"(.*/)?python(3(\.\d+)?)?")
_TAKES_VALUE = ("-W", "-X")


@dataclass(frozen=True)
class Entrypoint:
    """What an entrypoint comes to."""

    module: str
    distributed: bool  # behind a launcher, which starts a process for each slot
    program: tuple[str, ...] = ()  # what Python runs: ("-m", module) or (script,)

    @property
    def trial(self) -> str:
        """As `training.main` takes it: `cnn_nas.trial:ImageTrial`."""
        return TRIALS[self.module]


def read_entrypoint(entrypoint: Any) -> Entrypoint:
    """Read a command like `python3 -m determined.launch.torch_distributed python3 model_def.py`, text or list of words.

    Raises:
        ConfigError: if there is none, or it runs none of the trials here.
    """
    found = find_program(entrypoint)
    if found.module not in TRIALS:
        what = f"entrypoint {entrypoint!r}: {found.module}"
        raise ConfigError([unknown(what, found.module, TRIALS, "is no trial of this project")])
    return found


def find_program(entrypoint: Any) -> Entrypoint:
    """The same for any program that Python runs, behind Determined's launcher or not. Raises ConfigError if there is none."""
    programs = list(_programs(_words(entrypoint)))
    others = [program for program in programs if not program[-1].startswith("determined.launch.")]
    if not others:
        raise ConfigError([f"entrypoint must run a trial, like {_EXAMPLE}; got {entrypoint!r}"])
    name = others[0][-1].removeprefix("./")
    module = name if others[0][0] == "-m" else name.removesuffix(".py").replace("/", ".")
    return Entrypoint(module, len(others) < len(programs), others[0])


def processes_of(config: Mapping[str, Any], entrypoint: Entrypoint | None) -> int:
    """How many processes a trial has: one a slot. Raises ConfigError if the entrypoint would not start them."""
    resources = config.get("resources") or {}
    slots = resources.get("slots_per_trial") if isinstance(resources, Mapping) else resources
    slots = 1 if slots is None else slots
    if type(slots) is not int or slots < 0:
        raise ConfigError([f"resources.slots_per_trial must be a whole number of at least 0, got {slots!r}"])
    if slots > 1 and entrypoint and not entrypoint.distributed:
        what = f"resources.slots_per_trial is {slots}, but the entrypoint starts one process"
        raise ConfigError([f"{what}; put {LAUNCHER} in front of it"])
    return max(slots, 1)


def _words(entrypoint: Any) -> list[str]:
    if isinstance(entrypoint, list) and all(isinstance(word, str) for word in entrypoint):
        return entrypoint
    if not isinstance(entrypoint, str):
        missing = "is missing" if entrypoint is None else f"must be a command, got {entrypoint!r}"
        raise ConfigError([f"entrypoint {missing}; for example {_EXAMPLE}"])
    try:
        return shlex.split(entrypoint)
    except ValueError as error:
        raise ConfigError([f"entrypoint is not a command ({error}), got {entrypoint!r}"]) from error


def _programs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """What each Python in the command runs: `("-m", module)` or `(script,)`."""
    rest = iter(words)
    for word in rest:
        if not _PYTHON.fullmatch(word):
            continue
        for argument in rest:
            if argument == "-m":
                yield ("-m", next(rest, ""))
            elif argument in _TAKES_VALUE:
                next(rest, None)
                continue
            elif argument.startswith("-"):
                continue
            else:
                yield (argument,)
            break
