"""An experiment's trials are those that a master would create: held against a Mersenne Twister and the rules, written out."""

from __future__ import annotations

import copy
import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.master_draws import WORD, Twister, as_tree, members, value_of
from support.runs import ROOT

from nas.config.load import experiment_seed, load
from nas.config.search_space import SampledTrial, TrialSampler, axis, grid_size, search_space, trial_sampler
from nas.core.errors import ConfigError


def test_the_twister_of_these_tests_is_the_one_of_its_authors() -> None:
    words = [twister.word() for twister in [Twister(5489)] for _ in range(10_000)]
    assert (words[0], words[-1]) == (3499211612, 4123659995)  # the latter is what the C++ standard asks of std::mt19937


def keys(tree: Any) -> Any:
    """All keys in order."""
    return [(key, keys(value)) for key, value in tree.items()] if isinstance(tree, dict) else None


def some(space: dict[str, Any], seed: int, count: int = 5, **options: Any) -> list[SampledTrial]:
    return list(itertools.islice(TrialSampler(space, seed, **options), count))


NAMES = st.text("abcxyz_-", min_size=1, max_size=3)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3)


@st.composite
def specs(draw: st.DrawFn, *, grid: bool = False) -> dict[str, Any]:
    kind = draw(st.sampled_from(["const", "int", "double", "log", "categorical"]))
    if kind == "const":
        return {"type": kind, "val": draw(PLAIN | st.lists(st.integers(), max_size=2))}
    if kind == "categorical":
        return {"type": kind, "vals": draw(st.lists(PLAIN, min_size=1, max_size=3 if grid else 9))}
    if kind == "int":
        low = draw(st.integers(-(10**6), 10**6))
        high = low + draw(st.integers(1, 9) | st.sampled_from([2**31, 2**32 - 1, 2**32, 2**40, 2**62]))
    else:
        low = draw(st.integers(-9, 5) | st.floats(-9, 5))
        high = low + draw(st.integers(1, 4) | st.floats(0.25, 4))
    count = {"count": draw(st.integers(1, 3))} if grid else {}
    base = {"base": draw(st.sampled_from([10, 2.0, 0.5, 1.1]))} if kind == "log" and draw(st.booleans()) else {}
    return {"type": kind, "minval": low, "maxval": high, **count, **base}


def spaces(*, grid: bool = False, most: int = 6) -> st.SearchStrategy[dict[str, Any]]:
    member = specs(grid=grid) | PLAIN
    section = st.dictionaries(NAMES, member | st.dictionaries(NAMES, member, max_size=3), max_size=3)
    return st.dictionaries(NAMES, member | section, max_size=most)


# Draws


