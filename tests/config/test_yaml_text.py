"""YAML is read as a master reads it: held against a record of what its own library made of some 200 texts.

`master_yaml.json` holds [text, value] in the order in which they were tried, null for what was refused. The values are those of
`yaml.Unmarshal` and then `json.Marshal`, which is what the master does, by github.com/ghodss/yaml at 25d852aebe32 with
gopkg.in/yaml.v2 at 2.4.0.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nas.config.load import load, override
from nas.config.yaml_text import dump, parse
from nas.core.errors import ConfigError
from nas.runs.run_folder import RunFolder

RECORD: list[tuple[str, Any]] = json.loads((Path(__file__).parent / "master_yaml.json").read_text(encoding="utf-8"))

MORE_REFUSED = [
    *("a: 1e400", "a: -1e400", "a: 0xFFFFFFFFFFFFFFFFFF"),  # text there, though it looks like a number
    *("a: 18446744073709551615", "a: 9223372036854775808", "a: -9223372036854775809", "a: 0x8000000000000000"),
    *("a: 9007199254740993", "a: 0777777777777777777777777"),  # another number there
    "a: 100000000000000000000",  # of more than 64 bits
    *("a: !!binary aGVsbG8=", "a: !!binary 5a==", "a: !!set {x, y}", "a: !foo bar", "a: !!timestamp 2001-01-01"),
    *("yes: 1", "on: 1", "012: 2", "true: 1", ".inf: 1", "a: [yes]\nb: {n: 1}", "b: &k yes\nc: {*k : 1}"),
    *("yes: 1\ntrue: 2", "yes: 1\n'true': 2", "y: 1\n'true': 2", "x: &x {a: 1}\ny: *x\nz: {<<: *x}"),
    *("a: 1\na: 2", "a: 1\n'a': 2", "1: 1\n'1': 2"),  # twice, which `det experiment create` refuses
    *("a: 1\n---\nb: 2", "a: 1\n...\nb: 2", "---\na: 1\n---\n"),  # two documents, which it refuses too
    "b: &x {c: 1, d: 2}\na: {d: 3, <<: *x}",  # the later d wins there, and the one outside of << by YAML's own rule
]
"""What a master takes and this reader does not: see its docstring."""


def problems(text: str, field: str = "") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, field)
    return caught.value.problems


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types down to the last value."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


@pytest.mark.parametrize(("text", "value"), RECORD, ids=[text for text, _ in RECORD])
def test_a_text_is_what_a_master_makes_of_it(text: str, value: Any) -> None:
    if value is None or text in MORE_REFUSED:
        assert problems(text)
    else:
        assert same(parse(text), value)


def test_the_record_has_all_that_is_refused_here_alone() -> None:
    taken = {text for text, value in RECORD if value is not None}
    assert taken.issuperset(MORE_REFUSED) and len(taken) > 150


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: {b: [1, .inf]}", "a.b.1 must be a finite number, or in quotes if it is text, got .inf (line 1)"),
        ("a:\n  b: .nan", "a.b must be a finite number, or in quotes if it is text, got .nan (line 2)"),
        ("a: 1e400", "a must be at most 1.8e308, the largest double, or in quotes if it is text, got 1e400 (line 1)"),
        ("a:\n  n: 5", "a must have names that are text, got n; put quotes around it (line 2)"),
        ("a: {: 5}", "a must have names that are text, got nothing; put quotes around it (line 1)"),
        ("a: {[x]: 5}", "a must have names that are text, got no scalar; put quotes around it (line 1)"),
        ("a: {b: 1,\n c: 2, b: 3}", "a.b must be given once, but line 1 has it too (line 2)"),
        ("a: &x {b: *x}", "a.b must not hold itself, got *x (line 1)"),
        ("a: *x", "a must name an anchor (&x) that stands before it, got *x (line 1)"),
        ("a: !!int ten", "a must be what its tag !!int says, got ten (line 1)"),
        ("a: !!set {b}", "a must have no tag, got !!set (line 1)"),
        ("a: {b: 1, <<: {b: 2}}", "a must have << before b, which it would overrule on a master (line 1)"),
        ("%YAML 1.2\n---\na: 1", "the text must have no %YAML line, got version 1.2 (line 2)"),
        ("a: 1\n---\n", "the text must hold one document, got a second one (line 2)"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str, line: str) -> None:
    assert problems(text) == [line]


def test_everything_that_is_refused_is_told_at_once() -> None:
    assert [line.split()[0] for line in problems("a: .inf\nb: {c: .nan, d: 1e999, e: 1, no: 2}\nf: !x y")] == [
        *("a", "b.c", "b.d", "b", "f")
    ]


def test_an_alias_is_a_copy() -> None:
    value = parse("a: &x {b: {c: 1}}\nd: *x\ne: {<<: *x}")
    value["a"]["b"]["c"] = value["e"]["b"]["c"] = 2
    assert value["d"] == {"b": {"c": 1}}


def test_a_text_that_is_nested_too_deeply_is_refused() -> None:
    assert problems("[" * 20_000) == ["not valid YAML: line 1 must be nested less deeply, at most 100 levels"]


def test_aliases_that_explode_are_refused_before_memory_is_full() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))]
    (problem,) = problems("\n".join(lines))
    assert "aliases must copy fewer values, at most 100,000 in all (line 1" in problem


def test_a_nul_byte_is_refused() -> None:
    assert problems('{a: "x\\0y"}') == ["a must be text without a NUL byte (line 1)"]


def test_files_overrides_and_run_folders_are_read_alike(tmp_path: Path) -> None:
    text = "hyperparameters: {flag: off, n: 1}"
    path = tmp_path / "experiment.yaml"
    for text, value in (("off", False), ("012", 10), ("1:30", "1:30"), ("2001-01-01", "2001-01-01"), ("'no'", "no")):
        path.write_text(f"hyperparameters:\n  x: {text}\n", encoding="utf-8")
        config = load(path)
        assert same(config, {"hyperparameters": {"x": value}})
        assert same(override({"hyperparameters": {}}, [f"hyperparameters.x={text}"]), config)
        folder = RunFolder.create(tmp_path, "run", config, {})
        assert same(RunFolder.open(folder.path)[1], config)


def test_what_a_file_or_an_override_is_refused_for_names_both(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text("hyperparameters:\n  clip: .inf\n  decay: .nan\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [line.partition(" must ")[0] for line in caught.value.problems] == [
        f"config {path}: hyperparameters.clip",
        f"config {path}: hyperparameters.decay",
    ]
    with pytest.raises(ConfigError) as caught:
        override({}, ["hyperparameters.clip=.inf"])
    (line,) = caught.value.problems
    assert line.startswith("override 'hyperparameters.clip=.inf': hyperparameters.clip must be a finite number")


WORDS = st.sampled_from([text.removeprefix("a: ") for text, _ in RECORD if text.startswith("a: ") and "\n" not in text])
TEXTS = st.text("abnyxeEofNY01289.:-+_~#'\"{}[]<>=!&*%@` |", max_size=6) | WORDS
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(
    allow_nan=False, allow_infinity=False, max_value=1e15, min_value=-1e15
)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
@example({"yes": "no", "on": ["012", "1_000", "0o7", ".inf", "1e400"], "<<": {"~": ""}})
def test_what_is_written_is_read_as_it_was(value: dict[str, Any]) -> None:
    assert parse(dump(value)) == value
