"""Trials by their own command line, in processes of their own, and the data that they train on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import corpus
from benchmarks.gpu_parts.task import Task, ToldError
from nas.core.files import read_json
from nas.core.program import ROOT

SMALL_TEXT = {"train": 500, "valid": 20, "test": 20}
IMAGES, SIDE = (4000, 160), 32
TINY = ["emsize=8", "nhid=8", "nhidlast=8", "global_batch_size=16"]
"""Hyperparameters of a recurrent network that trains in no time on a CPU."""


def text(task: Task, lines: dict[str, int] | None = None) -> tuple[list[str], str]:
    """Settings of the corpus, and what it is: Penn Treebank if the folder has it, else one that is made up.

    Args:
        lines: of one that is made up, whatever the folder has.
    """
    place = Path(task.scratch) / (f"text-{lines['train']}" if lines else "text-small" if task.small else "text")
    before = corpus.LINES
    corpus.LINES = lines or (SMALL_TEXT if task.small else before)
    try:
        if (place / "test.txt").is_file() and (lines or not task.data_dir):
            folder, kind = place, "text"
        else:
            folder, kind = corpus.find_or_make("" if lines else task.data_dir, place)
    finally:
        corpus.LINES = before
    sets = [f"data.corpus={kind}", f"data.data_dir={folder}", f"data.download_dir={task.scratch}"]
    return sets, "Penn Treebank" if kind == "ptb" else "made-up text"


def images(task: Task) -> list[str]:
    """Settings of a data set of random images; the half of a class's that train."""
    place, random = Path(task.scratch) / "images", np.random.RandomState(0)
    for split, count in zip(("train", "test"), IMAGES, strict=True):
        for i in range(max(count // 100, 8) if task.small else count):
            path = place / split / f"class{i % 4}" / f"{i}.png"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.randint(0, 256, (SIDE, SIDE, 3), np.uint8)).save(path)
    sets = ["dataset=folder", f"data_dir={place}", f"download_dir={task.scratch}", f"image_size={SIDE}"]
    return [f"data.{each}" for each in sets]


def command(task: Task, program: list[str], *words: str) -> list[str]:
    """What starts a trial."""
    return [sys.executable, *program, *words, "--device", task.device, "--threads", "1" if task.small else "4"]


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """In this process's group, so that it ends with it; what it says goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)


def check_ended(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for its end. Raises ToldError if it failed, with the end of what it said."""
    if process.wait():
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        raise ToldError(f"{said.splitlines()[-1] if said else 'nothing was said'}\n{said[-3000:]}")


def only_run(place: Path) -> Path | None:
    """The newest folder of a run there."""
    found = sorted(place.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    return found[-1].parent if found else None


def state(run: Path | None) -> dict[str, Any]:
    """What the run says of itself; empty as long as it says nothing."""
    try:
        return dict(read_json(run / "run.json")) if run else {}
    except (OSError, ValueError):
        return {}
