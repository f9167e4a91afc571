"""The gradient after a step, against differences of the true objective: the step taken by torch's own optimiser."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from support.smooth_supernet import (
    STEPS,
    TOY,
    SmoothNet,
    differences,
    objective,
    problem_of,
    relative_error,
    stepped_loss,
)
from torch import nn

from nas.core.arch_weights import ArchWeights, one_path
from one_shot import bilevel
from one_shot.strategy import Problem, WeightStep

WHOLE = {"unrolled": 1e-6, "exact": 1e-9}
IMPLICIT = {"unrolled": 1e-4, "exact": 1e-7}
R = 1e-3  # small, as the network is smooth and its numbers are long


def weights(edges: bool = True) -> ArchWeights:
    generator = torch.Generator().manual_seed(3)
    operations = {kind: torch.rand(len(c.edges), 4, generator=generator).double() for kind, c in TOY.items()}
    of_edges = {kind: torch.rand(len(c.edges), generator=generator).double() for kind, c in TOY.items()}
    return ArchWeights(operations, of_edges if edges else None)


def norm(tensors: Sequence[torch.Tensor]) -> float:
    return float(torch.cat([tensor.flatten() for tensor in tensors]).norm())


def after_a_step(problem: Problem, at: ArchWeights) -> list[torch.Tensor]:
    return differences(lambda tensors: stepped_loss(problem, at.with_tensors(tensors)), at.tensors())


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("order", ["unrolled", "exact"])
def test_the_whole_gradient_and_the_implicit_term_by_itself(order: str, kind: str) -> None:
    net, at = SmoothNet(), weights()
    problem = problem_of(net, kind)
    found, loss = bilevel.gradient(problem, at, order, R)
    whole = after_a_step(problem, at)
    direct = differences(lambda tensors: stepped_loss(problem, at.with_tensors(tensors), at), at.tensors())
    implicit = [one - other for one, other in zip(whole, direct, strict=True)]
    assert norm(implicit) / norm(whole) > 1e-3  # a term that is lost must be seen
    assert relative_error(found, whole) < WHOLE[order]
    assert relative_error([one - other for one, other in zip(found, direct, strict=True)], implicit) < IMPLICIT[order]
    assert float(loss) == pytest.approx(stepped_loss(problem, at), rel=1e-12)


@pytest.mark.parametrize("order", ["unrolled", "exact"])
def test_a_learning_rate_that_is_a_tensor(order: str) -> None:
    """As a CUDA graph has it, which cannot hold a number that changes."""
    problem, at = problem_of(SmoothNet()), weights()
    rate = torch.tensor(problem.weight_step.learning_rate, dtype=torch.float64)
    other = replace(problem, weight_step=replace(problem.weight_step, learning_rate=rate))
    (expected, loss), (found, same) = (bilevel.gradient(each, at, order, R) for each in (problem, other))
    assert relative_error(found, expected) < 1e-9 and float(same) == pytest.approx(float(loss), rel=1e-12)


def test_an_active_clip_is_differentiated() -> None:
    net, at = SmoothNet(), weights()
    problem = problem_of(net, "clip")
    used = [p for name, p in net.named_parameters() if name != "idle"]
    assert norm(torch.autograd.grad(problem.train_loss(at), used)) > 1.5 * problem.weight_step.max_norm
    free = replace(problem, weight_step=replace(problem.weight_step, max_norm=1e6))
    clipped, unclipped = (bilevel.gradient(each, at, "exact")[0] for each in (problem, free))
    assert relative_error(clipped, unclipped) > 0.01


@pytest.mark.parametrize("edges", [True, False])
def test_the_first_order_is_the_gradient_at_the_weights_as_they_are(edges: bool) -> None:
    net, at = SmoothNet(), weights(edges)
    problem = problem_of(net)
    found, loss = bilevel.gradient(problem, at, "first")
    expected = differences(lambda tensors: problem.valid_loss(at.with_tensors(tensors)).item(), at.tensors())
    assert relative_error(found, expected) < 1e-9 and len(found) == (4 if edges else 2)
    assert loss == problem.valid_loss(at)


@pytest.mark.parametrize("order", ["unrolled", "exact"])
def test_a_quadratic_in_closed_form(order: str) -> None:
    """L_train = |w - A W|^2 / 2 and L_val = |w - b|^2 / 2 give (w' - b) with w' = w - lr (w - A W), and lr A' (w' - b)."""
    generator = torch.Generator().manual_seed(4)
    a, b, at = (torch.randn(*shape, generator=generator).double() for shape in ((4, 6), (4,), (2, 3)))
    w = nn.Parameter(torch.randn(4, generator=generator).double())
    step = WeightStep(0.3, 0.9, 0.0, 1e9, [None])
    flat = lambda weights: weights.operations["cell"].flatten()  # noqa: E731
    problem = Problem(
        lambda weights: (w - a @ flat(weights)).square().sum() / 2,
        lambda weights: (w - b).square().sum() / 2 + 0 * flat(weights).sum(),
        [w],
        step,
        lambda tensors: None,
    )
    found, _ = bilevel.gradient(problem, ArchWeights({"cell": at}), order)
    moved = w.detach() - 0.3 * (w.detach() - a @ at.flatten())
    assert relative_error(found, [(0.3 * a.T @ (moved - b)).view(2, 3)]) < 1e-12


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_nothing_is_left_behind(order: str) -> None:
    net, at = SmoothNet(), weights()
    before = [p.detach().clone() for p in net.parameters()]
    given = [tensor.clone() for tensor in at.tensors()]
    found, loss = bilevel.gradient(problem_of(net), at, order)
    again, _ = bilevel.gradient(problem_of(net), at, order)
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(net.parameters(), before, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(at.tensors(), given, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(found, again, strict=True))
    assert not any(tensor.requires_grad for tensor in [*found, loss])


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_weights_are_restored_when_a_loss_fails(failing: int) -> None:
    net, calls = SmoothNet(), 0
    problem = problem_of(net)

    def fails(loss: object) -> object:
        def wrapped(at: ArchWeights) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == failing + 1:
                raise RuntimeError("out of memory")
            return loss(at)  # type: ignore[operator]

        return wrapped

    before = [p.detach().clone() for p in net.parameters()]
    problem = replace(problem, train_loss=fails(problem.train_loss), valid_loss=fails(problem.valid_loss))
    with pytest.raises(RuntimeError, match="out of memory"):
        bilevel.gradient(problem, weights(), "unrolled")
    assert all(torch.equal(p, old) for p, old in zip(net.parameters(), before, strict=True))


@pytest.mark.parametrize("order", ["unrolled", "exact"])
def test_weights_without_a_gradient_stay(order: str) -> None:
    """A decay and a momentum would move them, and change the loss that reads them after the step."""
    net, at = SmoothNet(), weights()
    problem = problem_of(net)
    drift = torch.arange(1.0, 3).double()

    def valid(at: ArchWeights) -> torch.Tensor:
        return problem.valid_loss(at) + (net.idle * drift).sum() * sum(tensor.sum() for tensor in at.tensors())

    watched = replace(problem, valid_loss=valid)
    assert relative_error(bilevel.gradient(watched, at, order, R)[0], after_a_step(watched, at)) < WHOLE[order]


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_processes_take_the_step_of_their_mean_gradient(order: str) -> None:
    """Two processes with a batch each give what one gives for the mean of both losses."""
    at, nets = weights(), [SmoothNet(), SmoothNet()]
    problems = [problem_of(net, "all", objective(net, k), objective(net, 5 + k)) for k, net in enumerate(nets)]
    net = SmoothNet()
    losses = [(objective(net, k), objective(net, 5 + k)) for k in range(2)]
    alone = problem_of(
        net, "all", lambda w: (losses[0][0](w) + losses[1][0](w)) / 2, lambda w: (losses[0][1](w) + losses[1][1](w)) / 2
    )
    expected, _ = bilevel.gradient(alone, at, order, R)
    for found in side_by_side(problems, at, order):
        assert relative_error(found, expected) < 1e-8


def side_by_side(problems: list[Problem], at: ArchWeights, order: str) -> list[list[torch.Tensor]]:
    """A thread for each process; they meet wherever means are taken."""
    barrier, given = threading.Barrier(len(problems), timeout=60), [[]] * len(problems)  # type: ignore[var-annotated]

    def run(rank: int) -> list[torch.Tensor]:
        def average(tensors: Sequence[torch.Tensor]) -> None:
            given[rank] = [tensor.clone() for tensor in tensors]
            barrier.wait()
            means = [sum(each) / len(given) for each in zip(*given, strict=True)]
            barrier.wait()
            for tensor, mean in zip(tensors, means, strict=True):
                tensor.copy_(mean)

        return bilevel.gradient(replace(problems[rank], average=average), at, order, R)[0]

    with ThreadPoolExecutor(len(problems)) as pool:
        return list(pool.map(run, range(len(problems))))


@pytest.mark.parametrize("order", ["unrolled", "exact"])
def test_a_training_loss_without_weights_leaves_the_first_order(order: str) -> None:
    net, at = SmoothNet(), weights()
    problem = problem_of(net)
    alone = replace(problem, train_loss=lambda at: torch.stack([tensor.sum() for tensor in at.tensors()]).sum())
    found, expected = bilevel.gradient(alone, at, order)[0], bilevel.gradient(problem, at, "first")[0]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("order", ["unrolled", "exact"])
def test_a_training_gradient_of_zero_gives_no_nan(order: str) -> None:
    """As from a loss that does not change; its implicit term is 0."""
    net, at = SmoothNet(), weights()
    problem = problem_of(net, "clip")
    still = replace(problem, train_loss=lambda at: 0 * problem.train_loss(at))
    found, expected = bilevel.gradient(still, at, order)[0], bilevel.gradient(problem, at, "first")[0]
    assert relative_error(found, expected) < 1e-12


def test_a_path_without_weights_is_refused() -> None:
    path = one_path({kind: ((1,),) * len(cell.edges) for kind, cell in TOY.items()})
    with pytest.raises(ValueError, match="has no gradient"):
        bilevel.gradient(problem_of(SmoothNet()), path, "first")
    with pytest.raises(ValueError, match="order must be one of first, unrolled, exact, got 'second'"):
        bilevel.gradient(problem_of(SmoothNet()), weights(), "second")


@pytest.mark.parametrize("order", bilevel.ORDERS)
def test_weights_of_a_path_have_a_gradient_where_it_runs(order: str) -> None:
    net = SmoothNet()
    path = {kind: tuple((1 + k % 3,) for k in range(len(cell.edges))) for kind, cell in TOY.items()}
    found, _ = bilevel.gradient(problem_of(net), replace(weights(), paths=path), order, R)
    for kind, gradient in zip(TOY, found, strict=False):
        running = torch.tensor([[k in operations for k in range(4)] for operations in path[kind]])
        assert torch.equal(gradient != 0, running)
