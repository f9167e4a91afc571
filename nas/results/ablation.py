"""Ablation of a cell: what each single change of it does to its score.

By shared weights all scores are of one supernet. Retrained, a change is compared with the cell itself seed by seed; the
experiment that did so is known by its grid of cells, see `ablation_config`.
"""

from __future__ import annotations

import statistics
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.core.errors import ConfigError
from nas.core.space import Space
from nas.core.variants import KINDS, SharedScores, Variant
from nas.core.wording import plural
from nas.results.ablation_config import cells_of
from nas.results.architecture import Found
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.statistics import LEVEL, t_interval
from nas.runs.ranking import is_measurement

ITSELF = "the cell itself"
_FEW = 5  # seeds, below which an interval hangs on the normal distribution of few values


@dataclass(frozen=True)
class Score:
    """Of one cell.

    Attributes:
        value: the metric, a mean over seeds where it was trained with several; None if there is none.
        difference: to that of the unchanged cell, a mean over the seeds that both have.
        low, high: the interval of that difference; None of a single pair.
        seeds: trainings that ended with a number; 0 with shared weights.
        pairs: of these, those whose seed the unchanged cell has too.
        not_finite: trainings that ended without a number, and with shared weights a score that is none.
    """

    value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    pairs: int = 0
    not_finite: int = 0


@dataclass(frozen=True)
class Row:
    """One change.

    Attributes:
        unused: whether the output of the unchanged cell does not depend on the node.
        same_as: the change, or ITSELF, that leads to the same network; "" if none does. It has the same score.
        missing: why there is no score.
    """

    kind: str
    node: int | None
    change: str
    genotype: str
    score: Score
    unused: bool = False
    same_as: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Ablation:
    """A cell and its changes, the most harmful first.

    Attributes:
        origin: where the cell is from.
        cell: in words.
        retrained: or scored with shared weights.
        smaller_is_better: of the metric.
        base: the score of the cell itself.
        notes: what to know, a sentence each.
    """

    origin: str
    cell: str
    genotype: str
    retrained: bool
    metric: str
    smaller_is_better: bool
    base: Score
    rows: list[Row]
    notes: list[str]


def select(space: Space[Any], genotype: Any, kinds: Sequence[str] | None, nodes: Sequence[int] | None) -> list[Variant]:
    """The changes of these kinds (None: all) and of these nodes (None: also those that are of no single node).

    Raises:
        ConfigError: the space names no changes, there is no such node, or none of the changes is left.
    """
    found = space.variants(genotype)
    known = sorted({each.node for each in found if each.node is not None})
    wrong = [node for node in nodes or () if node not in known]
    if wrong:
        raise ConfigError([f"--nodes must be {known[0]}..{known[-1]}, the nodes of the cell, got {wrong[0]}"])
    chosen = [each for each in found if kinds is None or each.kind in kinds]
    if nodes is not None:
        chosen = [each for each in chosen if each.node in nodes]
    if not chosen:
        asked = " ".join(kinds or KINDS)
        raise ConfigError([f"--changes {asked} changes none of the --nodes; leave out one of the two"])
    return chosen


def by_shared_weights(
    found: Found, variants: Sequence[Variant], shared: SharedScores, metric: str = "loss"
) -> Ablation:
    """Of the scores of the cell and of its variants, in this order."""
    itself, *scores = shared.scores
    base = _shared_score(itself.metrics, itself.metrics, metric)
    unused, names = _unused(found.space, found.genotype), [ITSELF, *(each.text for each in variants)]
    rows = []
    for variant, score in zip(variants, scores, strict=True):
        same = "" if score.same_as is None else names[score.same_as]
        known = _shared_score(score.metrics, itself.metrics, metric)
        rows.append(_row(variant, known, unused, same, score.missing))
    notes = [
        "all of these are scores of one supernet on the whole validation data, without an interval: weights that suit the cell"
        " need not suit its variants, so what counts is how they rank after training each alone (--retrain)",
        *shared.about,
    ]
    return _ablation(found, False, metric, True, base, rows, notes)


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
    base, unused, first = values.get(own, {}), _unused(space, found.genotype), {own: ITSELF}
    rows = []
    for variant in variants:
        if variant.kind in kinds:
            form = space.canonical(variant.genotype)
            same = first.setdefault(form, variant.text)
            score = _compared(values.get(form, {}), base)
            missing = "" if form in values else "not trained yet"
            rows.append(_row(variant, score, unused, "" if same == variant.text else same, missing))
    if not values:
        raise ConfigError([f"no training of {experiment.reference} has ended with a result yet"])
    smaller, notes = experiment.smaller_is_better, _notes(experiment, rows, base)
    return _ablation(found, True, experiment.metric, smaller, _compared(base, base), rows, notes)


def _ablation(
    found: Found, retrained: bool, metric: str, smaller: bool, base: Score, rows: list[Row], notes: list[str]
) -> Ablation:
    def harm(row: Row) -> tuple[int, float]:
        if row.score.difference is None:
            return (0 if row.score.not_finite else 2), 0.0
        return 1, -row.score.difference if smaller else row.score.difference

    cell, text = str(found.genotype), found.genotype.to_text()
    return Ablation(found.origin, cell, text, retrained, metric, smaller, base, sorted(rows, key=harm), notes)


def _row(variant: Variant, score: Score, unused: frozenset[int], same_as: str, missing: str) -> Row:
    text = variant.genotype.to_text()
    return Row(variant.kind, variant.node, variant.text, text, score, variant.node in unused, same_as, missing)


def _unused(space: Space[Any], genotype: Any) -> frozenset[int]:
    """The nodes whose removal leaves the same network."""
    own = space.canonical(genotype)
    removed = [each for each in space.variants(genotype) if each.kind == "remove"]
    return frozenset(each.node for each in removed if each.node is not None and space.canonical(each.genotype) == own)


def _shared_score(metrics: Mapping[str, float], base: Mapping[str, float], metric: str) -> Score:
    if metric not in metrics:
        return Score()
    value, other = metrics[metric], base[metric]
    if not is_measurement(value):
        return Score(not_finite=1)
    return Score(value, value - other if is_measurement(other) else None)


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
