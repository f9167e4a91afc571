"""What `update` of strategy `budget` puts into `.grad`: differences of the objective, and of DARTS at level 0, bit for bit."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.gradient_strategy import config_of as darts_config
from support.smooth_supernet import TOY, SmoothNet, differences, problem_of, relative_error, stepped_loss
from support.strategy_suite import check_architecture, seeded

from cnn_nas.counting import NetworkSize
from cnn_nas.decoding import CellDecoder
from cnn_nas.expected_cost import ExpectedCost
from cnn_nas.relaxation import RELAXATION
from nas.core.arch_weights import ArchWeights
from nas.core.budget import Budget
from nas.core.fields import read
from nas.core.relaxation import Relaxation
from one_shot.budget import BudgetStrategy
from one_shot.budget_config import BudgetConfig
from one_shot.counted import Counted, Expected
from one_shot.gradient import GradientStrategy
from one_shot.sampled_cells import sampled_cells
from one_shot.strategy import Problem, Progress

NOW, SEED = Progress(30, 100, 10), 7
TOLERANCE = {"first": 1e-8, "unrolled": 1e-4, "exact": 1e-8}
CURVES: dict[str, dict[str, Any]] = {"knots": {"knots": 3}, "hidden": {"hidden": 4, "knots": 3}}
MIXING: dict[str, dict[str, Any]] = {
    "softmax": {},
    "gumbel": {
        **{"mixing": "gumbel", "temperature": 2.0, "temperature_end": 0.5, "temperature_schedule": "linear"},
    },
}


class Linear(Expected):
    """A number for each operation of each edge, times the weight of the edge."""

    low, high = 0, 100

    def __init__(self, relaxation: Relaxation) -> None:
        super().__init__()
        self.kinds = list(relaxation)
        for k, (kind, shape) in enumerate(relaxation.items()):
            table = torch.rand(len(shape.edges), len(shape.operations), generator=seeded(k), dtype=torch.float64)
            self.register_buffer(kind, table)

    def scaled(
        self, operations: Mapping[str, torch.Tensor], edges: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        parts = [(operations[kind] * self.get_buffer(kind)).sum(1) for kind in self.kinds]
        weighed = parts if edges is None else [part * edges[kind] for part, kind in zip(parts, self.kinds, strict=True)]
        return torch.cat(weighed).sum()


def strategy_of(relaxation: Relaxation = TOY, seed: int = 0, **values: Any) -> BudgetStrategy:
    (config,) = read({"arch_learning_rate": 0.1, **values}, BudgetConfig)
    counted = Counted(lambda measure: Linear(relaxation), lambda budget: None, {})
    return BudgetStrategy(relaxation, config, seeded(seed), counted).double()


def away(strategy: BudgetStrategy) -> BudgetStrategy:
    """Far from uniform, and every level from the others."""
    for k, parameter in enumerate(strategy.parameters()):
        parameter.data += torch.rand(parameter.shape, generator=seeded(k)).to(parameter)
    return strategy


def loss_of(problem: Problem, weights: ArchWeights, order: str) -> float:
    return float(problem.valid_loss(weights).detach()) if order == "first" else stepped_loss(problem, weights)


CASES = list(itertools.product(CURVES, MIXING, ("first", "unrolled", "exact")))


@pytest.mark.parametrize("curve, mixing, order", CASES)
def test_the_gradient_is_that_of_loss_and_scaled_count(curve: str, mixing: str, order: str) -> None:
    """By differences of the fourth order along three ways, through the unrolled step where there is one."""
    finite = {"finite_difference": 1e-3} if order == "unrolled" else {}
    values = {**CURVES[curve], **MIXING[mixing], **finite, "bilevel": order, "edge_norm": True, "penalty_low": 0.5}
    strategy, problem = away(strategy_of(**values)), problem_of(SmoothNet())
    parameters = list(strategy.parameters())
    start = [parameter.detach().clone() for parameter in parameters]
    (level,) = strategy.draw_levels(seeded(SEED), NOW.step, 1)
    reported = strategy.update(problem, seeded(SEED), NOW)
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    def objective() -> float:
        loss = loss_of(problem, strategy.sample(seeded(SEED), NOW), order)  # the same level and noise
        plain = strategy._expected_at(level)
        assert plain.operations is not None
        count = strategy.expected_count.scaled(plain.operations, plain.edges)
        return loss + 0.5 * 60**level * float(count.detach())

    assert float(reported["arch_loss"] + reported["arch_penalty"]) == pytest.approx(objective(), rel=1e-12)
    slopes, expected = [], []
    for seed in range(3):
        way = [torch.randn(p.shape, generator=seeded(seed)).to(p) for p in parameters]

        def along(distance: list[torch.Tensor], way: list[torch.Tensor] = way) -> float:
            for parameter, value, each in zip(parameters, start, way, strict=True):
                parameter.data.copy_(value + distance[0] * each)
            return objective()

        expected += differences(along, [torch.zeros((), dtype=torch.float64)])
        slopes.append(torch.stack([(g * each).sum() for g, each in zip(found, way, strict=True)]).sum())
    assert relative_error(slopes, expected) < TOLERANCE[order]


def test_several_levels_a_step_are_different_and_averaged() -> None:
    strategy, problem = away(strategy_of(levels_per_step=4, knots=3)), problem_of(SmoothNet())
    levels = strategy.draw_levels(seeded(SEED), NOW.step, 4)
    assert [int(4 * level) for level in levels] == [0, 1, 2, 3]
    strategy.update(problem, seeded(SEED), NOW)
    found = [p.grad for p in strategy.parameters()]
    total = [torch.zeros_like(p) for p in strategy.parameters()]
    for level in levels:
        one = away(strategy_of(level=level, knots=3))
        one.update(problem, seeded(SEED), NOW)
        total = [sum_ if p.grad is None else sum_ + p.grad / 4 for sum_, p in zip(total, one.parameters(), strict=True)]
    assert all(p is not None for p in found)
    assert relative_error(found, total) < 1e-12  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["first", "exact"])
def test_a_sampled_cell_has_the_straight_through_gradient(order: str) -> None:
    """p = softmax((log softmax(a) + G) / t) without `none`: J(p) / t dL/dw on the edges that run, nothing on others.

    For the edges' weights v of a node, dL/dlog v where 1 is what each edge counts; all by differences.
    """
    values = {"mixing": "straight_through", "temperature": 0.7, "edge_norm": True, "level": 0.0, "bilevel": order}
    strategy, problem = away(strategy_of(**values)), problem_of(SmoothNet())
    strategy.update(problem, seeded(SEED), NOW)
    paths = strategy.sample(seeded(SEED), NOW).paths
    assert paths is not None
    check_architecture(TOY, paths)
    tables = {name: table.detach() for name, table in strategy.logits(0.0).items()}
    ones = {
        kind: torch.tensor([[float(k in running) for k in range(4)] for running in path], dtype=torch.float64)
        for kind, path in paths.items()
    }
    whole = ArchWeights(ones, {kind: torch.ones(len(path)).double() for kind, path in paths.items()}, paths)
    by = whole.with_tensors(
        differences(lambda tensors: loss_of(problem, whole.with_tensors(tensors), order), whole.tensors())
    )
    assert by.operations is not None and by.edges is not None
    generator = seeded(SEED)
    for kind, shape in TOY.items():
        logits, v = tables[f"operations_{kind}"][:, 1:], tables[f"edges_{kind}"]
        noise = -torch.empty(len(shape.edges), 4).exponential_(generator=generator).log().double()[:, 1:]
        torch.empty(len(shape.edges)).exponential_(generator=generator)  # that of the edges
        p = ((logits + noise) / 0.7).softmax(-1)
        expected = torch.zeros(len(shape.edges), 4).double()
        for edge, running in enumerate(paths[kind]):
            if running:
                assert int(p[edge].argmax()) + 1 == running[0]
                g = by.operations[kind][edge, 1:]
                expected[edge, 1:] = p[edge] * (g - (p[edge] * g).sum()) / 0.7
        grad = strategy.logits.tables[f"operations_{kind}"][0].grad  # type: ignore[index, union-attr]
        assert relative_error([grad], [expected]) < 1e-8  # type: ignore[list-item]
        of_edges = torch.zeros(len(shape.edges)).double()
        for node in range(shape.nodes):
            into, g = shape.entering(node), by.edges[kind][shape.entering(node)]
            of_edges[into] = g - v[into].softmax(0) * g.sum()
        grad = strategy.logits.tables[f"edges_{kind}"][0].grad  # type: ignore[index, union-attr]
        assert float((grad - of_edges).norm()) < 1e-8 * (1 + float(of_edges.norm()))  # type: ignore[operator]


def test_sampled_cells_have_the_expected_count_in_the_mean() -> None:
    """Of 3,000 cells, within 4 standard errors of the formula for two edges a node without replacement."""
    size = NetworkSize(16, 8, 10, (1, 28, 28))
    expected, decoder = ExpectedCost(size), CellDecoder(Budget(), size)
    logits = {kind: torch.randn(14, 8, generator=seeded(1)) for kind in RELAXATION}
    edges = {
        kind: torch.cat([torch.randn(n, generator=seeded(n)).softmax(0) for n in (2, 3, 4, 5)]) for kind in RELAXATION
    }
    generator = seeded(2)
    counts = [
        float(decoder.size(sampled_cells(RELAXATION, logits, edges, 1.0, generator)[1]).parameters) for _ in range(3000)
    ]
    mean, spread = statistics.fmean(counts), statistics.stdev(counts) / 3000**0.5
    assert abs(mean - float(expected({kind: a.softmax(-1) for kind, a in logits.items()}, edges))) < 4 * spread


@pytest.mark.parametrize("order", ["first", "unrolled"])
@pytest.mark.parametrize("edge_norm", [False, True])
def test_at_level_0_it_is_darts_bit_for_bit(order: str, edge_norm: bool) -> None:
    """Losses, weights, logits and genotype over 20 steps, with decay; whatever the other knots do."""
    values: dict[str, Any] = {"bilevel": order, "edge_norm": edge_norm, "arch_weight_decay": 1e-2}
    darts = GradientStrategy(TOY, darts_config(**values), seeded(3)).double()
    budget = strategy_of(TOY, 3, level=0.0, knots=2, **values)
    losses: list[list[torch.Tensor]] = []
    nets = [SmoothNet(), SmoothNet()]
    for net, strategy in zip(nets, (darts, budget), strict=True):
        optimizer, weights = strategy.optimizer(), torch.optim.SGD(net.parameters(), 0.1, 0.9)
        losses.append([])
        assert optimizer is not None
        for step in range(20):
            now, problem = Progress(step, 20, 5), problem_of(net, "clip")
            reported = strategy.update(replace(problem), seeded(100 + step), now)
            optimizer.step()
            loss = problem.train_loss(strategy.sample(seeded(200 + step), now))
            weights.zero_grad()
            loss.backward()
            weights.step()
            losses[-1] += [reported["arch_loss"], loss.detach()]
    assert all(torch.equal(one, other) for one, other in zip(*losses, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
    tables = budget.logits(0.0)
    for kind in TOY:
        assert torch.equal(tables[f"operations_{kind}"], darts.operations[kind])
        assert not edge_norm or torch.equal(tables[f"edges_{kind}"], darts.edges[kind])
    assert budget.derive() == darts.derive() and budget.config.penalty(0.0) == 0


def test_the_penalty_weight_is_log_uniform_but_at_level_0() -> None:
    (config,) = read({"arch_learning_rate": 0.1, "penalty_low": 0.01, "penalty_high": 100}, BudgetConfig)
    assert config.penalty(0.0) == 0.0
    assert [config.penalty(level) for level in (0.25, 0.5, 1.0)] == pytest.approx([0.1, 1.0, 100.0])


def test_levels_are_stratified_and_come_from_the_generator() -> None:
    strategy = strategy_of()
    drawn = [strategy.draw_levels(seeded(step), step, 1)[0] for step in range(160)]
    assert [sorted(int(16 * level) for level in drawn[k : k + 16]) for k in range(0, 160, 16)] == [list(range(16))] * 10
    assert len(set(drawn)) == 160 and all(0 <= level < 1 for level in drawn)
    assert strategy.draw_levels(seeded(1), 0, 1) != strategy.draw_levels(seeded(2), 0, 1)
    assert strategy_of(level=0.3).draw_levels(seeded(1), 0, 1) == [0.3]


def test_the_temperature_is_that_of_the_epoch() -> None:
    strategy = strategy_of(mixing="gumbel", temperature=1.0, temperature_end=0.2, temperature_schedule="linear")
    found = [strategy.temperature(Progress(step, 50, 10)) for step in range(0, 50, 5)]
    assert found == pytest.approx([1.0, 1.0, 0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2])
    assert strategy.temperature(Progress(3, 5, 10)) == 1.0
