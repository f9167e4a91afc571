"""The JSON files in which DARTS-CC keeps its cells (Yakovlev et al. 2021, github.com/intsystems/DARTS-CC).

`[reduce, normal]`, the reduction cell first; a cell is a list of its nodes, a node a list with the number of an operation for
each earlier state, 7 for no edge: `[[[5, 0], [4, 7, 2], ...], [[4, 4], [2, 7, 6], ...]]`. That is how its training reads
them; the program that made its random cells wrote the normal cell first.

Its mode `DARTS` keeps two edges a node, which is a genotype. Its mode `simple` keeps up to all 14 edges of a cell of four
nodes, which is none.
"""

from __future__ import annotations

import json
from typing import Any

from cnn_nas.architecture import Edge, Genotype
from nas.core.errors import ConfigError

OPERATIONS = (
    *("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
    "none",
)
NO_EDGE = len(OPERATIONS) - 1


def is_written(text: str) -> bool:
    """Whether a text is such a file: lists in lists in a list, without a name. What is wrong with one, `read` says."""
    try:
        cells = json.loads(text)
    except (ValueError, RecursionError):
        return False
    nodes = [node for cell in _list(cells) for node in (_list(cell) or [None])]
    return bool(nodes) and all(isinstance(node, list) and not any(map(_is_text_or_list, node)) for node in nodes)


def read(text: str) -> Genotype:
    """The cells of such a file.

    Raises:
        ConfigError: with the first mistake of each cell.
    """
    cells = json.loads(text)
    if len(cells) != 2:
        raise ConfigError([f"a file of DARTS-CC must hold two cells, [reduce, normal], got {len(cells)}"])
    problems: list[str] = []
    found: dict[str, tuple[Edge, ...]] = {}
    for name, cell in zip(("reduce", "normal"), cells, strict=True):
        try:
            found[name] = tuple(edge for i, node in enumerate(cell) for edge in _edges(f"{name} node {i + 1}", i, node))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return Genotype(normal=found["normal"], reduce=found["reduce"])


def _edges(name: str, index: int, node: list[Any]) -> list[Edge]:
    """The two edges of a node; `index` counts from 0."""
    states = index + 2
    if len(node) != states:
        rule = f"must have {states} numbers, an operation for each of the states 0..{states - 1}"
        raise ConfigError([f"{name} of a DARTS-CC cell {rule}, got {len(node)}"])
    for state, number in enumerate(node):
        if type(number) is not int or not 0 <= number <= NO_EDGE:
            what = f"an operation as a number 0..{NO_EDGE - 1}, or {NO_EDGE} for no edge"
            raise ConfigError([f"{name} of a DARTS-CC cell must have {what}, got {number!r} for state {state}"])
    kept = [(OPERATIONS[number], state) for state, number in enumerate(node) if number != NO_EDGE]
    if len(kept) != 2:
        why = "cells that keep any number of edges, as DARTS-CC's mode simple does, are not in this space"
        raise ConfigError([f"{name} of a DARTS-CC cell must keep two edges, got {len(kept)}; {why}"])
    return kept


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text_or_list(value: Any) -> bool:
    return isinstance(value, str | list | dict)
