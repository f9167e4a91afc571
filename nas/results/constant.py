"""An architecture as a constant of its space's `genotypes.py`: printed, or added to the file."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.core.files import write_atomically


def check_name(name: str) -> None:
    """Raises ConfigError unless it can name a constant."""
    if not (name.isidentifier() and name.isupper()):
        raise ConfigError([f"--name must be in capitals, such as MINE or CELL_2, got {name!r}"])


def constant(name: str, genotype: Any) -> str:
    """`NAME = Genotype(...)`, a line for each node's edge as in `genotypes.py`; reads back as the same genotype."""
    check_name(name)
    text = genotype.to_text()
    call = ast.parse(text, mode="eval").body
    if not (isinstance(call, ast.Call) and not call.args and all(isinstance(k.value, ast.List) for k in call.keywords)):
        return f"{name} = {text}"
    lines = [f"{name} = {ast.unparse(call.func)}("]
    for keyword in call.keywords:
        assert isinstance(keyword.value, ast.List)
        entries = [_entry(each) for each in keyword.value.elts]
        if all(isinstance(each, ast.Tuple) for each in keyword.value.elts) and entries:
            lines += [f"    {keyword.arg}=(", *(f"        {entry}," for entry in entries), "    ),"]
        else:
            lines.append(f"    {keyword.arg}=({', '.join(entries)}{',' * (len(entries) == 1)}),")
    return "\n".join([*lines, ")"])


def _entry(node: ast.expr) -> str:
    return ast.unparse(node).replace("'", '"')


def genotypes_file(package: str) -> Path:
    """Of a search space that can be imported. Raises ConfigError if it has none."""
    spec = importlib.util.find_spec(f"{package}.genotypes")
    if spec is None or spec.origin is None:
        raise ConfigError([f"{package} has no genotypes.py to add a constant to; leave out --add"])
    return Path(spec.origin)


def add_constant(path: Path, name: str, genotype: Any, comment: str) -> None:
    """Append a constant to a `genotypes.py`; what is there stays as it is, to the byte.

    Raises:
        ConfigError: the file has that name already, is no Python, or cannot be written.
    """
    code = f"\n# {_plain(comment)}\n{constant(name, genotype)}\n"
    try:
        before = path.read_text(encoding="utf-8")
        known = _names(before)
        if name in known:
            raise ConfigError([f"{path} has a {name} already; choose another name with --name"])
        after = before + ("" if before.endswith("\n") else "\n") + code
        ast.parse(after)
        write_atomically(path, after.encode())
    except SyntaxError as error:
        raise ConfigError([f"{path} cannot be read as Python: {error}; mend it first"]) from error
    except OSError as error:
        raise ConfigError([f"{path} cannot be written: {error.strerror or error}"]) from error


def _names(code: str) -> set[str]:
    """All names that a module binds at its top."""
    found = set()
    for node in ast.parse(code).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        found |= {each.id for target in targets if target for each in ast.walk(target) if isinstance(each, ast.Name)}
        found |= {alias.asname or alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)}
        found |= {node.name} if isinstance(node, ast.FunctionDef | ast.ClassDef) else set()
    return found


def _plain(text: str) -> str:
    """One line of a comment, whatever a folder is called."""
    return re.sub(r"\s+", " ", text)
