"""An experiment in an Optuna study: decides as a master does, and a crash at any moment changes nothing of it."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from support.asha_reference import FAILED_METRIC, Reference
from support.master_draws import created

from nas.core.errors import ConfigError
from nas.engine.asha import Asha, Decision, replay
from nas.engine.distributions import decode, distribution, encode
from nas.engine.study_store import StudyStore

LR: dict[str, Any] = {"lr": {"type": "double", "minval": 0, "maxval": 1}}
SPACE: dict[str, Any] = {
    **LR,
    "width": {"type": "int", "minval": 8, "maxval": 64},
    "cell": {"ops": {"type": "categorical", "vals": [["tanh"], ["relu", "tanh"], None]}, "depth": 2},
    "decay": {"type": "log", "minval": -6, "maxval": -2},
    "gain": {"type": "log", "minval": -1, "maxval": 3, "base": 2},
    "flag": {"type": "categorical", "vals": [True, False, 1, "yes", 0.5]},
    "seed": {"type": "const", "val": 7},
}
SEED = 11


def halving(rungs: int, divisor: float, max_time: int, trials: int, at_once: int = 0, **more: Any) -> dict[str, Any]:
    """One bracket."""
    known = {"num_rungs": rungs, "divisor": divisor, "max_time": max_time, "max_trials": trials}
    return {"name": "async_halving", "metric": "loss", "max_concurrent_trials": at_once, **known, **more}


class Study:
    """An experiment whose engine can be killed, in a database in a folder, or in a storage of Optuna's."""

    def __init__(
        self, storage: Any, searcher: dict[str, Any], space: dict[str, Any] = LR, sampler: str | None = None
    ) -> None:
        self._url = f"sqlite:///{storage / 'study.db'}" if isinstance(storage, Path) else storage
        self._sampler = sampler
        self.config = {"searcher": {"metric": "loss", **searcher}, "hyperparameters": space}
        self.crash()

    def crash(self) -> None:
        """Nothing is left but the storage."""
        self.store = StudyStore(self._url, "study", self.config, SEED, self._sampler)

    def create(self) -> list[tuple[int, int]]:
        """The (trial, bracket) of each that should be there and was not; they start at once."""
        new = self.store.create_missing_trials()
        for trial in new:
            self.store.started(trial.number)
        assert self.store.create_missing_trials() == []
        return [(trial.number, trial.user_attrs["bracket"]) for trial in new]

    def validated(self, trial: int, step: int, value: float) -> bool:
        return self.store.validated(trial, step, value)

    def stop(self, trial: int) -> None:
        """It was told to stop, and did."""
        complete = self.store.searcher.complete(trial)
        self.store.finish(trial, "completed" if complete else "pruned")

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.store.trials()

    def drawn(self) -> list[tuple[Any, int]]:
        """Hyperparameters and seed of each trial."""
        return [(trial.user_attrs["hyperparameters"], trial.user_attrs["seed"]) for trial in self.trials]

    def contents(self) -> list[str]:
        """All that there is to know; as text, in which a NaN equals itself."""
        return [
            str((t.number, t.state, t.params, sorted(t.user_attrs.items()), t.intermediate_values, t.values))
            for t in self.trials
        ]


def draws(space: dict[str, Any], count: int) -> list[tuple[Any, int]]:
    """What a master's searcher gives to its first trials: hyperparameters, 16 bytes for the request id, a seed, and so on."""
    return created(space, SEED, count)


# Held against the rules


def random_searcher(choose: random.Random) -> dict[str, Any]:
    divisor, max_time = choose.choice([2, 2.5, 3, 4]), choose.choice([1, 9, 16, 27, 40])
    trials, at_once = choose.randint(3, 40), choose.choice([0, 2, 3, 5])
    smaller = {"smaller_is_better": choose.random() < 0.5}
    if choose.random() < 0.25:
        return halving(choose.randint(1, 4), divisor, max_time, trials, at_once, **smaller)
    more = {"mode": choose.choice(["aggressive", "standard", "conservative"]), "max_rungs": choose.randint(1, 4)}
    known = {"time_metric": "epochs", "divisor": divisor, "max_time": max_time, "max_trials": trials}
    return {"name": "adaptive_asha", "metric": "loss", "max_concurrent_trials": at_once, **known, **more, **smaller}


