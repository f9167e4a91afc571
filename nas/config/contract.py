"""What the text of a program says of the contract with `nas.trial`, without running any of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

CONTRACT = 'end the program in nas.trial.main("module:Class"), see docs/your_own_trial.md'
"""What a program must do so that an engine hears of its validations."""

_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_LEADS_ELSEWHERE = {"importlib", "multiprocessing", "nas", "pkgutil", "pty", "runpy", "subprocess"}
_CALLS_ANYTHING = re.compile(r"eval|exec\w*|__import__|popen|posix_spawn\w*|spawn\w*|system")


def trial_class_in(file: Path) -> str | None:
    """The class that a program hands to `nas.trial.main`, such as `model_def:RecurrentTrial`; None if it does not.

    It is read from the text: the call `main("module:Class")` below `if __name__ == "__main__":`.
    """
    tree = _parse(file)
    if tree is None or not any(_imports_contract(node) for node in ast.walk(tree)):
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


def reports_nothing(file: Path, folder: Path) -> bool:
    """Whether a program's text shows that no engine can hear from it; False where only a run can tell.

    Neither the program nor a neighbour that it imports then imports `nas`, or anything that could lead there unseen.
    """
    waiting, seen = [file], {file}
    while waiting:
        current = waiting.pop()
        tree = _parse(current)
        if tree is None:
            return False
        for node in ast.walk(tree):
            name = getattr(node, "attr", getattr(node, "id", None))
            if isinstance(node, ast.Attribute | ast.Name) and _CALLS_ANYTHING.fullmatch(name or ""):
                return False
            for module in _modules(node):
                if module.partition(".")[0] in _LEADS_ELSEWHERE:
                    return False
                near = {path for place in (folder, current.parent) for path in _files_of(place, module)} - seen
                seen |= near
                waiting += near
    return True


def _parse(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imports_contract(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "nas.trial" or (node.module == "nas" and any(each.name == "trial" for each in node.names))
    return isinstance(node, ast.Import) and any(each.name == "nas.trial" for each in node.names)


def _modules(node: ast.AST) -> Iterator[str]:
    """The modules that a statement imports; of a relative import what follows the dots."""
    if isinstance(node, ast.Import):
        yield from (each.name for each in node.names)
    elif isinstance(node, ast.ImportFrom):
        stem = f"{node.module}." if node.module else ""
        yield from (f"{stem}{each.name}" for each in node.names)


def _files_of(place: Path, module: str) -> Iterator[Path]:
    """The files below a folder that are run to import a module, or a name of it."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        path = place.joinpath(*parts[:end])
        yield from (each for each in (path.with_name(f"{path.name}.py"), path / "__init__.py") if each.is_file())
