"""Some epochs of train_one_arch.yaml as a user starts it, data loading, validation and the test included.

With the settings that should be fastest, of which the next ones are tried where some cannot be used; and by default.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_parts.rows import here, saved
from benchmarks.gpu_parts.task import Found, Items, Task, ToldError
from benchmarks.gpu_parts.trials import TINY, check_ended, command, only_run, start, text
from benchmarks.gpu_parts.works import RECURRENT, said
from benchmarks.measuring import absolute
from nas.runs.metrics_file import MetricsFile

EPOCHS, LOOK = 3, 0.1
MANY, MUST, AMBITION = 100, 600.0, 300.0
"""Epochs of a whole training, and the seconds that they may take."""
FALLBACK = re.compile(r"no CUDA graphs: .*|kernels: triton does not work here .*")
"""What the log says where a setting is not what a run had."""
PROGRAM, CONFIG = ["model_def.py"], "train_one_arch.yaml"


def items(task: Task) -> Items:
    """With the first settings that can be used."""
    for setting in RECURRENT:
        try:
            yield from trained(task, setting)
            return
        except ToldError as error:
            yield said(setting), partial(refused, error)


def by_default(task: Task) -> Items:
    """What a user gets who sets nothing."""
    return trained(task, "")


def refused(error: ToldError) -> Found:
    """Why a run with some settings did not end."""
    raise error


def trained(task: Task, setting: str) -> Items:
    """Each epoch, and the whole; a run that was cut begins again. Raises ToldError if it fails, or is not what
    was asked for.
    """
    place = Path(task.scratch) / "epochs"
    shutil.rmtree(place, ignore_errors=True)
    sets, what = text(task)
    sets += [f"hyperparameters.{each}" for each in setting.split()]
    words = ["--config", CONFIG, "--experiments", str(place), *settings(task, sets, EPOCHS)]
    began, log, times = time.monotonic(), place / "log.txt", []
    process = start(command(task, PROGRAM, *words), log)
    try:
        for name, found in epochs(process, place, what):
            times.append(found().get("took", 0.0))
            check_asked(log)
            yield f"{name} {said(setting)}", found
        check_ended(process, log)
    finally:
        process.kill()
        process.wait()
    check_asked(log)
    yield f"from start to end {said(setting)}", partial(whole, place, time.monotonic() - began, what)
    yield f"{MANY} epochs {said(setting)}", partial(many, times[1:], f"{said(setting)}, {what}", task.device)


def check_asked(log: Path) -> None:
    """Raises ToldError if the log says that a run goes on without what it was to have."""
    if found := FALLBACK.search(log.read_text(encoding="utf-8", errors="replace")):
        raise ToldError(found[0])


def many(times: list[float], words: str, device: str) -> Found:
    """How long a whole training takes at the rate of these epochs."""
    name = f"{MANY} epochs of {CONFIG}, at the rate of {len(times)} after the first, {words}"
    measured = absolute(name, "s", [MANY * took for took in times], MUST, AMBITION)
    text = f"{measured.result}, goal {measured.goal}"
    return {"text": text, "rows": [saved(measured)], "machine": here(device)}


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
