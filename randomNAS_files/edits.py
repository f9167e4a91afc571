"""A cell with one thing changed, as ablations need it: a node less, another predecessor, other activations, a node more.

All of them return a new genotype. What its output averages follows the rule of the old one (see `outputs`): all nodes stay all
nodes, and loose ends are found anew. A concat that follows no rule stays a list, which changes only with the nodes that go and
come. Where all nodes are loose ends both rules fit, and a list may look like a rule: `output`, one of `outputs.OUTPUTS`, says
which is meant.

Node i of a cell has the weight W_i. Where the numbering stays, so do the weights; `without_node` says what moves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nas.core.errors import ConfigError, unknown
from nas.core.genotype_text import ALL_NODES
from randomNAS_files.architecture import ACTIVATIONS, Genotype
from randomNAS_files.outputs import output_of, with_output

Nodes = Iterable[tuple[str, int]]


def without_node(genotype: Genotype, node: int, output: str | None = None) -> Genotype:
    """Remove a node.

    Its children read what it read. Later nodes move down by one: node j of the result is node j + 1 of the given cell from
    `node` on. In a listed concat its place is lost; if nothing else was averaged, what it read is averaged instead.

    Raises:
        ConfigError: there is no such node, it is the only one, or the list would be left with the initial state alone, which
            cannot be averaged.
    """
    _check_node(genotype, node)
    if len(genotype.recurrent) == 1:
        raise ConfigError(
            [f"node {node} must stay, for it is the only one of the cell; a cell needs at least one node"]
        )
    parent = genotype.recurrent[node - 1][1]
    new = [*range(node), parent, *range(node, len(genotype.recurrent))]  # by old number
    nodes = [(name, new[pred]) for i, (name, pred) in enumerate(genotype.recurrent, start=1) if i != node]
    listed = [new[i] for i in genotype.concat if i != node] or [parent]
    if listed == [0] and _rule(genotype, output) == "listed":
        raise ConfigError(
            [f"node {node} must stay, for it alone is averaged and reads the initial state, which cannot be averaged"]
        )
    return _with_nodes(genotype, nodes, output, listed)


def with_predecessor(genotype: Genotype, node: int, predecessor: int, output: str | None = None) -> Genotype:
    """Let a node read another state: 0, the initial state, or an earlier node. Its children go with it.

    The numbering stays, and a listed concat.

    Raises:
        ConfigError: there is no such node, or it comes not after such a state.
    """
    _check_node(genotype, node)
    _check_number(f"predecessor of node {node}", predecessor, 0, node - 1)
    return _replaced(genotype, {node: (genotype.recurrent[node - 1][0], predecessor)}, output)


def with_activation(genotype: Genotype, node: int, activation: str, output: str | None = None) -> Genotype:
    """Give a node another activation; `none`, which makes its state zero, reads nothing.

    Children, numbering and a listed concat stay.

    Raises:
        ConfigError: there is no such node or activation.
    """
    _check_node(genotype, node)
    _check_activation(activation)
    return _replaced(genotype, {node: (activation, genotype.recurrent[node - 1][1])}, output)


def with_all(genotype: Genotype, activation: str, output: str | None = None) -> Genotype:
    """Give all nodes the same activation. That of the initial state, which no genotype holds, stays the config's `init_op`.

    Children, numbering and a listed concat stay.

    Raises:
        ConfigError: there is no such activation.
    """
    _check_activation(activation)
    nodes = {i: (activation, pred) for i, (_, pred) in enumerate(genotype.recurrent, start=1)}
    return _replaced(genotype, nodes, output)


def with_node(genotype: Genotype, predecessor: int, activation: str, output: str | None = None) -> Genotype:
    """Add a node that reads 0, the initial state, or a node.

    It is the last one and has no children, so that the others keep their numbers. A listed concat gets it as well.

    Raises:
        ConfigError: there is no such state or activation.
    """
    count = len(genotype.recurrent)
    _check_number(f"predecessor of a new node {count + 1}", predecessor, 0, count)
    _check_activation(activation)
    nodes = [*genotype.recurrent, (activation, predecessor)]
    return _with_nodes(genotype, nodes, output, [*genotype.concat, count + 1])


def _replaced(genotype: Genotype, changed: dict[int, tuple[str, int]], output: str | None) -> Genotype:
    nodes = [changed.get(i, node) for i, node in enumerate(genotype.recurrent, start=1)]
    return _with_nodes(genotype, nodes, output, genotype.concat)


def _with_nodes(genotype: Genotype, nodes: Nodes, output: str | None, listed: Iterable[int]) -> Genotype:
    """The new cell, averaged by the rule; `listed` if there is none."""
    rule, recurrent = _rule(genotype, output), tuple(nodes)
    return with_output(Genotype(recurrent, tuple(listed) if rule == "listed" else ALL_NODES), rule)


def _rule(genotype: Genotype, output: str | None) -> str:
    return output_of(genotype) if output is None else output


def _check_node(genotype: Genotype, node: Any) -> None:
    _check_number("node", node, 1, len(genotype.recurrent))


def _check_number(what: str, value: Any, low: int, high: int) -> None:
    if type(value) is not int or not low <= value <= high:
        raise ConfigError([f"{what} must be {low}..{high}, got {value!r}"])


def _check_activation(activation: Any) -> None:
    if activation not in ACTIVATIONS:
        raise ConfigError([unknown(f"activation {activation!r}", str(activation), ACTIVATIONS, "is not an activation")])
