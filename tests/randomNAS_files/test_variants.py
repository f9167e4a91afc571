"""All changes of a cell, counted and listed by brute force."""

from __future__ import annotations

from collections import Counter
from itertools import product

import pytest
import torch

from nas.core.errors import ConfigError
from nas.core.space import load_space
from randomNAS_files.architecture import SEARCHED_ACTIVATIONS, Genotype
from randomNAS_files.edits import without_node
from randomNAS_files.genotypes import ASHA
from randomNAS_files.model import RecurrentCell
from randomNAS_files.outputs import output_of
from randomNAS_files.variants import bypassed, variants


def test_all_changes_of_eight_nodes_are_there_once() -> None:
    found = variants(ASHA)
    assert Counter(each.kind for each in found) == {
        "remove": 8,
        "predecessor": 28,
        "activation": 24,
        "unify": 4,
        "add": 36,
    }
    assert len({each.text for each in found}) == len(found) and len({each.genotype for each in found}) == len(found)
    assert all(output_of(each.genotype) == "all" for each in found)


def test_they_are_all_cells_that_differ_in_one_node() -> None:
    cell = Genotype((("tanh", 0), ("relu", 0), ("tanh", 2)))
    choices = [[(name, pred) for name in SEARCHED_ACTIVATIONS for pred in range(i)] for i in (1, 2, 3)]
    near = {
        Genotype(nodes)
        for nodes in product(*choices)
        if sum(
            a != b for node, other in zip(nodes, cell.recurrent, strict=True) for a, b in zip(node, other, strict=True)
        )
        == 1
    }
    assert {each.genotype for each in variants(cell) if each.kind in ("predecessor", "activation")} == near


def test_a_bypassed_node_leaves_the_network_without_it() -> None:
    generator = torch.Generator().manual_seed(1)
    for concat in ((1, 2, 3, 4), (3, 4), (4,), (2, 4)):
        cell = Genotype((("tanh", 0), ("relu", 1), ("sigmoid", 1), ("identity", 2)), concat)
        full = RecurrentCell(cell, 3)
        for parameter in full.parameters():
            torch.nn.init.normal_(parameter, generator=generator)
        x, h = torch.randn(4, 2, 3, generator=generator), torch.zeros(2, 3)
        for node in range(1, 5):
            smaller = RecurrentCell(without_node(cell, node), 3)
            smaller.w0 = full.w0
            smaller.nodes = torch.nn.ParameterList(w for i, w in enumerate(full.nodes, start=1) if i != node)
            expected, _ = smaller(x, h)
            torch.testing.assert_close(full(x, h, genotype=bypassed(cell, node))[0], expected, rtol=0, atol=0)


def test_the_only_node_stays() -> None:
    assert not [each for each in variants(Genotype((("tanh", 0),))) if each.kind == "remove"]


def test_a_space_without_changes_says_so() -> None:
    space = load_space("cnn_nas")
    with pytest.raises(ConfigError, match="recurrent cells, not for convolutional"):
        space.variants(space.sample(1))
