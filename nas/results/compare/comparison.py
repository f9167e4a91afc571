"""The comparison as plain data: scores at a matched budget, tests between groups, and what may be said of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nas.core.errors import ConfigError, unknown
from nas.results import statistics
from nas.results.compare.baseline import missing_baseline
from nas.results.compare.budgets import DEVICE_HOURS, Trajectory, choose_unit, trajectory
from nas.results.compare.correlation import RankAgreement, rank_agreement
from nas.results.compare.groups import Group, check_comparable, notes_on, seed_of
from nas.results.compare.tables import Table, make_table
from nas.results.experiment import ExperimentResult
from nas.runs.ranking import is_measurement

_SMALLER = ("loss", "perplexity", "error", "mse")
_LARGER = ("accuracy", "r2")


@dataclass(frozen=True)
class Replicate:
    """One experiment of a group.

    Attributes:
        reference: folder or id.
        seed: in which it differs from the others.
        total: what all of it cost.
        trials: how many it had.
        best: its best value within all that it cost.
    """

    reference: str
    seed: int | None
    total: float
    trials: int
    best: float


@dataclass(frozen=True)
class Comparison:
    """Everything that is printed, written and drawn.

    Attributes:
        metric: that is compared.
        smaller_is_better: its direction.
        unit: of budgets.
        budget: at which scores are read.
        groups: their replicates, by name.
        random: names of the groups that are random searches.
        tables: of validation scores, and of test scores if all have some.
        agreement: of search-time with retrained scores, if there are retrained ones.
        notes: what a reader must know.
        baseline: config of the random search that is missing, if one can be made.
        trajectories: of each replicate, by group.
    """

    metric: str
    smaller_is_better: bool
    unit: str
    budget: float
    groups: dict[str, list[Replicate]]
    random: list[str]
    tables: list[Table]
    agreement: RankAgreement | None
    notes: list[str]
    baseline: dict[str, Any] | None
    trajectories: dict[str, list[Trajectory]] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Lists, dicts, numbers and text, ready for `json.dump`."""
        return asdict(self)


def compare(
    groups: Sequence[Group],
    *,
    metric: str | None = None,
    smaller_is_better: bool | None = None,
    budget: float | None = None,
    retrained: Sequence[ExperimentResult] = (),
) -> Comparison:
    """Compare groups of replicates at a budget that all of them have spent.

    Args:
        groups: of experiments.
        metric: to compare by, if not the searchers' own.
        smaller_is_better: its direction, if its name does not tell.
        budget: at which scores are read; the largest that all have spent if None.
        retrained: runs that trained found architectures again, to see whether search-time scores rank them right.

    Raises:
        ConfigError: what cannot be compared, and why; SciPy is not installed.
    """
    statistics.require_scipy()
    check_comparable(groups, metric)
    members = [each for group in groups for each in group.experiments]
    name, smaller = _metric(members, metric, smaller_is_better)
    unit, why = choose_unit(members)
    paths = {g.name: [trajectory(e, name, unit, smaller_is_better=smaller) for e in g.experiments] for g in groups}
    matched = _budget(groups, paths, name, unit, budget)
    tables = [make_table("validation", name, _validation(paths, matched), smaller)]
    if (tested := _tested(groups, paths, name)) is not None:
        tables.append(make_table("test", name, tested, smaller))
    replicates = {
        group.name: [_replicate(*pair) for pair in zip(group.experiments, paths[group.name], strict=True)]
        for group in groups
    }
    asks, baseline = missing_baseline(groups)
    notes = [why, *notes_on(groups), *([asks] if asks else [])]
    if len(tables) == 1:
        notes.append(
            "validation chose what is best, so that its scores flatter every search; the test scores of retrained "
            "architectures do not, but not all experiments have some"
        )
    return Comparison(
        metric=name,
        smaller_is_better=smaller,
        unit=unit,
        budget=matched,
        groups=replicates,
        random=[group.name for group in groups if group.is_random],
        tables=tables,
        agreement=rank_agreement(members, retrained, name, smaller_is_better=smaller) if retrained else None,
        notes=notes,
        baseline=baseline,
        trajectories=paths,
    )


