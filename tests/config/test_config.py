"""An experiment's YAML: read as a master reads it, overridden, and asked how long to train."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from nas.config import load as config
from nas.core.errors import ConfigError


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


def test_text_of_every_script_is_read(tmp_path: Path) -> None:
    assert load(tmp_path, "name: Größe 名\nhyperparameters: {}\n")["name"] == "Größe 名"


@pytest.mark.parametrize(
    "text",
    [
        "hyperparameters: [1, 2\n",
        "hyperparameters:\n\tkey: 1\n",
        "a: b: c\n",
    ],
)
def test_what_is_not_yaml_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    problem = problem_of(load, tmp_path, text)
    assert "experiment.yaml" in problem and "not valid YAML" in problem and "\n" not in problem


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(b"hyperparameters: {a: \xff\xfe}\n")
    assert "is not UTF-8: byte 0xff in line 1" in problem_of(config.load, path)


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
        ("name=z", ("name",), "z"),
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


@pytest.mark.parametrize("metric", [[1], {"a": 1}, 3, True])
def test_a_metric_that_is_no_name_is_not_reported(metric: Any) -> None:
    with pytest.raises(ConfigError, match="must be the name of a validation metric"):
        config.check_searcher({"searcher": {"metric": metric}}, {"loss": "minimize"}, {"loss": "minimize"})