@settings(max_examples=300, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
@example({}, 0)
@example({"only": {"type": "categorical", "vals": ["one"]}, "a": {"type": "double", "minval": 0, "maxval": 1}}, 1)
@example({"a-": {"type": "int", "minval": 0, "maxval": 9}, "a": {"b": {"type": "int", "minval": 0, "maxval": 9}}}, 1)
@example({"b": {"type": "int", "minval": 0, "maxval": 2**32 - 1}, "a": 1}, 2**32 - 1)
def test_trials_are_drawn_as_a_master_draws_them(space: dict[str, Any], seed: int) -> None:
    twister, before = Twister(seed), copy.deepcopy(space)
    for draw in some(space, seed):
        chosen = {name: value_of(spec, twister) for name, spec in members(space)}
        assert draw.hparams == as_tree(space, chosen)
        assert keys(draw.hparams) == keys(as_tree(space, chosen))
        assert draw.chosen == chosen
        twister.request_id()
        assert draw.seed == twister.below(2**31)
    assert space == before


@pytest.mark.parametrize(
    ("name", "trials"),
    [
        ("quickstart.yaml", [(1791095845, 550290313), (1298508491, 1703301249), (799981516, 1870626073)]),
        ("cnn_nas/digits.yaml", [(None, 491263)]),
    ],
)
def test_the_first_trials_are_those_that_a_real_master_created(name: str, trials: list[tuple[int | None, int]]) -> None:
    config = load(ROOT / name)
    draws = itertools.islice(trial_sampler(config, experiment_seed(config)), len(trials))
    assert [(draw.chosen.get("arch_seed"), draw.seed) for draw in draws] == trials


def test_what_is_drawn_is_in_the_order_of_names_and_what_comes_back_in_that_of_the_config() -> None:
    spec = {"type": "double", "minval": 0, "maxval": 1}
    space = {"z": spec, "m": {"b": spec, "a": {"k": spec}, "c": 5}, "last": "x", "a": spec}
    twister, (draw,) = Twister(3), some(space, 3, count=1)
    units = dict(zip(["a", "m.a.k", "m.b", "z"], [twister.unit() for _ in range(4)], strict=True))
    inner = {"b": units["m.b"], "a": {"k": units["m.a.k"]}, "c": 5}
    assert draw.hparams == {"z": units["z"], "m": inner, "last": "x", "a": units["a"]}
    assert list(draw.hparams) == list(space) and list(draw.hparams["m"]) == ["b", "a", "c"]
    assert list(draw.chosen) == list(search_space(space)) == ["z", "m.b", "m.a.k", "a"]
    twister.request_id()
    assert draw.seed == twister.below(2**31)


def test_constants_take_no_draw() -> None:
    fixed = {"constant": {"type": "const", "val": [7]}, "plain": 3, "text": "x", "nothing": None, "list": [1, "a"]}
    spec = {"type": "double", "minval": 0, "maxval": 1}
    alone, among = some({"lr": spec}, 4), some({**fixed, "lr": spec, "section": dict(fixed)}, 4)
    values = {"constant": [7], "plain": 3, "text": "x", "nothing": None, "list": [1, "a"]}
    for one, other in zip(alone, among, strict=True):
        assert other.hparams == {**values, "lr": one.hparams["lr"], "section": values}
        assert (other.seed, other.chosen) == (one.seed, one.chosen)


def test_the_largest_whole_number_is_drawn_as_often_as_any_other() -> None:
    values = [draw.hparams["n"] for draw in some({"n": {"type": "int", "minval": -3, "maxval": 3}}, 0, count=1400)]
    assert all(type(value) is int for value in values)
    counts = [values.count(k) for k in range(-3, 4)]
    assert sum(counts) == 1400 and all(abs(count - 200) < 4.5 * math.sqrt(1400 * 6 / 49) for count in counts)


def test_logs_are_of_base_ten_unless_said() -> None:
    spec = {"type": "log", "minval": -2, "maxval": -1}
    assert some({"lr": spec}, 0) == some({"lr": {**spec, "base": 10}}, 0)
    assert all(1e-2 <= draw.hparams["lr"] <= 1e-1 for draw in some({"lr": spec}, 0, count=50))


@settings(max_examples=50, deadline=None)
@given(spaces(), st.integers(0, 2**32 - 1))
def test_an_experiment_has_the_same_trials_every_time_and_other_seeds_have_others(
    space: dict[str, Any], seed: int
) -> None:
    assert some(space, seed) == some(space, seed)
    assert [draw.seed for draw in some(space, seed)] != [draw.seed for draw in some(space, seed ^ 1)]
    taken = TrialSampler(space, seed)
    assert [taken.next_trial() for _ in range(3)] + list(itertools.islice(taken, 2)) == some(space, seed)


def test_what_a_trial_does_to_its_sections_no_other_trial_sees() -> None:
    space = {"section": {"kept": 5}}
    first, second = some(space, 0, count=2)
    first.hparams["section"]["kept"] = 6
    assert second.hparams == space == {"section": {"kept": 5}}


# Grids


def steps(spec: dict[str, Any]) -> list[Any]:
    """The values of an axis."""
    if spec["type"] == "categorical":
        return list(spec["vals"])
    low, high, count = Fraction(spec["minval"]), Fraction(spec["maxval"]), spec["count"]
    if spec["type"] == "int":
        count = min(count, int(high - low) + 1)
    even = [low + (high - low) * Fraction(i, count - 1) for i in range(count)] if count > 1 else [(low + high) / 2]
    if spec["type"] == "int":
        return [math.floor(abs(step) + Fraction(1, 2)) * (1 if step > 0 else -1) for step in even]
    return [float(step) if spec["type"] == "double" else spec.get("base", 10) ** float(step) for step in even]


def alike(found: Any, expected: Any) -> bool:
    close = isinstance(expected, float) and isinstance(found, float) and math.isclose(found, expected, rel_tol=1e-12)
    return (found == expected or close or abs(found - expected) < 1e-12) and type(found) is type(expected)


@settings(max_examples=300, deadline=None)
@given(specs(grid=True).filter(lambda spec: spec.get("maxval", WORD) < WORD), st.integers(1, 12))
@example({"type": "int", "minval": 0, "maxval": 5}, 3)  # 2.5
@example({"type": "int", "minval": -5, "maxval": 0}, 3)  # -2.5
@example({"type": "int", "minval": -1, "maxval": 2}, 1)  # 0.5
@example({"type": "int", "minval": -2, "maxval": 1}, 1)  # -0.5
def test_an_axis_has_even_steps_from_end_to_end(spec: dict[str, Any], count: int) -> None:
    spec = {**spec, "count": count}
    found = axis("x", spec)
    assert len(found) == len(steps(spec)) and all(map(alike, found, steps(spec)))
    if spec["type"] == "int":
        assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"type": "int", "minval": 1, "maxval": 4, "count": 9}, [1, 2, 3, 4]),
        ({"type": "int", "minval": 0, "maxval": 5, "count": 3}, [0, 3, 5]),
        ({"type": "int", "minval": -5, "maxval": 0, "count": 3}, [-5, -3, 0]),
        ({"type": "int", "minval": 2, "maxval": 5, "count": 1}, [4]),
        ({"type": "int", "minval": -5, "maxval": -2, "count": 1}, [-4]),
        ({"type": "int", "minval": 1.0, "maxval": 3.0, "count": 2}, [1, 3]),
        ({"type": "int", "minval": 1.0, "maxval": 3.0, "count": 9}, [1, 2, 3]),
        ({"type": "double", "minval": 0, "maxval": 1, "count": 5}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"type": "double", "minval": -1, "maxval": 2, "count": 1}, [0.5]),
        ({"type": "log", "minval": -2, "maxval": 1, "base": 2, "count": 4}, [0.25, 0.5, 1.0, 2.0]),
        ({"type": "log", "minval": 0, "maxval": 4, "count": 1}, [100.0]),
        ({"type": "categorical", "vals": ["relu", None, [1]]}, ["relu", None, [1]]),
    ],
)
def test_axes_by_hand(spec: dict[str, Any], expected: list[Any]) -> None:
    found = list(axis("x", spec))
    assert found == expected and [type(value) for value in found] == [type(value) for value in expected]


