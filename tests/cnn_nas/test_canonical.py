"""Canonical cells: one form for all cells that are the same graph, and for no others."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.convolutional import cell, genotypes_with_gaps

from cnn_nas.architecture import ALL_OPERATIONS, OPERATIONS, Edge, Genotype, used_states
from cnn_nas.canonical import Cell, canonical_cell, canonical_numbers
from cnn_nas.model import Cell as CellModule
from cnn_nas.model import ModelConfig, Network
from cnn_nas.space import SPACE

SIDES = tuple[Edge, Edge]


@st.composite
def cells(draw: st.DrawFn, most: int = 8, operations: Sequence[str] = ALL_OPERATIONS) -> Cell:
    nodes = draw(st.integers(1, most))
    edges = [(draw(st.sampled_from(operations)), draw(st.integers(0, 1 + i // 2))) for i in range(2 * nodes)]
    concat = draw(st.lists(st.integers(2, nodes + 1), unique=True, min_size=1))
    return tuple(edges), tuple(concat)


def shuffled(known: Cell, rng: random.Random) -> Cell:
    """The cell with its nodes in another order that puts each after what it reads, edges exchanged, concat shuffled."""
    edges, concat = known
    waiting = {node: edges[2 * node - 4 : 2 * node - 2] for node in range(2, 2 + len(edges) // 2)}
    numbers, found = {0: 0, 1: 1}, []
    while waiting:
        node = rng.choice([node for node, sides in waiting.items() if all(state in numbers for _, state in sides)])
        sides = [(name, numbers[state]) for name, state in waiting.pop(node)]
        numbers[node] = len(numbers)
        found += rng.sample(sides, 2)
    return tuple(found), tuple(rng.sample([numbers[node] for node in concat], len(concat)))


def all_cells(nodes: int, operations: Sequence[str]) -> Iterator[Cell]:
    """Every cell of so many nodes, without exchanged edges, which `shuffled` is for."""
    choices = []
    for node in range(2, 2 + nodes):
        sides = list(itertools.product(operations, range(node)))
        choices.append(list(itertools.combinations_with_replacement(sides, 2)))
    states = range(2, 2 + nodes)
    concats = [some for count in range(1, nodes + 1) for some in itertools.combinations(states, count)]
    for chosen, concat in itertools.product(itertools.product(*choices), concats):
        yield tuple(itertools.chain(*chosen)), concat


def smallest(known: Cell) -> tuple[object, ...]:
    """What is equal exactly for cells that are the same graph: the smallest description in any order of the nodes.

    Nodes that the output does not need, and what `none` reads, are left out. An order need not be one in which a node comes
    after what it reads, as only descriptions are compared.
    """
    edges, concat = known
    needed = sorted(needed_nodes(known))
    found = []
    for order in itertools.permutations(range(2, 2 + len(needed))):
        numbers = {0: 0, 1: 1, **dict(zip(needed, order, strict=True))}
        rows: dict[int, object] = {}
        for node in needed:
            sides = edges[2 * node - 4 : 2 * node - 2]
            reads = sorted((name, -1 if name == "none" else numbers[state]) for name, state in sides)
            rows[numbers[node]] = (reads, node in concat)
        found.append([rows[number] for number in sorted(rows)])
    return tuple(map(str, min(found)))


def needed_nodes(known: Cell) -> set[int]:
    """The nodes that the output needs, by following the edges backwards from the concat."""
    edges, concat = known
    found: set[int] = set()
    waiting = list(concat)
    while waiting:
        node = waiting.pop()
        if node >= 2 and node not in found:
            found.add(node)
            waiting += [state for name, state in edges[2 * node - 4 : 2 * node - 2] if name != "none"]
    return found


@settings(deadline=None)
@given(cells(), st.randoms(use_true_random=False))
def test_order_and_numbers_make_no_difference(known: Cell, rng: random.Random) -> None:
    assert canonical_cell(*shuffled(known, rng)) == canonical_cell(*known)


@settings(deadline=None)
@given(cells(most=6, operations=("skip_connect",)), st.randoms(use_true_random=False))
def test_nor_where_most_nodes_look_alike(known: Cell, rng: random.Random) -> None:
    assert canonical_cell(*shuffled(known, rng)) == canonical_cell(*known)


@settings(deadline=None)
@given(cells())
def test_twice_is_once_and_a_valid_cell_of_the_needed_nodes(known: Cell) -> None:
    edges, concat = canonical_cell(*known)
    assert canonical_cell(edges, concat) == (edges, concat)
    genotype = Genotype(normal=edges, normal_concat=concat, reduce=edges, reduce_concat=concat)  # which checks it
    assert genotype.normal == edges and list(concat) == sorted(concat)
    nodes = set(range(2, 2 + len(edges) // 2))
    assert len(nodes) == len(needed_nodes(known)) and nodes <= used_states(edges, concat)
    assert len(concat) == len(known[1])


@settings(deadline=None, max_examples=60)
@given(cells(most=5, operations=("none", "skip_connect", "max_pool_3x3")))
def test_the_form_is_the_same_graph(known: Cell) -> None:
    assert smallest(canonical_cell(*known)) == smallest(known)


@pytest.mark.parametrize(
    ("nodes", "operations"),
    [(1, ("none", "skip_connect", "sep_conv_3x3")), (2, ("none", "skip_connect")), (3, ("skip_connect",))],
)
def test_of_all_small_cells_those_have_one_form_that_are_one_graph(nodes: int, operations: tuple[str, ...]) -> None:
    everything = list(all_cells(nodes, operations))
    pairs = {(canonical_cell(*known), smallest(known)) for known in everything}
    forms, graphs = ({pair[i] for pair in pairs} for i in (0, 1))
    assert len(forms) == len(graphs) == len(pairs) and 1 < len(forms) < len(everything)


@settings(deadline=None, max_examples=60)
@given(cells(most=4, operations=OPERATIONS[:3]), cells(most=4, operations=OPERATIONS[:3]))
def test_two_cells_have_one_form_exactly_if_they_are_one_graph(one: Cell, two: Cell) -> None:
    assert (canonical_cell(*one) == canonical_cell(*two)) == (smallest(one) == smallest(two))


def test_one_node_read_twice_is_not_two_nodes() -> None:
    twins = "skip_connect 0, skip_connect 1, skip_connect 0, skip_connect 1, "
    same = canonical_cell(cell(twins + "max_pool_3x3 2, sep_conv_3x3 2"), (3, 4))
    other = canonical_cell(cell(twins + "max_pool_3x3 2, sep_conv_3x3 3"), (3, 4))
    assert same != other


def test_what_none_reads_and_what_nothing_needs_goes() -> None:
    known = cell("sep_conv_3x3 1, skip_connect 0, none 2, skip_connect 1, max_pool_3x3 3, none 2")
    assert canonical_cell(known, (3,)) == (cell("none 0, skip_connect 1"), (2,))
    assert canonical_cell(known, (4, 2)) == (
        cell("none 0, skip_connect 1, skip_connect 0, sep_conv_3x3 1, none 0, max_pool_3x3 2"),
        (3, 4),
    )


@pytest.mark.parametrize("name", ["ring", "twins", "chain"])
def test_large_cells_that_look_alike_everywhere_take_no_time(name: str) -> None:
    count = 30
    known = {
        "ring": "skip_connect 0, skip_connect 1, " * count
        + ", ".join(f"sep_conv_3x3 {2 + i}, sep_conv_3x3 {2 + (i + 1) % count}" for i in range(count)),
        "twins": ", ".join(["skip_connect 0, skip_connect 1"] * 2 * count),
        "chain": ", ".join(f"skip_connect {i}, skip_connect {i + 1}" for i in range(2 * count)),
    }[name]
    edges, concat = cell(known), tuple(range(2, 2 + 2 * count))
    start = time.perf_counter()
    first = canonical_cell(edges, concat)
    assert time.perf_counter() - start < 20
    assert canonical_cell(*shuffled((edges, concat), random.Random(0))) == first


# The same function


@pytest.mark.parametrize("layers", [1, 4])
def test_networks_with_matched_weights_compute_the_same(layers: int) -> None:
    for seed, genotype in enumerate([*genotypes_with_gaps(), SPACE.sample(1), SPACE.by_name("PC_DARTS")]):
        other = SPACE.canonical(genotype)
        config = ModelConfig(2, layers, False, 0.0, 0.0)
        one, two = (
            Network(config, each, 3, 3, (8, 8), torch.Generator().manual_seed(seed)).double()
            for each in (genotype, other)
        )
        match(one, two)
        x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        for mode in (True, False):
            torch.testing.assert_close(one.train(mode)(x).logits, two.train(mode)(x).logits, rtol=1e-7, atol=1e-9)


def match(one: Network, two: Network) -> None:
    """Give the canonical network `two` the weights of `one`, as `ConvolutionalSpace.canonical` says."""
    two.stem.load_state_dict(one.stem.state_dict())
    stem = list(range(one.stem[0].out_channels))  # type: ignore[arg-type]
    orders = [stem, stem]  # of the outputs of the last two cells: the channel of `one` that each of `two` is
    for a, b in zip(one.cells, two.cells, strict=True):
        assert isinstance(a, CellModule) and isinstance(b, CellModule)
        numbers = canonical_numbers(a.edges, a.concat)
        for state, (theirs, ours) in enumerate(((a.preprocess0, b.preprocess0), (a.preprocess1, b.preprocess1))):
            ours.load_state_dict(
                {
                    name: value[:, orders[state]] if value.dim() == 4 else value
                    for name, value in theirs.state_dict().items()
                }
            )
        for node in numbers.keys() - {0, 1}:
            left = [2 * node - 4, 2 * node - 3]
            for place in (2 * numbers[node] - 4, 2 * numbers[node] - 3):
                name, state = b.edges[place]
                edge = next(
                    k for k in left if a.edges[k][0] == name and (name == "none" or numbers[a.edges[k][1]] == state)
                )
                left.remove(edge)
                b.operations[place].load_state_dict(a.operations[edge].state_dict())
        width = a.channels_out // len(a.concat)
        places = sorted(range(len(a.concat)), key=lambda i, a=a, numbers=numbers: numbers[a.concat[i]])
        orders = [orders[1], [width * place + i for place in places for i in range(width)]]
    two.classifier.load_state_dict({**one.classifier.state_dict(), "weight": one.classifier.weight[:, orders[1]]})
