"""`nas run` as somebody types it: a desk, and ways to look at what it started and left."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from nas.cli.main import main
from nas.engine import forking, preflight
from support.runs import DEADLINE, metrics_of


@dataclass(frozen=True)
class Desk:
    """Where somebody types commands."""

    place: Path
    config: Path
    experiments: str = "experiments"

    def arguments(self, *more: str) -> list[str]:
        return [sys.executable, "-m", "nas", "run", *more, "--experiments", self.experiments]

    def start(self, *more: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        arguments = self.arguments(*(more or (str(self.config),)))
        return subprocess.Popen(arguments, cwd=self.place, stdout=pipe, stderr=pipe, text=True)

    def run(self, *more: str) -> tuple[int, str, str]:
        process = self.start(*more)
        out, err = process.communicate(timeout=DEADLINE)
        return process.returncode, out, err

    def run_here(self, *words: str) -> tuple[int, str, str]:
        """The same for what is refused before anything starts: in this process, which has imported torch already."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            patch.chdir(self.place)
            patch.setattr(forking, "warm_up", lambda *_: None)
            patch.setattr(preflight, "subprocess", SimpleNamespace(run=_answered_here))
            try:
                code = main(["run", *words, "--experiments", self.experiments])
            except SystemExit as error:  # of argparse
                code = int(error.code or 0)
        return code, out.getvalue(), err.getvalue()

    @property
    def folder(self) -> Path:
        return self.place / self.experiments / "tiny-1"


def _answered_here(command: list[str], *, input: str, **_: Any) -> subprocess.CompletedProcess[str]:
    """In place of the process that answers a preflight."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(sys, "stdin", io.StringIO(input))
        preflight.main()
    return subprocess.CompletedProcess(command, 0, out.getvalue(), "")


def record(folder: Path) -> list[tuple[Any, ...]]:
    """All that is known of the trials."""
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{folder / 'study.db'}")
    names = ("seed", "bracket", "hyperparameters", "outcome", "asha")
    return [
        (trial.number, trial.params, trial.intermediate_values, trial.state, *map(trial.user_attrs.get, names))
        for trial in study.trials
    ]


def curves(folder: Path) -> list[list[tuple[int, float]]]:
    """The validation losses in each trial's own folder."""
    trials = sorted((folder / "trials").iterdir(), key=lambda path: int(path.name))
    return [[(line["epochs"], line["loss"]) for line in metrics_of(trial, "validation")] for trial in trials]


def descendants(pid: int) -> list[int]:
    """Processes below one, those that were handed on to init excepted."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def trials_at_work(pid: int) -> list[int]:
    """The processes of trials: leaders of sessions of their own."""
    return [each for each in descendants(pid) if alive(each) and os.getsid(each) == each]


def wait_for(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("nothing came of it")
