"""Whole steps of trials and searches with each setting for a GPU that this version has, by their own command line.

What a user gets: loading, augmentation and bookkeeping included; of texts all slices have the same length, so that a graph is
captured before the first step that counts. Settings that this version does not know, or that cannot be used here, are skipped.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import statistics
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch.profiler import profile

from benchmarks.gpu_parts.fallbacks import check, listen
from benchmarks.gpu_parts.launches import busy, recording, words
from benchmarks.gpu_parts.rows import here, saved
from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task, ToldError
from benchmarks.gpu_parts.trials import TINY, images, text
from benchmarks.gpu_parts.works import DEFAULT, said, skip_compiler
from benchmarks.measuring import absolute
from nas.trial import base, entry
from randomNAS_files.slices import RandomSlices, fixed_slices

RECURRENT = (
    *(DEFAULT, "fast=false", "precision=tf32", "precision=bf16", "kernels=triton", "cuda_graphs=true"),
    *("cuda_graphs=true precision=tf32", "cuda_graphs=true precision=bf16", "cuda_graphs=true kernels=triton"),
    *("cuda_graphs=true kernels=triton precision=tf32", "cuda_graphs=true kernels=triton precision=bf16"),
)
IMAGES = (
    *(DEFAULT, "fast=false", "cuda_graphs=true", "weight_casts=once", "pad_channels=true"),
    *("cuda_graphs=true weight_casts=once", "cuda_graphs=true weight_casts=once pad_channels=true"),
    *("compile=cells", "cuda_graphs=true weight_casts=once compile=cells"),
    *("cudnn_benchmark=true", "cuda_graphs=true weight_casts=once pad_channels=true cudnn_benchmark=true"),
)
TEXT_SEARCH = (
    *(DEFAULT, "cuda_graphs=true", "precision=tf32", "precision=bf16"),
    *("cuda_graphs=true precision=tf32", "cuda_graphs=true precision=bf16"),
)
IMAGE_SEARCH = (DEFAULT, "cuda_graphs=true", "cuda_graphs=true bilevel=first", "bilevel=first")


class Window(NamedTuple):
    """Steps before the first that counts, in which graphs are captured and kernels chosen; and rounds of those that count."""

    warm_up: int
    timed: int
    rounds: int = 5


class Kind(NamedTuple):
    """A trial, its YAML, settings of it, and how many steps of it are measured."""

    trial: str
    config: str
    sets: list[str]
    settings: tuple[str, ...]
    window: Window


def items(task: Task) -> Items:
    """Of each kind all settings; those of most worth first."""
    for name, kind in kinds(task).items():
        for setting in kind.settings:
            yield f"{name} {said(setting)}", partial(measure, task, kind, setting)


def kinds(task: Task) -> dict[str, Kind]:
    """Trials and searches on both spaces."""
    words, _ = text(task)
    pictures = images(task)
    tiny = TINY if task.small else []
    cells = ["init_channels=4", "layers=3", "global_batch_size=4"] if task.small else []
    windows = [Window(3, 1, 2)] * 4 if task.small else [Window(8, 8), Window(8, 5), Window(6, 4), Window(4, 3)]

    def sets(data: list[str], *sizes: str) -> list[str]:
        return [*data, *(f"hyperparameters.{size}" for size in sizes)]

    lm, cnn, search = "model_def:RecurrentTrial", "cnn_nas.trial:ImageTrial", "one_shot.trial:SearchTrial"
    return {
        "recurrent": Kind(lm, "train_one_arch.yaml", sets(words, *tiny), RECURRENT, windows[0]),
        "images": Kind(cnn, "cnn_nas/const.yaml", sets(pictures, "evaluate_test=false", *cells), IMAGES, windows[1]),
        "search on text": Kind(search, "one_shot/rnn_darts.yaml", sets(words, *tiny), TEXT_SEARCH, windows[2]),
        "search on images": Kind(search, "one_shot/cnn_darts.yaml", sets(pictures, *cells), IMAGE_SEARCH, windows[3]),
    }


class Watch:
    """Counts the batches of a trial: it waits for the device before and after those that count, then records one more."""

    def __init__(self, window: Window, device: str) -> None:
        self.window, self.device, self.seen = window, device, 0
        self.times: list[float] = []  # at the ends of rounds
        self.record: profile | None = None
        self.done = False

    def before(self) -> None:
        """A batch begins."""
        first, timed, rounds = self.window
        last = first + timed * rounds
        if first <= self.seen <= last and (self.seen - first) % timed == 0:
            self.times.append(self._now())
        if self.seen == last:
            self.record = recording(self.device)
            self.record.__enter__()
        elif self.seen == last + 1 and self.record is not None:
            self._now()
            self.record.__exit__(None, None, None)
            self.done = True
            signal.raise_signal(signal.SIGTERM)  # the trial ends after this batch
        self.seen += 1

    @property
    def seconds(self) -> list[float]:
        """Of a step, in each round."""
        return [(end - begin) / self.window.timed for begin, end in zip(self.times, self.times[1:], strict=False)]

    def _now(self) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(task: Task, kind: Kind, setting: str) -> Found:
    """Milliseconds of a step, its kernels and busy time."""
    skip_compiler(setting, task.device)
    trial, config, sets, _, window = kind
    sets = [*sets, *(f"hyperparameters.{each}" for each in setting.split())]
    place, log = Path(task.scratch) / "settings", Path(task.scratch) / "settings.txt"
    shutil.rmtree(place, ignore_errors=True)
    arguments = ["--config", config, "--experiments", str(place), "--device", task.device, "--seed", "1"]
    arguments += ["--threads", "1" if task.small else "4", *(word for each in sets for word in ("--set", each))]
    if task.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    watch = Watch(window, task.device)
    listen()
    with log.open("w", encoding="utf-8") as output, said_to(output), watching(watch), slices_of_one_length():
        code = entry.main(trial, arguments)
    check(setting)
    if not watch.done or watch.record is None:
        raise _refused(log, setting, code)
    took = statistics.median(watch.seconds)
    found = {"wall_ms": 1e3 * took, **busy(watch.record, task.device, took)}
    work = f"whole step of a trial, {config}, {said(setting)}"
    row = saved(absolute(work, "s", watch.seconds, note="small" if task.small else ""))
    memory = ""
    if task.device == "cuda":
        found["peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
        memory = f", peak memory {found['peak_mb']:,.0f} MB"
    return {"text": words(found) + memory, "trial": trial, **found, "rows": [row], "machine": here(task.device)}


def _refused(log: Path, setting: str, code: int) -> Exception:
    """Why a trial did not train: as a rule this version has no such setting, or it cannot be used here."""
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    last = said[-1] if said else f"exit status {code}"
    sentence = next((line for line in said if line.startswith("error: ")), last).removeprefix("error: ")
    if "has not enough memory" in sentence:
        return MemoryError(sentence)
    return SkippedError(sentence.partition("; known: ")[0]) if setting else ToldError(sentence)


@contextlib.contextmanager
def said_to(output: IO[str]) -> Iterator[None]:
    """What the trial says goes to a file, and its log with it."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            yield
        finally:
            root.handlers[:] = handlers


@contextlib.contextmanager
def watching(watch: Watch) -> Iterator[None]:
    """Trials that train within the block are watched."""
    trains = base.Trial.train_batch

    def train_batch(trial: base.Trial, *arguments: Any, **named: Any) -> dict[str, float]:
        watch.before()
        return trains(trial, *arguments, **named)

    with mock.patch.object(base.Trial, "train_batch", train_batch):
        yield


@contextlib.contextmanager
def slices_of_one_length() -> Iterator[None]:
    """Texts are trained on in slices of bptt words within the block; their lengths are drawn otherwise."""

    def draw(slices: RandomSlices, *labels: Any) -> np.ndarray:
        return np.array([length for _, length in fixed_slices(slices.rows, slices.bptt)])

    with mock.patch.object(RandomSlices, "_draw", draw):
        yield
