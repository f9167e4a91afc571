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
from benchmarks.gpu_parts.rows import row
from benchmarks.gpu_parts.task import Found, Items, SkippedError, Task
from benchmarks.gpu_parts.works import BF16, FP32, Work, set_up, works
from benchmarks.measuring import faster, interleaved

REPEATED = (
    *((plain_recurrent.PlainCell, "step"), (plain_cnn.PlainCell, "forward")),
    *((plain_supernet.PlainSuperCell, "forward"), (plain_recurrent_supernet.PlainSuperCell, "step")),
)
MUST = {"recurrent ASHA": 2.0}


def items(task: Task) -> Items:
    """The two that decide first, then the others; in float32 and in bfloat16."""
    set_up(task.device)
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(task.scratch) / "compiled"))
    for work in sorted(
        works(task.device), key=lambda each: each.name not in ("recurrent ASHA", "CNN CONSTRAINED_ASHA")
    ):
        for plain in (FP32, BF16):
            yield f"{work.name} against plain {plain}, compiled", partial(step, work, plain, task)


def step(work: Work, plain: str, task: Task) -> Found:
    """One row; ours as it trains by default."""
    rounds, ours = (2 if task.small else 9), work.ours[0]
    with compiled_cells():
        pairs = interleaved(*work.make(plain, ours, task.device), rounds, task.device, warm_up=3)
    words = f"{work.words}, plain in {plain} compiled, ours in {ours}"
    return row(faster(words, pairs, MUST.get(work.name) if plain == FP32 else None), task.device)


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
