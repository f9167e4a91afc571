"""YAML as a Determined 0.38.1 master reads it, so that a config means the same here and there.

The master turns YAML into JSON by Go's `ghodss/yaml` at 25d852aebe32 over `yaml.v2` 2.4.0, and that into values. What those two
make of a scalar without quotes was tried out value by value, and the tests hold this reader against that record:

- `y yes on n no off` are true and false, in three ways to write them (`no No NO`), as in YAML 1.1.
- `012` and `0o12` are 10, `0x1F` is 31, `0b101` is 5, `1_000` is 1000; `08` is 8 (it is no octal number); `8e-07` is a number.
- `1:30` and dates are text.
- JSON has one kind of number: `1.0` and `1e3` arrive as the whole numbers 1 and 1000.

Refused here, each with its field and line:

- what the master refuses: `.inf`, `.nan`, keys that are null or no scalar, `%YAML 1.2`.
- what `det experiment create` refuses before the master sees it: the same key twice, a second document.
- what would arrive as another value than was written: whole numbers that a double cannot hold, numbers beyond the largest
  double (text there), the key `yes` ("true" there), `<<` after a key that it would overrule, tags such as `!!binary`.
"""

from __future__ import annotations

import copy
import io
import math
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.representer import RoundTripRepresenter

from nas.core.errors import ConfigError

_WORDS: dict[str, bool | None] = {
    **{word: True for text in ("y", "yes", "on", "true") for word in (text, text.capitalize(), text.upper())},
    **{word: False for text in ("n", "no", "off", "false") for word in (text, text.capitalize(), text.upper())},
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WHOLE = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[oO]?[0-7]+|0[bB][01]+|0|[1-9][0-9]*)|0b[-+][01]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BETWEEN_DIGITS = re.compile(r"(?<=[0-9])_(?=[0-9])")
_BASES = {"x": 16, "o": 8, "b": 2}
_TAGS = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
DEEPEST = 100
"""Levels of lists and sections in one another."""
MOST_VALUES = 100_000
"""That a text stands for, aliases replaced by what they name."""
_PLAIN_DIGITS = 1e21
"""Below it the master writes a whole number without an exponent."""


def parse(text: str, field: str = "") -> Any:
    """The value that a YAML text stands for.

    Args:
        text: one document.
        field: what errors call the whole.

    Raises:
        ConfigError: with every value that is refused; or for a text that is not YAML, which one sentence says.
    """
    try:
        reader = _Reader(YAML(typ="safe", pure=True).parse(text))
        value = reader.document(field)
    except YAMLError as error:
        raise ConfigError([f"not valid YAML: {' '.join(str(error).split())}"]) from error
    except RecursionError as error:
        raise ConfigError(["not valid YAML: it must be nested less deeply"]) from error
    if reader.problems:
        raise ConfigError(reader.problems)
    return value


def scalar(text: str) -> Any:
    """The value of a scalar without quotes. Raises ValueError with the rule that it breaks."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("must be a finite number, or in quotes if it is text")
    digits = text.replace("_", "") if text[0] in "+-0123456789" else _BETWEEN_DIGITS.sub("", text)
    if _WHOLE.fullmatch(digits):
        whole = _whole(digits) if len(digits) <= 400 else None
        if whole is None or whole != _through_json(float(whole)):
            raise ValueError("must be a whole number that a double holds, as all up to 2**53 are, or in quotes")
        return whole
    if not _NUMBER.fullmatch(digits):
        return text
    number = float(digits)
    if math.isinf(number):
        raise ValueError("must be at most 1.8e308, the largest double, or in quotes if it is text")
    return _through_json(number)


def dump(value: Mapping[str, Any]) -> str:
    """The inverse of `parse`, for every value that `parse` can return."""
    yaml, text = YAML(), io.StringIO()
    yaml.Representer = _Representer
    yaml.dump(dict(value), text)
    return text.getvalue()


def _through_json(number: float) -> int | float:
    """A number as Go writes it to JSON, with as few digits as tell it from other doubles, and Python reads it."""
    return int(Decimal(repr(number))) if number.is_integer() and abs(number) < _PLAIN_DIGITS else number


def _whole(digits: str) -> int | None:
    """A whole number of 64 bits as Go's strconv reads it; None for one that does not fit."""
    sign, size = (digits[0], digits[1:]) if digits[0] in "+-" else ("", digits)
    base = _BASES.get(size[1:2].lower()) if size[0] == "0" else None
    octal = 8 if base is None and size[0] == "0" else 10
    value = int(size[2:], base) if base else int(size, octal)
    value = -value if sign == "-" else value
    return value if -(2**63) <= value < (2**63 if sign else 2**64) else None


