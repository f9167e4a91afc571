"""Loose ends by their definition, and the trees of all small cells against the number of such trees that there are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from support.recurrent import WITH_NONE, cells

from nas.core.errors import ConfigError
from randomNAS_files.architecture import Genotype
from randomNAS_files.canonical import canonical
from randomNAS_files.genotypes import ASHA, DARTS_V1, DARTS_V2, ENAS, ENAS_LM
from randomNAS_files.outputs import OUTPUTS, loose_ends, output_of, with_output
from randomNAS_files.trees import trees_of

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")


def every_cell(nodes: int, activations: int) -> Iterator[Genotype]:
    for names in product(ACTIVATIONS[:activations], repeat=nodes):
        for preds in product(*(range(i) for i in range(1, nodes + 1))):
            yield Genotype(tuple(zip(names, preds, strict=True)))


def forests(nodes: int, colours: int) -> int:
    """Unordered forests of so many nodes, each of which has a colour: the Euler transform of rooted trees."""
    forest, tree = [1], [0]
    for n in range(1, nodes + 1):
        tree.append(colours * forest[n - 1])
        terms = (sum(d * tree[d] for d in range(1, j + 1) if j % d == 0) * forest[n - j] for j in range(1, n + 1))
        forest.append(sum(terms) // n)
    return forest[nodes]


# Outputs


def test_published_cells_average_all_nodes_or_the_loose_ends() -> None:
    assert loose_ends(ENAS.recurrent) == ENAS.concat and output_of(ENAS) == "loose_ends"
    assert {output_of(cell) for cell in (ENAS_LM, DARTS_V1, DARTS_V2, ASHA)} == {"all"}


@settings(deadline=None)
@given(cells())
def test_loose_ends_are_the_nodes_that_nobody_reads(cell: Genotype) -> None:
    ends = loose_ends(cell.recurrent)
    count = len(cell.recurrent)
    assert list(ends) == [
        i for i in range(1, count + 1) if not [0 for name, pred in cell.recurrent if pred == i and name != "none"]
    ]
    assert count in ends
    # nothing is lost: all but zero nodes lead to the output
    useless = with_output(cell, "loose_ends").unused_nodes()
    assert useless == [i for i, (name, _) in enumerate(cell.recurrent, start=1) if name == "none"]


def test_a_none_reads_nothing() -> None:
    assert loose_ends(WITH_NONE.recurrent) == (1, 4, 5)  # 1 is before a none only


@settings(deadline=None)
@given(cells())
def test_the_rule_of_a_concat_is_found_whatever_its_order(cell: Genotype) -> None:
    for rule in OUTPUTS:
        other = with_output(cell, rule)
        assert other.recurrent == cell.recurrent
        turned = Genotype(other.recurrent, other.concat[::-1])
        found = output_of(turned)
        assert found == output_of(other) and set(with_output(turned, found).concat) == set(other.concat)
        everything = set(loose_ends(cell.recurrent)) == set(range(1, len(cell.recurrent) + 1))
        assert rule == "listed" or found == ("all" if everything else rule)
    assert with_output(cell, "listed") is cell


def test_a_rule_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"output 'loose_end' is no rule.* did you mean loose_ends"):
        with_output(ENAS, "loose_end")


# Trees


@pytest.mark.parametrize(
    ("nodes", "activations", "count"),
    [(1, 4, 4), (2, 4, 26), (3, 4, 188), (4, 4, 1499), (4, 2, 107), (5, 1, 20), (7, 1, 115)],
)
def test_there_are_as_many_distinct_cells_as_forests(nodes: int, activations: int, count: int) -> None:
    """One activation: 1, 2, 4, 9, 20, 48, 115, the rooted trees with a node more (Cayley 1857)."""
    assert len({trees_of(cell) for cell in every_cell(nodes, activations)}) == forests(nodes, activations) == count


@pytest.mark.parametrize("output", ["all", "loose_ends"])
def test_with_a_rule_for_the_output_trees_and_canonical_forms_tell_the_same_cells_apart(output: str) -> None:
    pairs = {(trees_of(cell), canonical(with_output(cell, output))) for cell in every_cell(4, 2)}
    assert len(pairs) == len({tree for tree, _ in pairs}) == len({form for _, form in pairs}) == forests(4, 2)


def test_a_tree_written_by_hand() -> None:
    cell = Genotype((("tanh", 0), ("relu", 0), ("sigmoid", 2), ("identity", 2), ("relu", 0)), (5,))
    relu = ("relu", (("identity", ()), ("sigmoid", ())))
    assert trees_of(cell) == (("relu", ()), relu, ("tanh", ()))


def test_a_chain_of_500_nodes() -> None:
    chain = Genotype(tuple(("identity", i) for i in range(500)))
    assert hash(trees_of(chain)) and len(trees_of(chain)) == 1
