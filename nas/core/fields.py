"""Typed, checked reading of hyperparameters: a YAML mapping in, frozen dataclasses out, or every problem at once.

A group of hyperparameters is a frozen dataclass beside its owner; its fields are the YAML keys. A field without a default
must be given, a key that no group has is an error, a value must have the field's type and obey the rule in the field's
metadata. Rules over several fields live in an optional method `problems()` of the dataclass.

    @dataclass(frozen=True)
    class Clipping:
        clip_gradients_l2_norm: float = field(gt=0)

    clipping, = read({"clip_gradients_l2_norm": 0.25}, Clipping)
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nas.core.errors import ConfigError, unknown
from nas.core.old_names import REMOVED, new_name

_MISSING = dataclasses.MISSING
MOST, MOST_WHOLE = 1e30, 2**53
"""Beyond it no hyperparameter has a value: float32 would overflow, and a master would not hold the whole number."""


def field(
    default: Any = _MISSING,
    *,
    ge: float | None = None,
    le: float | None = None,
    gt: float | None = None,
    lt: float | None = None,
    most: float | None = None,
    choices: Iterable[str] | None = None,
) -> Any:
    """A dataclass field with a rule: `ge <= value <= le`, `gt < value < lt`, or one of `choices`.

    Args:
        most: more can only be a mistake; told to those alone who make it.
    """
    rule = {"ge": ge, "le": le, "gt": gt, "lt": lt, "most": most, "choices": choices}
    return dataclasses.field(
        default=default, metadata={name: value for name, value in rule.items() if value is not None}
    )


def read(
    values: Mapping[str, Any], *groups: type, section: str = "hyperparameters", elsewhere: Sequence[str] = ()
) -> list[Any]:
    """Read one instance of each group from `values`; together the groups must account for every key.

    Args:
        elsewhere: keys that may be meant although they are read elsewhere, and are not among the values.

    Raises:
        ConfigError: with every problem found: keys nobody reads, missing keys, wrong types, values out of range, and what
            the groups' own `problems()` say.
    """
    if not isinstance(values, Mapping):
        raise ConfigError([f"{section} must be a mapping of names to values, got {_show(values)}"])
    known = [field.name for group in groups for field in dataclasses.fields(group)]
    strange = {key: value for key, value in values.items() if key not in known}
    meant = [*known, *elsewhere]
    problems = [_read_by_nothing(section, str(key), value, meant, values) for key, value in strange.items()]
    renamed = {new_name(str(key), known) for key in strange}
    instances = []
    for group in groups:
        instance, found = _read_group(values, group, section, renamed)
        problems += found
        instances.append(instance)
    if problems:
        raise ConfigError(problems)
    return instances


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Put the field's name before every problem that is found in the block."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{name}: {problem}" for problem in error.problems]) from error


def exactly_one(given: Mapping[str, bool], ways: str) -> None:
    """Raises ConfigError unless exactly one of the ways to say something was used; `ways` explains them."""
    used = [way for way in given if given[way]]
    if len(used) != 1:
        got = " and ".join(used) or "none of them"
        raise ConfigError([f"hyperparameters: exactly one of {ways} must say the architecture, got {got}"])


def _read_by_nothing(section: str, name: str, value: Any, known: Collection[str], given: Mapping[str, Any]) -> str:
    """The sentence for a key that no group has."""
    if (new := new_name(name, known)) is not None:
        write = (
            f"leave it out, as {new} is there"
            if new in given
            else f"write {new}: {value if isinstance(value, str) else _show(value)}"
        )
        return f"{section}.{name} is {new} now; {write}"
    if name in REMOVED:
        return f"{section}.{name} is read by nothing; leave it out: {REMOVED[name]}"
    return unknown(f"{section}.{name}", name, known, "is read by nothing")


def _read_group(
    values: Mapping[str, Any], group: type, section: str, renamed: Collection[str | None] = ()
) -> tuple[Any, list[str]]:
    hints = typing.get_type_hints(group)
    arguments: dict[str, Any] = {}
    problems: list[str] = []
    complete = True
    for field in dataclasses.fields(group):
        name = f"{section}.{field.name}"
        if field.name in values:
            value, problem = _convert(values[field.name], hints[field.name])
            problem = problem or _broken_rule(value, field.metadata)
            if problem:
                problems.append(f"{name} must be {problem}, got {_show(values[field.name])}")
            arguments[field.name] = value
        elif field.default is _MISSING and field.default_factory is _MISSING:
            complete = False
            if field.name not in renamed:
                problems.append(f"{name} is missing; it must be given")
    if problems or not complete:
        return None, problems
    try:
        instance = group(**arguments)
    except ValueError as error:
        return None, [f"{section}: {error}"]
    own = getattr(instance, "problems", None)
    return instance, [f"{section}.{problem}" for problem in own()] if own else []


def _convert(value: Any, kind: Any) -> tuple[Any, str | None]:
    """The value as `kind`, and what it should have been if it is not that."""
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        kinds = [option for option in typing.get_args(kind) if option is not types.NoneType]
        if types.NoneType in typing.get_args(kind):
            if value is None:
                return None, None
            converted, problem = _convert(value, kinds[0])
            return converted, problem and f"{problem} or null"
        one, several = kinds
        return _convert(value, several if isinstance(value, list | tuple) else one)
    if typing.get_origin(kind) is tuple:
        return _convert_list(value, typing.get_args(kind)[0])
    if kind in (int, float) and isinstance(value, str) and _is_number(value):
        return value, f"a {'whole ' * (kind is int)}number, not text; leave the quotes out"
    if kind is float and isinstance(value, float) and not math.isfinite(value):
        return value, "a finite number"
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    most = {float: MOST, int: MOST_WHOLE}.get(kind)
    if most is not None and type(value) in (int, kind) and abs(value) > most:
        return value, f"at most {most:.16g}" if value > 0 else f"at least {-most:.16g}"
    if kind is float and type(value) in (int, float):
        return float(value), None
    if kind is str and isinstance(value, str) and "\0" in value:
        return value, "text without a NUL byte"
    if kind in (int, str, bool) and type(value) is kind:
        return value, None
    if typing.get_origin(kind) is Mapping:
        return value, None if isinstance(value, Mapping) else "a section of names and values"
    if kind == list[str]:
        texts = isinstance(value, list) and value and all(type(each) is str for each in value)
        return value, None if texts else "a list of texts, at least one"
    return value, {float: "a number", int: "a whole number", str: "text", bool: "true or false"}.get(kind, f"a {kind}")


def _convert_list(values: Any, kind: Any) -> tuple[Any, str | None]:
    """A tuple of any length."""
    if not isinstance(values, list | tuple) or not values:
        return values, "a list, not empty"
    converted, problems = zip(*(_convert(value, kind) for value in values), strict=True)
    wrong = next((problem for problem in problems if problem), None)
    return converted, wrong and f"a list of which each is {wrong}"


def _broken_rule(value: Any, rule: Mapping[str, Any]) -> str | None:
    """The rule in words if the value breaks it. None always obeys: it means that the field was left out."""
    if value is None or not rule:
        return None
    if isinstance(value, tuple):
        broken = next((problem for each in value if (problem := _broken_rule(each, rule))), None)
        return broken and f"a list of which each is {broken}"
    if "choices" in rule:
        return None if value in rule["choices"] else f"one of {', '.join(rule['choices'])}"
    if "most" in rule and value > rule["most"]:
        return f"at most {rule['most']:.15g}"
    tests = {
        "ge": ("at least", lambda bound: value >= bound),
        "le": ("at most", lambda bound: value <= bound),
        "gt": ("above", lambda bound: value > bound),
        "lt": ("below", lambda bound: value < bound),
    }
    bounds = {name: bound for name, bound in rule.items() if name != "most"}
    if all(tests[name][1](bound) for name, bound in bounds.items()):
        return None
    return " and ".join(f"{tests[name][0]} {bound:.15g}" for name, bound in bounds.items())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _show(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else _short(repr(value))


def _short(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."
