"""Budgets are kept, and nothing within them is more likely: against all cells of two nodes, and against samples."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from cnn_nas.architecture import CELLS, OPERATIONS, Genotype, edge_names
from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize, count_size, edge_costs, extremes
from cnn_nas.decoding import CellDecoder, Weights
from cnn_nas.relaxation import RELAXATION, genotype_of, paths_of
from cnn_nas.sampling import draw as draw_constrained
from nas.core.budget import Budget, Range
from nas.core.errors import ConfigError
from nas.core.relaxation import Paths, Relaxation, complete_cell, derive

SIZE = NetworkSize(16, 8, 10, (1, 28, 28))
FEW = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")
SMALL: Relaxation = dict.fromkeys(CELLS, complete_cell(2, 2, FEW, kept=2))
RULES: dict[str, Any] = {
    "operations": ["skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_5x5", "avg_pool_3x3"],
    "normal": {"skip_connect": [1, 2], "sep_conv_3x3": [2, None]},
    "reduce": {"skip_connect": [None, 3]},
    "fixed": {"normal_node1_edge1": 1, "normal_node1_edge1_op": "sep_conv_3x3", "reduce_node4_edge2": 4},
    "macs": [2e7, None],
}


def random_weights(seed: int, relaxation: Relaxation = RELAXATION) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    tables = {
        kind: generator.gumbel(size=(len(shape.edges), len(shape.operations)), scale=2.0)
        for kind, shape in relaxation.items()
    }
    return {kind: np.exp(table) / np.exp(table).sum(1, keepdims=True) for kind, table in tables.items()}


def score(paths: Paths, weights: Weights) -> float:
    return float(
        sum(
            np.log(weights[kind][edge][k]) for kind, path in paths.items() for edge, ops in enumerate(path) for k in ops
        )
    )


def test_the_best_of_all_two_node_networks_is_found() -> None:
    """Every pair of cells, its costs and its score, written down by loops; both kinds of budgets, and rules."""
    size = NetworkSize(4, 3, 3, (3, 9, 9))
    for seed, text in itertools.product(
        range(3), [{}, {"normal": {"skip_connect": [1, 1]}, "reduce": {"sep_conv_3x3": [2, 3]}}]
    ):
        weights, rules = random_weights(seed, SMALL), Constraints.from_mapping(text) if text else Constraints()
        cells = {kind: _all_cells(kind, size, weights, rules) for kind in CELLS}
        normal, reduce = (np.array(list(cells[kind])) for kind in CELLS)
        rest = CellDecoder(Budget(), size, relaxation=SMALL).rest
        parameters = rest.parameters + normal[:, None, 0] + reduce[None, :, 0]
        macs = rest.macs + normal[:, None, 1] + reduce[None, :, 1]
        scores = normal[:, None, 2] + reduce[None, :, 2]
        generator = np.random.default_rng(seed)
        for trial in range(12):
            i, j = generator.integers(len(normal)), generator.integers(len(reduce))
            p, m = parameters[i, j], macs[i, j]  # one that is there, so that something is within
            ranges = [(0, p, 0, np.inf), (p, np.inf, 0, np.inf), (0, np.inf, 0, m), (p - 50, p + 50, m, m * 1.05)][
                trial % 4
            ]
            within = (parameters >= ranges[0]) & (parameters <= ranges[1]) & (macs >= ranges[2]) & (macs <= ranges[3])
            low, high, least, most = (None if end in (0, np.inf) else float(end) for end in ranges)
            if trial % 4 == 0 and p == parameters.max():
                continue
            decoder = CellDecoder(Budget(Range(low, high), Range(least, most)), size, rules, relaxation=SMALL)
            paths = decoder.decode(weights)
            assert score(paths, weights) == pytest.approx(scores[within].max(), rel=1e-12)
            found = decoder.size(paths)
            assert ranges[0] <= found.parameters <= ranges[1] and ranges[2] <= found.macs <= ranges[3]


def _all_cells(kind: str, size: NetworkSize, weights: Weights, rules: Constraints) -> list[tuple[int, int, float]]:
    """Parameters, MACs and score of every cell of two nodes that keeps the rules over counts."""
    shape, costs, found = SMALL[kind], edge_costs(size, SMALL)[kind], []
    sides = [
        [
            pair
            for pair in itertools.combinations(itertools.product(shape.entering(n), shape.choices), 2)
            if pair[0][0] != pair[1][0]
        ]
        for n in range(2)
    ]
    for one, other in itertools.product(*sides):
        names = [FEW[k] for _, k in (*one, *other)]
        if all(names.count(name) in allowed for name, allowed in getattr(rules, kind).items()):
            picked = [costs[edge][k] for edge, k in (*one, *other)]
            value = sum(float(np.log(weights[kind][edge][k])) for edge, k in (*one, *other))
            found.append((sum(c.parameters for c in picked), sum(c.macs for c in picked), value))
    return found


def test_no_budget_is_exceeded_and_no_sample_within_it_is_more_likely() -> None:
    low, high = extremes(SIZE)
    samples = [Genotype(normal=_swap(g.normal), reduce=_swap(g.reduce)) for g in (_sampled(i) for i in range(1500))]
    paths = [paths_of(genotype) for genotype in samples]
    counts = [count_size(genotype, SIZE) for genotype in samples]
    ends = {"parameters": (low.parameters, high.parameters), "macs": (low.macs, high.macs)}
    outputs = [random_weights(seed) for seed in range(20)]
    scores = np.array([[score(each, weights) for each in paths] for weights in outputs])
    generator = np.random.default_rng(0)
    for trial in range(32):
        measure = ("parameters", "macs")[trial % 2]
        most = float(generator.uniform(*ends[measure]))
        least = most - 0.05 * (ends[measure][1] - ends[measure][0]) if trial % 4 > 1 else None
        allowed = Range(None if least is None else max(least, 0.0), most)
        decoder = CellDecoder(Budget(**{measure: allowed}), SIZE)
        within = np.array([getattr(count, measure) in allowed for count in counts])
        for weights, of_samples in zip(outputs, scores, strict=True):
            found = decoder.decode(weights)
            assert getattr(count_size(genotype_of(found), SIZE), measure) in allowed
            assert not within.any() or score(found, weights) >= of_samples[within].max() - 1e-9


def _sampled(seed: int) -> Genotype:
    return draw_constrained(seed, Constraints(), SIZE)


def _swap(edges: Any) -> Any:
    """Edges of a node in the order of states."""
    return tuple(edge for n in range(4) for edge in sorted(edges[2 * n : 2 * n + 2], key=lambda each: each[1]))


def test_the_smallest_and_the_largest_network_are_budgets_too() -> None:
    low, high = extremes(SIZE)
    weights = random_weights(1)
    for measure, end in itertools.product(("parameters", "macs"), (low, high)):
        exactly = float(getattr(end, measure))
        found = CellDecoder(Budget(**{measure: Range(exactly, exactly)}), SIZE).decode(weights)
        assert getattr(count_size(genotype_of(found), SIZE), measure) == exactly


def test_constraints_are_kept_and_no_sample_that_keeps_them_is_more_likely() -> None:
    rules, budget = Constraints.from_mapping(RULES), Budget(Range(None, 250_000.0))
    decoder = CellDecoder(budget, SIZE, rules)
    both = Constraints.from_mapping({**RULES, "parameters": [None, 250_000]})
    drawn = [draw_constrained(seed, both, SIZE) for seed in range(60)]
    for seed in range(5):
        weights = random_weights(seed)
        found = decoder.decode(weights)
        assert _keeps(genotype_of(found), both) and found in decoder
        best = max(score(paths_of(Genotype(normal=_swap(g.normal), reduce=_swap(g.reduce))), weights) for g in drawn)
        assert score(found, weights) >= best - 1e-9
    generator = np.random.RandomState(0)
    assert all(_keeps(genotype_of(decoder.draw(generator)), both) for _ in range(30))
    assert any(paths_of(_sampled(seed)) not in decoder for seed in range(5))


def _keeps(genotype: Genotype, rules: Constraints) -> bool:
    """In one order of each node's edges, as the edges of a node have none in a supernet."""
    for flips in itertools.product((0, 1), repeat=2):  # of the two nodes that RULES are about
        normal = [*genotype.normal[:2][:: -1 if flips[0] else 1], *genotype.normal[2:]]
        reduce = [*genotype.reduce[:6], *genotype.reduce[6:][:: -1 if flips[1] else 1]]
        if not rules.broken(Genotype(normal=tuple(normal), reduce=tuple(reduce)), SIZE):
            return True
    return False