class Driven:
    """A study and the reference, told the same; what becomes of a value that is not a number is `worst`."""

    def __init__(self, storage: Any, choose: random.Random) -> None:
        searcher = random_searcher(choose)
        self.choose = choose
        self.study, self.reference = Study(storage, searcher, SPACE), Reference(searcher)
        self.worst = FAILED_METRIC if searcher["smaller_is_better"] else -FAILED_METRIC
        self.steps: dict[int, int] = {}
        self.told: dict[int, int] = {}
        self.searcher = searcher
        self.record: list[tuple[Any, Decision]] = []  # each event, and what the study made of it
        self._create(list(enumerate(self.reference.bracket_of)))

    def event(self) -> None:
        """A live trial validates, fails or leaves; sometimes the engine dies before, after, or in between."""
        trial, kind = self.choose.choice(sorted(self.steps)), self.choose.random()
        self._perhaps_crash()
        created = None
        if kind < 0.06:
            created = self.reference.error(trial)
            self.record.append(((trial, "error"), Decision(True, created)))
            self._end(trial, "error")
        elif kind < 0.1:
            self.record.append(((trial, "left"), Decision(False, None)))
            self._end(trial, self.choose.choice(["invalid", "diverged", "completed"]))
        else:
            created = self._validate(trial)
        self._create([] if created is None else [created])

    def _validate(self, trial: int) -> Any:
        bad = self.choose.choice([math.nan, math.inf, -math.inf])
        value = self.choose.choice([self.choose.gauss(0, 1), self.choose.randint(-2, 2), 1e10, bad])
        bracket = self.reference.brackets[self.reference.bracket_of[trial]]
        step = max(self.steps[trial] + 1, self.choose.choice([0, 0, 0, *bracket.needs]))
        if trial in self.told and self.choose.random() < 0.2:  # resumed, and the same epoch came out a little different
            before = self.study.contents()
            assert self.study.validated(trial, self.told[trial], value) is False
            assert self.study.contents() == before
        stop, created = self.reference.validation(trial, step, value if math.isfinite(value) else self.worst)
        assert self.study.validated(trial, step, value) == stop
        self.record.append(((trial, step, value), Decision(stop, created)))
        self._perhaps_crash()
        if self.choose.random() < 0.2:  # told again: what was decided stays decided
            assert self.study.validated(trial, step, -1.0) == stop
        self.steps[trial] = self.told[trial] = step
        if stop:
            self._end(trial, None)
        return created

    def _end(self, trial: int, how: str | None) -> None:
        self._perhaps_crash()
        self.study.stop(trial) if how is None else self.study.store.finish(trial, how)
        del self.steps[trial]
        self._perhaps_crash()

    def _create(self, expected: list[tuple[int, int]]) -> None:
        assert self.study.create() == expected
        self.steps |= {trial: 0 for trial, _ in expected}

    def _perhaps_crash(self) -> None:
        if self.choose.random() < 0.05:
            self.study.crash()


def decides_as_a_master(storage: Any, seed: int, events: int) -> None:
    driven = Driven(storage, random.Random(seed))
    for _ in range(events):
        if driven.steps:
            driven.event()
    study = driven.study
    study.crash()
    assert study.create() == []
    assert [trial.user_attrs["bracket"] for trial in study.trials] == driven.reference.bracket_of
    assert study.drawn() == draws(SPACE, len(study.trials))
    assert replay(driven.searcher, [event for event, _ in driven.record]) == [made for _, made in driven.record]
    running = [trial.number for trial in study.trials if trial.state == TrialState.RUNNING]
    assert running == sorted(driven.steps)


