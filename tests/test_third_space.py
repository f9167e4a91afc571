"""A space that nothing knows of: one folder beside a user's YAML, and every command works for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.runs import DEADLINE, ROOT
from support.space_suite import SpaceSuite
from toy_space.space import SPACE

from nas.config.load import load

TOY = Path(__file__).parent / "toy_space"


class TestToySpace(SpaceSuite):
    """The suite of every space, on this one."""

    space = SPACE
    settings = {"width": 5}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: the space, its YAML, and modules whose names are also ours or a library's."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(TOY, folder / "toy_space", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("data", "seeds", "nas_config", "hparams", "model", "tokens"):
        (folder / f"{name}.py").write_text("raise ImportError('this is not the module that was meant')\n")
    return folder


def nas(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [sys.executable, "-c", "import sys; sys.path.pop(0); from nas.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_can_be_checked(desk: Path) -> None:
    out = nas(desk, "check", "toy_space/toy.yaml")
    assert "toy.yaml can run" in out and "the sine of a number" in out and "96 numbers to train on" in out
    assert "adaptive_asha on fit" in out and "memory" not in out


def test_it_can_be_searched_and_its_best_trained_again(desk: Path) -> None:
    out = nas(desk, "run", "toy_space/toy.yaml", "--workers", "1")
    assert "4 trials" in out and "toy cell" in out and "best.yaml" in out
    experiment = desk / "experiments" / "toy-1"
    assert (experiment / "curves.png").read_bytes().startswith(b"\x89PNG")
    best = load(experiment / "best.yaml")
    assert best["searcher"] == {"name": "single", "metric": "fit", "smaller_is_better": False}
    assert best["hyperparameters"]["train_epochs"] == 4 and best["hyperparameters"]["evaluate_test"] is True
    again = nas(desk, "run", "experiments/toy-1/best.yaml")
    assert "1 trial: 1 completed" in again and "toy cell" in again
    first = json.loads((desk / "experiments" / "toy-best-1" / "trials" / "0" / "run.json").read_text())
    assert first["metadata"]["space"] == "toy_space"