def test_draws_are_uniform_over_what_is_within() -> None:
    """All networks of one-operation cells of two nodes within a budget, counted by hand."""
    few = dict.fromkeys(CELLS, complete_cell(2, 2, ("none", "max_pool_3x3", "sep_conv_3x3"), kept=2))
    size = NetworkSize(4, 3, 3, (3, 8, 8))
    weights = {kind: [[1.0] * 3] * 5 for kind in CELLS}
    low, sep = extremes(size, few)[0].parameters, edge_costs(size, few)["reduce"][0][2].parameters
    decoder = CellDecoder(Budget(Range(None, float(low + sep))), size, relaxation=few)
    assert decoder.size(decoder.decode(weights)).parameters <= low + sep
    generator, draws = np.random.RandomState(0), 4000
    seen = collections.Counter(tuple(sorted(decoder.draw(generator).items())) for _ in range(draws))
    # with the edges of node 2 in 3 ways for each kind of cell: all pools, one separable convolution at any of 4 places of
    # the reduction cell, or as many of the normal one as cost no more
    normal = edge_costs(size, few)["normal"][0][2].parameters
    kinds = sum(
        1
        for a, b in itertools.product(itertools.product((0, 1), repeat=4), repeat=2)
        if sum(a) * normal + sum(b) * sep <= sep
    )
    assert len(seen) == 9 * kinds
    expected = draws / len(seen)
    chi_squared = sum((count - expected) ** 2 / expected for count in seen.values())
    assert chi_squared < len(seen) - 1 + 4 * np.sqrt(2 * (len(seen) - 1))


