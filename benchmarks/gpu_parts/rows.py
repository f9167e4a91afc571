"""Our steps against the plain ones in float32 and in bfloat16, in turns in one process: the rows of docs/benchmarks.md."""

from __future__ import annotations

import argparse
import functools
import statistics
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks import recurrent
from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task
from benchmarks.gpu_parts.works import BF16, FP32, Work, in_precisions, set_up, works
from benchmarks.measuring import Row, absolute, faster, interleaved, machine, quicker

MUST_OF_SCORING = {FP32: 10.0}
BASELINES = (FP32, BF16)
BATCH, IMAGES_A_SECOND, SHARE = 96, 200_000, 0.05


def items(task: Task) -> Items:
    """Every work against every baseline; first all works as they train by default."""
    set_up(task.device)
    rounds = 2 if task.small else 9
    yield from _steps(0, rounds, task)
    for plain in BASELINES:
        yield f"scoring against plain {plain}", partial(scoring, plain, task)
    yield "augmentation", partial(augmentation, rounds, task)
    yield from _steps(1, rounds, task)


def _steps(which: int, rounds: int, task: Task) -> Items:
    """In the first or the second precision of ours."""
    for plain in BASELINES:
        for work in works(task.device):
            for ours in work.ours[:1] if which == 0 else work.ours[1:]:
                name = f"{work.name}: {ours} against plain {plain}"
                yield name, partial(step, work, plain, ours, rounds, task.device)


def step(work: Work, plain: str, ours: str, rounds: int, device: str) -> Found:
    """One row."""
    pairs = interleaved(*work.make(plain, ours, device), rounds, device)
    goals = work.goals.get(ours, (None, None)) if plain == FP32 else (None, None)
    return row(faster(f"{work.words}, plain in {plain}, ours in {ours}", pairs, *goals), device)


def scoring(plain: str, task: Task) -> Found:
    """Random cells with shared weights; ours in float32."""
    theirs, ours, rows = recurrent.scorings(1, task.device)
    theirs, ours = in_precisions((theirs, ours), plain, FP32, task.device)
    pairs = interleaved(theirs, ours, 2 if task.small else 3, task.device, warm_up=1)
    words = f"{recurrent.scoring_words()}, plain in {plain}, ours in {FP32}"
    must, note = MUST_OF_SCORING.get(plain), recurrent.scoring_note(rows)
    return row(faster(words, pairs, must, note=note), task.device)


def augmentation(rounds: int, task: Task) -> Found:
    """Images a second, and the share of a step that they take."""
    try:
        from benchmarks import augmentation as images
    except ImportError as error:
        raise SkippedError(f"torchvision cannot be imported ({error})") from error
    if task.small:
        images.COUNT = 2 * BATCH
    chosen = argparse.Namespace(device=task.device, batch_size=BATCH, rounds=rounds)
    pairs, name = images.pairs(chosen), f"CIFAR-10 augmentation, batch {BATCH}"
    rates = [ours for _, ours in pairs]
    found = row(quicker(name, "images/s", pairs), task.device)
    rate = absolute(f"{name}, alone", "images/s", rates, IMAGES_A_SECOND)
    work = next(each for each in works(task.device) if each.name.startswith("CNN"))
    ours = [took for _, took in interleaved(*work.make(FP32, work.ours[0], task.device), rounds, task.device)]
    share = BATCH / statistics.median(rates) / statistics.median(ours)
    text = f"{found['text']}; {share:.1%} of a step of ours, {'under' if share < SHARE else 'not under'} {SHARE:.0%}"
    return {**found, "text": text, "rows": [*found["rows"], saved(rate)], "share": share}


def row(measured: Row, device: str) -> Found:
    """In the form of the benchmarks' files."""
    goal = f", goal {measured.goal}" if measured.goal else ""
    assert measured.plain is not None
    both = f"{measured.plain:.4g} {measured.unit} to {measured.ours:.4g} {measured.unit}"
    return {"text": f"{measured.result}, {both}{goal}", "rows": [saved(measured)], "machine": here(device)}


def saved(measured: Row) -> dict[str, Any]:
    """A row as `measuring.finish` saves it."""
    return asdict(measured) | {"reached": measured.reached}


@functools.cache
def here(device: str) -> dict[str, Any]:
    """The machine; asked for once, for its rate is measured."""
    return machine(device)
