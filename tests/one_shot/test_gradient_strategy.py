"""Details of gradient-based search: its optimisers, its start, ranking, reports, and costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.gradient_strategy import config_of, make
from support.smooth_supernet import TOY, SmoothNet, objective, problem_of
from support.strategy_suite import SPACES, seeded
from torch import nn

from cnn_nas.relaxation import RELAXATION as CONVOLUTIONAL
from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.relaxation import complete_cell
from one_shot import schedules
from one_shot.exponentiated import ExponentiatedGradient
from one_shot.gradient import GradientStrategy
from one_shot.samplers import SAMPLERS
from one_shot.strategies import STRATEGIES
from one_shot.strategy import Progress

NOW = Progress(50, 100, 10)


def set_probabilities(strategy: GradientStrategy, kind: str, rows: list[list[float]]) -> None:
    """As a softmax has them, each row shifted by another constant, which a softmax does not see."""
    shifts = torch.arange(len(rows)).unsqueeze(1) * 3.0
    strategy.operations[kind].data.copy_(torch.tensor(rows).log() - shifts)


def test_gaea_against_its_formula_in_numpy() -> None:
    """p <- p exp(-lr g), raised to 1e-5, then divided by the row's sum; edges divided by the sum of their node, not raised."""
    strategy = make(CONVOLUTIONAL, sampler="simplex", edge_norm=True, arch_learning_rate=0.7)
    optimizer = strategy.optimizer()
    shape = CONVOLUTIONAL["normal"]
    p, e = np.full((14, 8), 1 / 8), np.array([1 / len(shape.entering(node)) for node, _ in shape.edges])
    rng = np.random.RandomState(0)
    for step in range(20):
        by_p, by_e = rng.randn(14, 8) * 4, rng.randn(14) * (0.5 if step < 10 else 8)
        strategy.operations["normal"].grad = torch.tensor(by_p, dtype=torch.float32)
        strategy.edges["normal"].grad = torch.tensor(by_e, dtype=torch.float32)
        optimizer.step()
        p = np.maximum(p * np.exp(-0.7 * by_p), 1e-5)
        p /= p.sum(1, keepdims=True)
        e = e * np.exp(-0.7 * by_e)
        sums = {node: sum(e[k] for k in shape.entering(node)) for node in range(4)}
        e = np.array([e[k] / sums[node] for k, (node, _) in enumerate(shape.edges)])
        np.testing.assert_allclose(strategy.operations["normal"].detach().numpy(), p, rtol=2e-4)
        np.testing.assert_allclose(strategy.edges["normal"].detach().numpy(), e, rtol=2e-4)
    assert p.min() < 2e-5  # the floor was met
    assert torch.equal(strategy.operations["reduce"], torch.full((14, 8), 1 / 8))  # no gradient, no step


def test_logits_are_trained_by_the_adam_of_torch() -> None:
    strategy = make(edge_norm=True, arch_weight_decay=0.01, arch_beta1=0.4, arch_beta2=0.99)
    optimizer, other = strategy.optimizer(), [p.detach().clone().requires_grad_() for p in strategy.parameters()]
    theirs = torch.optim.Adam(other, lr=0.1, betas=(0.4, 0.99), weight_decay=0.01)
    for step in range(5):
        for p, q in zip(strategy.parameters(), other, strict=True):
            p.grad = q.grad = torch.randn(p.shape, generator=seeded(step))
        optimizer.step()
        theirs.step()
    assert all(torch.equal(p, q) for p, q in zip(strategy.parameters(), other, strict=True))


def test_a_huge_gradient_leaves_one_weight_and_no_nan() -> None:
    weights = nn.Parameter(torch.full((1, 4), 0.25))
    weights.grad = torch.tensor([[-1e9, 1e9, 0.0, 0.0]])
    ExponentiatedGradient([weights], [], 0.1).step()
    assert weights[0, 0].item() == pytest.approx(1.0) and bool(weights.isfinite().all())


@pytest.mark.parametrize("space", SPACES)
def test_how_it_starts(space: str) -> None:
    relaxation = SPACES[space]
    gaea = make(relaxation, sampler="simplex", edge_norm=True)
    for kind, shape in relaxation.items():
        assert torch.equal(gaea.operations[kind], torch.full_like(gaea.operations[kind], 1 / len(shape.operations)))
        for edge, (node, _) in enumerate(shape.edges):
            assert gaea.edges[kind][edge].item() == pytest.approx(1 / len(shape.entering(node)))
    generator = seeded(0)
    darts = make(relaxation, edge_norm=True)
    for kind, shape in relaxation.items():
        noise = 0.001 * torch.randn(len(shape.edges), len(shape.operations), generator=generator)
        assert torch.equal(darts.operations[kind], noise)
    for kind, shape in relaxation.items():
        assert torch.equal(darts.edges[kind], 0.001 * torch.randn(len(shape.edges), generator=generator))
    assert make(relaxation).expected().edges is None


