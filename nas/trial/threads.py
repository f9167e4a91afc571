"""How many CPU threads a trial uses: as asked, as its run began, or as its own first steps say.

More threads are not faster as such: at 16 units two are as slow as one, and beside other busy processes they wait for each
other, up to a hundred times as long. Most networks give other last digits with another number of threads, so it is chosen once
a run, on steps that are thrown away, and kept in `run.json`.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from determined import core, pytorch

from nas.runs.run_folder import RunFolder, new_run
from nas.trial import local
from nas.trial.base import Trial

logger = logging.getLogger(__name__)

STEPS = 3
"""Steps that are timed with each number of threads, after one that is not."""

GAIN = 0.9
"""More threads must bring a step below this part of its time; else fewer are used, which other processes disturb less."""

MUCH_SLOWER = 3.0
"""Times as long as they took before, steps make one look again."""

LIMIT = 20.0
"""Seconds after which a rehearsal has seen enough, whatever is missing."""


class _EnoughSeenError(Exception):
    """The rehearsal has seen what it wanted."""


class Comparison:
    """Times steps with different numbers of threads, in turn.

    Args:
        counts: numbers of threads.
        clock: seconds.
    """

    def __init__(self, counts: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[int, list[float]] = {count: [] for count in counts}
        self._clock, self._warm, self._began = clock, False, clock()

    @property
    def complete(self) -> bool:
        """Whether all have been timed often enough."""
        fewest = min(map(len, self.seconds.values()))
        return fewest >= STEPS or (fewest > 0 and self._clock() - self._began > LIMIT)

    @property
    def fastest(self) -> int:
        """The number of threads to use; the fewest if nothing was timed."""
        few, *more = sorted(self.seconds)
        best = {count: min(times) for count, times in self.seconds.items() if times}
        chosen = few
        for count in more:
            if count in best and chosen in best and best[count] < GAIN * best[chosen]:
                chosen = count
        return chosen

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step within the block: the first one is not counted, for memory is fetched in it."""
        count = min(self.seconds, key=lambda each: len(self.seconds[each]))
        torch.set_num_threads(count)
        began = self._clock()
        yield
        if self._warm:
            self.seconds[count].append(self._clock() - began)
        self._warm = True


def choose(
    trial_class: type[Trial],
    plan: local.TrialPlan,
    device: torch.device,
    distributed: core.DistributedContext,
    most: int,
) -> int:
    """One thread or `most`: what the first steps of a trial are faster with.

    The steps are those of a run of its own in a scratch folder, so that the trial itself does not depend on them.
    """
    if most == 1 or device.type != "cpu" or distributed.size > 1:
        return most
    comparison = Comparison([1, most])

    def build(context: pytorch.PyTorchTrialContext) -> Trial:
        trial = trial_class(context)
        train_batch = trial.train_batch

        def timed(*arguments: Any, **named: Any) -> Any:
            if comparison.complete:
                raise _EnoughSeenError
            with comparison.step():
                return train_batch(*arguments, **named)

        trial.train_batch = timed  # type: ignore[method-assign]
        return trial

    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with tempfile.TemporaryDirectory(prefix="nas-threads-") as scratch:
            folder = RunFolder.create(Path(scratch), "run", plan.config, new_run(plan.hparams, plan.seed, {}))
            local.train(build, replace(plan, quiet=True), device, distributed, folder)
    except _EnoughSeenError:
        pass
    finally:
        logging.disable(level)
    return comparison.fastest


class Watch:
    """Looks again while a trial trains, where the number of threads changes no result.

    Args:
        counts: numbers of threads to choose from.
        clock: seconds.
    """

    def __init__(self, counts: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> None:
        self._counts, self._clock = sorted(counts), clock
        self._usual: float | None = None  # seconds of a step since the last choice
        self._recent: list[float] = []
        self._comparison: Comparison | None = None

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step within the block."""
        if self._comparison is not None:
            with self._comparison.step():
                yield
            if self._comparison.complete:
                self._use(self._comparison)
            return
        began = self._clock()
        yield
        self._recent.append(self._clock() - began)
        if len(self._recent) == 10:
            median, self._recent = statistics.median(self._recent), []
            if self._usual is not None and median > MUCH_SLOWER * self._usual:
                self._comparison = Comparison(self._counts, self._clock)
            self._usual = min(median, self._usual or median)

    def _use(self, comparison: Comparison) -> None:
        chosen = comparison.fastest
        if chosen != torch.get_num_threads() or len(comparison.seconds) > 1:
            logger.warning("steps have become much slower; going on with %s", described(chosen))
        torch.set_num_threads(chosen)
        self._comparison, self._usual = None, None


def described(count: int) -> str:
    """Such as 1 thread."""
    return "1 thread" if count == 1 else f"{count} threads"


def asked_for(argument: int | None) -> int | None:
    """The number of threads that somebody asked for: the command line, or OMP_NUM_THREADS; None if nobody did."""
    if argument is not None:
        return argument
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(said) if said.isdecimal() and int(said) > 0 else None
