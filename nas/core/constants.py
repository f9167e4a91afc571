"""The constants of a module that users edit: one that is wrong is named with its file and line, and hides no other."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any, TypeVar

from nas.core.errors import ConfigError

T = TypeVar("T")


class Constants(dict[str, T]):
    """The constants by name, in the order of the file. `wrong` says of names that stand for none what is wrong with them."""

    def __init__(self, found: dict[str, T], wrong: dict[str, str]) -> None:
        super().__init__(found)
        self.wrong = wrong


def constants(module: str, kind: type[T]) -> Constants[T]:
    """Those of a module that are of a type, and whose names are in capitals.

    Raises:
        ConfigError: the module has nothing that could be read, such as a missing import.
    """
    try:
        names, wrong = vars(importlib.import_module(module)), dict[str, str]()
    except Exception as error:  # whatever a statement of the file raises
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ConfigError([f"{module} cannot be imported: {error}"]) from error
        names, wrong = _by_statement(Path(spec.origin), Path(spec.origin).stat().st_mtime_ns)
    found = {name: value for name, value in names.items() if name.isupper() and isinstance(value, kind)}
    for name, value in names.items():
        if name.isupper() and name not in found and name not in wrong:
            wrong[name] = f"{name} of {module} must be a {kind.__name__}(...), got {_short(repr(value))}"
    return Constants(found, wrong)


@functools.lru_cache(maxsize=8)
def _by_statement(file: Path, edited: int) -> tuple[dict[str, Any], dict[str, str]]:
    """What a file's statements bind, run one by one, and what is wrong with those that fail.

    Args:
        edited: when it was; what was read of an older state does not count.
    """
    text, wrong = _parsable(file)
    names: dict[str, Any] = {"__file__": str(file), "__name__": f"{file.parent.name}.{file.stem}"}
    for statement in ast.parse(text).body:
        try:
            exec(compile(ast.Module([statement], []), str(file), "exec"), names)  # as importing it does
        except Exception as error:
            targets = _targets(statement)
            known = wrong.get(str(getattr(error, "name", None)))
            first, *others = str(error).splitlines() or [type(error).__name__]
            more = f"; and {len(others)} more mistakes" if others else ""
            if not targets:
                raise ConfigError([f"{_shown(file)}, line {statement.lineno}: {first}; mend it"]) from error
            for name in targets:
                wrong[name] = known or f"{name} ({_shown(file)}, line {statement.lineno}) is wrong: {first}{more}"
    return names, wrong


def _parsable(file: Path) -> tuple[str, dict[str, str]]:
    """A file's text without the statements that are no Python, and what is wrong with those."""
    lines, wrong = file.read_text(encoding="utf-8").split("\n"), dict[str, str]()
    while True:
        try:
            ast.parse("\n".join(lines))
            return "\n".join(lines), wrong
        except SyntaxError as error:
            start = last = min(error.lineno or 1, len(lines)) - 1
            while start and not re.match(r"\w", lines[start]):
                start -= 1
            while last + 1 < len(lines) and not re.match(r"[\w#]", lines[last + 1]):
                last += 1
            name = re.match(r"(\w*)", lines[start])
            sentence = f"({_shown(file)}, line {error.lineno}) is wrong: {error.msg}"
            if not any(lines[start : last + 1]) or not name or not name[1].isupper():
                raise ConfigError([f"what follows {sentence}; mend it"]) from error
            wrong[name[1]] = f"{name[1]} {sentence}"
            lines[start : last + 1] = [""] * (last + 1 - start)


def _targets(statement: ast.stmt) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _shown(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
