"""An ablation by training the cell and its variants alike: each is compared with the cell itself seed by seed."""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from nas.core.errors import ConfigError
from nas.core.space import Space
from nas.core.wording import plural
from nas.results.ablation import ITSELF, Ablation, Row, Score, assembled, row_of, unused_nodes
from nas.results.ablation_config import cells_of
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.statistics import LEVEL, t_interval
from nas.runs.ranking import is_measurement

_FEW = 5  # seeds, below which an interval hangs on the normal distribution of few values


def of_experiment(experiment: ExperimentResult) -> Ablation:
    """Of an experiment that `ablation_config` made and that has ended, or in part.

    Raises:
        ConfigError: it is no ablation, or no training of it has ended.
    """
    found, texts = cells_of(experiment)
    space, forms = found.space, {}
    for text in texts:
        forms[space.canonical(space.read(text))] = text
    own = space.canonical(found.genotype)
    values = _by_seed(experiment, space)
    variants = [each for each in space.variants(found.genotype) if space.canonical(each.genotype) in {*forms, own}]
    kinds = {each.kind for each in variants if space.canonical(each.genotype) in forms}
    base, unused, first = values.get(own, {}), unused_nodes(space, found.genotype), {own: ITSELF}
    rows = []
    for variant in variants:
        if variant.kind in kinds:
            form = space.canonical(variant.genotype)
            same = first.setdefault(form, variant.text)
            score = _compared(values.get(form, {}), base)
            missing = "" if form in values else "not trained yet"
            rows.append(row_of(variant, score, unused, "" if same == variant.text else same, missing))
    if not values:
        raise ConfigError([f"no training of {experiment.reference} has ended with a result yet"])
    smaller, notes = experiment.smaller_is_better, _notes(experiment, rows, base)
    return assembled(found, True, experiment.metric, smaller, _compared(base, base), rows, notes)


def _compared(own: Mapping[int, float], base: Mapping[int, float]) -> Score:
    """Values by seed, those that are no number included."""
    finite = {seed: value for seed, value in own.items() if is_measurement(value)}
    pairs = [value - base[seed] for seed, value in finite.items() if is_measurement(base.get(seed))]
    low, high = (t_interval(pairs) if pairs else None) or (None, None)
    mean = statistics.fmean(finite.values()) if finite else None
    difference = statistics.fmean(pairs) if pairs else None
    return Score(mean, difference, low, high, len(finite), len(pairs), len(own) - len(finite))


def _by_seed(experiment: ExperimentResult, space: Space[Any]) -> dict[Hashable, dict[int, float]]:
    """For each network the metric at the end of its trainings; never the best, which would be chosen by luck."""
    found: dict[Hashable, dict[int, float]] = {}
    for trial in experiment.trials:
        if _ended(trial):
            form = space.canonical(space.read(trial.hyperparameters["arch_to_use"]))
            found.setdefault(form, {})[int(trial.hyperparameters.get("repeat") or 0)] = trial.validations[-1][1]
    return found


def _ended(trial: TrialResult) -> bool:
    return trial.outcome in ("completed", "diverged") and bool(trial.validations)


def _notes(experiment: ExperimentResult, rows: Sequence[Row], base: Mapping[int, float]) -> list[str]:
    tested = sum(row.score.low is not None and not row.same_as for row in rows)
    about = f"{LEVEL:.0%} t intervals of the differences to the cell, paired by seed, on validation data"
    notes = []
    if tested:
        by_chance = f"of {plural(tested, 'such interval')} about {tested * (1 - LEVEL):.2g} exclude 0 by chance alone"
        notes.append(f"{about}; {by_chance}")
    else:
        notes.append("no intervals: that takes two seeds of the cell and of a change (--seeds)")
    if tested and len(base) < _FEW:
        notes.append(
            f"{len(base)} seeds are few: the intervals take the differences for normal, which nobody can check"
        )
    if not base:
        notes.append("the cell itself has not been trained yet, so nothing can be compared")
    if not all(trial.hyperparameters.get("paired_repeats") for trial in experiment.trials):
        notes.append("paired_repeats is off, so trainings of one number share no seed, and pairing them gains nothing")
    ended, count = sum(map(_ended, experiment.trials)), _expected(experiment)
    if ended < count:
        failed = sum(trial.outcome in ("error", "invalid") for trial in experiment.trials)
        notes.append(f"{ended} of {count} trainings have ended" + (f", {failed} failed" if failed else ""))
    return notes


def _expected(experiment: ExperimentResult) -> int:
    cells, seeds = (experiment.config["hyperparameters"].get(name) for name in ("arch_to_use", "repeat"))
    return len(cells["vals"]) * (seeds.get("count", 1) if isinstance(seeds, Mapping) else 1)
