"""Imports point one way, read from the text of every module, imports inside functions included."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support.runs import ROOT

LAYERS = ["core", "config", "runs", "trial", ("engine", "check", "results"), "cli"]
"""From the bottom to the top; those in one place know nothing of one another."""

HEIGHT = {
    name: height for height, names in enumerate(LAYERS) for name in (names if isinstance(names, tuple) else (names,))
}
SPACES = ("randomNAS_files", "cnn_nas")
TRIALS = ("model_def.py", "cnn_nas/trial.py", "one_shot/trial.py")
"""The only files outside nas/ that may know `nas.trial`, and with it Determined."""

FILES = [
    *sorted(
        path.relative_to(ROOT) for folder in ("nas", *SPACES, "one_shot") for path in (ROOT / folder).rglob("*.py")
    ),
    Path("model_def.py"),
    Path("data.py"),
]


def imports_of(file: Path) -> set[str]:
    """Full names of all modules, or of what is taken from them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{file}: imports say where from in full"
            assert all(each.name != "*" for each in node.names), f"{file}: no star imports"
            found |= {f"{node.module}.{each.name}" for each in node.names}
    return found


def inside(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_there_are_files() -> None:
    assert len(FILES) > 80 and {path.parts[1] for path in FILES if path.parts[0] == "nas" and len(path.parts) > 2} == {
        *HEIGHT
    }


@pytest.mark.parametrize("file", [path for path in FILES if path.parts[0] == "nas"], ids=str)
def test_nothing_in_nas_knows_a_space_or_what_stands_above_it(file: Path) -> None:
    names = imports_of(file)
    assert not [name for name in names if inside(name, *SPACES, "one_shot", "model_def", "data")]
    if len(file.parts) == 2:  # nas/__init__.py, nas/__main__.py
        return
    own = file.parts[1]
    for name in names:
        parts = name.split(".")
        if parts[0] == "nas" and len(parts) > 1 and parts[1] in HEIGHT and parts[1] != own:
            assert HEIGHT[parts[1]] < HEIGHT[own], f"{file} imports {name}"


@pytest.mark.parametrize(
    "file", [path for path in FILES if path.parts[0] != "nas" and str(path) not in TRIALS], ids=str
)
def test_spaces_know_torch_and_the_core_only(file: Path) -> None:
    own = file.parts[0]
    for name in imports_of(file):
        assert not inside(name, "determined", "model_def"), f"{file} imports {name}"
        allowed = (
            ("nas.core", "nas.config") if own == "one_shot" else ("nas.core",)
        )  # a search writes a config: the winner's
        assert not inside(name, "nas") or inside(name, *allowed), f"{file} imports {name}"
        if own in SPACES:
            assert not inside(name, "data", "one_shot", *(space for space in SPACES if space != own)), (
                f"{file} imports {name}"
            )


@pytest.mark.parametrize("space", SPACES)
def test_plain_networks_know_nothing_of_their_fast_forms(space: str) -> None:
    for path in (ROOT / space).glob("*.py"):
        names = imports_of(path.relative_to(ROOT))
        if path.name not in ("trial.py", "memory.py"):
            assert not [name for name in names if inside(name, f"{space}.fast")], path


@pytest.mark.parametrize("layer", ["core", "config", "runs", "engine", "results", "cli"])
def test_what_must_start_fast_does_not_import_torch(layer: str) -> None:
    """At the top of a module; what else `core/` has of it is for those who use torch anyway."""
    for path in (ROOT / "nas" / layer).glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            name
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
            )
        }
        if layer != "core" or path.name not in ("arch_weights.py", "memory.py", "optimizers.py"):
            assert not [name for name in names if inside(name, "torch", "determined", "nas.trial")], path
