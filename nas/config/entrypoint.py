"""Which trial an experiment's entrypoint runs, where it lies, and whether it starts one process for each slot."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError, closest
from nas.core.program import ROOT

LAUNCHER = "python3 -m determined.launch.torch_distributed"
_EXAMPLE = f"{LAUNCHER} python3 model_def.py, or {LAUNCHER} python3 -m cnn_nas.trial"
_PYTHON = re.compile(r"(.*/)?python(3(\.\d+)?)?")
_TAKES_VALUE = ("-W", "-X")
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Entrypoint:
    """What an entrypoint comes to.

    Attributes:
        module: what Python runs, as it would be imported, such as `cnn_nas.trial`.
        distributed: whether a launcher starts a process for each slot.
        program: what Python runs, `("-m", module)` or `(script,)`.
        folder: from which it is run and can be imported; `resolve` says which.
        trial: the class `module:Class` if the program follows the contract of `nas.trial`; None for any other program.
    """

    module: str
    distributed: bool
    program: tuple[str, ...] = ()
    folder: Path = Path()
    trial: str | None = None

    @property
    def preload(self) -> str | None:
        """The module to import before trials are forked; None if importing it could do anything else."""
        return self.trial.partition(":")[0] if self.trial else None


def find_program(entrypoint: Any) -> Entrypoint:
    """Read a command like `python3 -m determined.launch.torch_distributed python3 model_def.py`, text or list of words.

    Raises:
        ConfigError: if there is none, or it runs no program in Python.
    """
    programs = list(_programs(_words(entrypoint)))
    others = [program for program in programs if not program[-1].startswith("determined.launch.")]
    if not others:
        raise ConfigError([f"entrypoint must run a trial, like {_EXAMPLE}; got {entrypoint!r}"])
    name = others[0][-1].removeprefix("./")
    module = name if others[0][0] == "-m" else name.removesuffix(".py").replace("/", ".")
    return Entrypoint(module, len(others) < len(programs), others[0])


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


def trial_class_in(file: Path) -> str | None:
    """The class that a program hands to `nas.trial.main`, such as `model_def:RecurrentTrial`; None if it does not.

    It is read from the text: the call `main("module:Class")` below `if __name__ == "__main__":`.
    """
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    if not any(_imports_contract(node) for node in ast.walk(tree)):
        return None
    for block in tree.body:
        if isinstance(block, ast.If) and "__name__" in ast.dump(block.test):
            for node in ast.walk(block):
                if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                    name = getattr(node.func, "attr", getattr(node.func, "id", None))
                    value = node.args[0].value
                    if name == "main" and isinstance(value, str) and _CLASS.fullmatch(value):
                        return value
    return None


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


def _imports_contract(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "nas.trial" or (node.module == "nas" and any(each.name == "trial" for each in node.names))
    return isinstance(node, ast.Import) and any(each.name == "nas.trial" for each in node.names)


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
