"""Two epochs of train_one_arch.yaml as a user starts it, data loading, validation and the test included."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts.task import Found, Items, Task
from benchmarks.gpu_parts.trials import TINY, check_ended, command, only_run, start, text
from nas.runs.metrics_file import MetricsFile

EPOCHS, LOOK = 2, 0.1
PROGRAM, CONFIG = ["model_def.py"], "train_one_arch.yaml"


def items(task: Task) -> Items:
    """Each epoch, and the whole; a run that was cut begins again."""
    place = Path(task.scratch) / "epochs"
    shutil.rmtree(place, ignore_errors=True)
    sets, what = text(task)
    words = ["--config", CONFIG, "--experiments", str(place), *settings(task, sets, EPOCHS)]
    began, log = time.monotonic(), place / "log.txt"
    process = start(command(task, PROGRAM, *words), log)
    try:
        yield from epochs(process, place, what)
        check_ended(process, log)
    finally:
        process.kill()
        process.wait()
    yield "from start to end", partial(whole, place, time.monotonic() - began, what)


def settings(task: Task, sets: list[str], epochs: int | None = None) -> list[str]:
    """For the command line."""
    sizes = [*(TINY if task.small else []), *([f"train_epochs={epochs}"] if epochs else [])]
    sets = [*sets, *(f"hyperparameters.{size}" for size in sizes), *task.sets]
    return [word for each in sets for word in ("--set", each)]


def epochs(process: subprocess.Popen[bytes], place: Path, what: str) -> Items:
    """An item for each validation of a run, as soon as there is one, until the process ends."""
    since = time.monotonic()
    for known, record in enumerate(_validations(process, place), start=1):
        took, since = time.monotonic() - since, time.monotonic()
        first = " with the start" if known == 1 else ""
        told = f"valid perplexity {record['perplexity']:.2f}, {took:.1f} s{first}, {what}"
        found = {"text": told, "valid_perplexity": record["perplexity"], "batches": record["batches"], "took": took}
        yield f"epoch {record['epochs']:g}", partial(dict[str, Any], found)


def _validations(process: subprocess.Popen[bytes], place: Path) -> Iterator[dict[str, Any]]:
    """As they come; first those that there are."""
    seen = 0
    while True:
        ended = process.poll() is not None
        found = _of_group(only_run(place), "validation")
        yield from found[seen:]
        seen = max(seen, len(found))
        if ended:
            return
        time.sleep(LOOK)


def _of_group(run: Path | None, group: str) -> list[dict[str, Any]]:
    records = MetricsFile(run / "metrics.jsonl").records() if run else []
    return [record for record in records if record["group"] == group]


def whole(place: Path, took: float, what: str) -> Found:
    """The run from the start of its process to its end."""
    records = _of_group(only_run(place), "test")
    test = records[-1]["test_perplexity"] if records else None
    score = "" if test is None else f", test perplexity {test:.2f}"
    return {"text": f"{took:.1f} s{score}, {what}", "took": took, "test_perplexity": test}
