"""The recurrent space through its contract, its canonical form against the cells themselves, and its size by formula."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recurrent import BATCH, HIDDEN, build_cell, cells, normal
from support.space_suite import SpaceSuite

from nas.core.seeds import torch_generator
from nas.core.space import Size
from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.canonical import canonical, numbering
from randomNAS_files.model import LanguageModel, ModelConfig, RecurrentCell
from randomNAS_files.space import SPACE

SMALL: dict[str, Any] = {"hidden": 6, "vocabulary": 17, "depth": 2, "init_op": "relu"}


class TestRecurrentSpace(SpaceSuite):
    space = SPACE
    settings = SMALL


def test_samples_are_those_of_the_architecture_module() -> None:
    assert SPACE.sample(3, "some label") == sample(3, "some label")


# The canonical form


def orders(genotype: Genotype) -> Iterator[tuple[int, ...]]:
    """All orders of the nodes in which each comes after the one that it reads."""
    for order in permutations(range(1, len(genotype.recurrent) + 1)):
        place = {node: i for i, node in enumerate(order)} | {0: -1}
        if all(place[genotype.recurrent[node - 1][1]] < place[node] for node in order):
            yield order


def reordered(genotype: Genotype, order: tuple[int, ...]) -> Genotype:
    """The same cell with its nodes numbered in another order."""
    new = {old: i for i, old in enumerate(order, start=1)} | {0: 0}
    nodes = [(genotype.recurrent[old - 1][0], new[genotype.recurrent[old - 1][1]]) for old in order]
    return Genotype(tuple(nodes), tuple(new[old] for old in genotype.concat))


@st.composite
def cells_twice(draw: st.DrawFn) -> tuple[Genotype, tuple[int, ...]]:
    """A cell and another order of its nodes; the output averages them in any order, too."""
    genotype, order, ready = draw(cells()), list[int](), {0}
    while len(order) < len(genotype.recurrent):
        left = [i for i in range(1, len(genotype.recurrent) + 1) if i not in ready]
        order.append(draw(st.sampled_from([i for i in left if genotype.recurrent[i - 1][1] in ready])))
        ready.add(order[-1])
    return Genotype(genotype.recurrent, tuple(draw(st.permutations(genotype.concat)))), tuple(order)


def with_nodes(cell: RecurrentCell, genotype: Genotype, nodes: list[int]) -> RecurrentCell:
    """A cell of another genotype, whose nodes have the weights of these nodes of `cell`."""
    other = build_cell(genotype)
    with torch.no_grad():
        other.w0.copy_(cell.w0)
        for weight, node in zip(other.nodes, nodes, strict=True):
            weight.copy_(cell.nodes[node - 1])
    return other


def outputs(cell: RecurrentCell) -> torch.Tensor:
    x, h = normal(3, BATCH, HIDDEN), normal(BATCH, HIDDEN, seed=2)
    mask = (normal(BATCH, HIDDEN, seed=3) > -0.5).double() * 1.5
    result: torch.Tensor = cell(x, h, None, mask)[0]
    return result.detach()


@settings(deadline=None)
@given(cells_twice())
def test_the_order_of_nodes_changes_neither_the_function_nor_the_canonical_form(
    drawn: tuple[Genotype, tuple[int, ...]],
) -> None:
    genotype, order = drawn
    other = reordered(genotype, order)
    cell = build_cell(genotype)
    torch.testing.assert_close(outputs(with_nodes(cell, other, list(order))), outputs(cell), rtol=1e-10, atol=1e-10)
    assert canonical(other) == canonical(genotype)


@settings(deadline=None)
@given(cells())
def test_the_canonical_cell_with_matching_weights_computes_the_same(genotype: Genotype) -> None:
    cell = build_cell(genotype)
    twin = with_nodes(cell, canonical(genotype), numbering(genotype))
    torch.testing.assert_close(outputs(twin), outputs(cell), rtol=1e-10, atol=1e-10)


@settings(deadline=None)
@given(cells())
def test_the_canonical_form_is_canonical_and_has_no_node_without_effect(genotype: Genotype) -> None:
    form = canonical(genotype)
    assert canonical(form) == form and numbering(form) == list(range(1, len(form.recurrent) + 1))
    zero = {i for i, (name, _) in enumerate(form.recurrent, start=1) if name == "none"}
    assert set(form.unused_nodes()) == zero
    assert zero <= set(form.concat) or len(zero) == 1
    assert len(form.concat) == len(genotype.concat)


def looks_alike(first: Genotype, second: Genotype) -> bool:
    """Whether some order of the nodes makes one of the other."""
    averaged = tuple(sorted(second.concat))
    candidates = (reordered(first, order) for order in orders(first))
    return any(each.recurrent == second.recurrent and tuple(sorted(each.concat)) == averaged for each in candidates)


def test_cells_have_the_same_canonical_form_if_and_only_if_they_are_the_same_graph() -> None:
    """All cells of three nodes with two activations, of which all nodes count."""
    rng = np.random.RandomState(0)
    cells = [
        Genotype(tuple(zip(names, (0, second, third), strict=True)), concat)
        for names in product(("tanh", "relu"), repeat=3)
        for second, third in product((0, 1), (0, 1, 2))
        for concat in ((1, 2, 3), (2, 3), (1, 3), (3,))
    ]
    cells = [cell for cell in cells if not cell.unused_nodes()]
    forms = {cell: canonical(cell) for cell in cells}
    pairs = [(cells[i], cells[j]) for i, j in rng.randint(len(cells), size=(3000, 2))]
    alike = [looks_alike(first, second) for first, second in pairs]
    assert [forms[first] == forms[second] for first, second in pairs] == alike
    assert 50 < sum(alike) < 2000
    assert all(looks_alike(cell, form) for cell, form in forms.items())


@pytest.mark.parametrize(
    ("nodes", "concat", "form", "averaged"),
    [
        # two nodes with the same activation and predecessor have weights of their own
        ((("tanh", 0), ("tanh", 0)), (1, 2), (("tanh", 0), ("tanh", 0)), (1, 2)),
        ((("tanh", 0), ("relu", 0)), (1, 2), (("relu", 0), ("tanh", 0)), (1, 2)),
        # what the output does not depend on goes
        ((("tanh", 0), ("relu", 0), ("relu", 1)), (3,), (("tanh", 0), ("relu", 1)), (2,)),
        # an averaged zero state still counts in the mean
        ((("tanh", 0), ("none", 1)), (1, 2), (("none", 0), ("tanh", 0)), (1, 2)),
        ((("none", 0), ("none", 1), ("tanh", 0)), (2, 3), (("none", 0), ("tanh", 0)), (1, 2)),
        # activations of zero that are zero
        ((("none", 0), ("relu", 1), ("tanh", 2), ("tanh", 0)), (3, 4), (("none", 0), ("tanh", 0)), (1, 2)),
        # a sigmoid of zero is a constant, and needs a zero to read
        ((("relu", 0), ("none", 1), ("sigmoid", 2)), (1, 3), (("none", 0), ("relu", 0), ("sigmoid", 1)), (2, 3)),
        ((("none", 0), ("none", 0)), (1, 2), (("none", 0), ("none", 0)), (1, 2)),
    ],
)
def test_some_canonical_forms(nodes: Any, concat: Any, form: Any, averaged: Any) -> None:
    assert canonical(Genotype(nodes, concat)) == Genotype(form, averaged)


def test_a_chain_of_500_nodes_is_its_own_canonical_form() -> None:
    chain = Genotype(tuple(("identity", i) for i in range(500)))
    assert canonical(chain) == chain


# Size and network


def test_the_published_model_has_23_million_parameters() -> None:
    size = SPACE.size(SPACE.by_name("DARTS_V2"), hidden=850, vocabulary=10_000)
    assert size == Size(22_960_000, 22_950_000)  # the bias of the decoder multiplies nothing


def test_unused_nodes_have_parameters_but_take_no_time() -> None:
    cell = Genotype((("tanh", 0), ("relu", 0), ("none", 1)), (1, 3))
    used = SPACE.size(Genotype((("tanh", 0),)), **SMALL)
    assert SPACE.size(cell, **SMALL) == Size(used.parameters + 2 * 2 * 6 * 12, used.macs)


def multiplications(net: torch.nn.Module, words: int) -> int:
    """Multiply-accumulates of all matrix products of a forward pass, as torch counts them."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(words, 1, dtype=torch.int64), net.initial_state(1))
    return int(counter.get_total_flops()) // 2


