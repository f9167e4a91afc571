"""What `update` puts into `.grad`, for every sampler and every order of the bilevel gradient.

Where a sample is a smooth function of the parameters: differences of the loss through it, with the noise held. Where it is
not (one path an edge, or a rejection sampler): the estimator's definition, written out in NumPy, of differences by the weights.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from support.smooth_supernet import TOY, SmoothNet, differences, problem_of, relative_error, stepped_loss
from support.strategy_suite import seeded
from torch.distributions import Dirichlet, kl_divergence
from torch.distributions.dirichlet import _Dirichlet_backward  # type: ignore[attr-defined]

from nas.core.arch_weights import ArchWeights
from nas.core.fields import read
from one_shot.bilevel import ORDERS
from one_shot.gradient import GradientStrategy
from one_shot.gradient_config import GradientConfig
from one_shot.samplers import SAMPLERS, TEMPERED
from one_shot.strategy import Problem, Progress

TOLERANCE = {"first": 1e-9, "unrolled": 1e-6, "exact": 1e-9}
NOW = Progress(30, 100, 10)
SEED = 7
COSTS = {kind: [[0.0, 0.1, 0.2, 0.5]] * len(shape.edges) for kind, shape in TOY.items()}
SPECIAL = ("gumbel_st", "reinmax", "dirichlet")
SMOOTH = list(itertools.product([name for name in SAMPLERS if name not in SPECIAL], ORDERS))


def strategy_of(sampler: str, order: str = "first", **values: Any) -> GradientStrategy:
    values = {"arch_learning_rate": 0.1, "sampler": sampler, "bilevel": order, "edge_norm": True, **values}
    if sampler in TEMPERED:
        values |= {"temperature": 2.0, "temperature_end": 0.5, "temperature_schedule": "linear"}
    if order == "unrolled":
        values["finite_difference"] = 1e-3
    (config,) = read(values, GradientConfig)
    strategy = GradientStrategy(TOY, config, seeded(0), COSTS).double()
    for parameter in strategy.parameters():  # far from uniform
        parameter.data += torch.rand(parameter.shape, generator=seeded(1)).to(parameter) * (sampler != "simplex")
    return strategy


def loss_of(problem: Problem, weights: ArchWeights, order: str) -> float:
    return float(problem.valid_loss(weights).detach()) if order == "first" else stepped_loss(problem, weights)


def gradients_by_weights(problem: Problem, weights: ArchWeights, order: str) -> ArchWeights:
    """By differences."""
    by = lambda tensors: loss_of(problem, weights.with_tensors(tensors), order)  # noqa: E731
    return weights.with_tensors(differences(by, weights.tensors()))


@pytest.mark.parametrize("sampler, order", SMOOTH)
def test_smooth_samplers(sampler: str, order: str) -> None:
    strategy, problem = strategy_of(sampler, order), problem_of(SmoothNet())
    parameters = list(strategy.parameters())

    def loss(values: list[torch.Tensor]) -> float:
        kept = [parameter.detach().clone() for parameter in parameters]
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data.copy_(value)
        weights = strategy.sample(seeded(SEED), NOW)
        for parameter, value in zip(parameters, kept, strict=True):
            parameter.data.copy_(value)
        return loss_of(problem, weights, order)

    reported = strategy.update(problem, seeded(SEED), NOW)
    assert float(reported["arch_loss"]) == pytest.approx(loss(parameters), rel=1e-12)
    expected = differences(loss, parameters)
    assert relative_error([p.grad for p in parameters], expected) < TOLERANCE[order]


def jacobian(p: np.ndarray) -> np.ndarray:
    """Of a softmax by its logits, where it is p."""
    return np.diag(p) - np.outer(p, p)


def gumbel_noise(strategy: GradientStrategy) -> dict[str, np.ndarray]:
    generator = seeded(SEED)
    shapes = {kind: table.shape for kind, table in strategy.operations.items()}
    return {k: -torch.empty(s).exponential_(generator=generator).log().double().numpy() for k, s in shapes.items()}


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


@pytest.mark.parametrize("order", ORDERS)
def test_gdas(order: str) -> None:
    """p = softmax((log softmax(a) + G) / t), one path where p is largest; dL/da = J(p) / t dL/dw of that path, elsewhere 0."""
    strategy, problem = strategy_of("gumbel_st", order), problem_of(SmoothNet())
    strategy.update(problem, seeded(SEED), NOW)
    noise, temperature = gumbel_noise(strategy), 2.0 + 0.3 * (0.5 - 2.0)
    drawn = strategy.sample(seeded(SEED), NOW)
    assert drawn.operations is None and drawn.paths is not None
    ones = {kind: torch.zeros(a.shape).double() for kind, a in strategy.operations.items()}
    soft = {}
    for kind, logits in strategy.operations.items():
        a = logits.detach().numpy()
        soft[kind] = [
            softmax((row - np.log(np.exp(row).sum()) + g) / temperature) for row, g in zip(a, noise[kind], strict=True)
        ]
        for edge, p in enumerate(soft[kind]):
            assert drawn.paths[kind][edge] == (int(p.argmax()),)
            ones[kind][edge, int(p.argmax())] = 1.0
    by = gradients_by_weights(problem, ArchWeights(ones, drawn.edges, drawn.paths), order)
    assert by.operations is not None
    for kind, logits in strategy.operations.items():
        rows = [jacobian(p) @ g.numpy() / temperature for p, g in zip(soft[kind], by.operations[kind], strict=True)]
        assert relative_error([logits.grad], [torch.tensor(np.array(rows))]) < 10 * TOLERANCE[order]


@pytest.mark.parametrize("order", ORDERS)
def test_reinmax(order: str) -> None:
    """D one-hot, q = (D + softmax(a / t)) / 2: dL/da = (2 J(q) - J(softmax(a)) / 2) dL/dw at w = D, by all operations."""
    strategy, problem = strategy_of("reinmax", order), problem_of(SmoothNet())
    strategy.update(problem, seeded(SEED), NOW)
    noise, temperature = gumbel_noise(strategy), 2.0 + 0.3 * (0.5 - 2.0)
    drawn = strategy.sample(seeded(SEED), NOW)
    hard = {kind: torch.zeros(a.shape).double() for kind, a in strategy.operations.items()}
    for kind, logits in strategy.operations.items():
        chosen = (logits.detach().numpy() + noise[kind]).argmax(1)
        assert drawn.paths is not None and drawn.paths[kind] == tuple((int(k),) for k in chosen)
        hard[kind][range(len(chosen)), chosen] = 1.0
    by = gradients_by_weights(problem, ArchWeights(hard, drawn.edges), order)
    assert by.operations is not None
    for kind, logits in strategy.operations.items():
        rows = []
        for a, d, g in zip(logits.detach().numpy(), hard[kind].numpy(), by.operations[kind].numpy(), strict=True):
            q = (d + softmax(a / temperature)) / 2
            rows.append((2 * jacobian(q) - jacobian(softmax(a)) / 2) @ g)
        assert relative_error([logits.grad], [torch.tensor(np.array(rows))]) < 10 * TOLERANCE[order]


@pytest.mark.parametrize("order", ORDERS)
def test_dirichlet(order: str) -> None:
    """With x the sample and beta = elu(a) + 1, by torch.distributions' own derivative of x."""
    strategy, problem = strategy_of("dirichlet", order), problem_of(SmoothNet())
    strategy.operations["first"].data[0] -= 1.5  # on both sides of elu's corner
    strategy.update(problem, seeded(SEED), NOW)
    drawn = strategy.sample(seeded(SEED), NOW)
    by = gradients_by_weights(problem, drawn, order)
    assert by.operations is not None and drawn.operations is not None
    for kind, logits in strategy.operations.items():
        a = logits.detach()
        beta = torch.where(a > 0, a + 1, a.exp())
        by_beta = _Dirichlet_backward(drawn.operations[kind], beta, by.operations[kind])
        assert relative_error([logits.grad], [by_beta * torch.where(a > 0, 1, a.exp())]) < 10 * TOLERANCE[order]