class _Reader:
    """Makes values of a parser's events. What is refused is collected in `problems` and read as null."""

    def __init__(self, events: Iterator[Event]) -> None:
        self._events = events
        self._anchors: dict[str, Any] = {}
        self._open: set[str] = set()
        self._sizes: dict[str, int] = {}  # values that each anchor stands for
        self._values = self._depth = 0
        self.problems: list[str] = []

    def document(self, field: str) -> Any:
        """The value of the only document."""
        value, documents = None, 0
        for event in self._events:
            if not isinstance(event, DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                self._refuse("", event, "must hold one document, got a second one")
                break
            if event.version not in (None, (1, 1)):
                self._refuse("", event, "must have no %YAML line, got version {}.{}".format(*event.version))
            value = self._value(next(self._events), field)
        return value

    def _value(self, event: Event, field: str) -> Any:
        if isinstance(event, AliasEvent):
            return self._alias(event, field)
        assert isinstance(event, NodeEvent)
        before, self._values, self._depth = self._values, self._values + 1, self._depth + 1
        if self._depth > DEEPEST:
            raise ConfigError(
                [f"not valid YAML: line {_line(event)} must be nested less deeply, at most {DEEPEST} levels"]
            )
        if event.anchor:
            self._open.add(event.anchor)
        value = self._node(event, field)
        self._depth -= 1
        if event.anchor:
            self._anchors[event.anchor] = value
            self._sizes[event.anchor] = self._values - before
            self._open.discard(event.anchor)
        return value

    def _node(self, event: NodeEvent, field: str) -> Any:
        if isinstance(event, ScalarEvent):
            return self._scalar(event, field)
        assert isinstance(event, SequenceStartEvent | MappingStartEvent)
        if event.tag not in (None, f"{_TAGS}seq", f"{_TAGS}map"):
            self._refuse(field, event, f"must have no tag, got {_short(event.tag)}")
        return self._sequence(field) if isinstance(event, SequenceStartEvent) else self._mapping(field)

    def _alias(self, event: AliasEvent, field: str) -> Any:
        """A copy of what has the anchor: JSON has no other way."""
        if event.anchor in self._open:
            self._refuse(field, event, f"must not hold itself, got *{event.anchor}")
        elif event.anchor not in self._anchors:
            self._refuse(
                field, event, f"must name an anchor (&{event.anchor}) that stands before it, got *{event.anchor}"
            )
        self._values += self._sizes.get(event.anchor, 1)
        if self._values > MOST_VALUES:
            rule = f"aliases must copy fewer values, at most {MOST_VALUES:,} in all"
            raise ConfigError([f"not valid YAML: {rule} (line {_line(event)})"])
        return copy.deepcopy(self._anchors.get(event.anchor))

    def _scalar(self, event: ScalarEvent, field: str) -> Any:
        tag = (event.tag or "").removeprefix(_TAGS)
        if "\0" in event.value:
            return self._refuse(field, event, "must be text without a NUL byte")
        if tag == "str" or (not tag and not event.implicit[0]):
            return event.value
        if tag and tag not in _TYPES:
            return self._refuse(field, event, f"must have no tag, got {_short(str(event.tag))}")
        try:
            value = scalar(event.value)
        except ValueError as error:
            return self._refuse(field, event, f"{error}, got {_cut(event.value)}")
        if tag and (type(value) not in _TYPES[tag]):
            return self._refuse(field, event, f"must be what its tag !!{tag} says, got {event.value}")
        return value

    def _sequence(self, field: str) -> list[Any]:
        values: list[Any] = []
        while not isinstance(item := next(self._events), SequenceEndEvent):
            values.append(self._value(item, f"{field}.{len(values)}" if field else str(len(values))))
        return values

    def _mapping(self, field: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        while not isinstance(key := next(self._events), MappingEndEvent):
            if isinstance(key, ScalarEvent) and key.value == "<<" and key.implicit[0]:
                self._merge(values, lines, key, field)
                continue
            name = self._key(key, field)
            inner = f"{field}.{name}" if field else name
            if name in lines:
                self._refuse(inner, key, f"must be given once, but line {lines[name]} has it too")
            lines[name] = _line(key)
            values[name] = self._value(next(self._events), inner)
        return values

    def _merge(self, values: dict[str, Any], lines: Mapping[str, int], key: ScalarEvent, field: str) -> None:
        """`<<: *anchor`, or a list of them, of which the first to have a key decides."""
        merged = self._value(next(self._events), f"{field}.<<" if field else "<<")
        parts = merged if isinstance(merged, list) else [merged]
        if not all(isinstance(part, dict) for part in parts):
            self._refuse(field, key, "must have a section after <<, or a list of sections")
            return
        if again := [name for part in parts for name in part if name in lines]:
            self._refuse(field, key, f"must have << before {again[0]}, which it would overrule on a master")
        for part in reversed(parts):
            values.update(part)

    def _key(self, event: Event, field: str) -> str:
        value = self._value(event, field) if isinstance(event, AliasEvent) else None
        if isinstance(event, ScalarEvent):
            value = _name_of(event)
        if isinstance(value, str):
            return value
        if not isinstance(event, ScalarEvent | AliasEvent):
            self._value(event, field)
        got = event.value or "nothing" if isinstance(event, ScalarEvent) else "no scalar"
        self._refuse(field, event, f"must have names that are text, got {got}; put quotes around it")
        return str(got)

    def _refuse(self, field: str, event: Event, rule: str) -> None:
        self.problems.append(f"{field or 'the text'} {rule} (line {_line(event)})")


def _name_of(event: ScalarEvent) -> str | None:
    """A key; a whole number written as usual is the text of it, as in JSON."""
    if not event.implicit[0]:
        return str(event.value)
    try:
        value = scalar(event.value)
    except ValueError:
        return None
    return str(event.value) if isinstance(value, str) or str(value) == event.value else None


def _cut(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:97]}..."


def _short(tag: str) -> str:
    return tag.replace(_TAGS, "!!")


def _line(event: Event) -> int:
    return int(event.start_mark.line) + 1


class _Representer(RoundTripRepresenter):
    """Puts quotes around what would be read as something else than text."""

    def represent_str(self, data: str) -> Any:
        """Text."""
        try:
            plain = scalar(data) == data
        except ValueError:
            plain = False
        if plain and data != "<<":
            return super().represent_str(data)
        return self.represent_scalar(f"{_TAGS}str", data, style="'")


_Representer.add_representer(str, _Representer.represent_str)
