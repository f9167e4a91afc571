"""Notice a stop by the searcher on a cluster, for the master does not tell the trial.

When ASHA stops a trial, a Determined 0.38.1 master sets the trial's state to STATE_STOPPING_COMPLETED and signals nothing to
its container. The trial would train to `max_time`, enter the rungs again with each later validation, and be replaced once more
by each further stop. So the trial asks for its state, where the Trainer asks for preemption, and leaves.

The decision follows the report of a validation, which a thread of the harness sends, so nothing is asked at other times. The
first question waits until the master has the report; the state may change a moment later, so it is asked again at the next
one or two occasions. That is two to four requests a validation, and a few more if the master is slow to take reports in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from nas.trial.base import Trial

logger = logging.getLogger(__name__)

STOPPING = frozenset(f"STATE_STOPPING_{how}" for how in ("COMPLETED", "CANCELED", "KILLED", "ERROR"))
GOING_ON = frozenset(f"STATE_{state}" for state in ("ACTIVE", "PAUSED", "QUEUED", "PULLING", "STARTING", "RUNNING"))

TIMEOUT = 5
"""Seconds to wait for an answer."""

_NEVER_STOP = ("single", "random", "grid")
_PAUSES = (0.05, 0.15, 0.3, 0.6)  # seconds between questions while the validation is on its way
_DECIDED = 1.0  # seconds after which a master that has the validation has decided, too
_OCCASIONS = 3  # at most, after one validation
_FAILURES = 3  # in a row, after which nothing more is asked


def can_stop(config: Mapping[str, Any]) -> bool:
    """Whether the experiment's searcher stops trials early. A person's stop or pause is signalled to the trial anyway."""
    return (config.get("searcher") or {}).get("name") not in _NEVER_STOP


class SearcherStop:
    """Whether the searcher has stopped the trial: called in the first process where the Trainer asks for preemption.

    Whatever goes wrong with a question (no connection, an error, an answer of another form), the trial goes on without its
    answer. After three such failures in a row nothing more is asked.
    """

    def __init__(
        self,
        trial: Trial,
        ask: Callable[[], Any],
        *,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trial, self._ask, self._pause, self._clock = trial, ask, pause, clock
        self._validation = -1  # batches trained at the validation that the questions are about
        self._occasions = 0  # left, to ask about it
        self._arrived: float | None = None  # when the master was first seen to have it
        self._failures = 0

    def __call__(self) -> bool:
        fresh = self._trial.validated_at != self._validation
        if fresh:
            self._validation, self._occasions, self._arrived = self._trial.validated_at, _OCCASIONS, None
        if self._occasions == 0 or self._failures == _FAILURES or self._trial.complete:
            return False
        self._occasions -= 1
        return self._stopped(_PAUSES if fresh else ())

    def _stopped(self, pauses: tuple[float, ...]) -> bool:
        for pause in (*pauses, None):
            state, validated = self._state()
            if state in STOPPING:
                logger.info("the searcher has stopped this trial after %d batches", self._trial.batches_trained)
                return True
            if state is None:
                break
            if validated >= self._validation:
                self._has_arrived()
                break
            if pause is not None:
                self._pause(pause)
        return False

    def _has_arrived(self) -> None:
        now = self._clock()
        if self._arrived is None:
            self._arrived = now
        elif now - self._arrived >= _DECIDED:
            self._occasions = 0

    def _state(self) -> tuple[str | None, int]:
        """The trial's state and the batches of its last validation, as the master knows them; None if it cannot be told."""
        try:
            answer = self._ask()["trial"]
            state, last = answer["state"], answer.get("latestValidation") or {}
            if state not in STOPPING | GOING_ON:
                raise ValueError(f"state {state!r}")
            validated = int(last.get("totalBatches") or 0)
        except Exception as error:  # whatever it is, a trial must not die of a question
            self._failed(error)
            return None, 0
        self._failures = 0
        return state, validated

    def _failed(self, error: Exception) -> None:
        self._occasions, self._failures = 0, self._failures + 1
        if self._failures == 1:
            what = "cannot ask the master whether the searcher has stopped this trial"
            logger.info("%s, which goes on (%s: %s)", what, type(error).__name__, error)