@pytest.mark.parametrize("seed", [3, 5, 40])
def test_a_study_decides_as_a_master_however_often_its_engine_dies(tmp_path: Path, seed: int) -> None:
    decides_as_a_master(tmp_path, seed, events=25)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 2**32))
def test_so_it_does_in_a_hundred_events_of_any_kind(seed: int) -> None:
    decides_as_a_master(InMemoryStorage(), seed, events=100)  # which Optuna takes in place of a URL, and SQLite is slow


def test_what_decides_in_a_search_is_what_replay_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for name in ("validated", "failed", "missing"):
        decide = getattr(Asha, name)

        def spied(search: Asha, *event: Any, name: str = name, decide: Any = decide) -> Any:
            asked.append((name, *event))
            return decide(search, *event)

        monkeypatch.setattr(Asha, name, spied)
    searcher = halving(2, 2, 4, trials=5, at_once=2)
    replay(searcher, [(0, 2, 1.0), (1, "error")])
    of_replay = set(asked)
    asked.clear()
    study = Study(InMemoryStorage(), searcher)
    study.create()
    study.validated(0, 2, 1.0)
    study.store.finish(1, "error")
    study.create()
    assert set(asked) == of_replay == {("validated", 0, 2, 1.0), ("failed", 1), ("missing",)}


# A crash at a moment that matters


def test_an_engine_that_dies_before_it_creates_a_replacement_creates_it_afterwards_and_once(tmp_path: Path) -> None:
    study = Study(tmp_path, halving(2, 2, 4, trials=5, at_once=2))
    assert study.create() == [(0, 0), (1, 0)]
    assert [study.validated(0, 2, 1.0), study.validated(1, 2, 2.0)] == [False, True]
    study.crash()
    assert study.create() == [(2, 0)]  # though nobody has heard yet that trial 1 ended
    study.crash()
    assert study.create() == []
    study.stop(1)
    assert study.create() == []
    assert study.drawn() == draws(LR, 3)


@pytest.mark.parametrize("value", [2.0, math.nan, math.inf])
def test_a_stop_that_was_written_without_its_validation_stands(tmp_path: Path, value: float) -> None:
    """What samplers look at must not depend on the kill: the validation is written when the study is opened."""
    study = Study(tmp_path, halving(2, 2, 4, trials=5, at_once=2))
    study.create()
    study.validated(0, 2, 1.0)
    storage = study.store.storage
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "set_trial_intermediate_value", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            study.validated(1, 2, value)
    study.crash()
    assert str(study.store.trial(1).intermediate_values) == str({2: value})
    assert study.create() == [(2, 0)]
    assert study.validated(1, 2, 0.1) is True  # told again
    study.crash()
    assert str(study.store.trial(1).intermediate_values) == str({2: value})


def test_a_validation_after_which_its_trial_goes_on_is_one_write(tmp_path: Path) -> None:
    study = Study(tmp_path, halving(2, 2, 4, trials=5, at_once=2))
    study.create()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study.store.storage, "set_trial_user_attr", lambda *_: 1 / 0)
        assert study.validated(0, 2, 1.0) is False
    study.crash()
    assert study.validated(1, 2, 2.0) is True  # the first passed its rung


def test_an_error_that_was_noted_but_not_counted_counts_once(tmp_path: Path) -> None:
    study = Study(tmp_path, halving(2, 2, 4, trials=9, at_once=2))
    study.create()
    study.store.set_attributes(0, outcome="error")
    study.crash()
    assert study.create() == [(2, 0)]
    study.store.finish(0, "error")
    assert study.create() == []
    assert study.validated(1, 2, 3.0) is False  # the best of two
    assert study.validated(2, 2, 4.0) is True  # the second of three; of four it would go on


