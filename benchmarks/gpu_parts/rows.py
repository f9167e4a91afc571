"""Our steps against the plain ones, in turns in one process: the rows of docs/benchmarks.md.

`items` has every row of the goals' table once, against the plain one in float32; `more` has other settings, other works, and
the plain ones in bfloat16. A plain step waits for its loss, as it did in 2019; of ours some are measured together, which go on
without waiting, as in training. Both numbers are of one step.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any

from benchmarks import recurrent
from benchmarks.gpu_parts.task import ALONE, Found, Items, SkippedError, Task, ToldError
from benchmarks.gpu_parts.works import BF16, CNN_LATER, DEFAULT, FP32, Step, Work, in_2019, said, set_up, works
from benchmarks.measuring import Pair, Row, absolute, faster, interleaved, machine, quicker, seconds

MUST_OF_SCORING = {FP32: 10.0}
BATCH, IMAGES_A_SECOND, SHARE = 96, 200_000, 0.05
TOGETHER = 3
"""Steps of ours in a turn."""


def items(task: Task) -> Items:
    """The two that decide first; that which needs a process of its own last."""
    set_up(task.device)
    known = works(task.device)
    cnn = next(work for work in known if work.name == "CNN CONSTRAINED_ASHA")
    first = [work for work in known if work.name in ("recurrent ASHA", "CNN CONSTRAINED_ASHA")]
    for work in first:
        yield from _each(work, work.best, FP32, task)
    yield "scoring against plain float32", partial(scoring, FP32, task)
    yield "augmentation", partial(augmentation, cnn, task)
    for work in known:
        if "supernet" in work.name:
            yield from _each(work, work.best, FP32, task)
    yield from _each(cnn, [setting for setting in CNN_LATER if ALONE in setting], FP32, task)


def more(task: Task) -> Items:
    """All that `items` has not."""
    set_up(task.device)
    done = {name for name, _ in items(task)}
    yield f"scoring against plain {BF16}", partial(scoring, BF16, task)
    for plain in (FP32, BF16):
        for work in works(task.device):
            settings = (*work.best, *work.others) if plain == FP32 else work.best[:1]
            for name, measure in _each(work, sorted(settings, key=lambda each: ALONE in each), plain, task):
                if name not in done:
                    yield name, measure


def _each(work: Work, settings: Sequence[str], plain: str, task: Task) -> Items:
    for setting in settings:
        yield f"{work.name} {said(setting)} against plain {plain}", partial(step, work, plain, setting, task)


def step(work: Work, plain: str, setting: str, task: Task) -> Found:
    """One row."""
    pairs = in_turns(*work.steps(plain, setting, task.device), task)
    words = f"{work.words}, plain in {plain}, ours {said(setting)}"
    return row(faster(words, pairs, *work.goals_of(setting, plain)), task.device)


def in_turns(plain: Step, ours: Step, task: Task, warm_up: int = 2) -> list[Pair]:
    """Seconds of a step of each. The first turn of ours has the step that a graph needs before, and its capture."""

    def together() -> None:
        for _ in range(TOGETHER):
            ours()

    pairs = interleaved(plain, together, 2 if task.small else 7, task.device, warm_up)
    return [(theirs, our / TOGETHER) for theirs, our in pairs]


def scoring(plain: str, task: Task) -> Found:
    """Random cells with shared weights; ours in float32."""
    theirs, ours, rows = recurrent.scorings(1, task.device)
    theirs = in_2019(theirs, plain, task.device)
    pairs = interleaved(theirs, ours, 2 if task.small else 3, task.device, warm_up=1)
    words = f"{recurrent.scoring_words()}, plain in {plain}, ours in {FP32}"
    must, note = MUST_OF_SCORING.get(plain), recurrent.scoring_note(rows)
    return row(faster(words, pairs, must, note=note), task.device)


def augmentation(cnn: Work, task: Task) -> Found:
    """Images a second, and the share of a step that they take, with the settings that should be fastest."""
    try:
        from benchmarks import augmentation as images
    except ImportError as error:
        raise SkippedError(f"torchvision cannot be imported ({error})") from error
    if task.small:
        images.COUNT = 2 * BATCH
    rounds = 2 if task.small else 7
    chosen = argparse.Namespace(device=task.device, batch_size=BATCH, rounds=rounds)
    pairs, name = images.pairs(chosen), f"CIFAR-10 augmentation, batch {BATCH}"
    rates = [ours for _, ours in pairs]
    found = row(quicker(name, "images/s", pairs), task.device)
    rate = absolute(f"{name}, alone", "images/s", rates, IMAGES_A_SECOND)
    share = BATCH / statistics.median(rates) / seconds_of_ours(cnn, rounds, task)
    text = f"{found['text']}; {share:.1%} of a step of ours, {'under' if share < SHARE else 'not under'} {SHARE:.0%}"
    return {**found, "text": text, "rows": [*found["rows"], saved(rate)], "share": share}


def seconds_of_ours(work: Work, rounds: int, task: Task) -> float:
    """Of a step with the best settings; where they do not work, which a row of its own says, by default."""
    for setting in (work.best[0], DEFAULT):
        with suppress(SkippedError, ToldError):
            ours = work.steps(FP32, setting, task.device)[1]
            for _ in range(TOGETHER):
                ours()
            return statistics.median(seconds(ours, task.device) for _ in range(rounds))
    raise SkippedError("no step of ours can be measured")


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
