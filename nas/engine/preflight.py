"""What only torch and the trial can say before a search starts: devices, and whether the hyperparameters make sense.

Runs in a process of its own, so that the engine stays small: it reads the config as JSON from its input and prints what it
found as JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nas.config import load as configs
from nas.config.contract import CONTRACT, reports_nothing
from nas.config.entrypoint import Entrypoint, processes_of
from nas.config.ranges import range_problems, range_warnings
from nas.core.errors import ConfigError
from nas.core.program import command
from nas.core.signals import describe_status
from nas.engine.placement import visible_gpus

SAMPLES = 100
"""Architectures drawn to see whether any satisfies the constraints."""

POINTS = 3
"""First trials whose memory is estimated."""


@dataclass(frozen=True)
class Findings:
    """What a preflight found."""

    problems: list[str]
    device: str  # cpu, cuda or mps: the best one there is, or the one that was asked for
    gpus: list[str]  # CUDA devices, as CUDA_VISIBLE_DEVICES names them
    unit: str  # epochs or batches
    length: int  # units of a full training
    memory: int | None  # bytes that the largest of the first trials is estimated to need, if that is known
    warnings: list[str]  # what the trial takes and a user hardly means; what differs from when trials began


def inspect(
    config: Mapping[str, Any],
    program: Entrypoint,
    device: str,
    begun: Sequence[Mapping[str, Any]] = (),
    *,
    refused: bool = False,
) -> Findings:
    """Ask a process with torch. Raises ConfigError if that fails; problems of the config are among the findings.

    Args:
        begun: trials whose architectures must still be what they were, see `nas.runs.run_folder.begun_trials`.
        refused: whether the config is refused already, so that memory, which takes longest, need not be estimated.
    """
    question: dict[str, Any] = {"config": dict(config), "device": device, "trial": program.trial, "begun": list(begun)}
    question |= {"folder": str(program.folder), "processes": processes_of(config, program)}
    question["points"] = 0 if refused else POINTS
    done = subprocess.run(
        command(program.folder, ["-m", "nas.engine.preflight"], program.options, with_parent=True),
        env={**os.environ, **dict(program.environment)},
        input=json.dumps(question, default=str),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return Findings(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError) as error:
        if done.returncode < 0:
            status = describe_status(done.returncode)
            raise ConfigError(
                [f"the process that loads the trial, to check the config, was {status}; run it again"]
            ) from error
        last = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        hint = f"try {sys.executable} -c 'import torch, determined'"
        raise ConfigError([f"the trial cannot be loaded: {last}; {hint}"]) from error


def refusals(program: Entrypoint) -> list[str]:
    """What of the entrypoint cannot be run here, a sentence each."""
    if program.lost:
        return list(program.lost)
    if program.trial is not None and program.arguments:
        what = f"entrypoint passes {' '.join(program.arguments)} to {program.module}"
        return [f"{what}, which reads no arguments in an experiment; leave them out, hyperparameters say all"]
    if program.trial is None and program.file is not None and reports_nothing(program.file, program.folder):
        return [f"entrypoint: {program.module} cannot report its validations to nas run; {CONTRACT}"]
    return []


def main() -> None:
    """Read the question from the input, print the findings."""
    question = json.load(sys.stdin)
    import torch

    from nas.trial.local import choose_device

    problems: list[str] = []
    warnings: list[str] = []
    chosen, unit, length, memory = "cpu", "epochs", 0, None
    try:
        chosen = choose_device(question["device"], question["processes"]).type
        unit, length, memory, warnings = _training(
            question["config"], question["trial"], Path(question["folder"]), question["begun"], question["points"]
        )
    except ConfigError as error:
        problems = error.problems
    gpus = visible_gpus(torch.cuda.device_count()) if chosen == "cuda" else []
    print(json.dumps(asdict(Findings(problems, chosen, gpus, unit, length, memory, warnings))))


def _training(
    config: dict[str, Any], trial: str | None, folder: Path, begun: list[dict[str, Any]], points: int
) -> tuple[str, int, int | None, list[str]]:
    """Unit and length of a training, memory, and warnings. Raises ConfigError."""
    if trial is None:  # a program that cannot be asked, and checks itself
        hparams = config["hyperparameters"]
        if wrong := range_problems(hparams):
            raise ConfigError(wrong)
        return *configs.training_length(config, hparams.get("train_epochs")), None, range_warnings(hparams)
    from nas.trial.inspection import check_begun, memory_of
    from nas.trial.inspection import inspect as inspect_trials

    experiment = inspect_trials(config, "", SAMPLES, folder=folder)
    told = [*experiment.warnings, *check_begun(experiment, begun)]
    return *experiment.length, max(memory_of(experiment, points), default=None), told


if __name__ == "__main__":
    main()
