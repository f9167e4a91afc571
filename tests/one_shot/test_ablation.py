"""Variants of a cell scored with a supernet's weights, against cells that are given those weights by hand."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from nas.core.arch_weights import one_path
from nas.core.errors import ConfigError
from one_shot.ablation import cut_out, score_others
from randomNAS_files.architecture import SEARCHED_ACTIVATIONS, Genotype
from randomNAS_files.edits import with_predecessor, without_node
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.genotypes import ENAS
from randomNAS_files.model import LanguageModel, ModelConfig, RecurrentCell
from randomNAS_files.outputs import with_output
from randomNAS_files.relaxation import paths_of
from randomNAS_files.scoring import score_paths, score_stream
from randomNAS_files.slices import Columns
from randomNAS_files.supernet import Supernet, SupernetConfig
from randomNAS_files.variants import bypassed, variants

WORDS, BPTT, HIDDEN = 11, 5, 6
CONFIG = ModelConfig(HIDDEN, HIDDEN, HIDDEN, 1, 0.0, 0.0, 0.0, 0.0, 0.0)
PREDECESSORS = (0, 0, 1, 2, 2, 4, 3, 6)
CELL = Genotype(tuple((SEARCHED_ACTIVATIONS[i % 4], pred) for i, pred in enumerate(PREDECESSORS)))
SHARINGS = ["node", "edge", "edge_activation"]


def columns() -> Columns:
    tokens = torch.randint(WORDS, (43,), generator=torch.Generator().manual_seed(3))
    return Columns(tokens, 3, slice(None), pad=True)


def supernet(sharing: str = "node", output: str = "all", norm: bool = False, fast: bool = False) -> Supernet:
    kind = FastSupernet if fast else Supernet
    net = kind(CONFIG, WORDS, torch.Generator().manual_seed(1), SupernetConfig(norm, sharing, output)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(20)  # or the cell would have no say
    return net


def by_hand(net: Supernet, cell: Genotype, matrices: list[int]) -> float:
    """The loss of a network of its own with copies of these matrices of the supernet."""
    model = LanguageModel(CONFIG, cell, WORDS, torch.Generator().manual_seed(2)).double()
    own, shared = cast(RecurrentCell, model.cells[0]), cast(RecurrentCell, net.cells[0])
    with torch.no_grad():
        model.embedding.copy_(net.embedding)
        model.decoder_bias.copy_(net.decoder_bias)
        own.w0.copy_(shared.w0)
        for weight, k in zip(own.nodes, matrices, strict=True):
            weight.copy_(shared.nodes[k])
    return score_stream(model, columns(), BPTT)


def number(sharing: str, node: int, pred: int, name: str) -> int:
    """Of the matrix of a node, from 1, with that predecessor and activation: edges are numbered node by node."""
    edge = node * (node - 1) // 2 + pred
    return {"node": node - 1, "edge": edge, "edge_activation": 4 * edge + SEARCHED_ACTIVATIONS.index(name)}[sharing]


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
@pytest.mark.parametrize("output", ["all", "loose_ends"])
@pytest.mark.parametrize("sharing", SHARINGS)
def test_each_variant_is_scored_with_the_matrices_of_its_nodes(sharing: str, output: str, fast: bool) -> None:
    net, base = supernet(sharing, output, fast=fast), with_output(CELL, output)
    found = variants(base)
    scored = score_others(net, columns(), BPTT, [base, *(each.in_place for each in found)]).scores
    assert score_paths(net, columns(), BPTT, [one_path(paths_of(base, output))]) == pytest.approx(
        [scored[0].metrics["loss"]], abs=1e-12
    )
    for variant, score in zip(found, scored[1:], strict=True):
        if variant.kind == "add":
            assert not score.metrics and "node 9" in score.missing
            continue
        nodes = list(variant.in_place.recurrent)
        matrices = [number(sharing, i, pred, name) for i, (name, pred) in enumerate(nodes, start=1)]
        if variant.kind == "remove":
            assert variant.node is not None and len(variant.genotype.recurrent) == 7
            del matrices[variant.node - 1]  # the other nodes keep theirs, though later ones have new numbers
        assert score.metrics["loss"] == pytest.approx(by_hand(net, variant.genotype, matrices), abs=1e-10), variant.text


def test_a_removed_node_s_successors_do_not_take_the_matrices_of_its_numbering() -> None:
    net, smaller = supernet(), without_node(CELL, 3)
    wrong, right = by_hand(net, smaller, list(range(7))), by_hand(net, smaller, [0, 1, 3, 4, 5, 6, 7])
    scored = score_others(net, columns(), BPTT, [CELL, bypassed(CELL, 3)]).scores[1].metrics["loss"]
    assert scored == pytest.approx(right, abs=1e-12) and abs(wrong - right) > 1e-3


@pytest.mark.parametrize("fast", [False, True], ids=["plain", "fast"])
def test_states_are_normalised_where_the_supernet_does(fast: bool) -> None:
    net = supernet(norm=True, fast=fast)
    ((expected,),) = [score_paths(net, columns(), BPTT, [one_path(paths_of(CELL))])]
    scores = score_others(net, columns(), BPTT, [CELL, bypassed(CELL, 3)]).scores
    assert scores[0].metrics["loss"] == pytest.approx(expected, abs=1e-10)
    assert abs(scores[1].metrics["loss"] - expected) > 1e-4


@pytest.mark.parametrize(
    ("sharing", "norm", "fast"),
    [("node", False, True), ("node", False, False), ("edge", False, True), ("node", True, True)],
)
def test_ablating_an_unused_node_changes_nothing_exactly(sharing: str, norm: bool, fast: bool) -> None:
    cell = Genotype(CELL.recurrent, (7, 8))  # node 5 reads 2, and nobody reads it
    assert cell.unused_nodes() == [5]
    net = supernet(sharing, norm=norm, fast=fast)
    without = bypassed(cell, 5)
    first, second = score_others(net, columns(), BPTT, [cell, without]).scores
    assert second.same_as == 0 and second.metrics == first.metrics
    alone = [score_others(net, columns(), BPTT, [each]).scores[0].metrics for each in (cell, without)]
    assert alone[0] == alone[1]
    assert score_stream(cut_out(net, cell), columns(), BPTT) == score_stream(cut_out(net, without), columns(), BPTT)


def test_the_same_network_with_other_matrices_is_scored_again() -> None:
    star = Genotype((("tanh", 0),) * 8)
    same = [
        with_predecessor(star, 3, 1),
        with_predecessor(star, 3, 2),
    ]  # one tree, the matrices of nodes 1 and 2 swapped
    first, second = score_others(supernet(), columns(), BPTT, [star, *same]).scores[1:]
    assert second.same_as is None and first.metrics != second.metrics


def test_a_supernet_of_more_nodes_has_a_matrix_for_one_more() -> None:
    smaller, net = without_node(CELL, 8), supernet("edge")
    found = variants(smaller)
    shared = score_others(net, columns(), BPTT, [smaller, *(each.in_place for each in found)])
    assert "has 7 nodes, while the supernet was trained with 8" in shared.about[-1]
    for variant, score in zip(found, shared.scores[1:], strict=True):
        if variant.kind == "add":
            nodes = enumerate(variant.genotype.recurrent, start=1)
            matrices = [number("edge", i, pred, name) for i, (name, pred) in nodes]
            assert score.metrics["loss"] == pytest.approx(by_hand(net, variant.genotype, matrices), abs=1e-10)


def test_supernets_of_eleven_nodes() -> None:
    config = SupernetConfig(False, "edge", "loose_ends", 11)
    net = FastSupernet(CONFIG, WORDS, torch.Generator().manual_seed(1), config).double()
    found = variants(ENAS)
    shared = score_others(net, columns(), BPTT, [ENAS, *(each.in_place for each in found)])
    assert len(shared.about) == 1
    missing = {
        variant.kind: score.missing for variant, score in zip(found, shared.scores[1:], strict=True) if score.missing
    }
    assert missing == {"add": "node 12 has no trained matrix: the supernet has 11 nodes"}


def test_supernets_of_several_numbers_of_nodes_and_sizes() -> None:
    """The network of all units and the prefix of the nodes; what the supernet was not trained with is told."""
    config = SupernetConfig(False, "node", "all", (3, 8), hidden_choices=(2, HIDDEN))
    net = FastSupernet(CONFIG, WORDS, torch.Generator().manual_seed(1), config).double()
    for nodes in (3, 2):
        cell = Genotype(CELL.recurrent[:nodes])
        shared = score_others(net, columns(), BPTT, [cell])
        assert (shared.scores[0].metrics or {})["loss"] == pytest.approx(by_hand(net, cell, list(range(nodes))))
        told = [f"the cell has {nodes} nodes, while the supernet was trained with 3 to 8"] if nodes == 2 else []
        assert shared.about[1:] == [*told, "all cells are scored with 6 units, the largest of the supernet's sizes"]


def test_what_cannot_be_scored() -> None:
    nine = Genotype((("tanh", 0),) * 9)
    with pytest.raises(ConfigError, match="cells of 8 nodes, so that one of 9"):
        score_others(supernet(), columns(), BPTT, [nine])
    about = score_others(supernet("edge"), columns(), BPTT, [Genotype(CELL.recurrent, (8,))]).about
    assert "another predecessor brings another matrix" in about[0] and "averages nodes 8" in about[1]
