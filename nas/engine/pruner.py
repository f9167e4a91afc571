"""The decisions of `asha.py` as an Optuna pruner: everything that they depend on lies in the study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from nas.engine import asha
from nas.engine.asha import DEFAULTS, FAILED_METRIC, NOT_FINITE, Bracket, RungState

BRACKET = "bracket"
"""User attribute of a trial: the index of its bracket."""

STANDING = "asha"
"""User attribute of a trial: the rungs that it reached, and with which values."""


class AshaPruner(optuna.pruners.BasePruner):
    """Stops trials as a Determined 0.38.1 master does under adaptive_asha and async_halving.

    What it decided is an attribute of the trial, written at once before the decision is told. The same validation is
    never counted twice, and after a crash every later decision is what it would have been.

    Args:
        searcher: the config's section.

    A trial must have its bracket as user attribute "bracket"; steps are units of the time metric. A value that is not
    finite counts as the worst and blocks nobody.
    """

    def __init__(self, searcher: Mapping[str, Any]) -> None:
        self.brackets: list[Bracket] = asha.brackets(searcher)
        self.divisor = float(searcher.get("divisor") or DEFAULTS["divisor"])

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial stops after its last intermediate value."""
        step = trial.last_step
        standing, seen = read(trial)
        if step is None or step <= seen or standing.stopped:
            return standing.stopped
        value = trial.intermediate_values[step]
        if study.direction == optuna.study.StudyDirection.MAXIMIZE:
            value = -value
        bracket = trial.user_attrs[BRACKET]
        others = self._values(study.get_trials(deepcopy=False), bracket)
        after = asha.validated(
            standing, self.brackets[bracket], self.divisor, others, step, value if math.isfinite(value) else NOT_FINITE
        )
        _write(study, trial, after, step)
        return after.stopped

    def fail(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """The trial failed after all its restarts."""
        standing, seen = read(trial)
        if not standing.stopped:
            _write(study, trial, asha.failed(standing), seen)

    def at_top(self, trial: FrozenTrial) -> bool:
        """Whether the trial was stopped because it went all the way."""
        standing, _ = read(trial)
        rungs = self.brackets[trial.user_attrs[BRACKET]].rungs
        return standing.stopped and standing.rung == len(rungs) - 1 and standing.values[-1][1] != FAILED_METRIC

    def _values(self, trials: Iterable[FrozenTrial], bracket: int) -> dict[int, list[float]]:
        found: dict[int, list[float]] = {}
        for trial in trials:
            if trial.state != TrialState.WAITING and trial.user_attrs.get(BRACKET) == bracket:
                for rung, value in read(trial)[0].values:
                    found.setdefault(rung, []).append(value)
        return {rung: sorted(values) for rung, values in found.items()}


def read(trial: FrozenTrial) -> tuple[RungState, int]:
    """Where a trial is in its bracket, and the step of the last validation that counted."""
    stored = trial.user_attrs.get(STANDING)
    if stored is None:
        return RungState(), -1
    values = [(int(rung), float(value)) for rung, value in stored["values"]]
    return RungState(stored["rung"], values, stored["stopped"]), stored["seen"]


def _write(study: optuna.Study, trial: FrozenTrial, standing: RungState, seen: int) -> None:
    stored = {"rung": standing.rung, "values": standing.values, "stopped": standing.stopped, "seen": seen}
    study._storage.set_trial_user_attr(trial._trial_id, STANDING, stored)
