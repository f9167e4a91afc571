"""All recurrent cells that differ from a given one in a single thing, for ablations; see `edits` for each of the changes."""

from __future__ import annotations

from collections.abc import Iterator

from nas.core.errors import ConfigError
from nas.core.variants import Variant
from randomNAS_files.architecture import SEARCHED_ACTIVATIONS, Genotype
from randomNAS_files.edits import with_activation, with_all, with_node, with_predecessor, without_node


def variants(genotype: Genotype) -> list[Variant]:
    """Every node removed, every other predecessor and activation of a node, one activation for all, every node added.

    Of n nodes at most n, n (n - 1) / 2, 3 n, 4 and 4 (n + 1).
    """
    kinds = (_removed, _predecessors, _activations, _unified, _added)
    return [variant for kind in kinds for variant in kind(genotype)]


def bypassed(genotype: Genotype, node: int) -> Genotype:
    """The same network as `without_node` in the old numbering: the node is there still, but nothing depends on it.

    So each other node has the weight that it had. Raises ConfigError as `without_node` does.
    """
    smaller, parent = without_node(genotype, node), genotype.recurrent[node - 1][1]
    recurrent = tuple((name, parent if pred == node else pred) for name, pred in genotype.recurrent)
    return Genotype(recurrent, tuple(i if i < node else i + 1 for i in smaller.concat))


def _removed(genotype: Genotype) -> Iterator[Variant]:
    for node, (name, pred) in enumerate(genotype.recurrent, start=1):
        try:
            smaller, in_place = without_node(genotype, node), bypassed(genotype, node)
        except ConfigError:  # the only node, or the only averaged one
            continue
        yield Variant("remove", node, f"without node {node}, {name}({pred})", smaller, in_place)


def _predecessors(genotype: Genotype) -> Iterator[Variant]:
    for node, (_, pred) in enumerate(genotype.recurrent, start=1):
        for other in range(node):
            if other != pred:
                cell = with_predecessor(genotype, node, other)
                yield Variant("predecessor", node, f"node {node} reads {other} instead of {pred}", cell, cell)


def _activations(genotype: Genotype) -> Iterator[Variant]:
    for node, (name, _) in enumerate(genotype.recurrent, start=1):
        for other in SEARCHED_ACTIVATIONS:
            if other != name:
                cell = with_activation(genotype, node, other)
                yield Variant("activation", node, f"node {node} {other} instead of {name}", cell, cell)


def _unified(genotype: Genotype) -> Iterator[Variant]:
    for name in SEARCHED_ACTIVATIONS:
        cell = with_all(genotype, name)
        yield Variant("unify", None, f"all nodes {name}", cell, cell)


def _added(genotype: Genotype) -> Iterator[Variant]:
    new = len(genotype.recurrent) + 1
    for pred in range(new):
        for name in SEARCHED_ACTIVATIONS:
            cell = with_node(genotype, pred, name)
            yield Variant("add", None, f"with node {new}, {name}({pred})", cell, cell)
