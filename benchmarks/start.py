"""Seconds from the start of a process to its first trained batch, nothing compiled. From the root:

    python -m benchmarks.start [--data-dir DIR] [--device cuda] [--save]

Both trials as a user starts them, with networks of full size: `train_one_arch.yaml` on a corpus in the cache (Penn Treebank
if DIR or $NAS_DATA has it, else a made-up one of its size) and `cnn_nas/const.yaml` on a folder of images, decoded before;
batches of 16 images on a CPU, of 96 on a GPU. The first start of each, which fills the caches, does not count.
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.corpus import find_or_make
from benchmarks.measuring import ROOT, Row, absolute, arguments, finish
from nas.config import load as configs
from nas.config.search_space import trial_sampler
from nas.runs.engine_protocol import KEY
from nas.runs.run_folder import RunFolder

LIMIT = {"cpu": 6.0, "cuda": 10.0}
BATCH = {"cpu": 16, "cuda": 96}


def main() -> None:
    """Measure and report."""
    chosen = arguments(
        "From the start of a process to its first batch.", rounds=5, data_dir=os.environ.get("NAS_DATA", "")
    )
    with tempfile.TemporaryDirectory() as name:
        rows = [recurrent_row(Path(name), chosen), image_row(Path(name), chosen)]
    finish("start", rows, chosen)


def recurrent_row(place: Path, chosen: argparse.Namespace) -> Row:
    """`python3 model_def.py` with the network of train_one_arch.yaml."""
    folder, corpus = find_or_make(chosen.data_dir, place / "text")
    sets = [f"data.corpus={corpus}", f"data.data_dir={folder}", f"data.download_dir={place}"]
    work = "process start to first batch, train_one_arch.yaml (850 units, batch 64)"
    return row(work, "train_one_arch.yaml", sets, [str(ROOT / "model_def.py")], place / "recurrent", chosen)


def image_row(place: Path, chosen: argparse.Namespace) -> Row:
    """`python3 -m cnn_nas.trial` with the network of cnn_nas/const.yaml."""
    batch = BATCH[chosen.device]
    random = np.random.RandomState(0)
    for split, count in (("train", 200), ("test", 20)):
        for i in range(count):
            path = place / "images" / split / f"class{i % 10}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.randint(0, 256, (32, 32, 3), np.uint8)).save(path)
    sets = ["data.dataset=folder", f"data.data_dir={place / 'images'}", f"data.download_dir={place}"]
    sets += ["data.image_size=32", f"hyperparameters.global_batch_size={batch}"]
    work = f"process start to first batch, cnn_nas/const.yaml (36 channels, 20 cells, batch {batch})"
    return row(work, "cnn_nas/const.yaml", sets, ["-m", "cnn_nas.trial"], place / "convolutional", chosen)


def row(
    work: str, name: str, sets: Sequence[str], program: Sequence[str], place: Path, chosen: argparse.Namespace
) -> Row:
    """One trial, started again and again."""
    config = configs.override(configs.load(ROOT / name), list(sets))
    draw = trial_sampler(config, 1).next_trial()
    options = ["--device", chosen.device, "--threads", str(torch.get_num_threads())]
    times = []
    for i in range(chosen.rounds + 1):
        path = place / str(i)
        path.mkdir(parents=True)
        RunFolder.fill(path, config, {"hyperparameters": draw.hparams, "seed": draw.seed, "status": "new"})
        times.append(first_batch(program, path, options))
    return absolute(work, "s", times[1:], LIMIT[chosen.device])


def first_batch(program: Sequence[str], folder: Path, options: Sequence[str]) -> float:
    """Seconds until a trial that Python starts anew, in a folder made for it, has trained a batch; it is killed then.

    Raises:
        RuntimeError: it ended before that; the message is what it said.
    """
    key = os.urandom(16)
    told: queue.SimpleQueue[float] = queue.SimpleQueue()
    with Listener(authkey=key) as listener, (folder / "said.txt").open("wb") as said:
        threading.Thread(target=_listen, args=(listener, told), daemon=True).start()
        began = time.perf_counter()
        command = [sys.executable, *program, "--resume", str(folder), *options, "--engine", str(listener.address)]
        environment: dict[str, Any] = {**os.environ, KEY: key.hex()}
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        try:
            while told.empty() and process.poll() is None:
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()
    if told.empty():
        raise RuntimeError(f"{program} ended before its first batch: {(folder / 'said.txt').read_text()[-2000:]}")
    return told.get() - began


def _listen(listener: Listener, told: queue.SimpleQueue[float]) -> None:
    with suppress(EOFError, OSError), listener.accept() as connection:
        while b'"progress"' not in connection.recv_bytes():
            pass
        told.put(time.perf_counter())


if __name__ == "__main__":
    main()