def _metric(members: Sequence[ExperimentResult], asked: str | None, smaller: bool | None) -> tuple[str, bool]:
    own = {each.metric: each.smaller_is_better for each in members}
    name = asked or members[0].metric
    known = [*own, *(each for m in members for trial in m.trials for each in trial.curves.get("validation", {}))]
    if name not in known:
        raise ConfigError(
            [unknown(f"--metric {name!r}", name, dict.fromkeys(known), "was not measured by any of them")]
        )
    if smaller is None:
        smaller = own.get(name)
    if smaller is None and name.endswith(_SMALLER):
        smaller = True
    if smaller is None and name.endswith(_LARGER):
        smaller = False
    if smaller is None:
        raise ConfigError(
            [f"whether small values of {name} are good is not known; say --smaller-is-better true or false"]
        )
    return name, smaller


def _budget(
    groups: Sequence[Group], paths: dict[str, list[Trajectory]], metric: str, unit: str, asked: float | None
) -> float:
    pairs = [
        (each.reference, path)
        for group in groups
        for each, path in zip(group.experiments, paths[group.name], strict=True)
    ]
    if silent := [reference for reference, path in pairs if not path.steps]:
        raise ConfigError([f"{each} has no validation that measured {metric}" for each in silent])
    least, path = min(pairs, key=lambda pair: pair[1].total)
    last, late = max(pairs, key=lambda pair: pair[1].steps[0].cost)
    budget = path.total if asked is None else asked
    if budget > path.total * (1 + 1e-9):
        raise ConfigError(
            [f"--budget must be at most {path.total:.4g} {unit}, all that {least} has spent, got {budget:g}"]
        )
    if budget < late.steps[0].cost * (1 - 1e-9):
        first = f"{last} has its first validation after {late.steps[0].cost:.4g} {unit}"
        spent = f"{least} had spent all of its {budget:.4g} by then" if asked is None else f"--budget is {budget:.4g}"
        raise ConfigError([f"budgets do not overlap: {first}, but {spent}"])
    return budget


def _validation(paths: dict[str, list[Trajectory]], budget: float) -> dict[str, list[float]]:
    found = {name: [path.at(budget) for path in each] for name, each in paths.items()}
    return {name: [step.value for step in steps if step is not None] for name, steps in found.items()}


def _tested(groups: Sequence[Group], paths: dict[str, list[Trajectory]], metric: str) -> dict[str, list[float]] | None:
    """The test score of the trial that has the best validation, for each replicate; None unless all have one.

    A test is made at the end of a training, so that these scores are of no matched budget.
    """
    found: dict[str, list[float]] = {}
    for group in groups:
        for experiment, path in zip(group.experiments, paths[group.name], strict=True):
            chosen = next(trial for trial in experiment.trials if trial.number == path.steps[-1].trial)
            value = chosen.test.get(f"test_{metric}")
            if value is None or not is_measurement(value):
                return None
            found.setdefault(group.name, []).append(value)
    return found


def _replicate(experiment: ExperimentResult, path: Trajectory) -> Replicate:
    trials = len(experiment.trials)
    return Replicate(experiment.reference, seed_of(experiment), path.total, trials, path.steps[-1].value)


def in_seconds(comparison: Comparison) -> bool:
    """Whether people are shown device seconds, as hours would be small fractions."""
    return comparison.unit == DEVICE_HOURS and comparison.budget < 0.5


def budget_text(comparison: Comparison) -> str:
    """The budget with its unit."""
    if in_seconds(comparison):
        return f"{comparison.budget * 3600:.4g} device seconds"
    return f"{comparison.budget:.4g} {comparison.unit}"