def test_parameters_have_names_that_can_be_read() -> None:
    assert list(make(CONVOLUTIONAL, edge_norm=True).state_dict()) == [
        "operations.normal",
        "operations.reduce",
        "edges.normal",
        "edges.reduce",
    ]


def test_edges_are_ranked_by_probabilities_and_not_by_logits() -> None:
    """Two edges enter the second node: the logits of the one are larger, the probabilities of the other."""
    shape = complete_cell(1, 2, ("none", "a", "b"), kept=1)
    strategy = make({"cell": shape})
    strategy.operations["cell"].data.copy_(torch.tensor([[9.0, 9.0, 9.0], [0.0, 4.0, 0.0]]))
    assert strategy.derive() == {"cell": ((), (1,))}
    probabilities = strategy.probabilities()["cell"]
    assert probabilities[0].tolist() == pytest.approx([1 / 3] * 3)


def test_none_takes_from_the_others_but_is_never_derived() -> None:
    strategy = make({"cell": complete_cell(1, 2, ("none", "a", "b"), kept=1)})
    set_probabilities(strategy, "cell", [[0.6, 0.25, 0.15], [0.1, 0.44, 0.46]])
    assert strategy.derive() == {"cell": ((), (2,))}


def test_ties_go_to_the_lower_number() -> None:
    strategy = make(CONVOLUTIONAL, sampler="simplex")
    for kind, path in strategy.derive().items():
        shape = CONVOLUTIONAL[kind]
        kept = [edge for node in range(4) for edge in shape.entering(node)[:2]]
        assert path == tuple((shape.choices[0],) if edge in kept else () for edge in range(14))


def test_edge_weights_count_when_edges_are_ranked() -> None:
    strategy = make({"cell": complete_cell(1, 2, ("a", "b"), kept=1)}, edge_norm=True)
    set_probabilities(strategy, "cell", [[0.6, 0.4], [0.5, 0.5]])
    strategy.edges["cell"].data.copy_(torch.tensor([0.0, 1.0]))
    assert strategy.derive() == {"cell": ((), (0,))}
    share = math.e / (1 + math.e)
    assert strategy.probabilities()["cell"].flatten().tolist() == pytest.approx(
        [0.6 * (1 - share), 0.4 * (1 - share), 0.5 * share, 0.5 * share]
    )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_ranked_and_mixed_without_noise(sampler: str) -> None:
    strategy = make(sampler=sampler)
    rows = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    a = (
        rows
        if sampler == "simplex"
        else torch.tensor([[1.0, -2.0, 0.5, 0.0], [0.0, 0.0, 0.0, 0.0], [3.0, 1.0, -1, 0.2]])
    )
    strategy.operations["first"].data.copy_(a)
    beta = torch.where(a > 0, a + 1, a.exp())
    e = a.exp()
    expected = {"simplex": a, "sigmoid": e / (1 + e), "dirichlet": beta / beta.sum(1, keepdim=True)}.get(
        sampler, e / e.sum(1, keepdim=True)
    )
    torch.testing.assert_close(strategy.probabilities()["first"], expected)
    mixture = strategy.expected().operations
    assert mixture is not None
    torch.testing.assert_close(mixture["first"], expected)


def test_the_report_against_numbers_by_hand() -> None:
    strategy = make()
    set_probabilities(strategy, "first", [[0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.7, 0.1, 0.1, 0.1]])
    set_probabilities(strategy, "second", [[0.1, 0.2, 0.1, 0.6]] * 5)
    entropy = lambda row: -sum(p * math.log(p) for p in row)  # noqa: E731
    rows = [[0.1, 0.2, 0.3, 0.4], [0.25] * 4, [0.7, 0.1, 0.1, 0.1]]
    first = [entropy(row) for row in rows]
    second = [entropy([0.1, 0.2, 0.1, 0.6])] * 5
    assert strategy.derive()["first"] == ((3,), (1,), ())  # identity, then tanh
    assert strategy.report() == pytest.approx(
        {
            "arch_entropy": sum(first + second) / 8,
            "arch_entropy_first": sum(first) / 3,
            "arch_entropy_second": second[0],
            "largest_probability": 0.7,
            "skip_connections": 5.0,
            "skip_connections_first": 1.0,
            "skip_connections_second": 4.0,
        },
        rel=1e-5,
    )
    assert make(CONVOLUTIONAL).report()["arch_entropy"] == pytest.approx(math.log(8), abs=1e-5)


