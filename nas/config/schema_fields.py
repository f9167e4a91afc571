"""Pieces of a JSON schema for configs, where a field may be null, which is the same as left out, unless its section needs it.

`rules.py` makes its sentences of three annotations:

- `title`: what a section describes, or what a name must be the name of: "a searcher".
- `description`: what a value must be, where its type does not say it.
- `$comment`: what to do about a value that is not among the known ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

ANYTHING: Schema = {}
UNITS = ("batches", "records", "epochs")


def may_be(*types: str, **rules: Any) -> Schema:
    """A value of one of the types, or null."""
    return {"type": [*types, "null"], **rules}


LARGEST = 2**63 - 1
"""Whole number that a master can hold."""


def whole(least: int | None = None, most: int | None = None, **rules: Any) -> Schema:
    """A whole number; 3.0 is one, true is not."""
    most = LARGEST if most is None else most
    limits = {name: limit for name, limit in (("minimum", least), ("maximum", most)) if limit is not None}
    return may_be("integer", **limits, **rules)


TEXT = may_be("string")
FLAG = may_be("boolean")
NUMBER = may_be("number")


def given(schema: Schema) -> Schema:
    """The same, but not null."""
    if "type" not in schema:
        return schema
    return {**schema, "type": [name for name in schema["type"] if name != "null"]}


def list_of(item: Schema) -> Schema:
    """A list, none of whose items is null."""
    return may_be("array", items=given(item))


def section(title: str, needs: Mapping[str, Schema] | None = None, **fields: Schema) -> Schema:
    """Names and values: those it needs, which must not be null, and others, and no more."""
    needed = {name: given(schema) for name, schema in (needs or {}).items()}
    return may_be("object", title=title, required=[*needed], **only(title, {**needed, **fields}))


def only(title: str, fields: Mapping[str, Schema]) -> Schema:
    """These fields and no others."""
    return {"properties": fields, "propertyNames": {"enum": [*fields], "title": title}}


def chosen(title: str, key: str, members: Mapping[str, Schema], note: str = "") -> Schema:
    """The member that the section's `key` names, which must be there."""
    one = {"enum": [*members], "title": title, "description": f"one of {', '.join(members)}", "$comment": note}
    cases = [
        {"if": {"type": "object", "required": [key], "properties": {key: {"const": name}}}, "then": member}
        for name, member in members.items()
    ]
    return may_be("object", title=title, required=[key], properties={key: one}, allOf=cases)


def length(least: int, *others: str) -> Schema:
    """A length such as {epochs: 5}, or a number where `others` allows that."""
    return may_be(
        "object",
        *others,
        description="one of batches, records and epochs with a number, such as {epochs: 5}",
        **only("a length", dict.fromkeys(UNITS, given(whole(least)))),
        **{"minProperties": 1, "maxProperties": 1, "minimum": 0},
    )
