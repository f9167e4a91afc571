"""Every sampler that `--sampler` offers: distinct points, not the master's, better than chance, the same after a kill."""

from __future__ import annotations

import importlib.util
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from support.master_draws import created

from nas.core.errors import ConfigError
from nas.engine.experiments import check_sampler
from nas.engine.samplers import SAMPLERS, sobol_point
from nas.engine.study_store import StudyStore

NEEDS = {"tpe": [], "gp": ["scipy", "torch"], "cmaes": ["cmaes"], "qmc": ["scipy"]}
MIXED: dict[str, Any] = {
    "lr": {"type": "double", "minval": 0, "maxval": 1},
    "width": {"type": "int", "minval": 8, "maxval": 64},
    "cell": {"ops": {"type": "categorical", "vals": [["tanh"], ["relu", "tanh"], None]}, "depth": 2},
    "decay": {"type": "log", "minval": -6, "maxval": -2},
    "gain": {"type": "log", "minval": -1, "maxval": 3, "base": 2},
    "flag": {"type": "categorical", "vals": [True, False, 1, "yes", 0.5]},
    "seed": {"type": "const", "val": 7},
}
PLANE: dict[str, Any] = {name: {"type": "double", "minval": -5, "maxval": 5} for name in ("x", "y")}
TRIALS = {"tpe": 60, "gp": 16, "cmaes": 60, "qmc": 60}
"""What a test can wait for: a Gaussian process takes a second a trial."""
TO_LEARN = {"tpe": 30, "gp": 10, "cmaes": 30}
"""So many trials are left out where a sampler must be better than chance."""


def installed(name: str) -> Any:
    missing = [package for package in NEEDS[name] if importlib.util.find_spec(package) is None]
    return pytest.param(name, marks=[pytest.mark.skip(f"needs {missing[0]}")] if missing else [])


EVERY = [installed(name) for name in SAMPLERS]
LEARNING = [installed(name) for name in SAMPLERS if name != "qmc"]


def bowl(hparams: dict[str, Any]) -> float:
    """0 at (1, -2), where it is least."""
    return float((hparams["x"] - 1) ** 2 + (hparams["y"] + 2) ** 2)


class Search:
    """A search by trials that end at once, `at_once` of them open, whose engine is killed after some."""

    def __init__(
        self,
        storage: Any,
        sampler: str | None,
        trials: int,
        *,
        space: dict[str, Any] = PLANE,
        value: Any = bowl,
        seed: int = 0,
        crashes: tuple[int, ...] = (),
        at_once: int = 1,
        larger: bool = False,
        how: str = "completed",
    ) -> None:
        searcher = {"name": "random", "metric": "loss", "max_trials": trials, "max_concurrent_trials": at_once}
        config = {"searcher": {**searcher, "smaller_is_better": not larger}, "hyperparameters": space}
        url = f"sqlite:///{storage / 'study.db'}" if isinstance(storage, Path) else storage
        store = StudyStore(url, "study", config, seed, sampler)
        for number in range(trials):
            store.create_missing_trials()
            store.started(number)
            metric = value(store.trial(number).user_attrs["hyperparameters"])
            store.validated(number, 1, -metric if larger else metric)
            store.finish(number, how)
            if number in crashes:
                store = StudyStore(url, "study", config, seed, sampler)
        self.values = [abs(trial.intermediate_values[1]) for trial in store.trials()]
        self.points = [trial.user_attrs["hyperparameters"] for trial in store.trials()]
        self.seeds = [trial.user_attrs["seed"] for trial in store.trials()]


@pytest.mark.parametrize("sampler", EVERY)
def test_its_points_are_distinct_and_not_random_and_the_seeds_are_the_masters(sampler: str) -> None:
    found = Search(InMemoryStorage(), sampler, TRIALS[sampler])
    assert len({tuple(point.values()) for point in found.points}) == TRIALS[sampler]
    random = created(PLANE, 0, TRIALS[sampler])
    assert not {tuple(point.values()) for point in found.points} & {tuple(point.values()) for point, _ in random}
    assert found.seeds == [seed for _, seed in random]
    assert {tuple(p.values()) for p in found.points} != {
        tuple(p.values()) for p in Search(InMemoryStorage(), sampler, TRIALS[sampler], seed=1).points
    }


def among_all(sampler: str, seed: int, **options: Any) -> float:
    """Which part of all points is better than the median of those that the sampler chose when it knew something."""
    found = Search(InMemoryStorage(), sampler, TRIALS[sampler], seed=seed, **options)
    middle = statistics.median(found.values[TO_LEARN[sampler] :])
    return statistics.mean(bowl(point) < middle for point, _ in created(PLANE, seed, 1000))