@settings(max_examples=100, deadline=None)
@given(spaces(grid=True, most=4), st.integers(0, 2**32 - 1))
def test_a_grid_is_the_product_of_its_axes_from_the_last_point_to_the_first(space: dict[str, Any], seed: int) -> None:
    axes = {name: axis(name, spec) for name, spec in members(space)}
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    drawn, twister = list(TrialSampler(space, seed, grid=True)), Twister(seed)
    assert grid_size(space) == len(points) == len(drawn)
    assert [draw.chosen for draw in drawn] == points[::-1]
    assert [draw.hparams for draw in drawn] == [as_tree(space, point) for point in points[::-1]]
    assert [keys(draw.hparams) for draw in drawn] == [keys(as_tree(space, {})) for _ in drawn]
    for draw in drawn:
        twister.request_id()
        assert draw.seed == twister.below(2**31)


def test_the_last_name_of_a_grid_varies_fastest() -> None:
    space = {
        "b": {"type": "categorical", "vals": [1, 2]},
        "a": {"z": {"type": "int", "minval": 7, "maxval": 8, "count": 2}},
    }
    found = [(draw.hparams["a"]["z"], draw.hparams["b"]) for draw in TrialSampler(space, 0, grid=True)]
    assert found == [(8, 2), (8, 1), (7, 2), (7, 1)]


