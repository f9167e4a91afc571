"""Zhang and Shasha's distance against all mappings between small trees (Tai 1979), and against distances known by hand."""

from __future__ import annotations

import itertools
import random

import pytest

from randomNAS_files.architecture import Genotype
from randomNAS_files.tree_distance import Postorder, postorder, tree_distance
from randomNAS_files.trees import trees_of


def below(tree: Postorder, node: int, ancestor: int) -> bool:
    """Whether `ancestor` is the node itself or above it, in postorder numbers."""
    return tree.leftmost[ancestor] <= node <= ancestor


def by_all_mappings(one: Postorder, other: Postorder) -> int:
    """The cheapest mapping of nodes that keeps who is above whom and who is left of whom."""
    best = len(one.labels) + len(other.labels)
    for size in range(1, min(len(one.labels), len(other.labels)) + 1):
        for first in itertools.combinations(range(len(one.labels)), size):
            for second in itertools.combinations(range(len(other.labels)), size):  # postorder is kept by any mapping
                pairs = list(zip(first, second, strict=True))
                keeps = all(
                    below(one, a, c) == below(other, b, d) and below(one, c, a) == below(other, d, b)
                    for (a, b), (c, d) in itertools.combinations(pairs, 2)
                )
                if keeps:
                    changed = sum(one.labels[a] != other.labels[b] for a, b in pairs)
                    best = min(best, len(one.labels) + len(other.labels) - 2 * size + changed)
    return best


def cell(generator: random.Random, nodes: int) -> Genotype:
    names = ("tanh", "relu", "identity")
    return Genotype(
        tuple((generator.choice(names), generator.randrange(i + 1)) for i in range(nodes)), tuple(range(1, nodes + 1))
    )


def test_all_mappings() -> None:
    generator = random.Random(0)
    for _ in range(40):
        one, other = (postorder(trees_of(cell(generator, generator.randint(1, 4)))) for _ in range(2))
        assert tree_distance(one, other) == by_all_mappings(one, other) == tree_distance(other, one)


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [
        ([("tanh", 0), ("relu", 1)], [("tanh", 0), ("relu", 1)], 0),
        ([("tanh", 0), ("relu", 0)], [("relu", 0), ("tanh", 0)], 0),  # renumbered
        ([("tanh", 0), ("relu", 1)], [("tanh", 0), ("tanh", 1)], 1),  # relabelled
        ([("tanh", 0), ("relu", 1), ("sigmoid", 2)], [("tanh", 0), ("sigmoid", 1)], 1),  # removed from the middle
        (
            [("tanh", 0), ("tanh", 1), ("tanh", 2)],
            [("tanh", 0), ("tanh", 0), ("tanh", 0)],
            4,
        ),  # chain and star: 2 out, 2 in
    ],
)
def test_by_hand(one: list[tuple[str, int]], other: list[tuple[str, int]], edits: int) -> None:
    trees = [postorder(trees_of(Genotype(tuple(each), tuple(range(1, len(each) + 1))))) for each in (one, other)]
    assert tree_distance(*trees) == edits


def test_a_distance_is_zero_for_renumbered_cells_only_and_obeys_the_triangle() -> None:
    generator = random.Random(1)
    cells = [cell(generator, 3) for _ in range(14)]
    trees = [postorder(trees_of(each)) for each in cells]
    table = [[tree_distance(one, other) for other in trees] for one in trees]
    for i, j, k in itertools.product(range(14), repeat=3):
        assert table[i][k] <= table[i][j] + table[j][k]
        assert (table[i][j] == 0) == (trees_of(cells[i]) == trees_of(cells[j]))
