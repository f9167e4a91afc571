"""Changed cells: by what each node was before, and by what the plain network computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.recurrent import BATCH, HIDDEN, build_cell, cells, normal

from nas.core.errors import ConfigError
from randomNAS_files.architecture import ACTIVATIONS, Genotype, sample
from randomNAS_files.edits import with_activation, with_all, with_node, with_predecessor, without_node
from randomNAS_files.genotypes import ENAS, ENAS_LM
from randomNAS_files.outputs import OUTPUTS, loose_ends, output_of, with_output

quickly = settings(deadline=None, max_examples=60)
LISTED = Genotype((("relu", 0), ("tanh", 1), ("sigmoid", 1), ("identity", 0)), (4, 2))


def searched(cell: Genotype) -> tuple[tuple[str, int], ...]:
    """Its nodes, without `none`."""
    return tuple(("tanh" if name == "none" else name, pred) for name, pred in cell.recurrent)


@st.composite
def ruled(draw: st.DrawFn) -> Genotype:
    """A cell that averages all nodes, its loose ends, or any nodes."""
    return with_output(draw(cells()), draw(st.sampled_from(OUTPUTS)))


nodes_and_cells = ruled().flatmap(lambda cell: st.tuples(st.just(cell), st.integers(1, len(cell.recurrent))))


def follows(new: Genotype, old: Genotype, listed: list[int], output: str | None = None) -> bool:
    """Whether the new output is by the rule of the old one."""
    rule = output or output_of(old)
    ends = {"all": list(range(1, len(new.recurrent) + 1)), "loose_ends": list(loose_ends(new.recurrent))}
    return list(new.concat) == (listed if rule == "listed" else ends[rule])


def computed(cell: Genotype, weights: list[torch.Tensor]) -> torch.Tensor:
    """What the plain network makes of some input, in float64."""
    net = build_cell(cell)
    with torch.no_grad():
        for mine, given in zip(net.nodes, weights, strict=True):
            mine.copy_(given)
        outputs: torch.Tensor = net(normal(3, BATCH, HIDDEN), normal(BATCH, HIDDEN, seed=2))[0]
    return outputs


def weights_of(count: int) -> list[torch.Tensor]:
    return [normal(HIDDEN, 2 * HIDDEN, seed=10 + i) for i in range(count)]


# A node less


@quickly
@given(nodes_and_cells)
def test_without_a_node_the_others_are_what_they_were(drawn: tuple[Genotype, int]) -> None:
    cell, node = drawn
    assume(len(cell.recurrent) > 1 and (output_of(cell) != "listed" or set(cell.concat) != {node}))
    new = without_node(cell, node)
    stay = [i for i in range(1, len(cell.recurrent) + 1) if i != node]
    parents = {
        i: pred if pred != node else cell.recurrent[node - 1][1] for i, (_, pred) in enumerate(cell.recurrent, 1)
    }
    assert [(name, ([0, *stay])[pred]) for name, pred in new.recurrent] == [
        (cell.recurrent[i - 1][0], parents[i]) for i in stay
    ]
    assert follows(new, cell, [stay.index(i) + 1 for i in cell.concat if i != node])


@settings(deadline=None, max_examples=25)
@given(cells(), st.integers(0, 11))
def test_an_unused_node_can_go_and_nothing_changes(cell: Genotype, end: int) -> None:
    cell = Genotype(searched(cell), (1 + end % len(cell.recurrent),))
    weights = weights_of(len(cell.recurrent))
    expected = computed(cell, weights)
    for node in cell.unused_nodes():
        less = without_node(cell, node, "listed")
        assert torch.equal(computed(less, weights[: node - 1] + weights[node:]), expected)


@settings(deadline=None, max_examples=10)
@given(cells())
def test_an_inner_node_that_goes_hands_on_what_it_read(cell: Genotype) -> None:
    """With the weight [0, I] an identity node has the state that it reads: s + (I s - s) / 2 = s."""
    cell = with_output(Genotype(searched(cell)), "loose_ends")
    for node in set(range(1, len(cell.recurrent) + 1)) - set(cell.concat):
        weights = weights_of(len(cell.recurrent))
        weights[node - 1] = torch.cat([torch.zeros(HIDDEN, HIDDEN), torch.eye(HIDDEN)], dim=1).double()
        passing = computed(with_activation(cell, node, "identity", "loose_ends"), weights)
        less = computed(without_node(cell, node, "loose_ends"), weights[: node - 1] + weights[node:])
        torch.testing.assert_close(less, passing, rtol=1e-10, atol=1e-10)


def test_a_node_that_alone_is_averaged_leaves_its_place_to_what_it_read() -> None:
    cell = Genotype((("relu", 0), ("tanh", 1), ("tanh", 1)), (3,))
    assert without_node(cell, 3) == Genotype((("relu", 0), ("tanh", 1)), (1,))
    alone = Genotype((("relu", 0), ("tanh", 0), ("tanh", 2)), (1,))
    with pytest.raises(ConfigError, match="node 1 must stay, for it alone is averaged"):
        without_node(alone, 1)
    assert without_node(alone, 1, "all") == Genotype((("tanh", 0), ("tanh", 1)))
    assert without_node(alone, 1, "loose_ends").concat == (2,)


def test_by_hand() -> None:
    assert without_node(LISTED, 1) == Genotype((("tanh", 0), ("sigmoid", 0), ("identity", 0)), (3, 1))
    assert with_predecessor(LISTED, 3, 2) == Genotype((*LISTED.recurrent[:2], ("sigmoid", 2), ("identity", 0)), (4, 2))
    assert with_node(LISTED, 4, "relu") == Genotype((*LISTED.recurrent, ("relu", 4)), (4, 2, 5))
    assert with_all(ENAS_LM, "relu").recurrent == tuple(("relu", pred) for _, pred in ENAS_LM.recurrent)
    # the loose ends of ENAS are 2, 5, 6, 9, 10, 11; node 7 reads 4, node 8 reads 7
    assert without_node(ENAS, 11).concat == (2, 5, 6, 9, 10)
    assert without_node(without_node(without_node(ENAS, 11), 10), 9).concat == (2, 5, 6, 8)
    assert with_predecessor(ENAS, 8, 4).concat == (2, 5, 6, 7, 9, 10, 11)
    assert with_node(ENAS, 2, "tanh").concat == (5, 6, 9, 10, 11, 12)
    assert with_activation(ENAS, 8, "none").concat == (2, 5, 6, 7, 9, 10, 11)  # 7 has no other reader


# The others


@quickly
@given(nodes_and_cells, st.data())
def test_another_predecessor_or_activation_changes_this_alone(drawn: tuple[Genotype, int], data: st.DataObject) -> None:
    cell, node = drawn
    pred, name = data.draw(st.integers(0, node - 1)), data.draw(st.sampled_from(ACTIVATIONS))
    output = data.draw(st.sampled_from([None, *OUTPUTS]))
    old_name, old_pred = cell.recurrent[node - 1]
    changes = [(with_predecessor(cell, node, pred, output), (old_name, pred))]
    changes += [(with_activation(cell, node, name, output), (name, old_pred))]
    for new, expected in changes:
        assert new.recurrent == (*cell.recurrent[: node - 1], expected, *cell.recurrent[node:])
        assert follows(new, cell, list(cell.concat), output)
    everywhere = with_all(cell, name, output)
    assert everywhere.recurrent == tuple((name, pred) for _, pred in cell.recurrent)
    assert follows(everywhere, cell, list(cell.concat), output)
    rule = output or output_of(cell)
    there_and_back = with_activation(with_activation(cell, node, name, rule), node, old_name, rule)
    assert there_and_back == with_predecessor(cell, node, old_pred, rule) == with_output(cell, rule)


@quickly
@given(ruled(), st.data())
def test_a_node_that_comes_and_goes_leaves_the_cell_as_it_was(cell: Genotype, data: st.DataObject) -> None:
    count, name = len(cell.recurrent), data.draw(st.sampled_from(ACTIVATIONS))
    more = with_node(cell, data.draw(st.integers(0, count)), name)
    assert more.recurrent[:count] == cell.recurrent and len(more.recurrent) == count + 1
    assert follows(more, cell, [*cell.concat, count + 1])
    less = without_node(more, count + 1, output_of(cell))
    assert less == with_output(cell, output_of(cell))


@settings(deadline=None, max_examples=25)
@given(cells(full=True), st.integers(0, 11))
def test_a_new_node_of_weight_zero_and_relu_halves_what_it_reads(cell: Genotype, read: int) -> None:
    """Its state is s + (0 - s) / 2; averaged with all others."""
    count = len(cell.recurrent)
    pred = 1 + read % count
    weights = weights_of(count)
    more = with_node(cell, pred, "relu", "all")
    # one time step, so that the output alone differs, and not the states of steps after it
    net, bigger = build_cell(cell), build_cell(more)
    with torch.no_grad():
        for mine, given_ in zip([*net.nodes, *bigger.nodes], [*weights, *weights, torch.zeros(1)], strict=True):
            mine.copy_(given_)
        bigger.w0.copy_(net.w0)
        x, h = normal(1, BATCH, HIDDEN), normal(BATCH, HIDDEN, seed=2)
        state = net(x, h, genotype=Genotype(cell.recurrent, (pred,)))[1]
        expected = (net(x, h)[1] * count + state / 2) / (count + 1)
        torch.testing.assert_close(bigger(x, h)[1], expected, rtol=1e-10, atol=1e-10)


# What is refused


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda cell: without_node(cell, 0), "node must be 1..8, got 0"),
        (lambda cell: without_node(cell, 9), "node must be 1..8, got 9"),
        (lambda cell: without_node(cell, True), "node must be 1..8, got True"),
        (lambda cell: without_node(cell, "3"), "node must be 1..8, got '3'"),
        (lambda cell: without_node(cell, 3, "al"), "output 'al' is no rule"),
        (lambda cell: without_node(sample(0, nodes=1), 1), "node 1 must stay, for it is the only one"),
        (lambda cell: with_predecessor(cell, 9, 0), "node must be 1..8, got 9"),
        (lambda cell: with_predecessor(cell, 3, 3), "predecessor of node 3 must be 0..2, got 3"),
        (lambda cell: with_predecessor(cell, 3, -1), "predecessor of node 3 must be 0..2, got -1"),
        (lambda cell: with_predecessor(cell, 3, None), "predecessor of node 3 must be 0..2, got None"),
        (lambda cell: with_activation(cell, 0, "relu"), "node must be 1..8, got 0"),
        (lambda cell: with_activation(cell, 3, "rleu"), "activation 'rleu' is not an activation; did you mean relu?"),
        (lambda cell: with_activation(cell, 3, 1), "activation 1 is not an activation"),
        (lambda cell: with_all(cell, ["relu"]), "is not an activation"),
        (lambda cell: with_all(cell, "relu", ""), "output '' is no rule"),
        (lambda cell: with_node(cell, 9, "relu"), "predecessor of a new node 9 must be 0..8, got 9"),
        (lambda cell: with_node(cell, 1.0, "relu"), "predecessor of a new node 9 must be 0..8, got 1.0"),
        (lambda cell: with_node(cell, 1, "gate"), "activation 'gate' is not an activation"),
    ],
)
def test_what_is_wrong_is_one_sentence(call: Any, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call(ENAS_LM)
    (problem,) = caught.value.problems
    assert says in problem
