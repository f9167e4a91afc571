"""Ranges of type log whose bounds were meant as values."""

from __future__ import annotations

import math
from typing import Any

import pytest

from nas.config.ranges import range_problems, range_warnings
from nas.config.search_space import axis, trial_sampler


def log(low: float, high: float, **more: Any) -> dict[str, Any]:
    return {"type": "log", "minval": low, "maxval": high, "base": 10, **more}


@pytest.mark.parametrize("bounds", [(1e-4, 1e-1), (1e-5, 1), (0.003, 0.3), (0.01, 30), (16, 512), (1, 64), (8, 256)])
def test_bounds_that_are_values_are_refused_with_the_exponents(bounds: tuple[float, float]) -> None:
    (problem,) = range_problems({"learning_rate": log(*bounds)})
    assert problem.startswith("hyperparameters.learning_rate: minval and maxval of type log are exponents of base 10")
    told = problem.partition("write minval: ")[2].split(" and maxval: ")
    assert [10 ** float(exponent) for exponent in told] == pytest.approx(bounds, rel=1e-3)
    assert range_warnings({"learning_rate": log(*bounds)}) == []


def test_what_they_would_draw_is_told() -> None:
    (problem,) = range_problems({"learning_rate": log(1e-4, 1e-1)})
    assert "0.0001 and 0.1 draw 1.0002 .. 1.2589" in problem  # 10 ** 0.0001 = 1.00023, 10 ** 0.1 = 1.25893
    config = {"searcher": {"name": "random"}, "hyperparameters": {"learning_rate": log(1e-4, 1e-1)}}
    drawn = [trial_sampler(config, seed).next_trial().hparams["learning_rate"] for seed in range(200)]
    assert 1.0002 < min(drawn) < 1.01 and 1.25 < max(drawn) < 1.259


@pytest.mark.parametrize(
    "bounds", [(-4, -1), (-5, 0), (-2, -0.5), (0, 3), (-3, 2), (0.5, 2), (1, 3), (-0.5, 0.5), (-30, -10), (0, 15)]
)
def test_exponents_are_taken(bounds: tuple[float, float]) -> None:
    assert range_problems({"x": log(*bounds)}) == range_warnings({"x": log(*bounds)}) == []


@pytest.mark.parametrize("bounds", [(0.1, 0.9), (0.5, 1)])
def test_what_may_be_values_is_told(bounds: tuple[float, float]) -> None:
    assert range_problems({"x": log(*bounds)}) == []
    (warning,) = range_warnings({"x": log(*bounds)})
    assert "are exponents of base 10" in warning


def test_values_of_no_hyperparameter_are_refused_and_do_not_overflow() -> None:
    for bounds in ((-400, 400), (0, 1000), (-100, -50)):
        assert "no hyperparameter has such values" in range_problems({"x": log(*bounds)})[0]
    assert axis("x", log(0, 1000, count=2)) == [1.0, math.inf]
    config = {"searcher": {"name": "random"}, "hyperparameters": {"x": log(999, 1000)}}
    assert trial_sampler(config, 0).next_trial().hparams == {"x": math.inf}


def test_nested_sections_and_other_bases_are_looked_at() -> None:
    found = range_problems({"head": {"rate": log(0.001, 0.1)}, "two": log(64, 512, base=2), "fine": log(4, 9, base=2)})
    assert [problem.split(":")[0] for problem in found] == ["hyperparameters.head.rate", "hyperparameters.two"]
    assert "write minval: 6 and maxval: 9" in found[1]


def test_what_the_master_refuses_is_not_told_twice() -> None:
    for spec in (
        log(1, 0),
        {"type": "log"},
        log(None, "x"),
        log(True, 2),
        {"type": "double", "minval": 1e-4, "maxval": 1},
    ):  # type: ignore[arg-type]
        assert range_problems({"x": spec}) == range_warnings({"x": spec}) == []
