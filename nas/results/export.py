"""The architecture that a folder holds, as a constant for the `genotypes.py` of its space."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.results.leaderboard import leaderboard
from nas.results.local import read_local


def export(folder: Path, name: str) -> list[str]:
    """A comment that says where it is from, and the constant.

    Args:
        folder: of a run, of an experiment (then its best trial counts), or of a checkpoint.
        name: of the constant, in capitals.

    Raises:
        ConfigError: the folder holds no architecture of a search space, or no such name will do.
    """
    if not (name.isidentifier() and name.isupper()):
        raise ConfigError([f"--name must be in capitals, such as MINE or CELL_2, got {name!r}"])
    program = None
    if (folder / "trials").is_dir():
        experiment = read_local(folder)
        leaders = leaderboard(experiment)
        if not leaders:
            raise ConfigError([f"{folder} has no trial with a result yet"])
        folder, program = Path(leaders[0].folder), experiment.program_folder
    try:
        genotype = json.loads((folder / "genotype.json").read_text(encoding="utf-8"))
        package = _space(folder)
    except (OSError, ValueError) as error:
        raise ConfigError([f"{folder} holds no architecture of a search space ({error})"]) from error
    with importing_from(program):
        space = load_space(package)
        return [
            f"# From {folder}; a line for {package}/genotypes.py",
            f"{name} = {space.from_json(genotype).to_text()}",
        ]


def _space(folder: Path) -> str:
    """The package that the folder names. Raises OSError or ValueError if it names none."""
    beside, run = folder / "identity.json", folder / "run.json"
    read: dict[str, Any] = json.loads((beside if beside.is_file() else run).read_text(encoding="utf-8"))
    package = read.get("space") or read.get("identity", {}).get("space")
    if not package:
        raise ValueError("it names no search space")
    return str(package)
