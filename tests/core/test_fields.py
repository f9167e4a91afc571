"""Reading hyperparameters: every type, every rule, and every problem at once."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.core import fields as hparams
from nas.core.errors import ConfigError
from nas.core.fields import field, read


@dataclass(frozen=True)
class Types:
    a_float: float = 0.5
    an_int: int = 1
    a_text: str = "x"
    a_flag: bool = True
    perhaps: float | None = None
    maybe: Optional[int] = None  # noqa: UP045  (the older spelling must work too)


@dataclass(frozen=True)
class Rules:
    at_least: int = field(3, ge=2)
    at_most: int = field(3, le=4)
    positive: float = field(1.0, gt=0)
    fraction: float = field(0.5, ge=0, lt=1)
    one_of: str = field("tanh", choices=("tanh", "relu"))
    bounded_or_null: int | None = field(None, ge=1)


@dataclass(frozen=True)
class Required:
    emsize: int = field(ge=1)
    nhid: int = field(ge=1)


@dataclass(frozen=True)
class Pair:
    low: int = 0
    high: int = 1

    def problems(self) -> list[str]:
        return [] if self.low < self.high else [f"low must be below high, got {self.low} and {self.high}"]


@dataclass(frozen=True)
class Picky:
    value: int = 0

    def __post_init__(self) -> None:
        if self.value == 13:
            raise ValueError("13 is unlucky")


def problems_of(values: Any, *groups: type, **options: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(values, *groups, **options)
    return caught.value.problems


@pytest.mark.parametrize(
    ("field", "given_value", "expected"),
    [
        ("a_float", 0.25, 0.25),
        ("a_float", 2, 2.0),
        ("a_float", 8e-07, 8e-07),
        ("an_int", 7, 7),
        ("an_int", 3.0, 3),
        ("an_int", -2.0, -2),
        ("a_text", "yes", "yes"),
        ("a_flag", False, False),
        ("perhaps", None, None),
        ("perhaps", 3, 3.0),
        ("maybe", None, None),
        ("maybe", 4.0, 4),
    ],
)
def test_a_value_of_the_fields_type_is_read_as_that_type(field: str, given_value: Any, expected: Any) -> None:
    (instance,) = read({field: given_value}, Types)
    value = getattr(instance, field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("field", "value", "must_be"),
    [
        ("a_float", "fast", "a number, got 'fast'"),
        ("a_float", True, "a number, got true"),
        ("a_float", None, "a number, got null"),
        ("a_float", [1.0], "a number, got [1.0]"),
        ("a_float", float("nan"), "a finite number, got nan"),
        ("a_float", float("-inf"), "a finite number, got -inf"),
        ("an_int", 3.5, "a whole number, got 3.5"),
        ("an_int", True, "a whole number, got true"),
        ("an_int", "3", "a whole number, not text; leave the quotes out, got '3'"),
        ("a_float", 1e300, "at most 1e+30, got 1e+300"),
        ("a_float", -(10**40), "at least -1e+30, got -10000000000000000000000000000000000000000"),
        ("an_int", 10**400, f"at most 9007199254740992, got 1{'0' * 96}..."),
        ("a_text", "a\0b", "text without a NUL byte, got 'a\\x00b'"),
        ("an_int", float("inf"), "a whole number, got inf"),
        ("an_int", float("nan"), "a whole number, got nan"),
        ("a_text", 3, "text, got 3"),
        ("a_text", None, "text, got null"),
        ("a_flag", 1, "true or false, got 1"),
        ("a_flag", "false", "true or false, got 'false'"),
        ("perhaps", "much", "a number or null, got 'much'"),
        ("maybe", False, "a whole number or null, got false"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name_rule_and_value(field: str, value: Any, must_be: str) -> None:
    assert problems_of({field: value}, Types) == [f"hyperparameters.{field} must be {must_be}"]


def test_a_number_in_quotes_is_refused_with_its_cure() -> None:
    (problem,) = problems_of({"a_float": "8e-07"}, Types)
    assert problem.startswith("hyperparameters.a_float must be a number, not text")
    assert "leave the quotes out" in problem and problem.endswith("got '8e-07'")


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Rules)])
def test_defaults_obey_their_rules(field: str) -> None:
    (instance,) = read({}, Rules)
    assert getattr(instance, field) == getattr(Rules(), field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at_least", 2),
        ("at_most", 4),
        ("positive", 1e-300),
        ("fraction", 0),
        ("fraction", 0.999999),
        ("one_of", "relu"),
        ("bounded_or_null", 1),
        ("bounded_or_null", None),
    ],
)
def test_a_rule_accepts_values_up_to_its_bound(field: str, value: Any) -> None:
    (instance,) = read({field: value}, Rules)
    assert getattr(instance, field) == value


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("at_least", 1, "at least 2, got 1"),
        ("at_most", 5, "at most 4, got 5"),
        ("positive", 0, "above 0, got 0"),
        ("positive", -0.5, "above 0, got -0.5"),
        ("fraction", -0.1, "at least 0 and below 1, got -0.1"),
        ("fraction", 1, "at least 0 and below 1, got 1"),
        ("one_of", "sine", "one of tanh, relu, got 'sine'"),
        ("bounded_or_null", 0, "at least 1, got 0"),
    ],
)
def test_a_broken_rule_names_field_rule_and_value(field: str, value: Any, rule: str) -> None:
    assert problems_of({field: value}, Rules) == [f"hyperparameters.{field} must be {rule}"]


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_range_accepts_exactly_the_numbers_inside(value: float) -> None:
    if 0 <= value < 1:
        assert read({"fraction": value}, Rules)[0].fraction == value
    else:
        assert len(problems_of({"fraction": value}, Rules)) == 1


def test_missing_fields_are_each_named() -> None:
    problems = problems_of({}, Required)
    assert len(problems) == 2
    assert all(
        name in problem and "missing" in problem for name, problem in zip(("emsize", "nhid"), problems, strict=True)
    )


def test_a_field_with_a_default_factory_may_be_left_out() -> None:
    @dataclass(frozen=True)
    class Group:
        seen: bool = dataclasses.field(default_factory=lambda: True)

    # The class is local, so its annotations cannot be resolved by name: `bool` is a builtin and can.
    assert read({}, Group) == [Group(seen=True)]


def test_a_key_that_nobody_reads_is_refused_with_the_nearest_one() -> None:
    (problem,) = problems_of({"emsize": 4, "nhid": 4, "nhdi": 4}, Required)
    assert problem.startswith("hyperparameters.nhdi ") and problem.endswith("did you mean nhid?")


def test_a_key_like_no_other_is_answered_with_all_that_are_known() -> None:
    (problem,) = problems_of({"emsize": 4, "nhid": 4, "qqqqqqqqqqqq": 4}, Required)
    assert problem.endswith("known: emsize, nhid")


def test_a_key_that_is_no_text_is_a_problem_and_not_a_crash() -> None:
    (problem,) = problems_of({"emsize": 4, "nhid": 4, 7: 4}, Required)
    assert problem.startswith("hyperparameters.7 ")


def test_all_problems_of_all_groups_are_reported_at_once() -> None:
    values = {"emsize": 0, "a_float": "fast", "fraction": 2, "low": 5, "high": 4, "value": 13, "nobody": 1}
    problems = problems_of(values, Required, Types, Rules, Pair, Picky)
    expected = ["nobody", "emsize", "nhid", "a_float", "fraction", "low", "13 is unlucky"]
    assert len(problems) == len(expected)
    for word in expected:
        assert sum(word in problem for problem in problems) >= 1, word


def test_the_errors_text_holds_one_problem_a_line() -> None:
    error = ConfigError(problem for problem in ("first", "second"))
    assert error.problems == ["first", "second"] and str(error) == "first\nsecond"
    assert isinstance(error, ValueError)


def test_rules_over_several_fields_are_prefixed_with_the_section() -> None:
    assert problems_of({"low": 2, "high": 1}, Pair) == ["hyperparameters.low must be below high, got 2 and 1"]


def test_rules_over_several_fields_wait_until_the_fields_themselves_are_right() -> None:
    assert problems_of({"low": "x", "high": 1}, Pair) == ["hyperparameters.low must be a whole number, got 'x'"]


def test_an_error_of_the_group_itself_becomes_a_problem() -> None:
    assert problems_of({"value": 13}, Picky) == ["hyperparameters: 13 is unlucky"]


def test_groups_share_one_mapping_and_come_back_in_order() -> None:
    first, second = read({"low": 3, "emsize": 2, "high": 9, "nhid": 2}, Required, Pair)
    assert first == Required(2, 2) and second == Pair(3, 9)


@pytest.mark.parametrize("values", [None, 5, "emsize: 4", [("emsize", 4)]])
def test_a_section_that_is_no_mapping_is_refused(values: Any) -> None:
    (problem,) = problems_of(values, Required, section="data")
    assert problem.startswith("data must be a mapping")


def test_the_section_is_named_in_every_problem() -> None:
    problems = problems_of({"emsize": "x", "other": 1}, Required, section="records")
    assert len(problems) == 3 and all(problem.startswith("records.") for problem in problems)


@pytest.mark.parametrize("group", [Types, Rules, Required])
def test_settings_are_ordinary_dataclass_fields(group: type) -> None:
    fields = [field.name for field in dataclasses.fields(group)]
    assert fields == list(group.__annotations__)
    assert hparams.field().default is dataclasses.MISSING


@dataclass(frozen=True)
class Lists:
    some: tuple[int, ...] = field((1,), ge=1, most=100)
    one_or_more: int | tuple[int, ...] = field(8, ge=1, most=100)
    perhaps: tuple[float, ...] | None = None


@pytest.mark.parametrize(
    ("given", "means"),
    [
        ({}, Lists()),
        ({"some": [2, 3.0]}, Lists(some=(2, 3))),
        ({"one_or_more": 3}, Lists(one_or_more=3)),
        ({"one_or_more": [3]}, Lists(one_or_more=(3,))),
        ({"perhaps": None}, Lists()),
        ({"perhaps": [1]}, Lists(perhaps=(1.0,))),
        ({"some": 3}, "some must be a list, not empty, got 3"),
        ({"some": []}, "some must be a list, not empty, got []"),
        ({"some": [1, 0]}, "some must be a list of which each is at least 1, got [1, 0]"),
        ({"some": [1, 200]}, "some must be a list of which each is at most 100, got [1, 200]"),
        ({"some": [1, True]}, "some must be a list of which each is a whole number, got [1, True]"),
        ({"one_or_more": None}, "one_or_more must be a whole number, got null"),
        ({"one_or_more": 0}, "one_or_more must be at least 1, got 0"),
        ({"one_or_more": ["3"]}, "one_or_more must be a list of which each is a whole number, not text; leave"),
        ({"one_or_more": {"a": 1}}, "one_or_more must be a whole number, got {'a': 1}"),
        ({"perhaps": 3}, "perhaps must be a list, not empty or null, got 3"),
    ],
    ids=str,
)
def test_lists(given: dict[str, Any], means: Lists | str) -> None:
    if isinstance(means, Lists):
        (found,) = read(given, Lists)
        assert found == means and hash(found)
        return
    with pytest.raises(ConfigError) as caught:
        read(given, Lists)
    (problem,) = caught.value.problems
    assert problem.startswith(f"hyperparameters.{means}")
