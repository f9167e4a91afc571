"""Trainings of the same setting with several seeds: mean and spread of each setting."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table

from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.retraining import REPEAT
from nas.runs.ranking import is_measurement, rank


@dataclass(frozen=True)
class Repeated:
    """One setting.

    Attributes:
        trials: that trained it, by number.
        last: the metric at the end of each training that has one; never the best, which would be chosen by luck.
        test: the scores on the test split by name, of the trainings that have them.
    """

    trials: list[TrialResult]
    last: list[float]
    test: dict[str, list[float]]

    @property
    def mean(self) -> float | None:
        """Of `last`."""
        return statistics.fmean(self.last) if self.last else None


def repeated(experiment: ExperimentResult) -> list[Repeated]:
    """The settings by their means, best first; none if the experiment repeats nothing."""
    groups: dict[str, list[TrialResult]] = {}
    for trial in experiment.trials:
        if REPEAT not in trial.chosen:
            return []
        setting = {name: value for name, value in trial.chosen.items() if name != REPEAT}
        groups.setdefault(repr(setting), []).append(trial)
    found = [_of(trials) for trials in groups.values()]
    ranked = rank(found, lambda group: group.mean, smaller_is_better=experiment.smaller_is_better)
    return [*ranked, *(group for group in found if all(group is not each for each in ranked))]


def _of(trials: Sequence[TrialResult]) -> Repeated:
    ended = [trial for trial in trials if trial.outcome in ("completed", "diverged")]
    last = [trial.validations[-1][1] for trial in ended if trial.validations]
    test: dict[str, list[float]] = {}
    for trial in ended:
        for name, value in trial.test.items():
            test.setdefault(name, []).append(value)
    return Repeated(list(trials), last, test)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation (n - 1) of what is a number, and how many are."""
    finite = [value for value in values if is_measurement(value)]
    bad = len(values) - len(finite)
    note = f", {bad} not finite" if bad else ""
    if not finite:
        return f"none{note}"
    if len(finite) == 1:
        return f"{finite[0]:.6g} (1{note})"
    return f"{statistics.fmean(finite):.6g} ± {_short(statistics.stdev(finite))} ({len(finite)}{note})"


def repeats_table(experiment: ExperimentResult) -> Table | None:
    """Mean and spread of each setting, with its scores on the test split; None if the experiment repeats nothing."""
    groups = repeated(experiment)
    if not groups:
        return None
    shown = Table(title="mean ± standard deviation (trainings)", title_justify="left")
    tests = list(dict.fromkeys(name for group in groups for name in group.test))
    for name in ("rank", "trials", f"last {experiment.metric}", *tests, "parameters"):
        shown.add_column(name)
    for place, group in enumerate(groups, start=1):
        numbers = ", ".join(str(trial.number) for trial in group.trials)
        size = next((f"{trial.parameters:,}" for trial in group.trials if trial.parameters), "")
        scores = [spread(group.test.get(name, [])) for name in tests]
        shown.add_row(str(place), numbers, spread(group.last), *scores, size)
    return shown


def _short(value: float) -> str:
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 0
    return f"{round(value, digits):.{max(digits, 0)}f}"
