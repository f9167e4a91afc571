"""The expected count against enumeration, sampling, single architectures and central differences."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from cnn_nas.architecture import CELLS, NODES, OPERATIONS, SEARCHED_OPERATIONS, Genotype
from cnn_nas.counting import NetworkSize, count_size, extremes
from cnn_nas.expected_cost import ExpectedCost
from cnn_nas.relaxation import RELAXATION, genotype_of
from nas.core.budget import MEASURES
from nas.core.relaxation import Relaxation, complete_cell

SIZES = [NetworkSize(16, 8, 10, (1, 28, 28)), NetworkSize(4, 6, 3, (3, 13, 9)), NetworkSize(6, 3, 1, (1, 7, 10))]
SMALL = dict.fromkeys(CELLS, complete_cell(2, 2, OPERATIONS, kept=2))
Weights = dict[str, torch.Tensor]


def made(size: NetworkSize, measure: str = "parameters", relaxation: Relaxation = RELAXATION) -> ExpectedCost:
    """In double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return ExpectedCost(size, measure, relaxation)
    finally:
        torch.set_default_dtype(before)


def random_weights(relaxation: Relaxation, seed: int, spread: float = 1.0) -> tuple[Weights, Weights]:
    generator = torch.Generator().manual_seed(seed)
    operations, edges = {}, {}
    for kind, shape in relaxation.items():
        logits = torch.randn(len(shape.edges), len(shape.operations), generator=generator, dtype=torch.float64)
        operations[kind] = (spread * logits).softmax(1)
        parts = [torch.randn(len(shape.entering(n)), generator=generator).double() for n in range(shape.nodes)]
        edges[kind] = torch.cat([(spread * part).softmax(0) for part in parts])
    return operations, edges


def all_cells(
    relaxation: Relaxation, kind: str, operations: Weights, edges: Weights | None
) -> Iterator[tuple[tuple[tuple[str, int], ...], float]]:
    """Every cell, with each node's edges in the order in which they are drawn, and its probability."""
    shape, nodes = relaxation[kind], []
    for node in range(shape.nodes):
        entering, found = shape.entering(node), []
        w = {e: 1 / len(entering) if edges is None else float(edges[kind][e]) for e in entering}
        for first, second in itertools.permutations(entering, 2):
            chance = w[first] * w[second] / (1 - w[first])
            for one, other in itertools.product(shape.choices, repeat=2):
                p = 1.0
                for edge, k in ((first, one), (second, other)):
                    row = operations[kind][edge]
                    p *= float(row[k] / row[shape.choices].sum())
                sides = [(shape.operations[k], shape.edges[e][1]) for e, k in ((first, one), (second, other))]
                found.append((sides, chance * p))
        nodes.append(found)
    for picked in itertools.product(*nodes):
        yield tuple(edge for sides, _ in picked for edge in sides), math.prod(chance for _, chance in picked)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("with_edges", [True, False])
