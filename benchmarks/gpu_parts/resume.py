"""A run that is killed and resumed has the weights of one that nobody disturbed, to the last bit, by the real command line."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_parts.task import Found, Items, Task, ToldError
from benchmarks.gpu_parts.trials import TINY, check_ended, command, images, only_run, start, state, text
from benchmarks.gpu_parts.works import said
from nas.runs.metrics_file import MetricsFile

EPOCHS, LOOK = 3, 0.01
LINES = {"train": 8000, "valid": 200, "test": 100}


def items(task: Task) -> Items:
    """Both trials, as they are and with CUDA graphs."""
    for setting in ([], ["cuda_graphs=true"]):
        yield f"recurrent {said(' '.join(setting))}", partial(recurrent, task, setting)
        yield f"images {said(' '.join(setting))}", partial(convolutional, task, setting)


def recurrent(task: Task, setting: list[str]) -> Found:
    """train_small.yaml on a made-up text."""
    sets, _ = text(task, {**LINES, "train": 1000} if task.small else LINES)
    sizes = [*setting, f"train_epochs={EPOCHS}", *(TINY if task.small else [])]
    return compare(task, ["model_def.py"], "train_small.yaml", sets, sizes)


def convolutional(task: Task, setting: list[str]) -> Found:
    """cnn_nas/const.yaml on random images, with fewer channels and cells."""
    sizes = [*setting, f"train_epochs={EPOCHS}", "evaluate_test=false"]
    sizes += ["init_channels=4", "layers=3", "global_batch_size=8"] if task.small else ["init_channels=16", "layers=8"]
    sets = [*images(task), "data.validation_fraction=0.2"]
    return compare(task, ["-m", "cnn_nas.trial"], "cnn_nas/const.yaml", sets, sizes)


def compare(task: Task, program: list[str], config: str, sets: list[str], sizes: list[str]) -> Found:
    """Train; train, kill after the first checkpoint, resume; compare the last checkpoints."""
    place = Path(task.scratch) / "resume"
    shutil.rmtree(place, ignore_errors=True)
    new = ["--config", config, "--seed", "1"]
    new += [word for each in [*sets, *(f"hyperparameters.{size}" for size in sizes)] for word in ("--set", each)]
    log = place / "log.txt"
    check_ended(start(command(task, program, *new, "--experiments", str(place / "straight")), log), log)
    process = start(command(task, program, *new, "--experiments", str(place / "killed")), log)
    try:
        while not state(only_run(place / "killed")).get("latest") and process.poll() is None:
            time.sleep(LOOK)
    finally:
        process.kill()
        process.wait()
    straight, killed = only_run(place / "straight"), only_run(place / "killed")
    status = state(killed).get("status")
    if straight is None or killed is None or status != "running":
        raise ToldError(f"the run could not be killed in its middle: its status is {status}")
    batches = state(killed)["latest"]["batches"]
    check_ended(start(command(task, program, "--resume", str(killed)), log), log)
    tensors = equal(checkpoint(straight), checkpoint(killed))
    if validations(straight) != validations(killed):
        raise ToldError(f"validations differ: {validations(straight)} and {validations(killed)}")
    whole = state(straight)["latest"]["batches"]
    text = f"{tensors} tensors equal to the last bit after {whole} batches; killed after {batches} or more, and resumed"
    return {"text": text, "tensors": tensors}


def checkpoint(run: Path) -> dict[str, Any]:
    """Weights and the optimiser's state at the end."""
    path = run / "checkpoints" / state(run)["latest"]["uuid"] / "state_dict.pth"
    whole = torch.load(path, map_location="cpu", weights_only=True)
    return {name: whole[name] for name in ("models_state_dict", "optimizers_state_dict")}


def validations(run: Path) -> list[float]:
    """The losses."""
    return [
        record["loss"] for record in MetricsFile(run / "metrics.jsonl").records() if record["group"] == "validation"
    ]


def equal(a: Any, b: Any, place: str = "") -> int:
    """How many tensors were compared. Raises ToldError at the first difference, and where it is."""
    if isinstance(a, torch.Tensor):
        if not isinstance(b, torch.Tensor) or not torch.equal(a, b):
            raise ToldError(f"{place[1:]} differs after a resume")
        return 1
    if isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys():
        return sum(equal(a[key], b[key], f"{place}.{key}") for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple) and len(a) == len(b):
        return sum(equal(x, y, f"{place}.{i}") for i, (x, y) in enumerate(zip(a, b, strict=True)))
    if a != b:
        raise ToldError(f"{place[1:]} differs after a resume: {a} and {b}")
    return 0
