"""Which choices matter: hyperparameters that a searcher chose, or what an architecture consists of.

PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv 2304.10255) as Optuna has it: how much the distribution of a choice among the
best fifth of trials differs from that among all. With few trials every choice differs by chance. So the same is computed
with the metrics dealt out to the trials at random, many times; what does not exceed 95 % of the largest values so found is
drawn grey and called no evidence.
"""

from __future__ import annotations

import inspect
import math
import random
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.core.wording import plural
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.figures import style
from nas.results.figures.data import measured
from nas.results.figures.style import Picture, spell

NEEDED = 30
"""Trials: of fewer, the best fifth are too few to have a distribution."""

_SHARE = 0.2  # the best trials, against all
_REACHED = 0.75  # of the trials that a time to compare them must have been reached by
_SHUFFLES, _CONFIDENCE = 60, 0.95
_MOST_TRIALS = 400  # more tell no more, and take long
_SHOWN = 15
_SEEDS = ("arch_seed",)
"""Hyperparameters that stand for an architecture, and mean nothing as numbers."""

Features = dict[str, float | int | str | bool]


@dataclass(frozen=True)
class Importance:
    """What was found.

    Attributes:
        scores: of each choice, most important first.
        chance: what 95 of 100 searches without any influence stay below, with the largest of their scores.
        trials: how many were looked at.
        time: up to which of their validations counted.
    """

    scores: dict[str, float]
    chance: float
    trials: int
    time: float


def features(trial: TrialResult) -> Features:
    """Hyperparameters that were chosen, or, if they are none but a seed, how often each operation is in the genotype."""
    chosen = {name: value for name, value in trial.chosen.items() if name.rpartition(".")[2] not in _SEEDS}
    if chosen:
        return {name: value if isinstance(value, bool | int | float) else str(value) for name, value in chosen.items()}
    return dict(operations(trial.genotype)) if isinstance(trial.genotype, dict) else {}


def operations(genotype: Mapping[str, Any]) -> Counter[str]:
    """How often each name stands in each field of a genotype, such as `normal: sep_conv_3x3`."""
    counts: Counter[str] = Counter()
    for name, value in genotype.items():
        counts.update(f"{name}: {operation}" for operation in _names(value))
    return counts


