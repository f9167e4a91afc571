"""What only torch and the trial can say before a search starts: devices, and whether the hyperparameters make sense.

Runs in a process of its own, so that the engine stays small: `python3 -m nas.engine.preflight` reads the config as JSON
from its input and prints what it found as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.config import load as configs
from nas.config.entrypoint import TRIALS, find_program
from nas.core.fields import ConfigError

SAMPLES = 100  # architectures drawn to see whether a constrained space holds any
POINTS = 3  # first trials whose memory is estimated
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Findings:
    """Of a preflight."""

    problems: list[str]
    device: str  # cpu, cuda or mps: the best one there is, or the one that was asked for
    gpus: list[str]  # CUDA devices, as CUDA_VISIBLE_DEVICES names them
    unit: str  # epochs or batches
    length: int  # units of a full training
    memory: int | None  # bytes that the largest of the first trials is estimated to need, if that is known


def inspect(config: Mapping[str, Any], device: str) -> Findings:
    """Ask a process with torch. Raises ConfigError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "nas.engine.preflight", device],
        input=json.dumps(config, default=str),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )
    try:
        return Findings(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError) as error:
        last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        hint = f"try {sys.executable} -c 'import torch, determined'"
        raise ConfigError([f"the trial cannot be loaded: {last}; {hint}"]) from error


def visible_gpus(count: int) -> list[str]:
    """The names of the CUDA devices that this process sees, for CUDA_VISIBLE_DEVICES of others."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]


def main() -> None:
    """Read a config, print the findings."""
    config, device = json.load(sys.stdin), sys.argv[1]
    import torch

    from nas.trial import local as here

    problems: list[str] = []
    chosen, unit, length, memory = "cpu", "epochs", 0, None
    try:
        chosen = here.choose_device(device).type
        unit, length, memory = _trials(config)
    except ConfigError as error:
        problems = error.problems
    gpus = visible_gpus(torch.cuda.device_count()) if chosen == "cuda" else []
    print(json.dumps(asdict(Findings(problems, chosen, gpus, unit, length, memory))))


def _trials(config: dict[str, Any]) -> tuple[str, int, int | None]:
    """Unit and length of a training, and memory."""
    if find_program(config.get("entrypoint")).module not in TRIALS:  # a trial of the user's own, which checks itself
        return *configs.training_length(config, config["hyperparameters"].get("train_epochs")), None
    from nas.check.experiment import inspect as inspect_trials
    from nas.check.report import memory_of

    experiment = inspect_trials(config, "", SAMPLES)
    return *experiment.length, max(memory_of(experiment, POINTS))


if __name__ == "__main__":
    main()