def test_an_engine_that_dies_between_first_trials_creates_the_others(tmp_path: Path) -> None:
    searcher = {"name": "adaptive_asha", "time_metric": "epochs", "max_time": 16, "max_trials": 16}
    study = Study(tmp_path, {**searcher, "max_concurrent_trials": 6}, SPACE)
    assert study.store.searcher.missing() == [0, 0, 0, 1, 1, 1]
    for _ in range(4):
        study.store.create(study.store.searcher.missing()[0])
        study.crash()
    assert study.create() == [(4, 1), (5, 1)]
    assert study.drawn() == draws(SPACE, 6)


def test_what_was_told_is_kept_as_it_was_told(tmp_path: Path) -> None:
    study = Study(tmp_path, halving(1, 2, 8, trials=1))
    study.create()
    for step, value in ((1, 0.1), (2, 0.3), (2, 5.0), (1, 7.0), (3, math.inf)):
        study.validated(0, step, value)
    study.crash()
    assert study.store.trial(0).intermediate_values == {1: 0.1, 2: 0.3, 3: math.inf}
    assert study.store.trial(0).state == TrialState.RUNNING


# Values that are not numbers


@pytest.mark.parametrize("smaller_is_better", [True, False])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_the_worst_and_stops_nobody_else(bad: float, smaller_is_better: bool) -> None:
    study = Study(InMemoryStorage(), halving(2, 2, 4, trials=9, at_once=5, smaller_is_better=smaller_is_better))
    study.create()
    sign = 1 if smaller_is_better else -1
    told = [bad, sign * 1e300, bad, sign * 1e300, sign * 1e301]
    stops = [study.validated(trial, 2, value) for trial, value in enumerate(told)]
    assert stops == [False, False, True, False, True]  # the first to come goes on; then none is behind a bad one


def test_a_trial_that_trained_to_the_end_is_complete_and_no_other(tmp_path: Path) -> None:
    study = Study(tmp_path, halving(2, 2, 4, trials=9, at_once=4))
    study.create()
    study.validated(0, 4, 1.0)
    study.validated(1, 2, 2.0)
    study.validated(2, 2, 0.5)
    study.store.finish(2, "error")  # at the last rung
    study.validated(3, 2, 0.1)
    assert [study.store.searcher.complete(trial.number) for trial in study.trials] == [True, False, False, False]


def test_a_trial_that_trained_to_the_end_is_complete_whatever_its_last_value_was(tmp_path: Path) -> None:
    study = Study(tmp_path, halving(1, 2, 4, trials=1))
    study.create()
    assert study.validated(0, 4, math.nan) is True
    assert study.store.searcher.complete(0)


# How trials end


ENDS = ["completed", "pruned", "diverged", "error", "invalid"]


@pytest.mark.parametrize(("how", "replaced"), [("error", True), ("invalid", False), ("diverged", False)])
def test_under_asha_only_an_error_is_replaced(tmp_path: Path, how: str, replaced: bool) -> None:
    study = Study(tmp_path, halving(2, 2, 4, trials=9, at_once=2))
    study.create()
    study.store.finish(0, how)
    assert study.create() == ([(2, 0)] if replaced else [])
    assert study.store.trial(0).user_attrs["outcome"] == how
    assert study.validated(1, 2, 1.0) is False


def test_every_trial_can_end_in_every_way(tmp_path: Path) -> None:
    ways = list(itertools.product(ENDS, [0.5, math.nan, None]))
    study = Study(tmp_path, {"name": "random", "max_trials": len(ways), "max_concurrent_trials": 0})
    study.create()
    for number, (how, value) in enumerate(ways):
        if value is not None:
            study.validated(number, 1, value)
            study.validated(number, 2, math.inf)
        study.store.finish(number, how)
    study.crash()
    for trial, (how, value) in zip(study.trials, ways, strict=True):
        failed = how in ("error", "invalid")
        assert trial.state.is_finished() and trial.user_attrs["outcome"] == how
        assert (trial.state == TrialState.FAIL) == failed
        assert trial.values == ([0.5] if value == 0.5 and not failed else None)
    assert [ways[trial.number] for trial in study.store.leaderboard()] == [(how, 0.5) for how in ENDS]


