"""ASHA decides as a Determined 0.38.1 master does: held against the rules of `asha_reference`, event by event."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.asha_reference import Reference, ReferenceBracket, floor_log

from nas.config.brackets import Bracket, _log, brackets
from nas.engine.asha import Replay, replay

DIVISORS = [2, 2.5, 3, 4, 5, 7.5]  # those for which no rounding of a logarithm matters; the others are below, by hand
METRICS = [0.0, -0.0, 1.0, 1.5, -2.0, 1e10, -1e10, 1e-300]
Created = tuple[int, int] | None


def halving(rungs: int, divisor: float, max_time: int, trials: int, at_once: int = 0, **more: Any) -> dict[str, Any]:
    """One bracket."""
    known = {"num_rungs": rungs, "divisor": divisor, "max_time": max_time, "max_trials": trials}
    return {"name": "async_halving", "metric": "loss", "max_concurrent_trials": at_once, **known, **more}


@st.composite
def searchers(draw: st.DrawFn) -> dict[str, Any]:
    searcher = {
        "name": draw(st.sampled_from(["adaptive_asha", "adaptive_asha", "async_halving"])),
        "metric": "loss",
        "time_metric": "epochs",
        "max_time": draw(st.integers(1, 2000) | st.integers(1, 20) | st.sampled_from([4**k for k in range(6)])),
        "max_trials": draw(st.integers(1, 200) | st.integers(1, 12)),
    }
    optional = {
        "divisor": st.sampled_from(DIVISORS),
        "max_rungs": st.integers(1, 7),
        "mode": st.sampled_from(["aggressive", "standard", "conservative"]),
        "max_concurrent_trials": st.just(0) | st.integers(0, 40),
        "smaller_is_better": st.booleans(),
        "bracket_rungs": st.lists(st.integers(1, 7), max_size=4),
    }
    given_ones = draw(
        st.fixed_dictionaries({}, optional={name: values | st.none() for name, values in optional.items()})
    )
    rungs = {"num_rungs": draw(st.integers(1, 7))} if searcher["name"] == "async_halving" else {}
    return searcher | given_ones | rungs


class Both:
    """A search and its reference, which must agree at each step."""

    def __init__(self, searcher: dict[str, Any]) -> None:
        self.search, self.reference = Replay(searcher), Reference(searcher)
        self.searcher, self.events, self.outcomes = searcher, [], []  # type: ignore[var-annotated]
        expected = [Bracket(tuple(b.needs), b.trials, b.initial) for b in self.reference.brackets]
        assert self.search.asha.brackets == brackets(searcher) == expected
        assert self.search.asha.bracket_of == self.reference.bracket_of

    @property
    def trials(self) -> int:
        return len(self.reference.bracket_of)

    def bracket(self, trial: int) -> ReferenceBracket:
        return self.reference.brackets[self.reference.bracket_of[trial]]

    def validation(self, trial: int, time: float, metric: float) -> bool:
        outcome = self.search.validated(trial, time, metric)
        stop, created = self.reference.validation(trial, time, metric)
        assert (outcome.stop, outcome.created) == (stop, created), (trial, time, metric)
        self._remember((trial, time, metric), outcome)
        return stop

    def error(self, trial: int) -> Created:
        outcome, created = self.search.failed(trial), self.reference.error(trial)
        assert outcome.created == created
        self._remember((trial, "error"), outcome)
        return created

    def leave(self, trial: int) -> None:
        outcome = self.search.left(trial)
        assert (outcome.stop, outcome.created) == (False, None)
        self._remember((trial, "left"), outcome)

    def _remember(self, event: Any, outcome: Any) -> None:
        self.events.append(event)
        self.outcomes.append(outcome)
        assert self.search.asha.bracket_of == self.reference.bracket_of

    def told_at_once(self) -> None:
        assert replay(self.searcher, self.events) == self.outcomes

    def step(self, choose: random.Random, metrics: Sequence[float] = METRICS) -> None:
        """An event of any trial, stopped or not, at or beside a rung, which need not be its next."""
        trial = choose.randrange(self.trials)
        kind = choose.random()
        if kind < 0.07:
            self.error(trial)
        elif kind < 0.1:
            self.leave(trial)
        else:
            beside = choose.choice([0, 0, 0, -1, -0.25, 0.75, 5000])
            metric = choose.choice([choose.choice(metrics), choose.gauss(0, 1), choose.uniform(-1e10, 1e10)])
            self.validation(trial, choose.choice(self.bracket(trial).needs) + beside, metric)


# Every event


@settings(max_examples=300, deadline=None)
@given(searchers(), st.integers(0, 2**32))
def test_every_decision_is_the_masters(searcher: dict[str, Any], seed: int) -> None:
    both, choose = Both(searcher), random.Random(seed)
    for _ in range(100):
        both.step(choose)
    both.told_at_once()


EVENTS = st.tuples(
    st.integers(0, 300),
    st.one_of(
        st.sampled_from(["error", "left"]),
        st.tuples(st.integers(0, 6), st.sampled_from([-1, -0.5, 0, 0, 0.5, 3000]), st.sampled_from(METRICS)),
        st.tuples(st.integers(0, 6), st.just(0), st.floats(allow_nan=False, allow_infinity=False)),
    ),
)


@settings(max_examples=200, deadline=None)
@given(searchers(), st.lists(EVENTS, max_size=40))
def test_every_decision_of_any_sequence_is_the_masters(searcher: dict[str, Any], events: list[Any]) -> None:
    both = Both(searcher)
    for which, what in events:
        trial = which % both.trials
        if what == "error":
            both.error(trial)
        elif what == "left":
            both.leave(trial)
        else:
            rung, beside, metric = what
            needs = both.bracket(trial).needs
            both.validation(trial, needs[rung % len(needs)] + beside, metric)
    both.told_at_once()


@settings(max_examples=100, deadline=None)
@given(searchers(), st.integers(0, 2**32), st.integers(1, 30))
def test_a_search_in_which_every_trial_trains_on_until_it_stops_is_the_masters(
    searcher: dict[str, Any], seed: int, levels: int
) -> None:
    both, choose = Both(searcher), random.Random(seed)
    live, passed = list(range(both.trials)), dict.fromkeys(range(both.trials), 0)
    while live:
        trial = choose.choice(live)
        needs, known = both.bracket(trial).needs, both.trials
        passed[trial] = choose.choice([needs[both.bracket(trial).rung_of[trial]], passed[trial] + 1])
        if both.validation(trial, passed[trial], choose.randrange(levels)):
            live.remove(trial)
        for new in range(known, both.trials):
            live.append(new)
            passed[new] = 0
    assert [len(bracket.rung_of) for bracket in both.reference.brackets] == [
        b.trials for b in both.search.asha.brackets
    ]
    both.told_at_once()


# Every order of a few events


def rankings(count: int) -> Iterator[tuple[int, ...]]:
    """Every way to rank so many, with ties."""
    for ranks in itertools.product(range(count), repeat=count):
        if set(ranks) == set(range(max(ranks) + 1)):
            yield ranks


def interleavings(trials: int, each: int) -> set[tuple[int, ...]]:
    """Every order in which so many trials can report so often each."""
    return set(itertools.permutations(sorted([*range(trials)] * each)))


def decisions_agree(searcher: dict[str, Any], events: Iterable[tuple[int, float, float]]) -> None:
    search, reference = Replay(searcher), Reference(searcher)
    for event in events:
        outcome = search.validated(*event)
        assert (outcome.stop, outcome.created) == reference.validation(*event), event


@pytest.mark.parametrize("divisor", [2, 3])
def test_every_ranking_of_six_trials_at_the_first_of_two_rungs(divisor: int) -> None:
    searcher = halving(2, divisor, divisor, trials=8, at_once=6)
    for ranks in rankings(6):
        decisions_agree(searcher, [(trial, 1, rank) for trial, rank in enumerate(ranks)])


@pytest.mark.parametrize("divisor", [2, 3])
def test_every_ranking_and_order_of_three_trials_on_two_rungs(divisor: int) -> None:
    searcher = halving(2, divisor, divisor, trials=4, at_once=3)
    for order, ranks in itertools.product(sorted(interleavings(3, each=2)), rankings(3)):
        times = {trial: iter((1, divisor)) for trial in range(3)}
        decisions_agree(searcher, [(trial, next(times[trial]), ranks[trial]) for trial in order])


@pytest.mark.parametrize("divisor", [2, 3])
def test_every_course_of_two_trials_on_three_rungs(divisor: int) -> None:
    searcher = halving(3, divisor, divisor**2, trials=3, at_once=2)
    for order, metrics in itertools.product(sorted(interleavings(2, each=3)), itertools.product(range(3), repeat=6)):
        times = {trial: iter((1, divisor, divisor**2)) for trial in range(2)}
        events = zip(order, metrics, strict=True)
        decisions_agree(searcher, [(trial, next(times[trial]), metric) for trial, metric in events])


@pytest.mark.parametrize("divisor", [2, 3])
def test_every_jump_of_four_trials_over_three_rungs(divisor: int) -> None:
    searcher = halving(3, divisor, divisor**2, trials=5, at_once=4)
    for times, ranks in itertools.product(itertools.product((0.5, 1, divisor**2), repeat=4), rankings(4)):
        decisions_agree(searcher, list(zip(range(4), times, ranks, strict=True)))


# By hand


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # 3 rungs at most, as 16 = 4 ** 2; weights 16/3 and 4/2, so 11.6 and 4.4 of 16 trials
        ({"max_time": 16, "max_trials": 16}, [Bracket((1, 4, 16), 12, 8), Bracket((4, 16), 4, 4)]),
        ({"max_time": 16, "max_trials": 16, "mode": "aggressive"}, [Bracket((1, 4, 16), 16, 16)]),
        (
            {"max_time": 16, "max_trials": 16, "mode": "conservative"},  # weights 16/3, 2, 1: 10.24, 3.84, 1.92
            [Bracket((1, 4, 16), 12, 6), Bracket((4, 16), 3, 3), Bracket((16,), 1, 1)],
        ),
        ({"max_time": 100, "max_trials": 1}, [Bracket((100,), 1, 1)]),
        ({"max_time": 1, "max_trials": 100}, [Bracket((1,), 100, 16)]),
        (
            {"max_time": 10, "max_trials": 8, "bracket_rungs": [1, 3], "divisor": 2, "max_concurrent_trials": 0},
            [Bracket((2, 5, 10), 5, 3), Bracket((10,), 3, 3)],  # weights 4/3 and 1: 4.57 and 3.43
        ),
        (
            {"max_time": 3, "max_trials": 2, "bracket_rungs": [1, 2, 2], "max_concurrent_trials": 1},
            [Bracket((1, 3), 1, 1), Bracket((1, 3), 1, 1), Bracket((3,), 1, 1)],  # one trial each, more than asked for
        ),
    ],
)
def test_brackets_by_hand(settings: dict[str, Any], expected: list[Bracket]) -> None:
    assert brackets({"name": "adaptive_asha", "metric": "loss", "time_metric": "epochs", **settings}) == expected


@pytest.mark.parametrize(
    ("at_once", "initial"),
    [(5, 5), (50, 20), (0, 9)],  # 0: as many as let one trial reach the last of three rungs
)
def test_the_first_trials_of_a_single_bracket(at_once: int, initial: int) -> None:
    assert brackets(halving(3, 3, 9, trials=20, at_once=at_once)) == [Bracket((1, 3, 9), 20, initial)]


def test_decisions_by_hand() -> None:
    searcher = halving(3, 2, 4, trials=5, at_once=3)  # rungs at 1, 2 and 4
    told = [
        ((0, 1, 5.0), False, None),  # the first to come goes on
        ((1, 1, 6.0), True, (3, 0)),  # second of two, of which one goes on
        ((2, 1, 5.0), False, None),  # as good as the best: before its equals
        ((0, 1.9, 5.0), False, None),  # between rungs
        ((3, 1, 5.0), False, None),  # before both of its equals
        ((2, 4, 1.0), True, (4, 0)),  # two rungs at once, and through
        ((0, 2, 0.5), False, None),
        ((3, "error"), True, None),  # no trials left; it is the third on the second rung
        ((4, 2, 0.75), False, None),  # best of five on the first rung, second of four on the second
        ((4, 4, 9.0), True, None),
    ]
    outcomes = replay(searcher, [event for event, _, _ in told])
    assert [(outcome.stop, outcome.created) for outcome in outcomes] == [(stop, made) for _, stop, made in told]


def test_a_stopped_trial_that_reports_again_is_heard_again() -> None:
    searcher = halving(2, 2, 2, trials=9, at_once=2)
    outcomes = replay(searcher, [(0, 1, 1.0), (1, 1, 2.0), (1, 1, 3.0), (1, 1, 0.0), (1, 2, 9.0)])
    assert [outcome.stop for outcome in outcomes] == [False, True, True, False, True]
    assert [outcome.created for outcome in outcomes] == [None, (2, 0), (3, 0), None, (4, 0)]


def test_an_error_counts_as_worse_than_anything() -> None:
    searcher = halving(2, 2, 2, trials=9, at_once=4)
    *_, last = replay(searcher, [(0, "error"), (1, 1, 1e308), (2, 1, 1e308)])
    assert not last.stop  # one of three goes on, and it is before its equal and before the error
    *_, last = replay(searcher, [(0, "error"), (1, 1, 1.0), (2, "error"), (3, 1, 2.0)])
    assert not last.stop  # two of four


# What holds for any search


@settings(max_examples=300, deadline=None)
@given(searchers())
def test_no_trial_is_lost_among_the_brackets(searcher: dict[str, Any]) -> None:
    found = brackets(searcher)
    total = sum(bracket.trials for bracket in found)
    assert searcher["max_trials"] <= total < searcher["max_trials"] + len(found)
    assert total == searcher["max_trials"] or any(bracket.trials == 1 for bracket in found)
    assert [len(bracket.rungs) for bracket in found] == sorted((len(bracket.rungs) for bracket in found), reverse=True)
    for bracket in found:
        assert 1 <= bracket.initial <= bracket.trials
        assert list(bracket.rungs) == sorted(bracket.rungs) and bracket.rungs[0] >= 1
        assert bracket.rungs[-1] == searcher["max_time"]


@settings(max_examples=100, deadline=None)
@given(searchers(), st.integers(0, 2**32))
def test_each_departure_makes_room_for_one_trial_until_all_are_created(searcher: dict[str, Any], seed: int) -> None:
    both, choose = Both(searcher), random.Random(seed)
    departures = [0] * len(both.search.asha.brackets)
    for _ in range(60):
        both.step(choose)
        (trial, *_), outcome = both.events[-1], both.outcomes[-1]
        i = both.search.asha.bracket_of[trial]
        departures[i] += outcome.stop or both.events[-1][1:] == ("error",)
        for k, bracket in enumerate(both.search.asha.brackets):
            there = both.search.asha.bracket_of.count(k)
            assert there == min(bracket.trials, bracket.initial + departures[k]) == bracket.created(departures[k])
        assert outcome.created is None or outcome.created == (len(both.search.asha.bracket_of) - 1, i)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DIVISORS), st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_who_goes_on_is_among_the_best_of_all_so_far(divisor: float, metrics: list[int]) -> None:
    outcomes = replay(halving(2, divisor, 1000, 60, 60), [(i, 999, metric) for i, metric in enumerate(metrics)])
    assert not any(outcome.stop for outcome in outcomes if 1000 // divisor > 999)
    for i, outcome in enumerate(outcomes):
        better = sum(metric < metrics[i] for metric in metrics[:i])
        assert outcome.stop == (better >= max(1, math.floor(Fraction(i + 1) / Fraction(divisor))))


@settings(max_examples=100, deadline=None)
@given(searchers(), st.integers(0, 2**32))
def test_brackets_know_nothing_of_each_other(searcher: dict[str, Any], seed: int) -> None:
    both, choose = Both(searcher), random.Random(seed)
    for _ in range(60):
        both.step(choose)
    for i, bracket in enumerate(both.search.asha.brackets):
        own = [trial for trial, k in enumerate(both.search.asha.bracket_of) if k == i]
        mine = [(event, o) for event, o in zip(both.events, both.outcomes, strict=True) if event[0] in own]
        shared = {key: searcher[key] for key in ("divisor", "smaller_is_better") if searcher.get(key) is not None}
        alone = {**halving(len(bracket.rungs), 4, searcher["max_time"], bracket.trials, bracket.initial), **shared}
        outcomes = replay(alone, [(own.index(event[0]), *event[1:]) for event, _ in mine])
        assert [o.stop for o in outcomes] == [o.stop for _, o in mine]
        assert [o.created and own[o.created[0]] for o in outcomes] == [o.created and o.created[0] for _, o in mine]


@settings(max_examples=100, deadline=None)
@given(searchers(), st.integers(0, 2**32))
def test_who_leaves_early_changes_nothing(searcher: dict[str, Any], seed: int) -> None:
    both, choose = Both(searcher), random.Random(seed)
    for _ in range(60):
        both.step(choose)
    rest = [(event, o) for event, o in zip(both.events, both.outcomes, strict=True) if event[1] != "left"]
    assert replay(searcher, [event for event, _ in rest]) == [outcome for _, outcome in rest]


@settings(max_examples=100, deadline=None)
@given(searchers(), st.integers(0, 2**32))
def test_only_the_order_of_metrics_matters(searcher: dict[str, Any], seed: int) -> None:
    both, choose = Both(searcher), random.Random(seed)
    for _ in range(60):
        both.step(choose, metrics=range(-5, 6))
    numbers = {event[2] for event in both.events if len(event) == 3}
    ranks = {metric: rank for rank, metric in enumerate(sorted(numbers))}

    def changed(rule: Any) -> list[Any]:
        return [(*event[:2], rule(event[2])) if len(event) == 3 else event for event in both.events]

    assert replay(searcher, changed(lambda metric: 2 * ranks[metric] + 1)) == both.outcomes
    assert replay(searcher, changed(lambda metric: ranks[metric] ** 3 - 1e9)) == both.outcomes
    opposite = searcher.get("smaller_is_better") is False
    assert replay({**searcher, "smaller_is_better": opposite}, changed(lambda metric: -metric)) == both.outcomes


@settings(max_examples=100, deadline=None)
@given(searchers(), st.integers(0, 2**32))
def test_fractions_of_a_unit_of_time_do_not_count(searcher: dict[str, Any], seed: int) -> None:
    both, choose = Both(searcher), random.Random(seed)
    for _ in range(60):
        both.step(choose)
    whole = [(event[0], math.floor(event[1]), event[2]) if len(event) == 3 else event for event in both.events]
    assert replay(searcher, whole) == both.outcomes


@settings(max_examples=100, deadline=None)
@given(searchers())
def test_what_is_left_out_or_null_is_the_masters_default(searcher: dict[str, Any]) -> None:
    defaults = {"mode": "standard", "max_rungs": 5, "divisor": 4, "max_concurrent_trials": 16, "bracket_rungs": []}
    given_ones = {name: value for name, value in searcher.items() if value is not None}
    assert brackets({**defaults, **given_ones}) == brackets(searcher) == brackets(given_ones)


# Events that cannot be


@pytest.mark.parametrize(
    "event",
    [
        (2, 1, 1.0),
        (-1, 1, 1.0),
        (7, "error"),
        (2, "left"),
        (-2, "left"),
        (0, "stopped"),
        (0, 5),
        (0, None),
        (0, 1, 1.0, 1.0),
        (0,),
    ],
)
def test_an_event_that_cannot_be_is_named(event: Any) -> None:
    with pytest.raises(ValueError) as caught:
        replay(halving(2, 2, 2, trials=9, at_once=2), [(0, 1, 1.0), event])
    assert repr(event) in str(caught.value)


def test_a_trial_has_no_events_before_it_is_created() -> None:
    searcher = halving(2, 2, 2, trials=9, at_once=2)
    first, second = (0, 2, 1.0), (2, 1, 1.0)
    assert [outcome.created for outcome in replay(searcher, [first, second])] == [(2, 0), None]
    with pytest.raises(ValueError, match="there is no trial 2 at this point"):
        replay(searcher, [second, first])


def test_no_events_lead_to_nothing() -> None:
    assert replay(halving(2, 2, 2, trials=9), []) == []


# Logarithms


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 10**9) | st.floats(1, 1e9) | st.floats(1, 2))
@example(1)
@example(math.nextafter(1, 2))
@example(2**0.5)
def test_a_logarithm_is_right_to_one_unit_in_the_last_place(number: float) -> None:
    ours = _log(number)
    with localcontext() as context:
        context.prec = 60
        assert abs(Decimal(ours) - Decimal(number).ln()) <= Decimal(math.ulp(ours))


@pytest.mark.parametrize(
    ("number", "go"),
    [  # math.Log of Go 1.26 on amd64, run and printed with %x
        (2, "0x1.62e42fefa39efp-01"),
        (2.5, "0x1.d5240f0e0e078p-01"),
        (3, "0x1.193ea7aad030ap+00"),
        (7.5, "0x1.01e85798eb9a3p+01"),
        (10, "0x1.26bb1bbb55516p+01"),
        (243, "0x1.5f8e5195843cdp+02"),
        (1524, "0x1.d50fdf2c9fd81p+02"),
        (11022, "0x1.29d841c7ffd82p+03"),
    ],
)
def test_a_logarithm_is_rounded_as_go_does(number: float, go: str) -> None:
    assert _log(number) == float.fromhex(go)


@pytest.mark.parametrize(
    ("divisor", "number", "floor"),
    # int(math.Log(number) / math.Log(divisor)) of Go 1.26 on amd64; not what it should be for 9, 10, 14 and 17
    [
        *((3, 243, 5), (3, 59049, 10), (4, 64, 3), (4, 1024, 5), (2, 1024, 10), (5, 3125, 5)),
        *((10, 999, 2), (10, 1000, 2), (10, 10000, 4), (9, 59049, 4), (14, 2744, 2), (17, 4913, 2)),
    ],
)
def test_the_rungs_at_an_exact_power_are_as_many_as_go_counts(divisor: int, number: int, floor: int) -> None:
    for least, other in (("max_time", "max_trials"), ("max_trials", "max_time")):
        searcher = {"name": "adaptive_asha", "mode": "aggressive", "divisor": divisor, "max_rungs": 99}
        (bracket,) = brackets({**searcher, least: number, other: 10**9})
        assert len(bracket.rungs) == floor + 1


@pytest.mark.parametrize("divisor", DIVISORS)
def test_for_the_divisors_of_these_tests_the_rounding_of_logarithms_does_not_matter(divisor: float) -> None:
    for number in range(1, 2001):
        assert int(_log(number) / _log(divisor)) == floor_log(Fraction(divisor), number)
