"""How many edits make one cell the other: the edit distance of ordered labelled trees, by Zhang and Shasha.

Simple fast algorithms for the editing distance between trees and related problems, SIAM J. Comput. 18 (1989). An edit
relabels a node, removes one, whose children go to its parent, or puts one in; each costs 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from randomNAS_files.trees import Tree


class Postorder(NamedTuple):
    """A tree below a root without a label, node by node, children before their parents.

    Attributes:
        labels: of the nodes; the root, which is last, has "".
        leftmost: for each node the number of the leftmost leaf below it.
        keyroots: the root, and every node that has a sibling to its left.
    """

    labels: list[str]
    leftmost: list[int]
    keyroots: list[int]


def postorder(trees: Sequence[Tree]) -> Postorder:
    """Of the trees below a root, as `trees_of` gives them: in sorted order, which is the same for all numberings of a cell."""
    labels: list[str] = []
    leftmost: list[int] = []

    def visit(label: str, children: Sequence[Tree]) -> int:
        """Returns the leftmost leaf."""
        leaves = [visit(*child) for child in children]
        labels.append(label)
        leftmost.append(leaves[0] if leaves else len(labels) - 1)
        return leftmost[-1]

    visit("", trees)
    last = {leaf: node for node, leaf in enumerate(leftmost)}  # the highest node above each leaf
    return Postorder(labels, leftmost, sorted(last.values()))


def tree_distance(one: Postorder, other: Postorder) -> int:
    """The fewest edits between two ordered trees.

    As branches of a cell have no order, it is an upper bound of the distance of unordered trees, which is NP-hard; 0 if and
    only if the trees are the same.
    """
    between = [[0] * len(other.labels) for _ in one.labels]  # whole subtrees below two nodes
    for i in one.keyroots:
        for j in other.keyroots:
            _forests(one, other, i, j, between)
    return between[-1][-1]


def _forests(one: Postorder, other: Postorder, i: int, j: int, between: list[list[int]]) -> None:
    """Fill in the distances of the subtrees on the leftmost paths below two keyroots.

    `costs[a][b]` is the distance of two forests: the first `a` and `b` nodes, in postorder, of the two subtrees.
    """
    first, second = one.leftmost[i], other.leftmost[j]
    rows, columns = i - first + 2, j - second + 2
    costs = [[a + b if not a or not b else 0 for b in range(columns)] for a in range(rows)]
    for a in range(1, rows):
        x = first + a - 1
        for b in range(1, columns):
            y = second + b - 1
            edited = min(costs[a - 1][b], costs[a][b - 1]) + 1
            if one.leftmost[x] == first and other.leftmost[y] == second:
                costs[a][b] = min(edited, costs[a - 1][b - 1] + (one.labels[x] != other.labels[y]))
                between[x][y] = costs[a][b]
            else:
                before = costs[one.leftmost[x] - first][other.leftmost[y] - second]
                costs[a][b] = min(edited, before + between[x][y])
