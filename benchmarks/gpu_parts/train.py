"""As many epochs of train_one_arch.yaml as the minutes allow, from where the last call stopped.

The run is in the scratch folder. Where that is gone, on another machine, it goes on from a checkpoint that was split into the
folder of results.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.gpu_parts.epochs import CONFIG, PROGRAM, epochs, settings, whole
from benchmarks.gpu_parts.split import LIST, join, split
from benchmarks.gpu_parts.task import Items, Task, UnfinishedError
from benchmarks.gpu_parts.trials import check_ended, command, only_run, start, state, text

MARGIN = 25.0
"""Seconds for the last batch, a checkpoint, and its parts."""
BETWEEN = 60.0
"""Seconds between two checkpoints that are split while the run goes on."""


def items(task: Task) -> Items:
    """Each epoch as it comes; at the end how far the run is."""
    place = Path(task.scratch) / "train"
    sets, what = text(task)
    process = start(command(task, PROGRAM, *_beginning(task, place, sets)), log := place / "log.txt")
    timer = threading.Timer(max(task.seconds - min(MARGIN, task.seconds / 2), 1.0), process.terminate)
    timer.start()  # the run then writes a checkpoint and ends
    since = time.monotonic()
    try:
        for item in epochs(process, place, what):
            yield item
            if task.split and time.monotonic() - since > BETWEEN:
                since = time.monotonic()
                with suppress(OSError):  # the run may have taken away that checkpoint, for it had a newer one
                    _split(task, only_run(place))
        check_ended(process, log)
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    run = only_run(place)
    latest = state(run).get("latest")
    if task.split:
        _split(task, run)
    if state(run).get("status") != "completed":
        raise UnfinishedError(
            f"{latest['epochs']:.2f} epochs are trained; call again to go on" if latest else "nothing trained"
        )
    yield "from start to end", partial(whole, place, float(state(run).get("seconds", 0)), what)


def _split(task: Task, run: Path | None) -> None:
    """Write the run's latest checkpoint in parts, if it has one."""
    latest = state(run).get("latest")
    if run is not None and latest:
        about = {key: latest[key] for key in ("batches", "epochs")}
        split(run / "checkpoints" / latest["uuid"], Path(task.folder), **about)


def _beginning(task: Task, place: Path, sets: list[str]) -> list[str]:
    """Go on with the run, or from the checkpoint, or begin."""
    run, folder = only_run(place), Path(task.folder)
    if run is not None and state(run).get("status") != "completed":
        return ["--resume", str(run)]
    if run is None and (folder / LIST).is_file():
        paths = [word for each in [*sets, *task.sets] for word in ("--set", each)]
        return ["--resume", str(join(folder, Path(task.scratch) / "joined")), "--experiments", str(place), *paths]
    return ["--config", CONFIG, "--experiments", str(place), *settings(task, sets, 2 if task.small else None)]
