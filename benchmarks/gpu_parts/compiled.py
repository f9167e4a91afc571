"""Our steps against the plain ones compiled by `torch.compile`, in turns in one process.

Compiled is what repeats: the recurrent cell's time step, the convolutional network's cells. A whole network unrolled takes
minutes to compile. Scoring is left out, since every cell would be compiled anew.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import torch

from benchmarks import plain_cnn, plain_recurrent, plain_recurrent_supernet, plain_supernet
from benchmarks.gpu_parts.rows import in_turns, row
from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task
from benchmarks.gpu_parts.works import BF16, FP32, Work, said, set_up, works
from benchmarks.measuring import faster

REPEATED = (
    *((plain_recurrent.PlainCell, "step"), (plain_cnn.PlainCell, "forward")),
    *((plain_supernet.PlainSuperCell, "forward"), (plain_recurrent_supernet.PlainSuperCell, "step")),
)
MUST = {"recurrent ASHA": 2.0}


def items(task: Task) -> Items:
    """The two that decide first, then the others; each with the best settings of the plain one's precision."""
    set_up(task.device)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(task.scratch) / "compiled"))
    first = ("recurrent ASHA", "CNN CONSTRAINED_ASHA")
    for work in sorted(works(task.device), key=lambda each: each.name not in first):
        for plain in (FP32, BF16):
            for setting in (each for each in work.best if alike(work, plain, each)):
                name = f"{work.name} {said(setting)} against plain {plain}, compiled"
                yield name, partial(step, work, plain, setting, task)


def alike(work: Work, plain: str, setting: str) -> bool:
    """Whether ours computes in the precision of the plain one; all of ours on images is in bfloat16, as by default."""
    if work.name.startswith("CNN"):
        return True
    return "precision=bf16" in setting if plain == BF16 else "precision" not in setting


def step(work: Work, plain: str, setting: str, task: Task) -> Found:
    """One row."""
    with compiled_cells():
        pairs = in_turns(*work.steps(plain, setting, task.device), task, warm_up=3)
    words = f"{work.words}, plain in {plain} compiled, ours {said(setting)}"
    return row(faster(words, pairs, MUST.get(work.name)), task.device)


@contextlib.contextmanager
def compiled_cells() -> Iterator[None]:
    """The plain networks that are called within the block compile their cells."""
    try:
        import torch._dynamo as dynamo

        torch.compile(lambda x: x + 1, backend="eager")(torch.zeros(1))
    except (ImportError, RuntimeError) as error:
        raise SkippedError(f"this PyTorch compiles nothing here ({error})") from error
    dynamo.reset()
    dynamo.config.cache_size_limit = 64  # kinds of cells and of their inputs
    with contextlib.ExitStack() as stack:
        for owner, name in REPEATED:
            stack.enter_context(mock.patch.object(owner, name, torch.compile(getattr(owner, name), dynamic=False)))
        yield