def test_dirichlet_samples_have_the_mean_and_its_derivative() -> None:
    """Of 40,000 samples: the mean is beta / sum(beta), and the gradient of c . x is that of the mean, within 4 errors."""
    logits = torch.tensor([0.5, -1.0, 0.0, 1.5]).double()
    rows = logits.repeat(40_000, 1).requires_grad_()
    sample = SAMPLERS["dirichlet"](rows, 1.0, seeded(0))
    c = torch.tensor([1.0, -2.0, 3.0, 0.5]).double()
    (gradients,) = torch.autograd.grad((sample @ c).sum(), rows)
    leaf = logits.clone().requires_grad_()
    beta = torch.nn.functional.elu(leaf) + 1
    mean = beta / beta.sum()
    (expected,) = torch.autograd.grad(mean @ c, leaf)
    for values, truth in ((sample.detach(), mean.detach()), (gradients, expected)):
        assert bool(((values.mean(0) - truth).abs() < 4 * values.std(0) / 200).all())


@pytest.mark.parametrize("sampler", ["gumbel_st", "reinmax"])
def test_a_path_is_drawn_by_its_probabilities(sampler: str) -> None:
    logits = torch.tensor([0.5, -1.0, 0.0, 1.5]).double()
    sample = SAMPLERS[sampler](logits.repeat(40_000, 1), 0.7, seeded(0))
    assert set(sample.unique().tolist()) == {0.0, 1.0} and bool((sample.sum(1) == 1).all())
    p = logits.softmax(0)
    assert bool(((sample.mean(0) - p).abs() < 4 * (p * (1 - p)).sqrt() / 200).all())