@pytest.mark.parametrize("count", [None, 0, -1, 2.0, "3", True])
@pytest.mark.parametrize("kind", ["int", "double", "log"])
def test_a_range_on_a_grid_needs_a_count(kind: str, count: Any) -> None:
    space = {"head": {"lr": {"type": kind, "minval": 1, "maxval": 3, "count": count}}}
    for call in (grid_size, lambda space: TrialSampler(space, 0, grid=True)):
        with pytest.raises(ConfigError, match=r"^hyperparameters\.head\.lr\.count"):
            call(space)
    assert len(some(space, 0)) == 5  # no other searcher asks for it


@pytest.mark.parametrize("searcher", [None, {}, {"name": "single"}, {"name": "random"}, {"name": "adaptive_asha"}])
def test_only_the_grid_searcher_walks_a_grid(searcher: Any) -> None:
    space = {"n": {"type": "int", "minval": 1, "maxval": 4, "count": 2}}
    config = {"searcher": searcher, "hyperparameters": space}
    assert list(itertools.islice(trial_sampler(config, 5), 5)) == some(space, 5)
    walked = trial_sampler({"searcher": {"name": "grid"}, "hyperparameters": space}, 5)
    assert [draw.hparams["n"] for draw in walked] == [4, 1]


# Spaces that make no sense


NONSENSE = [
    {"type": "const"},
    {"type": "categorical"},
    {"type": "categorical", "vals": []},
    {"type": "categorical", "vals": "relu"},
    {"type": "int", "minval": 1},
    {"type": "int", "minval": 1, "maxval": 2.5},
    {"type": "int", "minval": 1, "maxval": None},
    {"type": "int", "minval": 3, "maxval": 3},
    {"type": "int", "minval": 4, "maxval": 3},
    {"type": "double", "minval": "low", "maxval": 2},
    {"type": "double", "minval": 2, "maxval": 2},
    {"type": "double", "minval": 0, "maxval": math.inf},
    {"type": "double", "minval": math.nan, "maxval": 1},
    {"type": "log", "maxval": 2},
    {"type": "log", "minval": 1, "maxval": 2, "base": 0},
    {"type": "log", "minval": 1, "maxval": 2, "base": -2},
    {"type": "log", "minval": 1, "maxval": 2, "base": None},
    {"type": "uniform", "minval": 0, "maxval": 1},
    {"type": None},
    {"type": ["int"], "minval": 0, "maxval": 1},
]


@pytest.mark.parametrize("spec", NONSENSE, ids=str)
def test_a_search_space_that_makes_no_sense_is_refused_by_its_full_name(spec: dict[str, Any]) -> None:
    for space, name in (({"lr": spec}, "lr"), ({"plain": 1, "head": {"deep": {"lr": spec}}}, "head.deep.lr")):
        with pytest.raises(ConfigError) as caught:
            TrialSampler(space, 0)
        (problem,) = caught.value.problems
        assert problem.startswith(f"hyperparameters.{name}") and "\n" not in problem


def test_every_problem_of_a_space_is_told_at_once() -> None:
    space: dict[str, Any] = {f"n{i}": spec for i, spec in enumerate(NONSENSE[:11])}
    space |= {"fine": {"type": "double", "minval": 0, "maxval": 1}, "head": {"deep": dict(space), "plain": 3}}
    with pytest.raises(ConfigError) as caught:
        TrialSampler(space, 0)
    names = [problem.split()[0] for problem in caught.value.problems]
    assert len(names) == 22
    for i, name in enumerate(names):
        section = "" if i < 11 else "head.deep."
        assert name.startswith((f"hyperparameters.{section}n{i % 11}", f"hyperparameters.{section}n{i % 11}."))


def test_every_range_of_a_grid_that_has_no_count_is_told_at_once() -> None:
    spec = {"type": "double", "minval": 0, "maxval": 1}
    with pytest.raises(ConfigError) as caught:
        TrialSampler({"a": spec, "head": {"b": spec}, "c": {**spec, "count": 2}}, 0, grid=True)
    names = [problem.split()[0] for problem in caught.value.problems]
    assert names == ["hyperparameters.a.count", "hyperparameters.head.b.count"]