def _names(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [name for each in value for name in _names(each)] if isinstance(value, list | tuple) else []


def common_time(experiment: ExperimentResult) -> float | None:
    """The latest time that three of four trials have been validated by; None without validations."""
    ends = sorted((points[-1][0] for t in experiment.trials if (points := measured(t.validations))), reverse=True)
    return ends[math.ceil(_REACHED * len(ends)) - 1] if ends else None


def samples(experiment: ExperimentResult, time: float) -> list[tuple[Features, float]]:
    """Features and metric (smaller is better) of the trials that came to that time, by their validations until then."""
    found = []
    for trial in experiment.trials:
        points = measured(trial.validations)
        own = features(trial)
        if own and points and points[-1][0] >= time:
            until = [value for at, value in points if at <= time]
            if until:
                found.append((own, min(until) if experiment.smaller_is_better else -max(until)))
    return found


def compute(experiment: ExperimentResult) -> Importance | str:
    """The importance of each choice, or a sentence that says why there is none."""
    time = common_time(experiment)
    found = samples(experiment, time) if time is not None else []
    if len(found) < NEEDED:
        return f"At least {NEEDED} trials are needed to say which choices matter; {len(found)} can be compared."
    if len(found) > _MOST_TRIALS:
        found = random.Random(0).sample(found, _MOST_TRIALS)
    names = sorted({name for own, _ in found for name in own})
    table = {name: [own.get(name, 0) for own, _ in found] for name in names}
    table = {name: column for name, column in table.items() if len(set(map(str, column))) > 1}
    values = [value for _, value in found]
    if not table:
        return "No choice differs between the trials, so none can matter."
    if len(set(values)) == 1:
        return "All trials came to the same metric, so no choice matters."
    scorer = _Scorer(table)
    scores = scorer.scores(values)
    generator = random.Random(0)
    by_chance = sorted(max(scorer.scores(generator.sample(values, len(values))).values()) for _ in range(_SHUFFLES))
    chance = by_chance[math.ceil(_CONFIDENCE * _SHUFFLES) - 1]
    return Importance(scores, chance, len(found), time or 0.0)


class _Scorer:
    """An in-memory study that holds the choices; metrics are given later."""

    def __init__(self, table: Mapping[str, Sequence[Any]]) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions = {name: _distribution(column) for name, column in table.items()}
        categorical = {
            name
            for name, each in distributions.items()
            if isinstance(each, optuna.distributions.CategoricalDistribution)
        }
        self._study = optuna.create_study()
        count = len(next(iter(table.values())))
        rows: list[dict[str, Any]] = [
            {name: str(column[i]) if name in categorical else column[i] for name, column in table.items()}
            for i in range(count)
        ]
        self._study.add_trials(
            [optuna.trial.create_trial(params=row, distributions=distributions, value=0.0) for row in rows]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is called experimental
            kind = optuna.importance.PedAnovaImportanceEvaluator
            share = (
                "target_quantile" if "target_quantile" in inspect.signature(kind).parameters else "baseline_quantile"
            )
            quantile: dict[str, Any] = {share: _SHARE}
            self._evaluator = kind(**quantile)

    def scores(self, values: Sequence[float]) -> dict[str, float]:
        """By name, the largest first."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a target is to be small
            return self._evaluator.evaluate(self._study, target=lambda trial: values[trial.number])


def _distribution(column: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if any(isinstance(value, str | bool) for value in column):
        return CategoricalDistribution(sorted(set(map(str, column))))
    low, high = min(column), max(column)
    log = low > 0 and high > 30 * low
    if all(isinstance(value, int) for value in column):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def importance(experiment: ExperimentResult) -> Picture | None:
    """A bar for each choice; None where nothing was chosen."""
    if not any(features(trial) for trial in experiment.trials) or len(experiment.trials) < 2:
        return None
    title = "Which choices matter"
    found = compute(experiment)
    if isinstance(found, str):
        return Picture("importance", title, found)
    shown = list(found.scores.items())[:_SHOWN]
    with style.drawing("importance"):
        figure = style.new_figure(1.1 + 0.27 * len(shown))
        axes = figure.subplots()
        colours = [style.BLUE if score > found.chance else style.GREY for _, score in shown]
        axes.barh(range(len(shown)), [score for _, score in shown], height=0.66, color=colours)
        axes.axvline(found.chance, color=style.ORANGE, linestyle="--", linewidth=1.6)
        axes.set_yticks(range(len(shown)), [style.cut(name, 44) for name, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("importance (PED-ANOVA, Pearson divergence)")
        line = {"label": "95 % of searches in which nothing matters", "color": style.ORANGE, "linestyle": "--"}
        style.legend(figure, [line])
        svg = style.svg_of(figure, f"Importance of choices in {experiment.name}")
    return Picture("importance", title, _caption(experiment, found), svg)


def _caption(experiment: ExperimentResult, found: Importance) -> str:
    certain = [name for name, score in found.scores.items() if score > found.chance]
    says = [
        f"How much each choice differs between the best fifth and all of {plural(found.trials, 'trial')}, by their "
        f"best validation up to {spell(found.time, experiment.time_metric)}, which most trials reached."
    ]
    if certain:
        says.append(f"More than chance explains: {', '.join(certain)}. Grey bars are no evidence of anything.")
    else:
        says.append("None exceeds what chance explains: these trials are no evidence that any of the choices matters.")
    if len(found.scores) > _SHOWN:
        says.append(f"{len(found.scores) - _SHOWN} more choices, less important, are not drawn.")
    return " ".join(says)
