"""What a person sees while a trial trains on this machine: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Container
from typing import Any

from tqdm import tqdm

from nas.core.terminal import print_anything
from nas.runs.run_folder import PLACE, SIZES

tqdm.set_lock(
    threading.RLock()
)  # its own lock is a semaphore between processes, which a killed trial would leave behind

TOLD = logging.getLogger("nas.trial.told")
"""Gets what is printed, for the log file; the console has it already."""


class Progress:
    """A bar over the batches of the whole run, and one line an epoch that stays.

    Args:
        show: whether this process shows anything.
        tell: called after each batch with the batches done and those of the whole run.
    """

    def __init__(self, *, show: bool, tell: Callable[[int, int], None] | None = None) -> None:
        self._show, self._tell = show, tell
        self._done = self._total = 0
        self._bar: tqdm[Any] | None = None
        self._since = time.monotonic()
        self._training: dict[str, Any] = {}

    def start(self, done: int, total: int) -> None:
        """Begin after `done` of `total` batches."""
        self._since = time.monotonic()
        self._done, self._total = done, total
        if self._show:
            # tqdm hides itself where stderr is no terminal.
            self._bar = tqdm(total=total, initial=done, unit="batch", disable=None, dynamic_ncols=True, smoothing=0.05)

    def tick(self) -> None:
        """One more batch is done."""
        self._done += 1
        if self._tell is not None:
            self._tell(self._done, self._total)
        if self._bar is not None:
            self._bar.update()

    def training(self, metrics: dict[str, Any]) -> None:
        """Training metrics were reported."""
        self._training = metrics
        if self._bar is not None:
            self._bar.set_postfix_str(f"epoch {metrics['epochs'] + 1} {describe(metrics)}", refresh=False)

    def validation(self, metrics: dict[str, Any]) -> None:
        """Validation metrics were reported: say how the epoch went."""
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        valid = f"  valid {describe(metrics)}" if describe(metrics) else ""
        self.say(f"epoch {metrics['epochs']:>3}  train {describe(self._training)}{valid}  {seconds:.0f} s")

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._show:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()
            TOLD.info(line)

    def close(self) -> None:
        """Take the bar down."""
        if self._bar is not None:
            self._bar.close()


def describe(metrics: dict[str, Any]) -> str:
    """`loss 4.6123  perplexity 100.7`, without what counts steps and never changes."""
    hidden = (*PLACE, *SIZES, "lr")
    shown = {name: value for name, value in metrics.items() if name not in hidden}
    return "  ".join(
        f"{name} {value:.4f}" if abs(value) < 10 else f"{name} {value:.2f}" for name, value in shown.items()
    )


class ReportingSteps(Container[int]):
    """The batches after which Determined's Trainer reports: each `period`-th, and the one after which to stop.

    The Trainer asks `step in reporting_steps` exactly once after each batch, which makes this the place to move the bar.

    Args:
        stop: whether to stop now; asked once after each batch.
    """

    def __init__(self, period: int, stop: Callable[[], bool], progress: Progress) -> None:
        self._period, self._stop, self._progress = period, stop, progress

    def __contains__(self, step: object) -> bool:
        assert isinstance(step, int)
        self._progress.tick()
        return self._stop() or step % self._period == 0


def quiet_libraries() -> None:
    """What libraries say of their own work is nothing to act on; and no letter ends a training."""
    print_anything()
    for noisy, level in (("determined", "WARNING"), ("determined.common.storage", "ERROR"), ("filelock", "WARNING")):
        logging.getLogger(noisy).setLevel(level)
