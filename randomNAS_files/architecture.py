"""One recurrent cell as data: the genotype of the DARTS recurrent space, its codecs, and random sampling.

A cell has a state s_0 and nodes 1..n. Node i applies an activation to its predecessor, one of the states 0..i-1; the
cell's output is the mean of the states in `concat`. DARTS: Liu et al. 2019, arXiv 1806.09055, section 2 and appendix A;
searched at random by Li & Talwalkar 2019, arXiv 1902.07638.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nas.core.errors import ConfigError, unknown
from nas.core.genotype_text import (
    ALL_NODES,
    check_fields,
    edges_of,
    integral,
    misspelt,
    read_written,
    states_of,
)
from nas.core.seeds import numpy_generator

ACTIVATIONS = ("none", "tanh", "relu", "sigmoid", "identity")
"""What a node may apply. `none` makes the node's state zero; a search never samples it."""

SEARCHED_ACTIVATIONS = ACTIVATIONS[1:]
NODES = 8
"""Nodes of a sampled cell, as in DARTS."""
TOPOLOGIES: dict[str, Callable[[int], int]] = {"chain": lambda node: node - 1, "tree": lambda node: (node - 1) // 2}
"""Which state node i, counted from 1, reads in cells that differ in their activations only."""

FIELDS = ("recurrent", "concat")
_HPARAM = re.compile(r"node(\d+)_(op|edge)")


@dataclass(frozen=True)
class Genotype:
    """A recurrent cell.

    Args:
        recurrent: for each node in order, its activation and its predecessor; node i (counted from 1) may take the states
            0..i-1, where 0 is the initial state.
        concat: the nodes whose states are averaged to the output; all of them if left out. An empty one is refused.

    Raises:
        ConfigError: with every activation, predecessor or concat entry that is not allowed.
    """

    recurrent: tuple[tuple[str, int], ...]
    concat: tuple[int, ...] = ALL_NODES

    def __post_init__(self) -> None:
        object.__setattr__(self, "recurrent", tuple((name, pred) for name, pred in self.recurrent))
        everything = tuple(range(1, len(self.recurrent) + 1))
        object.__setattr__(self, "concat", everything if self.concat is ALL_NODES else tuple(self.concat))
        problems = [] if self.recurrent else ["a cell needs at least one node, got none"]
        for i, (name, pred) in enumerate(self.recurrent, start=1):
            if name not in ACTIVATIONS:
                problems.append(unknown(f"node{i}_op {name!r}", str(name), ACTIVATIONS, "is not an activation"))
            if type(pred) is not int or not 0 <= pred < i:
                problems.append(f"node{i}_edge must be 0..{i - 1}, got {pred!r}")
        if self.recurrent and not self.concat:
            problems.append(
                f"concat must name at least one of the nodes 1..{len(everything)}, got []; leave it out for all"
            )
        if any(type(i) is not int or not 1 <= i <= len(self.recurrent) for i in self.concat):
            problems.append(f"concat must name nodes 1..{len(self.recurrent)}, got {list(self.concat)}")
        if len(set(map(repr, self.concat))) != len(self.concat):
            problems.append(f"concat must name each node once, got {list(self.concat)}")
        if problems:
            raise ConfigError(problems)

    def __str__(self) -> str:
        """One line for a reader: `1 relu(0)  2 tanh(1)  mean of 1-8`."""
        nodes = "  ".join(f"{i} {name}({pred})" for i, (name, pred) in enumerate(self.recurrent, start=1))
        full = self.concat == tuple(range(1, len(self.recurrent) + 1))
        return f"{nodes}  mean of {f'1-{len(self.recurrent)}' if full else ' '.join(map(str, self.concat))}"

    def unused_nodes(self) -> list[int]:
        """The nodes, counted from 1, on which the output does not depend."""
        used: set[int] = set()
        for i in sorted(self.concat, reverse=True):
            while i and i not in used and self.recurrent[i - 1][0] != "none":
                used.add(i)
                i = self.recurrent[i - 1][1]
        return [i for i in range(1, len(self.recurrent) + 1) if i not in used]

    def to_json(self) -> dict[str, Any]:
        """Plain lists, ready for `json.dump`."""
        return {"recurrent": [[name, pred] for name, pred in self.recurrent], "concat": list(self.concat)}

    def to_text(self) -> str:
        """The `Genotype(...)` line that DARTS logs print; it is also valid code for `genotypes.py`."""
        return f"Genotype(recurrent={list(self.recurrent)!r}, concat={list(self.concat)!r})"

    def to_hparams(self) -> dict[str, Any]:
        """`node1_op`, `node1_edge`, ... as a config spells them; only for cells that average all their nodes."""
        if self.concat != tuple(range(1, len(self.recurrent) + 1)):
            raise ConfigError([f"hyperparameters describe cells that average all nodes, concat is {list(self.concat)}"])
        nodes = enumerate(self.recurrent, start=1)
        return {f"node{i}_{key}": value for i, node in nodes for key, value in zip(("op", "edge"), node, strict=True)}


def from_json(data: Mapping[str, Any]) -> Genotype:
    """The inverse of `Genotype.to_json`; the concat may be left out. Raises ConfigError if the data is no cell's."""
    if not isinstance(data, Mapping):
        like = '{"recurrent": [["relu", 0], ...], "concat": [1, ...]}'
        raise ConfigError([f"a genotype must look like {like}, got {data!r}"])
    check_fields(data, ["recurrent"], ["concat"])
    nodes = edges_of("recurrent", data["recurrent"])
    return Genotype(nodes, states_of("concat", data["concat"]) if "concat" in data else ALL_NODES)


def from_text(text: str) -> Genotype:
    """Read a `Genotype(recurrent=[...], concat=range(1, 9))` of a DARTS log, or the same in other forms; evaluates nothing."""
    return read_written(text, FIELDS).build(from_json, _pieces)


def _pieces(field: str, count: int) -> list[str]:
    return [f"node{i}" for i in range(1, count + 1)] if field == "recurrent" else []


def node_hparams(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the hyperparameters that spell out a cell: `node1_op`, `node1_edge`, ..."""
    return {name: value for name, value in hparams.items() if _HPARAM.fullmatch(str(name))}


def from_hparams(hparams: Mapping[str, Any]) -> Genotype:
    """The inverse of `Genotype.to_hparams`; other hyperparameters are ignored, unless they look like a misspelt node.

    Raises:
        ConfigError: if a node lacks its `_op` or `_edge`, or the cell is not valid.
    """
    nodes = node_hparams(hparams)
    count = max((int(match.group(1)) for match in map(_HPARAM.fullmatch, nodes) if match), default=0)
    wanted = [f"node{i}_{key}" for i in range(1, count + 1) for key in ("op", "edge")]
    problems = [f"{name} is missing; a cell of {count} nodes needs it" for name in wanted if name not in nodes]
    problems += [f"{name} is not a node; nodes are counted from 1" for name in nodes if name not in wanted]
    problems += misspelt([name for name in hparams if name not in nodes], wanted)
    if problems:
        raise ConfigError(problems if len(problems) <= 8 else [*problems[:8], f"and so on, {len(problems)} problems"])
    return Genotype(tuple((nodes[f"node{i}_op"], integral(nodes[f"node{i}_edge"])) for i in range(1, count + 1)))


def sample(
    seed: int,
    *labels: str | int,
    nodes: int = NODES,
    least: int | None = None,
    one_activation: bool = False,
    topology: str | None = None,
) -> Genotype:
    """Draw a cell uniformly: each node an activation (never `none`) and a predecessor among all earlier states.

    The same seed and labels give the same cell with every version of every library (Li & Talwalkar 2019, section 4).

    Args:
        least: draw the number of nodes too, from this to `nodes`, all equally likely.
        one_activation: all nodes have the first one's activation.
        topology: of TOPOLOGIES, by which nodes read what they read.
    """
    generator = numpy_generator(seed, "architecture", *labels)
    count = nodes if least is None else least + int(generator.randint(nodes - least + 1))
    drawn = [
        (SEARCHED_ACTIVATIONS[generator.randint(len(SEARCHED_ACTIVATIONS))], int(generator.randint(i)))
        for i in range(1, count + 1)
    ]
    names = [drawn[0][0] if one_activation else name for name, _ in drawn]
    reads = [pred if topology is None else TOPOLOGIES[topology](i) for i, (_, pred) in enumerate(drawn, start=1)]
    return Genotype(tuple(zip(names, reads, strict=True)))