@pytest.mark.parametrize("genotype", [sample(1), SPACE.by_name("ENAS"), Genotype((("relu", 0), ("tanh", 1)))], ids=str)
def test_multiplications_are_those_that_torch_counts(genotype: Genotype) -> None:
    net = SPACE.network(genotype, 0, **SMALL)
    assert 3 * SPACE.size(genotype, **SMALL).macs == multiplications(net, 3)


def test_the_network_is_that_of_a_trial_with_the_same_seed() -> None:
    net = SPACE.network(sample(0), 7, **SMALL)
    config = ModelConfig(6, 6, 6, 2, 0.1, 0.1, 0.1, 0.1, 0.1, "relu")
    of_trial = LanguageModel(config, sample(0), 17, torch_generator("cpu", 7, "weights"))
    assert type(net) is LanguageModel and net.config.init_op == "relu"
    assert all(torch.equal(value, of_trial.state_dict()[name]) for name, value in net.state_dict().items())
    assert net(torch.zeros(4, 3, dtype=torch.int64), net.initial_state(3)).logits.shape == (4, 3, 17)


@pytest.mark.parametrize("method", [SPACE.size, lambda cell, **given: SPACE.network(cell, 0, **given)])
def test_other_settings_are_refused(method: Any) -> None:
    for wrong in ({**SMALL, "layers": 3}, {"hidden": 6}):
        with pytest.raises(TypeError, match=r"layers|vocabulary"):
            method(sample(0), **wrong)
