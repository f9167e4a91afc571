"""The shape of a cell as a tree: what stays the same however its nodes are numbered.

Every node reads one state, so a cell is a rooted tree with the initial state as its root and an activation at each other node.
Of the 4^n n! ways to write down n nodes many are the same tree.
"""

from __future__ import annotations

from randomNAS_files.architecture import Genotype

Tree = tuple[str, tuple["Tree", ...]]
"""A node's activation and its children, in sorted order."""


def trees_of(genotype: Genotype) -> tuple[Tree, ...]:
    """The trees below the initial state, sorted: equal for two genotypes if and only if renumbering makes one the other.

    All nodes are in it, also those on which the output does not depend, and the concat is not: where the output follows a rule
    (all nodes, loose ends) the trees tell cells apart. See `canonical.canonical` for cells that average other nodes, and for
    cells that compute the same though their trees differ.
    """
    below: list[list[Tree]] = [[] for _ in range(len(genotype.recurrent) + 1)]
    for i, (name, pred) in reversed(list(enumerate(genotype.recurrent, start=1))):  # readers come after what they read
        below[pred].append((name, tuple(sorted(below[i]))))
    return tuple(sorted(below[0]))