def test_a_path_counts_exactly_one_in_single_precision() -> None:
    for sampler in ("gumbel_st", "reinmax"):
        values = SAMPLERS[sampler](torch.randn(5000, 8, generator=seeded(0)).requires_grad_(), 0.37, seeded(1))
        assert set(values.unique().tolist()) == {0.0, 1.0}


def test_noise_that_is_exactly_zero_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self, generator=None: self.zero_())
    values = SAMPLERS["gumbel_soft"](torch.zeros(2, 3, requires_grad=True), 0.1, seeded(0))
    assert bool(values.isfinite().all())


def test_concentrations_near_zero_still_have_samples() -> None:
    logits = torch.full((20, 8), -60.0, requires_grad=True)
    sample = SAMPLERS["dirichlet"](logits, 1.0, seeded(0))
    (gradient,) = torch.autograd.grad(sample[:, 0].sum(), logits)
    assert bool(sample.isfinite().all()) and bool(gradient.isfinite().all())
    torch.testing.assert_close(sample.sum(1), torch.ones(20))


@pytest.mark.parametrize("kind", schedules.KINDS)
def test_schedules(kind: str) -> None:
    found = [schedules.at(fraction, 10.0, 0.1, kind) for fraction in (0.0, 0.25, 0.5, 1.0)]
    expected = {
        "constant": [10.0, 10.0, 10.0, 10.0],
        "linear": [10.0, 7.525, 5.05, 0.1],
        "cosine": [10.0, 0.1 + 9.9 * (1 + math.sqrt(0.5)) / 2, 5.05, 0.1],
        "exponential": [10.0, 10.0 / 100**0.25, 1.0, 0.1],
    }[kind]
    assert found == pytest.approx(expected)


def test_schedules_that_are_not_known() -> None:
    with pytest.raises(ValueError, match="kind must be one of constant, linear, cosine, exponential, got 'step'"):
        schedules.at(0.5, 1.0, 0.1, "step")


def test_the_auxiliary_skip_fades() -> None:
    strategy, seen = make(auxiliary_weight=0.8), []
    assert strategy.sample(seeded(0), Progress(0, 100, 10)).auxiliary == 0.8
    assert strategy.sample(seeded(0), Progress(75, 100, 10)).auxiliary == pytest.approx(0.2)
    assert strategy.expected().auxiliary == 0.0
    net = SmoothNet()

    def valid(weights: ArchWeights) -> torch.Tensor:
        seen.append(weights.auxiliary)
        return objective(net, 2)(weights)

    strategy.double().update(problem_of(net, valid=valid), seeded(0), Progress(75, 100, 10))
    assert seen == [pytest.approx(0.2)]


def test_costs_must_be_known() -> None:
    with pytest.raises(ConfigError, match=r"hyperparameters.cost_weight must be 0, as no costs are known.*got 0.5"):
        STRATEGIES["gradient"].build(TOY, config_of(cost_weight=0.5), seeded(0), None)


def test_costs_must_be_one_an_operation() -> None:
    costs = {kind: [[0.1] * 4] for kind in TOY}
    with pytest.raises(ValueError, match=r"costs of 'first' must be \(3, 4\), got \(1, 4\)"):
        STRATEGIES["gradient"].build(TOY, config_of(cost_weight=0.5), seeded(0), costs)


def test_costs_move_the_search_to_what_is_cheap() -> None:
    costs = {kind: [[0.0, 0.3, 0.2, 0.1]] * len(shape.edges) for kind, shape in TOY.items()}
    strategy = STRATEGIES["gradient"].build(TOY, config_of(cost_weight=10.0), seeded(0), costs).double()
    net, optimizer = SmoothNet(), strategy.optimizer()
    assert optimizer is not None
    for step in range(30):
        strategy.update(problem_of(net), seeded(step), Progress(step, 100, 10))
        optimizer.step()
    derived = strategy.derive()
    assert derived is not None
    assert {k for path in derived.values() for running in path for k in running} == {3}
