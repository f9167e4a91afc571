"""Random against trained controllers as plain data: what is printed, written and drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np

from nas.core.contenders import GROUPS, TRAINED, UNIFORM
from nas.core.wording import plural
from nas.results import statistics
from nas.results.compare import permutation, superiority
from nas.results.compare.controllers import Cell, Contest, Controller
from nas.results.compare.groups import Group, notes_on
from nas.results.compare.superiority import Interval
from nas.results.compare.tables import SIGNIFICANT
from nas.results.statistics import Floats

_SHOULD = 5  # controllers
_SEED = 0  # of resamples


@dataclass(frozen=True)
class GroupSummary:
    """The cells of one group.

    Attributes:
        mean, interval, sd: over the cells that did not diverge; the interval by bootstrap over controllers.
        distinct: how many of the cells differ in what they compute; None where nobody can tell.
        best: by validation.
        test: its score on the test split, if it has one.
    """

    count: int
    diverged: int
    mean: float | None
    interval: Interval | None
    sd: float | None
    distinct: int | None
    best: Cell | None
    test: float | None


@dataclass(frozen=True)
class BestOf:
    """The expected best of n cells by n = 1, 2, ...; infinite where all may have diverged. No band for few controllers."""

    values: list[float]
    low: list[float] | None
    high: list[float] | None


@dataclass(frozen=True)
class EqualCost:
    """The best of n cells of a controller against that of as many uniform cells as its search and they cost together.

    Attributes:
        uniform_count: so many, at most all there are.
        paid_for: so many would be paid for.
    """

    count: int
    trained: float
    uniform_count: int
    uniform: float
    paid_for: int


@dataclass(frozen=True)
class Outcome:
    """Everything that is said of a contest.

    Attributes:
        p, two_sided, smallest: of the permutation test, which is the confirmatory one; see `permutation`.
        superiority: P(a trained cell is better than a uniform one).
        cells_p, cells_test: a p that takes cells for independent, and of which test.
        pooled: expected best of n of all uniform cells, of whichever experiment.
        search_cost: what a search costs, in trainings of a cell; None where it is not known.
        in_both: different cells that both groups have.
    """

    metric: str
    smaller_is_better: bool
    groups: dict[str, GroupSummary]
    superiority: float
    superiority_interval: Interval | None
    difference: float | None
    difference_interval: Interval | None
    p: float
    two_sided: bool
    smallest: float
    cells_p: float
    cells_test: str
    best_of: dict[str, BestOf]
    pooled: list[float]
    search_cost: float | None
    equal_cost: list[EqualCost]
    in_both: int | None
    verdict: str
    notes: list[str]
    controllers: list[Controller] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """Lists, dicts, numbers and text; None for what is not finite, which strict JSON does not have."""
        plain: dict[str, Any] = _strict(asdict(self))
        return plain


def judge(contest: Contest) -> Outcome:
    """Compare the groups. Raises ConfigError if SciPy is not installed."""
    statistics.require_scipy()
    controllers, sign = contest.controllers, 1.0 if contest.smaller_is_better else -1.0
    costs = {group: [_costs(each.cells[group], sign) for each in controllers] for group in GROUPS}
    trained, uniform = costs[TRAINED], costs[UNIFORM]
    share, interval = superiority.superiority(trained, uniform, _SEED)
    two_sided = controllers[0].about.test == "different"
    p = permutation.permutation_p(superiority.rank_differences(trained, uniform), two_sided=two_sided)
    smallest = permutation.smallest_p(len(controllers), two_sided=two_sided)
    difference, spread = _difference(trained, uniform, sign)
    cells_p, cells_test = superiority.cells_p(np.concatenate(trained), np.concatenate(uniform))
    everything = np.concatenate(uniform)
    pooled = [sign * superiority.best_of(everything, n) for n in range(1, len(everything) + 1)]
    best_of = {group: _best_of(costs[group], sign) for group in GROUPS}
    price = _search_cost(controllers)
    return Outcome(
        metric=contest.metric,
        smaller_is_better=contest.smaller_is_better,
        groups={group: _summary(controllers, group, costs[group], sign, contest.metric) for group in GROUPS},
        superiority=share,
        superiority_interval=interval,
        difference=difference,
        difference_interval=spread,
        p=p,
        two_sided=two_sided,
        smallest=smallest,
        cells_p=cells_p,
        cells_test=cells_test,
        best_of=best_of,
        pooled=pooled,
        search_cost=price,
        equal_cost=[] if price is None else _equal_cost(best_of[TRAINED].values, pooled, price),
        in_both=_in_both(controllers),
        verdict=_verdict(len(controllers), p, smallest, share, two_sided),
        notes=_notes(contest, price),
        controllers=controllers,
    )


def _costs(cells: Sequence[Cell], sign: float) -> Floats:
    return np.array([math.inf if cell.value is None else sign * cell.value for cell in cells])


def _finite(values: Sequence[Floats]) -> bool:
    return all(bool(np.isfinite(each).all()) for each in values)


def _summary(
    controllers: Sequence[Controller], group: str, costs: Sequence[Floats], sign: float, metric: str
) -> GroupSummary:
    cells = [cell for each in controllers for cell in each.cells[group]]
    sane = [cell.value for cell in cells if cell.value is not None]
    middle, interval = superiority.mean(costs, _SEED) if _finite(costs) else (None, None)
    best = min(
        (cell for cell in cells if cell.value is not None), key=lambda cell: sign * (cell.value or 0), default=None
    )
    forms = [cell.form for cell in cells]
    return GroupSummary(
        count=len(cells),
        diverged=len(cells) - len(sane),
        mean=sign * middle if middle is not None else (fmean(sane) if sane else None),
        interval=_turned(interval, sign),
        sd=stdev(sane) if len(sane) > 1 else None,
        distinct=None if None in forms else len(set(forms)),
        best=best,
        test=None if best is None else best.test.get(f"test_{metric}"),
    )


def _difference(
    trained: Sequence[Floats], uniform: Sequence[Floats], sign: float
) -> tuple[float | None, Interval | None]:
    """Mean of the trained cells less that of the uniform ones; not defined where a training diverged."""
    if not _finite([*trained, *uniform]):
        return None, None
    sums = [np.array([each.sum() for each in group]) for group in (trained, uniform)]
    sizes = np.array([len(each) for each in trained])

    def of(counts: Floats) -> Floats:
        return np.asarray((counts @ sums[0] - counts @ sums[1]) / (counts @ sizes))

    found = float((sums[0].sum() - sums[1].sum()) / sizes.sum())
    return sign * found, _turned(superiority.over_controllers(len(trained), of, _SEED), sign)


def _turned(interval: Interval | None, sign: float) -> Interval | None:
    if interval is None:
        return None
    low, high = sorted(sign * each for each in interval)
    return low, high


def _best_of(costs: Sequence[Floats], sign: float) -> BestOf:
    values, band = superiority.best_of_curve(costs, _SEED)
    if band is None:
        return BestOf((sign * values).tolist(), None, None)
    low, high = sorted((sign * each for each in band), key=lambda each: float(each.sum()))
    return BestOf((sign * values).tolist(), low.tolist(), high.tolist())


def _search_cost(controllers: Sequence[Controller]) -> float | None:
    """Of a mean search, in mean trainings of a cell."""
    searches = [each.search_seconds for each in controllers]
    trainings = [cell.seconds for each in controllers for group in GROUPS for cell in each.cells[group]]
    if None in searches or None in trainings:
        return None
    training = fmean(each or 0.0 for each in trainings)
    return fmean(each or 0.0 for each in searches) / training if training > 0 else None


def _equal_cost(trained: Sequence[float], pooled: Sequence[float], price: float) -> list[EqualCost]:
    rows = []
    for count in dict.fromkeys([1, max(1, len(trained) // 2), len(trained)]):
        paid = math.floor(count + price)
        fits = min(paid, len(pooled))
        rows.append(EqualCost(count, trained[count - 1], fits, pooled[fits - 1], paid))
    return rows


def _in_both(controllers: Sequence[Controller]) -> int | None:
    forms = {group: {cell.form for each in controllers for cell in each.cells[group]} for group in GROUPS}
    return None if any(None in each for each in forms.values()) else len(forms[TRAINED] & forms[UNIFORM])


def _verdict(count: int, p: float, smallest: float, share: float, two_sided: bool) -> str:
    """What may be said; nothing of a difference that so few controllers could not show."""
    seen = f"p = {p:.3g}; trained cells win {share:.0%} of all pairs"
    if smallest > SIGNIFICANT:
        needed = permutation.fewest_controllers(SIGNIFICANT, two_sided=two_sided)
        return (
            f"too few controllers to say anything: with {count}, p cannot be below {smallest:.3g} ({seen}); "
            f"{needed} could show a difference"
        )
    if p <= SIGNIFICANT:
        way = "better" if share > 0.5 else "worse"
        return f"cells of a trained controller are {way} than uniform ones ({seen})"
    asked = "differ from" if two_sided else "are better than"
    return f"it is not shown that cells of a trained controller {asked} uniform ones ({seen}); that does not make them equal"


def _notes(contest: Contest, price: float | None) -> list[str]:
    controllers, notes = contest.controllers, list(contest.left_out)
    if len(controllers) < _SHOULD:
        notes.append(f"{plural(len(controllers), 'controller')} are few: bootstrap intervals are too narrow then")
    if controllers[0].about.strategy == "random":
        notes.append("strategy random learns no controller: its cells are uniform too, so any difference is chance")
    if contest.left_out:
        notes.append("if trainings failed because of their cells, leaving them out flatters the group that they are of")
    cells = [cell for each in controllers for group in GROUPS for cell in each.cells[group]]
    if any(cell.value is None for cell in cells):
        notes.append("a training that diverged counts as the worst, in every rank; means are over the others")
    if price is None:
        notes.append(
            "what the searches cost is not counted"
            + (": name them with --searches" if all(each.search_seconds is None for each in controllers) else "")
            + "; uniform cells cost no search, so at equal cost there would be more of them"
        )
    return [*notes, *notes_on([Group("", contest.experiments)])]


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: str(each) if key == "form" and each is not None else _strict(each) for key, each in value.items()}
    return [_strict(each) for each in value] if isinstance(value, list | tuple) else value