@pytest.mark.parametrize("smaller_is_better", [True, False])
def test_the_leaderboard_ranks_trials_by_their_best_validation(smaller_is_better: bool) -> None:
    study = Study(InMemoryStorage(), {"name": "random", "max_trials": 5, "smaller_is_better": smaller_is_better})
    study.create()
    sign = 1 if smaller_is_better else -1
    for trial, values in enumerate([[3.0, 2.0], [1.0, 9.0], [], [2.0, math.nan], [math.nan]]):
        for step, value in enumerate(values, start=1):
            study.validated(trial, step, sign * value)
    assert [trial.number for trial in study.store.leaderboard()] == [1, 0, 3]


# Searchers without rungs


@pytest.mark.parametrize(
    ("searcher", "first", "all_of_them"),
    [
        ({"name": "single"}, 1, 1),
        ({"name": "random", "max_trials": 7, "max_concurrent_trials": 3}, 3, 7),
        ({"name": "random", "max_trials": 2, "max_concurrent_trials": 3}, 2, 2),
        ({"name": "random", "max_trials": 18}, 16, 18),
        ({"name": "random", "max_trials": 18, "max_concurrent_trials": 0}, 18, 18),
    ],
)
def test_every_end_of_any_kind_makes_room_for_the_next(searcher: dict[str, Any], first: int, all_of_them: int) -> None:
    study = Study(InMemoryStorage(), searcher, SPACE)
    assert study.create() == [(number, 0) for number in range(first)]
    assert study.store.searcher.trials == all_of_them
    for trial in range(all_of_them):
        assert study.validated(trial, 1, float(trial)) is False
        assert study.create() == []
        study.store.finish(trial, ENDS[trial % len(ENDS)])
        if trial % 5 == 3:
            study.crash()
        assert study.create() == ([(first + trial, 0)] if first + trial < all_of_them else [])
    assert study.drawn() == draws(SPACE, all_of_them)


def test_a_grid_is_walked_from_its_last_point_to_its_first(tmp_path: Path) -> None:
    space = {
        "width": {"type": "int", "minval": 1, "maxval": 5, "count": 2},
        "act": {"type": "categorical", "vals": ["relu", "tanh", None]},
        "depth": 4,
    }
    study = Study(tmp_path, {"name": "grid", "max_concurrent_trials": 2}, space)
    assert study.create() == [(0, 0), (1, 0)]
    assert study.store.searcher.trials == 6
    for trial in range(6):
        study.store.finish(trial, ENDS[trial % len(ENDS)])
        if trial in (1, 4):
            study.crash()
        assert study.create() == ([(trial + 2, 0)] if trial < 4 else [])
    points = [{"width": width, "act": act, "depth": 4} for act in ("relu", "tanh", None) for width in (1, 5)]
    assert [hparams for hparams, _ in study.drawn()] == points[::-1]
    constants = {"depth": 4}
    assert [seed for _, seed in study.drawn()] == [seed for _, seed in draws(constants, 6)]  # a grid draws nothing else


# Storage and choices


def test_a_storage_that_cannot_be_opened_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Study(tmp_path / "missing", {"name": "single"})
    (problem,) = caught.value.problems
    assert "missing" in problem and "\n" not in problem


@pytest.mark.parametrize(
    "values",
    [
        ["relu", "tanh"],
        [3, 1, 2],
        [0.1, 0.25],
        [True, False],
        [1, True, 1.0, "1"],
        [None, "null", "true", True],
        [["relu"], [], {"a": [1, None]}],
        ["a", "a", "b"],
    ],
)
def test_choices_of_any_kind_survive_the_study(values: list[Any]) -> None:
    spec = {"type": "categorical", "vals": values}
    known = distribution(spec)
    for value in values:
        found = decode(spec, encode(spec, value))
        assert found == value and type(found) is type(value)
    decoded = [decode(spec, choice) for choice in known.choices]  # type: ignore[attr-defined]
    assert all(any(value == other and type(value) is type(other) for other in decoded) for value in values)
