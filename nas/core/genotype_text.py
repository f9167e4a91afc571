"""What the codecs of all spaces share: the `Genotype(...)` text of logs, read without evaluating it, and its fields."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from nas.core.errors import ConfigError, unknown

ALL_NODES: tuple[int, ...] = (-1,)  # told from a concat that was given by its identity
"""As a concat: all nodes of the cell."""

_LONGEST_RANGE = 1000  # more than any cell has nodes; a longer one would only fill memory


def named_arguments(text: str, example: str) -> dict[str, Any]:
    """The arguments of a `Genotype(name=value, ...)` call whose values are literals or `range(...)`.

    Args:
        text: what a log prints; blanks around it do not count.
        example: what such a text looks like in this search space, for the error.

    Raises:
        ConfigError: if the text is anything else, or names an argument twice; nothing of it is ever run.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or getattr(call.func, "id", None) != "Genotype" or call.args:
            raise ValueError("not a Genotype(...) call with named arguments")
        pairs = [(str(keyword.arg), _literal(keyword.value)) for keyword in call.keywords]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError([f"a genotype's text must read {example}, got {text!r}"]) from error
    return each_once(pairs)


def each_once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Names and values as a mapping, also as the `object_pairs_hook` of `json.loads`, which would take the last of two.

    Raises:
        ConfigError: with every name that is there more than once.
    """
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = dict.fromkeys(name for name in names if names.count(name) > 1)
        raise ConfigError(f"a genotype must have {name} once, got it {names.count(name)} times" for name in twice)
    return found


def check_fields(data: Mapping[str, Any], required: Collection[str], optional: Collection[str]) -> None:
    """Refuse what is no field of a genotype, for a misspelt one would silently mean its default.

    Raises:
        ConfigError: with every field that is not known, the nearest known names beside it, and every one that is missing.
    """
    known = [*required, *optional]
    problems = [
        unknown(f"{name!r}", str(name), known, "is no field of a genotype") for name in data if name not in known
    ]
    problems += [f"a genotype must have {name}, which is missing" for name in required if name not in data]
    if problems:
        raise ConfigError(problems)


def misspelt(names: Iterable[str], wanted: Collection[str]) -> list[str]:
    """What is wrong with hyperparameters that are none of the wanted names, but look so much like one that they are meant."""
    near = {name: difflib.get_close_matches(str(name), wanted, n=1, cutoff=0.8) for name in names if name not in wanted}
    return [
        f"{name} spells out nothing of an architecture; did you mean {found[0]}?"
        for name, found in near.items()
        if found
    ]


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "range" and not node.keywords:
        numbers = range(*(int(ast.literal_eval(argument)) for argument in node.args))
        if len(numbers) > _LONGEST_RANGE:
            raise ValueError(f"a range of {len(numbers)} numbers")
        return list(numbers)
    return ast.literal_eval(node)
