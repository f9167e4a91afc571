"""An experiment's YAML: read as a master reads it, overridden, drawn from, and asked how long to train."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hparams import ConfigError
from training import config


def load(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "experiment.yaml"
    path.write_text(text, encoding="utf-8")
    return config.load(path)


def problem_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    (problem,) = caught.value.problems
    return problem


# Loading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8e-07", 8e-07),
        ("1e3", 1000.0),
        ("-2.5E+2", -250.0),
        ("0.25", 0.25),
        ("12", 12),
        ("010", 10),
        ("0o17", 15),
        ("yes", "yes"),
        ("off", "off"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("relu", "relu"),
        ("'8e-07'", "8e-07"),
        ("[1, 2.0]", [1, 2.0]),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: Any, tmp_path: Path) -> None:
    loaded = load(tmp_path, f"hyperparameters:\n  key: {text}\n")["hyperparameters"]["key"]
    assert loaded == value and type(loaded) is type(value)


def test_text_of_every_script_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, "name: Größe 名\nhyperparameters: {}\n")["name"] == "Größe 名"


@pytest.mark.parametrize(
    "text",
    [
        "hyperparameters: [1, 2\n",
        "hyperparameters:\n\tkey: 1\n",
        "a: b: c\n",
        "hyperparameters: {a: 1}\n---\nhyperparameters: {}\n",
        "hyperparameters: {a: 1, a: 2}\n",
        "hyperparameters: !!python/object/apply:os.getcwd []\n",
        "hyperparameters: *nowhere\n",
        "hyperparameters: {day: 2001-99-99}\n",
    ],
)
def test_what_is_not_yaml_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    problem = problem_of(load, tmp_path, text)
    assert "experiment.yaml" in problem and "not valid YAML" in problem and "\n" not in problem


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(b"hyperparameters: {a: \xff\xfe}\n")
    assert "not valid YAML" in problem_of(config.load, path)


@pytest.mark.parametrize("text", ["", "5\n", "- 1\n", "name: x\n", "hyperparameters:\n", "hyperparameters: [1]\n"])
def test_yaml_that_is_no_experiment_is_refused(text: str, tmp_path: Path) -> None:
    problem = problem_of(load, tmp_path, text)
    assert "experiment.yaml" in problem and "hyperparameters" in problem


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none.yaml") in problem_of(config.load, tmp_path / "none.yaml")


def test_a_folder_is_no_config(tmp_path: Path) -> None:
    assert str(tmp_path) in problem_of(config.load, tmp_path)


# Overrides

BASE = {"name": "x", "hyperparameters": {"emsize": 64, "data": {"rows": 1}}, "searcher": {"name": "single"}}


@pytest.mark.parametrize(
    ("assignment", "place", "value"),
    [
        ("name=y", ("name",), "y"),
        ("hyperparameters.emsize=128", ("hyperparameters", "emsize"), 128),
        ("hyperparameters.data.rows=2", ("hyperparameters", "data", "rows"), 2),
        ("hyperparameters.new=8e-07", ("hyperparameters", "new"), 8e-07),
        ("hyperparameters.a.b.c=true", ("hyperparameters", "a", "b", "c"), True),
        ("resources.slots=[1, x]", ("resources", "slots"), [1, "x"]),
        ("hyperparameters.lr={type: const, val: 1}", ("hyperparameters", "lr"), {"type": "const", "val": 1}),
        ("hyperparameters.emsize=null", ("hyperparameters", "emsize"), None),
        ("hyperparameters.emsize=", ("hyperparameters", "emsize"), None),
        ("name='a=b'", ("name",), "a=b"),
        ("name=a=b", ("name",), "a=b"),
    ],
)
def test_an_override_changes_one_value(assignment: str, place: tuple[str, ...], value: Any) -> None:
    changed = config.override(BASE, [assignment])
    expected = copy.deepcopy(BASE)
    section: Any = expected
    for name in place[:-1]:
        section = section.setdefault(name, {})
    section[place[-1]] = value
    assert changed == expected


def test_overriding_leaves_the_config_alone() -> None:
    before = copy.deepcopy(BASE)
    changed = config.override(BASE, ["hyperparameters.emsize=1", "hyperparameters.data.rows=9", "searcher.name=x"])
    changed["hyperparameters"]["data"]["rows"] = 10
    assert before == BASE


def test_of_two_overrides_the_later_wins() -> None:
    assert config.override(BASE, ["name=first", "name=second"])["name"] == "second"


@pytest.mark.parametrize("assignment", ["", "name", "=5", ".name=5", "name.=5", "hyperparameters..emsize=5"])
def test_an_override_without_a_key_or_a_value_is_refused(assignment: str) -> None:
    assert repr(assignment) in problem_of(config.override, BASE, [assignment])


@pytest.mark.parametrize("assignment", ["name.first=1", "hyperparameters.emsize.x=1"])
def test_an_override_cannot_turn_a_value_into_a_section(assignment: str) -> None:
    problem = problem_of(config.override, BASE, [assignment])
    assert repr(assignment) in problem and "section" in problem


@pytest.mark.parametrize("value", ["[1, 2", "{a: 1", "'x", "@x", "*x"])
def test_an_override_with_bad_yaml_is_refused(value: str) -> None:
    assert f"name={value}" in problem_of(config.override, BASE, [f"name={value}"]).replace("\\'", "'")


# Drawing

SEARCHED: dict[str, Any] = {
    "an_int": {"type": "int", "minval": -3, "maxval": 4},
    "a_double": {"type": "double", "minval": -1.5, "maxval": 2.5},
    "a_log": {"type": "log", "minval": -4.0, "maxval": -1.0, "base": 10.0},
    "base_two": {"type": "log", "minval": 1, "maxval": 3, "base": 2},
    "no_base": {"type": "log", "minval": -2, "maxval": -1},
    "choice": {"type": "categorical", "vals": ["tanh", 2, None]},
}
FIXED: dict[str, Any] = {"constant": {"type": "const", "val": [7]}, "plain": 3, "text": "x", "nothing": None}


def drawn(name: str, count: int = 600) -> list[Any]:
    return [config.draw({name: SEARCHED[name]}, seed)[0][name] for seed in range(count)]


def test_plain_and_constant_values_are_taken_as_they_are() -> None:
    assert config.draw(FIXED, 0) == ({"constant": [7], "plain": 3, "text": "x", "nothing": None}, [])


def test_what_was_drawn_is_named() -> None:
    values, names = config.draw({**FIXED, **SEARCHED}, 0)
    assert names == list(SEARCHED)
    assert list(values) == [*FIXED, *SEARCHED]


def test_nested_hyperparameters_are_drawn_and_named_with_their_section() -> None:
    spec = {"outer": {"inner": {"lr": SEARCHED["a_double"], "kept": 5}, "op": SEARCHED["choice"]}, "plain": 1}
    values, names = config.draw(spec, 0)
    assert names == ["outer.inner.lr", "outer.op"]
    assert values["outer"]["inner"]["kept"] == 5 and -1.5 <= values["outer"]["inner"]["lr"] < 2.5
    assert values["outer"]["op"] in ("tanh", 2, None)


@settings(deadline=None)
@given(st.integers(0, 2**40))
def test_a_draw_depends_on_seed_and_name_only(seed: int) -> None:
    together, _ = config.draw({**FIXED, **SEARCHED}, seed)
    for name, spec in reversed(list(SEARCHED.items())):
        assert config.draw({name: spec}, seed)[0][name] == together[name]


def test_other_names_draw_other_values() -> None:
    spec = SEARCHED["a_double"]
    values, _ = config.draw({"first": spec, "second": spec}, 0)
    assert values["first"] != values["second"]


def test_the_same_name_in_another_section_draws_another_value() -> None:
    spec = SEARCHED["a_double"]
    values, _ = config.draw({"lr": spec, "head": {"lr": spec}}, 0)
    assert values["lr"] != values["head"]["lr"]


def test_whole_numbers_are_drawn_uniformly_below_the_maximum_as_a_master_does() -> None:
    values = drawn("an_int")
    assert all(type(value) is int for value in values)
    counts = [values.count(k) for k in range(-3, 4)]
    assert sum(counts) == 600
    assert sum((count - 600 / 7) ** 2 / (600 / 7) for count in counts) < 27.86  # chi-square, 6 degrees, 0.9999


def uniform(values: list[float], low: float, high: float) -> bool:
    """Kolmogorov-Smirnov at the level 0.0001."""
    assert all(low <= value <= high for value in values)
    steps = [(value - low) / (high - low) for value in sorted(values)]
    distance = max(abs(step - (i + 0.5) / len(steps)) for i, step in enumerate(steps)) + 0.5 / len(steps)
    return distance < 2.23 / math.sqrt(len(steps))


def test_doubles_are_drawn_uniformly() -> None:
    assert uniform(drawn("a_double"), -1.5, 2.5)


@pytest.mark.parametrize(("name", "base", "low", "high"), [("a_log", 10, -4, -1), ("base_two", 2, 1, 3)])
def test_logs_are_drawn_uniformly_in_the_exponent(name: str, base: float, low: float, high: float) -> None:
    assert uniform([math.log(value, base) for value in drawn(name)], low, high)


def test_logs_are_of_base_ten_unless_said() -> None:
    assert uniform([math.log10(value) for value in drawn("no_base")], -2, -1)


def test_categories_are_drawn_uniformly() -> None:
    values = drawn("choice")
    assert all(abs(values.count(choice) - 200) < 4.5 * math.sqrt(600 * 2 / 9) for choice in ("tanh", 2, None))


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "const"},
        {"type": "categorical"},
        {"type": "categorical", "vals": []},
        {"type": "int", "minval": 1},
        {"type": "double", "minval": "low", "maxval": 2},
        {"type": "log", "maxval": 2},
        {"type": "uniform", "minval": 0, "maxval": 1},
    ],
)
def test_a_search_space_that_makes_no_sense_is_refused_by_name(spec: dict[str, Any]) -> None:
    assert problem_of(config.draw, {"lr": spec}, 0).startswith("hyperparameters.lr")


def test_a_search_space_in_a_section_is_refused_by_its_full_name() -> None:
    assert problem_of(config.draw, {"head": {"lr": {"type": "int"}}}, 0).startswith("hyperparameters.head.lr")


# How long to train


@pytest.mark.parametrize(
    ("searcher", "train_epochs", "expected"),
    [
        (None, 300, ("epochs", 300)),
        ({"name": "single"}, 300, ("epochs", 300)),
        ({"time_metric": "epochs", "max_time": 16}, None, ("epochs", 16)),
        ({"time_metric": "epochs", "max_time": 16}, 16, ("epochs", 16)),
        ({"time_metric": "batches", "max_time": 1000}, None, ("batches", 1000)),
    ],
)
def test_the_length_is_said_by_the_searcher_or_by_train_epochs(
    searcher: Any, train_epochs: int | None, expected: tuple[str, int]
) -> None:
    assert config.training_length({"searcher": searcher}, train_epochs) == expected


def test_a_config_without_a_searcher_trains_for_train_epochs() -> None:
    assert config.training_length({}, 5) == ("epochs", 5)


@pytest.mark.parametrize(
    ("searcher", "train_epochs", "words"),
    [
        ({}, None, ["train_epochs", "missing", "max_time"]),
        ({"time_metric": "epochs", "max_time": 16}, 300, ["train_epochs is 300", "max_time is 16 epochs"]),
        ({"time_metric": "batches", "max_time": 16}, 16, ["train_epochs is 16", "max_time is 16 batches"]),
        ({"time_metric": "hours", "max_time": 16}, None, ["searcher.time_metric", "epochs or batches", "'hours'"]),
        ({"max_time": 16}, None, ["searcher.time_metric", "None"]),
    ],
)
def test_a_length_that_is_missing_or_said_twice_is_refused(
    searcher: dict[str, Any], train_epochs: int | None, words: list[str]
) -> None:
    problem = problem_of(config.training_length, {"searcher": searcher}, train_epochs)
    assert all(word in problem for word in words)