def test_reinmax_is_exact_to_the_second_order() -> None:
    """For a loss that is quadratic in one-hot samples the mean of its gradients is the gradient of the expected loss."""
    logits = torch.tensor([0.5, -1.0, 0.0]).double()
    q = torch.tensor([[1.0, 0.3, -0.5], [0.3, -2.0, 0.2], [-0.5, 0.2, 0.7]]).double()
    rows = logits.repeat(40_000, 1).requires_grad_()
    sample = SAMPLERS["reinmax"](rows, 1.0, seeded(0))
    (gradients,) = torch.autograd.grad(((sample @ q) * sample).sum(), rows)
    leaf = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(leaf.softmax(0) @ q.diag(), leaf)
    assert bool(((gradients.mean(0) - expected).abs() < 4 * gradients.std(0) / 200).all())


PENALTIES = [
    ("softmax", {"entropy_weight": 0.3}),
    ("softmax", {"cost_weight": 0.7, "entropy_weight": 0.2}),
    ("simplex", {"entropy_weight": 0.3, "cost_weight": 0.7}),
    ("sigmoid", {"zero_one_weight": 0.5, "cost_weight": 0.1}),
    ("dirichlet", {"anchor_weight": 0.4, "entropy_weight": 0.2}),
]


def penalty_of(strategy: GradientStrategy) -> float:
    """The terms as their papers have them, edge by edge."""
    config, total, zero_one = strategy.config, 0.0, []
    for kind, logits in strategy.operations.items():
        edges = strategy.expected().edges
        assert edges is not None
        for edge, a in enumerate(logits.detach()):
            beta = torch.where(a > 0, a + 1, a.exp())
            p = {
                "softmax": lambda a=a: a.softmax(0),
                "simplex": lambda a=a: a,
                "sigmoid": lambda a=a: 1 / (1 + (-a).exp()),
                "dirichlet": lambda beta=beta: beta / beta.sum(),
            }[config.sampler]()
            zero_one += [(float(x) - 0.5) ** 2 for x in p]
            total += config.entropy_weight * sum(float(x) * np.log(float(x) * 4) for x in p)
            total += config.cost_weight * float(edges[kind][edge] * (p @ torch.tensor(COSTS[kind][edge]).double()))
            if config.anchor_weight:
                total += config.anchor_weight * float(kl_divergence(Dirichlet(beta), Dirichlet(torch.ones(4).double())))
    return total - config.zero_one_weight * sum(zero_one) / len(zero_one)


@pytest.mark.parametrize("sampler, terms", PENALTIES)
def test_penalties_are_added_to_the_gradient(sampler: str, terms: dict[str, float]) -> None:
    strategy, problem = strategy_of(sampler, **terms), problem_of(SmoothNet())
    parameters, other = list(strategy.parameters()), strategy_of(sampler)
    reported = strategy.update(problem, seeded(SEED), NOW)
    other.update(problem, seeded(SEED), NOW)
    assert float(reported["arch_penalty"]) == pytest.approx(penalty_of(strategy), rel=1e-6)
    found = [p.grad - q.grad for p, q in zip(parameters, other.parameters(), strict=True)]  # type: ignore[operator]

    def penalty(values: list[torch.Tensor]) -> float:
        for parameter, value in zip(parameters, values, strict=True):
            parameter.data.copy_(value)
        return penalty_of(strategy)

    assert relative_error(found, differences(penalty, parameters)) < 1e-6


def test_the_architecture_rests_while_it_warms_up() -> None:
    strategy, problem = strategy_of("softmax", arch_warmup_epochs=2, arch_weight_decay=0.1), problem_of(SmoothNet())
    optimizer, before = strategy.optimizer(), [p.detach().clone() for p in strategy.parameters()]
    for step in (0, 19):
        assert strategy.update(problem, seeded(0), Progress(step, 100, 10)) == {}
        optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(strategy.parameters(), before, strict=True))
    assert "arch_loss" in strategy.update(problem, seeded(0), Progress(20, 100, 10))
    optimizer.step()
    assert not any(torch.equal(p, old) for p, old in zip(strategy.parameters(), before, strict=True))
    assert strategy.update(problem, seeded(0), Progress(0, 100, 10)) == {}
    assert all(p.grad is None for p in strategy.parameters())
