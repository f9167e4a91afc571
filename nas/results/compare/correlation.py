"""Do search-time scores rank architectures as training on their own does?"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from nas.core.errors import ConfigError
from nas.results import statistics
from nas.results.compare.budgets import validations
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.same import canonical_forms
from nas.runs.ranking import best_value, is_measurement

_DERIVED = "derived_"
"""Before the name of a metric: of the architecture that a one-shot search would derive, with the supernet's weights."""


@dataclass(frozen=True)
class RankAgreement:
    """Of architectures that were searched and trained again; positive where both rank them alike.

    Attributes:
        searched_by, retrained_by: what the scores are.
        pairs: architecture in words, search-time score, mean of the retrained scores.
        spearman, kendall: None where they are not defined.
        unmatched: retrained architectures that no search had.
        says: what may be said, in a sentence.
    """

    searched_by: str
    retrained_by: str
    pairs: list[tuple[str, float, float]]
    spearman: statistics.Correlation | None
    kendall: statistics.Correlation | None
    unmatched: int
    says: str


def rank_agreement(
    searches: Sequence[ExperimentResult], retrained: Sequence[ExperimentResult], metric: str, *, smaller_is_better: bool
) -> RankAgreement:
    """Match trials by their canonical architecture.

    An architecture that several trials searched has the best of their scores; one that was retrained several times the mean.

    A metric of the derived architecture, of a one-shot search, is compared with the same of the retrained one.

    Raises:
        ConfigError: no architecture is in both.
    """
    trained = metric.removeprefix(_DERIVED)
    first: dict[Hashable, tuple[str, list[float]]] = {}
    names = set()
    for form, trial, experiment in _with_forms(searches):
        name, score = _search_score(experiment, trial, metric, smaller_is_better)
        if score is not None:
            names.add(name)
            first.setdefault(form, (trial.architecture or "", []))[1].append(score)
    second: dict[Hashable, list[float]] = {}
    for form, trial, experiment in _with_forms(retrained):
        score = best_value((v for _, v in validations(experiment, trial, trained)), smaller_is_better=smaller_is_better)
        if score is not None:
            second.setdefault(form, []).append(score)
    better = min if smaller_is_better else max
    pairs = [(words, better(scores), fmean(second[form])) for form, (words, scores) in first.items() if form in second]
    if not pairs:
        raise ConfigError(["--retrained names no run of an architecture that the compared experiments found"])
    if len(names) > 1:
        raise ConfigError([f"search-time scores of {' and '.join(sorted(names))} cannot be ranked together"])
    sides = [score for _, score, _ in pairs], [score for _, _, score in pairs]
    rho, tau = statistics.spearman(*sides), statistics.kendall(*sides)
    unmatched = sum(form not in first for form in second)
    return RankAgreement(names.pop(), trained, pairs, rho, tau, unmatched, _says(rho, len(pairs)))


def _with_forms(
    experiments: Iterable[ExperimentResult],
) -> Iterable[tuple[Hashable, TrialResult, ExperimentResult]]:
    for experiment in experiments:
        forms = canonical_forms(experiment)
        for trial in experiment.trials:
            if trial.number in forms:
                yield forms[trial.number], trial, experiment


def _search_score(
    experiment: ExperimentResult, trial: TrialResult, metric: str, smaller: bool
) -> tuple[str, float | None]:
    """Of a one-shot search that of its last architecture, else the best validation."""
    if trial.search:
        derived = f"{_DERIVED}{metric.removeprefix(_DERIVED)}"
        score = (trial.search[-1].get("scores") or {}).get(derived)
        return derived, score if is_measurement(score) else None
    return metric, best_value((v for _, v in validations(experiment, trial, metric)), smaller_is_better=smaller)


def _says(rho: statistics.Correlation | None, count: int) -> str:
    if rho is None:
        return "all scores of one side are equal, or there is one architecture only: there is no order to compare"
    if rho.low is None or rho.high is None:
        return f"{count} architectures are too few for an interval, so that nothing can be said"
    if rho.low > 0:
        return "search-time scores rank architectures as training does, better than chance"
    if rho.high < 0:
        return "search-time scores rank architectures the wrong way round"
    return "whether search-time scores rank architectures as training does cannot be told: the interval holds 0"