def test_what_is_derived_without_a_budget_stays_where_it_is_within_one() -> None:
    for seed in range(5):
        weights = random_weights(seed)
        plain = derive(RELAXATION, weights)
        most = count_size(genotype_of(plain), SIZE).parameters
        assert CellDecoder(Budget(Range(None, float(most))), SIZE).decode(weights) == plain
        assert score(CellDecoder(Budget(), SIZE).front(weights)[-1][0], weights) == pytest.approx(score(plain, weights))
    equal = {kind: [[0.125] * 8] * 14 for kind in CELLS}
    assert CellDecoder(Budget(Range(None, 2e5)), SIZE).decode(equal) == derive(RELAXATION, equal)


@pytest.mark.parametrize("measure", ["parameters", "macs"])
def test_a_front_has_what_its_budgets_give(measure: str) -> None:
    weights = random_weights(7)
    for budget in (Budget(), Budget(Range(150_000.0, 200_000.0))):
        front = CellDecoder(budget, SIZE).front(weights, measure)
        costs, values = [getattr(size, measure) for _, size, _ in front], [value for *_, value in front]
        assert costs == sorted(set(costs)) and values == sorted(set(values)) and len(front) > 5
        for paths, size, value in front[:: len(front) // 4]:
            assert size == count_size(genotype_of(paths), SIZE) and value == pytest.approx(score(paths, weights))
            assert size.parameters in budget.parameters
            limit = getattr(size, measure)
            kwargs = {
                "parameters": budget.parameters,
                measure: Range(budget.parameters.low if measure == "parameters" else None, float(limit)),
            }
            found = CellDecoder(Budget(**kwargs), SIZE).decode(weights)
            assert score(found, weights) == pytest.approx(value)


def test_a_weight_of_zero_is_the_last_to_be_taken_and_one_that_is_no_number_is_refused() -> None:
    weights: Mapping[str, Any] = {kind: np.where(np.arange(8) == 4, 1.0, 0.0) * np.ones((14, 1)) for kind in CELLS}
    low = float(extremes(SIZE)[0].parameters)
    found = CellDecoder(Budget(Range(None, low)), SIZE).decode(weights)
    assert count_size(genotype_of(found), SIZE).parameters == low
    weights["normal"][0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        CellDecoder(Budget(Range(None, low)), SIZE).decode(weights)


HAS = "it (init_channels 16, layers 8) has 99,866..492,058 parameters"


@pytest.mark.parametrize(
    ("budget", "rules", "says"),
    [
        (
            Budget(Range(None, 99_865.0)),
            {},
            f"at least 99,866: {HAS}, got at most 99,865; with init_channels 15 or layers 7 it would fit",
        ),
        (
            Budget(Range(None, 500_000.0)),
            {},
            f"at most 492,058: {HAS}, got at most 500,000; with init_channels 17 or layers 9 it would fit",
        ),
        (Budget(macs=Range(1e12, None)), {}, "budget.macs must be at most 62,007,552"),
        (Budget(macs=Range(None, 10.0)), {}, "no init_channels and no layers would fit"),
        (Budget(Range(120_001.0, 120_002.0)), {}, "the nearest have 119,930 and 120,602 parameters"),
        (
            Budget(Range(None, 110_000.0), Range(5e7, None)),
            {},
            "exclude each other: with hyperparameters.budget.parameters at most 110,000 it has 14,992,640..15,629,248 MACs",
        ),
        (
            Budget(Range(None, 120_000.0)),
            {"normal": {"sep_conv_5x5": [8, None]}},
            "parameters is at most 120,000 for it, and no architecture that keeps the rules is: the nearest has",
        ),
        (
            Budget(Range(None, 2e5)),
            {"parameters": [3e5, None]},
            "budget.parameters and hyperparameters.constraints.param",
        ),
        (
            Budget(),
            {"operations": ["sep_conv_7x7"]},
            "no normal cell of the supernet keeps hyperparameters.constraints",
        ),
        (
            Budget(),
            {"normal": {"sep_conv_7x7": [1, 2]}, "operations": ["sep_conv_7x7", "skip_connect"]},
            "no normal cell of the supernet keeps",
        ),
        (Budget(), {"parameters": [None, 10]}, "hyperparameters.constraints.parameters must be at least 99,866"),
    ],
)
def test_what_nothing_keeps_is_said_in_a_sentence(budget: Budget, rules: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CellDecoder(budget, SIZE, Constraints.from_mapping(rules), "it")
    assert len(caught.value.problems) == 1 and says in caught.value.problems[0]


def test_what_fits_does_fit() -> None:
    for name, value in (("init_channels", 15), ("layers", 7)):
        smaller = NetworkSize(**{**SIZE.__dict__, name: value})
        bigger = NetworkSize(**{**SIZE.__dict__, name: value + 1})
        assert extremes(smaller)[0].parameters <= 99_865 < extremes(bigger)[0].parameters


def test_names_of_fixed_edges_are_those_of_the_space() -> None:
    fixed = dict.fromkeys(edge_names("normal")[::2], 0)
    found = CellDecoder(Budget(), SIZE, Constraints(fixed=fixed)).decode(random_weights(2))
    assert all(found["normal"][RELAXATION["normal"].edge(node, 0)] for node in range(4))
    assert len(OPERATIONS) == 8
