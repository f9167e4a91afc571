"""Which trial an experiment's entrypoint runs, where it lies, and whether it starts one process for each slot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.config.command_line import read_command
from nas.config.contract import trial_class_in
from nas.core.errors import ConfigError, closest
from nas.core.program import ROOT

TORCH_LAUNCHER = "determined.launch.torch_distributed"
LAUNCHER = f"python3 -m {TORCH_LAUNCHER}"
_EXAMPLE = f"{LAUNCHER} python3 model_def.py, or {LAUNCHER} python3 -m cnn_nas.trial"


@dataclass(frozen=True)
class Entrypoint:
    """What an entrypoint comes to.

    Attributes:
        module: what Python runs, as it would be imported, such as `cnn_nas.trial`.
        distributed: whether a launcher starts a process for each slot.
        program: what Python runs, `("-m", module)` or `(script,)`.
        folder: from which it is run and can be imported; `resolve` says which.
        trial: the class `module:Class` if the program follows the contract of `nas.trial`; None for any other program.
        options: Python's own, such as `-O`.
        arguments: the program's.
        environment: variables that are set for it.
        lost: what of the command `nas run` cannot keep, a sentence each.
    """

    module: str
    distributed: bool
    program: tuple[str, ...] = ()
    folder: Path = Path()
    trial: str | None = None
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def file(self) -> Path | None:
        """The program's text, if it lies in its folder."""
        return next((self.folder / name for name in _files(self) if (self.folder / name).is_file()), None)

    @property
    def preload(self) -> str | None:
        """The module to import before trials are forked; None if importing it could do anything else."""
        return self.trial.partition(":")[0] if self.trial else None


def find_program(entrypoint: Any) -> Entrypoint:
    """Read a command like `python3 -m determined.launch.torch_distributed python3 model_def.py`, text or list of words.

    Raises:
        ConfigError: if there is none, or it runs no program in Python.
    """
    if not isinstance(entrypoint, str) and not _is_list_of_words(entrypoint):
        missing = "is missing" if entrypoint is None else f"must be a command, got {entrypoint!r}"
        raise ConfigError([f"entrypoint {missing}; for example {_EXAMPLE}"])
    try:
        found = read_command(entrypoint)
    except ValueError as error:
        raise ConfigError([f"entrypoint is not a command ({error}), got {entrypoint!r}"]) from error
    if not found.program:
        raise ConfigError([f"entrypoint must run a trial, like {_EXAMPLE}; got {entrypoint!r}"])
    name = found.program[-1].removeprefix("./")
    module = name if found.program[0] == "-m" else name.removesuffix(".py").replace("/", ".")
    lost = list(found.lost)
    if found.launcher not in (None, TORCH_LAUNCHER):
        lost.append(f"it is started by {found.launcher}, and here only {TORCH_LAUNCHER} is known")
    return Entrypoint(
        module,
        found.launcher is not None,
        found.program,
        options=found.options,
        arguments=found.arguments,
        environment=found.environment,
        lost=tuple(f"entrypoint {entrypoint!r}: {each}" for each in lost),
    )


def resolve(entrypoint: Any, config_path: Path | None = None, folder: Path | None = None) -> Entrypoint:
    """Find the program's file, without running any of it.

    A config of this project means this project's program, whatever lies in the current folder. Any other config means the
    program in the current folder, which is what a cluster would be given; then one beside the config; then one of ours.

    Args:
        entrypoint: as the config says it.
        config_path: the config's file, if there is one.
        folder: where the program was found before; looked at first.

    Raises:
        ConfigError: if there is no such file in any of these places.
    """
    found = find_program(entrypoint)
    beside = [config_path.resolve().parent] if config_path is not None else []
    places = [ROOT, *beside] if any(map(_is_ours, beside)) else [Path.cwd(), *beside, ROOT]
    places = list(dict.fromkeys([*([folder] if folder else []), *places]))
    files = _files(found)
    for place in places:
        for name in files:
            if (place / name).is_file():
                program = found.program if found.program[0] == "-m" else (str(place / name),)
                return replace(found, program=program, folder=place, trial=trial_class_in(place / name))
    there = {path.relative_to(place).as_posix() for place in places for path in (place / files[0]).parent.glob("*.py")}
    near = closest(files[0], there)
    hint = f"did you mean {' or '.join(near)}?" if near else "run it from the program's folder"
    where = " or ".join(map(str, places))
    raise ConfigError([f"entrypoint {entrypoint!r}: there is no {files[0]} in {where}; {hint}"])


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


def _is_ours(folder: Path) -> bool:
    """Whether a folder is the repository, or a package in it."""
    return folder == ROOT or (folder.parent == ROOT and (folder / "__init__.py").is_file())


def _files(program: Entrypoint) -> list[str]:
    name = program.program[-1]
    if program.program[0] != "-m":
        return [name]
    path = name.replace(".", "/")
    return [f"{path}.py", f"{path}/__main__.py"]


def _is_list_of_words(entrypoint: Any) -> bool:
    return isinstance(entrypoint, list) and all(isinstance(word, str) for word in entrypoint)