def test_it_is_the_mean_over_all_architectures_of_two_nodes(measure: str, with_edges: bool) -> None:
    operations, edges = random_weights(SMALL, 1)
    size, given, total = SIZES[1], edges if with_edges else None, 0.0
    pools = (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 2
    rest = getattr(count_size(Genotype(normal=pools, reduce=pools), size), measure)
    for kind in CELLS:  # each kind adds to the count on its own
        chances = 0.0
        for cell, chance in all_cells(SMALL, kind, operations, given):
            cells: dict[str, Any] = {**dict.fromkeys(CELLS, pools), kind: cell}
            total += chance * (_counted(size, measure, **cells) - rest)
            chances += chance
        assert chances == pytest.approx(1, rel=1e-12)
    assert made(size, measure, SMALL)(operations, given).item() == pytest.approx(rest + total, rel=1e-9)


_KNOWN: dict[Any, int] = {}


def _counted(size: NetworkSize, measure: str, normal: Any, reduce: Any) -> int:
    key = (size, measure, tuple(sorted(normal)), tuple(sorted(reduce)))  # a sum does not depend on the order of edges
    if key not in _KNOWN:
        _KNOWN[key] = getattr(count_size(Genotype(normal=normal, reduce=reduce), size), measure)
    return _KNOWN[key]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("measure", MEASURES)
def test_weights_of_one_architecture_give_its_count(size: NetworkSize, measure: str) -> None:
    expected = made(size, measure)
    for kind, name, start in itertools.product(CELLS, SEARCHED_OPERATIONS, range(4)):
        paths, operations, edges = {}, {}, {}
        for cell, shape in RELAXATION.items():
            kept = [e for n in range(NODES) for e in _two(shape.entering(n), start)]
            k = OPERATIONS.index(name if cell == kind else "avg_pool_3x3")
            paths[cell] = tuple((k,) if e in kept else () for e in range(len(shape.edges)))
            operations[cell] = torch.zeros(len(shape.edges), len(OPERATIONS), dtype=torch.float64)
            operations[cell][:, k] = 1
            edges[cell] = torch.tensor([0.5 * (e in kept) for e in range(len(shape.edges))], dtype=torch.float64)
        count = getattr(count_size(genotype_of(paths), size), measure)
        assert expected(operations, edges).item() == pytest.approx(count, rel=1e-12)
        assert expected.low <= count <= expected.high


def _two(edges: list[int], start: int) -> list[int]:
    return [edges[start % len(edges)], edges[(start + 1) % len(edges)]]


def test_it_is_the_mean_of_samples() -> None:
    operations, edges = random_weights(RELAXATION, 3)
    draw, counts = np.random.default_rng(0), []
    choices = [OPERATIONS.index(name) for name in SEARCHED_OPERATIONS]
    for _ in range(1000):
        paths = {}
        for kind, shape in RELAXATION.items():
            path: list[tuple[int, ...]] = [()] * len(shape.edges)
            for node in range(NODES):
                entering = shape.entering(node)
                for edge in draw.choice(entering, 2, replace=False, p=edges[kind][entering].numpy()):
                    p = operations[kind][edge][choices].numpy()
                    path[edge] = (int(draw.choice(choices, p=p / p.sum())),)
            paths[kind] = tuple(path)
        counts.append(count_size(genotype_of(paths), SIZES[0]))
    for measure in MEASURES:
        found = [getattr(count, measure) for count in counts]
        error = np.std(found, ddof=1) / math.sqrt(len(found))
        assert abs(made(SIZES[0], measure)(operations, edges).item() - np.mean(found)) < 4 * error


def test_gradients_are_those_of_differences() -> None:
    expected, (operations, edges) = made(SIZES[1], "macs"), random_weights(RELAXATION, 4)
    logits = [w.log().requires_grad_() for w in (*operations.values(), *edges.values())]

    def scaled(*values: torch.Tensor) -> torch.Tensor:
        kinds, parts = list(RELAXATION), [len(RELAXATION["normal"].entering(n)) for n in range(NODES)]
        p = dict(zip(kinds, (x.softmax(1) for x in values[:2]), strict=True))
        w = [torch.cat([part.softmax(0) for part in x.split(parts)]) for x in values[2:]]
        return expected.scaled(p, dict(zip(kinds, w, strict=True)))

    assert torch.autograd.gradcheck(scaled, logits, eps=1e-6, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("far", [20.0, 60.0, 100.0])
def test_a_weight_next_to_one_is_no_division_by_zero(far: float) -> None:
    expected = ExpectedCost(SIZES[0])
    logits = {kind: torch.zeros(14).index_fill(0, torch.tensor([0, 2, 5, 9]), far).requires_grad_() for kind in CELLS}
    edges = {kind: torch.cat([part.softmax(0) for part in x.split([2, 3, 4, 5])]) for kind, x in logits.items()}
    pi = expected.inclusion(edges)
    assert pi.view(2, 14)[0, [0, 1, 2, 3, 4, 13]].tolist() == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25], rel=1e-6)
    pi.square().sum().backward()
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in logits.values())


def test_inclusions_of_a_node_sum_to_two_and_equal_weights_are_no_weights() -> None:
    expected, (operations, edges) = made(SIZES[0]), random_weights(RELAXATION, 5, spread=3.0)
    sums = [part.sum().item() for part in expected.inclusion(edges).split([2, 3, 4, 5] * 2)]
    assert sums == pytest.approx([2] * 8, rel=1e-12)
    equal = {kind: torch.cat([torch.full((n,), 1 / n) for n in (2, 3, 4, 5)]).double() for kind in CELLS}
    assert expected(operations, equal).item() == pytest.approx(expected(operations).item(), rel=1e-6)


def test_an_edge_of_nothing_but_none_costs_nothing() -> None:
    operations = {kind: torch.zeros(14, len(OPERATIONS)).index_fill(1, torch.tensor([0]), 1.0) for kind in CELLS}
    assert ExpectedCost(SIZES[0])(operations).item() == pytest.approx(99_866)


def test_the_extremes_are_those_of_architectures() -> None:
    """Published sizes of the space; and at a small size no architecture of one kind of operation lies beyond them."""
    low, high = extremes(SIZES[0])
    assert (low.parameters, high.parameters) == (99_866, 492_058)
    low, high = extremes(NetworkSize(36, 20, 10, (3, 32, 32)))
    assert (low.parameters, high.parameters) == (1_370_134, 5_144_086)
    assert (round(low.macs / 1e6), round(high.macs / 1e6)) == (227, 818)
    for measure, at_end in itertools.product(MEASURES, (0, 1)):
        found = [
            _counted(SIZES[1], measure, normal=cell, reduce=cell)
            for name in SEARCHED_OPERATIONS
            for pred in itertools.combinations(range(3), 2)
            for cell in [((name, 0), (name, 1), (name, pred[0]), (name, pred[1]))]
        ]
        end = getattr(extremes(SIZES[1], SMALL)[at_end], measure)
        assert end == (max if at_end else min)(found)
    with pytest.raises(ValueError, match="two edges"):
        ExpectedCost(SIZES[0], relaxation=dict.fromkeys(CELLS, complete_cell(2, 2, OPERATIONS, kept=1)))
