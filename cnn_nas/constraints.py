"""Rules in a YAML that an architecture must satisfy: which operations, how many of each, what is given, how large a network.

    constraints:                                        # under hyperparameters; each line may be left out
      operations: [max_pool_3x3, skip_connect, sep_conv_3x3, dil_conv_3x3]
      normal: {skip_connect: [1, 2], sep_conv_3x3: [3, null]}         # how many of its 8 edges; null is open
      reduce: {skip_connect: [1, 2]}
      fixed: {normal_node1_edge1_op: sep_conv_3x3, normal_node1_edge2_op: sep_conv_3x3}
      parameters: [2.5e6, 4.5e6]
      macs: [null, 6.0e8]

`sampling.py` draws architectures that satisfy them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cnn_nas.architecture import (
    ALL_OPERATIONS,
    CELLS,
    NODES,
    SEARCHED_OPERATIONS,
    Edge,
    Genotype,
    edge_names,
    operation_problems,
    predecessor_problems,
)
from cnn_nas.counting import NetworkSize, count_size
from nas.core.budget import OPEN, Range, read_range
from nas.core.errors import ConfigError, unknown
from nas.core.genotype_text import integral

__all__ = ["SECTION", "Constraints", "NetworkSize", "Range"]

EDGES = 2 * NODES
SECTION = "hyperparameters.constraints"


@dataclass(frozen=True)
class Constraints:
    """What an architecture must satisfy; what is left out allows everything.

    Args:
        operations: those that an edge may have.
        normal: how many edges of the normal cell have an operation.
        reduce: likewise for the reduction cell.
        fixed: operations and predecessors that are given, under their names as hyperparameters.
        parameters: of the network without the auxiliary tower.
        macs: multiply-accumulates for one image, likewise.
    """

    operations: tuple[str, ...] = SEARCHED_OPERATIONS
    normal: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    reduce: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parameters: Range = OPEN
    macs: Range = OPEN

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], section: str = SECTION) -> Constraints:
        """Read the constraints of a YAML.

        Raises:
            ConfigError: with every problem: names that do not exist, bounds that are no numbers or the wrong way round, and
                counts that no cell can have.
        """
        if not isinstance(mapping, Mapping):
            raise ConfigError([f"{section} must be a mapping of rules, got {mapping!r}"])
        known = [each.name for each in fields(cls)]
        problems = [unknown(f"{section}.{key}", str(key), known, "is no rule") for key in mapping if key not in known]
        given = {key: mapping[key] for key in known if mapping.get(key) is not None}
        rules = cls(**{key: _READERS[key](value, f"{section}.{key}", problems) for key, value in given.items()})
        problems = problems or [f"{section}.{problem}" for cell in CELLS for problem in _contradictions(rules, cell)]
        if problems:
            raise ConfigError(problems)
        return rules

    def broken(self, genotype: Genotype, size: NetworkSize) -> list[str]:
        """Every rule that the architecture breaks, with what it has and what is allowed."""
        values, known = genotype.named_values(), ", ".join(self.operations)
        has = {name: value for name, value in values.items() if name.endswith("_op") and value not in self.operations}
        problems = [f"operations: {name} is {value}, allowed {known}" for name, value in has.items()]
        for name, value in self.fixed.items():
            if values.get(name) != value:
                problems.append(f"fixed: {name} is {values.get(name, 'missing')}, allowed {value}")
        measured = self.in_cell("normal", genotype.normal) + self.in_cell("reduce", genotype.reduce)
        measured += self.in_network(genotype, size)
        return problems + [
            f"{rule} {has:,}, allowed {allowed}" for rule, has, allowed in measured if has not in allowed
        ]

    def in_cell(self, cell: str, edges: Sequence[Edge]) -> list[tuple[str, int, Range]]:
        """Each rule over a number in one cell: its name, what the cell has, what is allowed."""
        names = [name for name, _ in edges]
        return [(f"{cell}: {name}", names.count(name), allowed) for name, allowed in getattr(self, cell).items()]

    def in_network(self, genotype: Genotype, size: NetworkSize) -> list[tuple[str, int, Range]]:
        """The same for the rules over the whole network, whose size is counted only if there are any."""
        rules = {"parameters": self.parameters, "macs": self.macs}
        given = {name: allowed for name, allowed in rules.items() if allowed != OPEN}
        counts = count_size(genotype, size) if given else None
        return [(name, getattr(counts, name), allowed) for name, allowed in given.items()]


# Reading. Each takes a value, its name, and the list to which it adds what is wrong.


def _read_operations(value: Any, name: str, problems: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not value:
        problems.append(f"{name} must be a list of operations, got {value!r}")
        return ()
    problems += [problem for operation in value for problem in operation_problems(name, operation)]
    twice = sorted({str(operation) for operation in value if value.count(operation) > 1})
    problems += [f"{name} must name each operation once, got {operation} twice" for operation in twice]
    return tuple(value)


def _read_counts(value: Any, name: str, problems: list[str]) -> dict[str, Range]:
    if not isinstance(value, Mapping):
        problems.append(f"{name} must be a mapping like {{skip_connect: [1, 2]}}, got {value!r}")
        return {}
    strange = [str(operation) for operation in value if operation not in ALL_OPERATIONS]
    problems += [unknown(f"{name}.{each}", each, ALL_OPERATIONS, "is not an operation") for each in strange]
    return {str(each): read_range(allowed, f"{name}.{each}", problems) for each, allowed in value.items()}


def _read_fixed(value: Any, name: str, problems: list[str]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        problems.append(f"{name} must be a mapping like {{normal_node1_edge1_op: sep_conv_3x3}}, got {value!r}")
        return {}
    edges = {each: i for cell in CELLS for i, each in enumerate(edge_names(cell))}
    known = [each + suffix for each in edges for suffix in ("", "_op")]
    for each, given in value.items():
        if each not in known:
            problems.append(unknown(f"{name}.{each}", str(each), known, "is no edge"))
        elif each in edges:
            problems += predecessor_problems(f"{name}.{each}", integral(given), edges[each])
        else:
            problems += operation_problems(f"{name}.{each}", given)
    return {str(each): integral(given) for each, given in value.items()}


_READERS: dict[str, Callable[[Any, str, list[str]], Any]] = {
    "operations": _read_operations,
    "normal": _read_counts,
    "reduce": _read_counts,
    "fixed": _read_fixed,
    "parameters": read_range,
    "macs": read_range,
}


def _contradictions(rules: Constraints, cell: str) -> list[str]:
    """Why no cell can satisfy the rules about operations; empty exactly if one can."""
    ranges: Mapping[str, Range] = getattr(rules, cell)
    fixed = [rules.fixed[f"{name}_op"] for name in edge_names(cell) if f"{name}_op" in rules.fixed]
    problems = [
        f"fixed: {name} in the {cell} cell must be among the operations, {', '.join(rules.operations)}"
        for name in sorted({*fixed} - {*rules.operations})
    ]
    least = {name: max(math.ceil(allowed.low or 0), fixed.count(name)) for name, allowed in ranges.items()}
    most = {name: EDGES if allowed.high is None else math.floor(allowed.high) for name, allowed in ranges.items()}
    for name, allowed in ranges.items():
        if least[name] and name not in rules.operations:
            problems.append(f"{cell}.{name} must be {allowed}, but {name} is not among the operations")
        if fixed.count(name) > most[name]:
            problems.append(f"{cell}.{name} must be {allowed}, but {fixed.count(name)} are fixed")
    needed = sum(least.values()) + sum(name not in ranges for name in fixed)
    possible = sum(min(most.get(name, EDGES), EDGES) for name in rules.operations)
    if needed > EDGES:
        problems.append(f"{cell} must leave room for {EDGES} edges, got rules that need {needed}")
    if possible < EDGES:
        problems.append(f"{cell} must allow {EDGES} edges, got rules that allow {possible}")
    return problems