@pytest.mark.parametrize(("larger", "seed"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("sampler", LEARNING)
def test_it_comes_nearer_to_the_best_point_than_chance_does(sampler: str, larger: bool, seed: int) -> None:
    assert among_all(sampler, seed, larger=larger) < 0.2


@pytest.mark.parametrize("sampler", LEARNING)
def test_it_learns_from_trials_that_were_stopped_as_well(sampler: str) -> None:
    assert among_all(sampler, 2, how="pruned") < 0.2


@pytest.mark.parametrize("sampler", EVERY)
def test_a_kill_changes_nothing_of_what_it_says(tmp_path: Path, sampler: str) -> None:
    count = 13 if sampler == "gp" else 24
    one = Search(InMemoryStorage(), sampler, count, at_once=3)
    other = Search(tmp_path, sampler, count, at_once=3, crashes=(0, 5, 10, 11, 20))
    assert (one.points, one.seeds, one.values) == (other.points, other.seeds, other.values)


def in_space(hparams: dict[str, Any]) -> bool:
    ops, flag = hparams["cell"]["ops"], hparams["flag"]
    return (
        0 <= hparams["lr"] <= 1
        and type(hparams["width"]) is int
        and 8 <= hparams["width"] <= 64
        and ops in (["tanh"], ["relu", "tanh"], None)
        and 1e-6 <= hparams["decay"] <= 1e-2
        and 0.5 <= hparams["gain"] <= 8
        and any(flag == value and type(flag) is type(value) for value in (True, False, 1, "yes", 0.5))
        and hparams["cell"]["depth"] == 2
        and hparams["seed"] == 7
    )


@pytest.mark.parametrize("sampler", EVERY)
def test_it_stays_in_a_space_of_all_types(sampler: str) -> None:
    count = 12 if sampler == "gp" else 30
    found = Search(
        InMemoryStorage(), sampler, count, space=MIXED, value=lambda hparams: hparams["width"] / 64, at_once=2
    )
    assert all(in_space(point) for point in found.points)
    assert len({point["lr"] for point in found.points}) == count
    assert list(found.points[0]) == list(MIXED)


@pytest.mark.skipif(importlib.util.find_spec("scipy") is None, reason="needs scipy")
@pytest.mark.parametrize("seed", [0, 1, 7])
def test_sobols_points_fill_every_range_evenly(seed: int) -> None:
    space = {
        "x": FloatDistribution(-5, 5),
        "n": IntDistribution(1, 16),
        "c": CategoricalDistribution(list("abcd")),
        "l": FloatDistribution(1e-6, 1e-2, log=True),
    }
    points = [sobol_point(space, index, seed) for index in range(64)]
    assert Counter(int((point["x"] + 5) / 10 * 64) for point in points) == dict.fromkeys(range(64), 1)
    assert Counter(point["n"] for point in points) == dict.fromkeys(range(1, 17), 4)
    assert Counter(point["c"] for point in points) == dict.fromkeys("abcd", 16)
    assert [sum(10.0**k <= point["l"] < 10.0 ** (k + 1) for point in points) for k in range(-6, -2)] == [16] * 4
    fields = {(int((p["x"] + 5) * 1.6), p["n"]) for p in (sobol_point(space, index, seed) for index in range(256))}
    assert len(fields) == 256  # one each of 16 x 16


@pytest.mark.parametrize("name", ["random", "nsga2", "RandomSampler", "tpee", ""])
def test_another_name_is_refused_with_those_that_there_are(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_sampler({"searcher": {"name": "random"}}, name)
    (problem,) = caught.value.problems
    assert problem.startswith(f"--sampler {name!r} is no sampler") and all(each in problem for each in SAMPLERS)


@pytest.mark.parametrize(("name", "package"), [("cmaes", "cmaes"), ("qmc", "scipy"), ("gp", "torch")])
def test_a_package_that_is_missing_is_told_before_the_search(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda which: None if which == package else find(which))
    if name == "gp" and find("scipy") is None:
        pytest.skip("needs scipy")
    with pytest.raises(ConfigError, match=f"^--sampler {name} needs {package}, .*pip install {package}$"):
        check_sampler({"searcher": {"name": "random"}}, name)


def test_optuna_says_nothing_of_what_is_experimental(recwarn: pytest.WarningsRecorder) -> None:
    Search(InMemoryStorage(), "tpe", 2)
    assert not [each for each in recwarn if issubclass(each.category, optuna.exceptions.ExperimentalWarning)]
