"""How many CPU threads a trial uses: as asked, as its run began, or as its own first steps say.

More threads are not faster as such: at 16 units two are as slow as one, and beside other busy processes they wait for each
other (an epoch of 2 s took 33 s with two threads, on two busy cores). The last digits of a training depend on the number of
threads (from some 160 units on, and in every convolutional network), so it is chosen once a run, on steps that are thrown
away, and kept in `run.json`.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from determined import core, pytorch

from nas.core.host import threads_of_environment as of_environment
from nas.runs.run_folder import RunFolder, new_run
from nas.trial import local
from nas.trial.base import Trial

logger = logging.getLogger(__name__)

STEPS = 3
"""Steps that are timed with each number of threads, after one that is not."""

GAIN = 0.9
"""More threads must bring a step below this part of its time; else fewer are used, which other processes disturb less."""

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

    finished = False
    level = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with tempfile.TemporaryDirectory(prefix="nas-threads-") as scratch:
            folder = RunFolder.create(Path(scratch), "run", plan.config, new_run(plan.hparams, plan.seed, {}))
            finished = local.train(build, replace(plan, quiet=True), device, distributed, folder).finished
    except _EnoughSeenError:
        finished = True
    finally:
        logging.disable(level)
    if not finished:  # somebody asked for a stop
        raise KeyboardInterrupt
    return comparison.fastest


def asked_for(argument: int | None, run: Mapping[str, Any]) -> int | None:
    """The number of threads if it is settled: by the command line, by how the run began, or by OMP_NUM_THREADS."""
    return argument or run.get("threads") or of_environment()


def most_of(limit: int | None) -> int:
    """The most threads that a trial may use: the engine's limit for it, or PyTorch's own choice."""
    return torch.get_num_threads() if limit is None else limit
