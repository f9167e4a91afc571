"""Trials in folders of their own, each run to its end once: a comparison may be stopped at any moment and go on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config.load import override
from nas.config.yaml_text import dump
from nas.core.program import ROOT


@dataclass(frozen=True)
class Trials:
    """Runs trials, or finds them where they have run.

    Attributes:
        data: folder of a corpus or of images of one's own, in place of the YAML's data.
        changes: KEY=VALUE, for every trial.
        threads: of each.
    """

    data: str | None
    changes: Sequence[str]
    threads: int

    def settings(self, config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        """A config with these hyperparameters and data; None leaves a hyperparameter out."""
        hparams = {**config["hyperparameters"], **changes}
        found = {**config, "hyperparameters": {key: value for key, value in hparams.items() if value is not None}}
        if self.data:
            kind = {"corpus": "text"} if "corpus" in config["data"] else {"dataset": "folder"}
            fraction = {key: value for key, value in config["data"].items() if key == "validation_fraction"}
            found["data"] = {**kind, **fraction, "data_dir": str(Path(self.data).absolute())}
        return override(found, list(self.changes))

    def run(self, place: Path, config: Mapping[str, Any], script: Sequence[str], seed: int) -> float:
        """Run a trial to its end, or go on with it; returns its wall time in seconds, of all attempts."""
        place.mkdir(parents=True, exist_ok=True)
        took = place / "seconds.txt"
        if (place / "done").exists():
            return float(took.read_text())
        path = place / "config.yaml"
        path.write_text(dump(dict(config)))
        begun = [each for each in place.iterdir() if each.is_dir()]
        what = ["--resume", str(begun[0])] if begun else ["--config", str(path), "--experiments", str(place)]
        command = [sys.executable, *script, *what, "--threads", str(self.threads)]
        start = time.perf_counter()
        called(place, [*command, *([] if begun else ["--seed", str(seed)])])
        seconds = time.perf_counter() - start + (float(took.read_text()) if took.exists() else 0.0)
        took.write_text(f"{seconds:.1f}\n")
        (place / "done").touch()
        return seconds


def called(place: Path, command: Sequence[str]) -> str:
    """What a command prints that is run from the root.

    Raises:
        SystemExit: if it fails, with what it said.
    """
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{place} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def folder_in(place: Path) -> Path:
    """The one experiment there."""
    (folder,) = [each for each in place.iterdir() if each.is_dir()]
    return folder


def tested(place: Path, metric: str) -> dict[str, Any]:
    """The test score and the number of parameters of the trial there."""
    folder = folder_in(place)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (test,) = [record for record in records if record["group"] == "test"]
    return {"test": test[metric], "parameters": json.loads((folder / "run.json").read_text())["metadata"]["parameters"]}
