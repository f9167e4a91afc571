"""The controller's gradient with the response of the weights, against the exact objective of 18 cells, enumerated."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.eighteen_cells import CELLS, ETA, Toy, architecture, controller
from torch import nn

from nas.core.arch_weights import ArchWeights
from one_shot.controller import Controller
from one_shot.reinforce import REWARDS, leave_one_out, rewards_of
from one_shot.response import Aligned, Joint, credits_of, draw_steps, look_ahead, pseudo_rewards, reward_gradient
from one_shot.strategy import Problem, WeightStep
from one_shot.weight_step import Direction, moved, step_for

TOY = Toy()
W = TOY.w.detach().clone()
STEPS = torch.stack([TOY.step(W, cell) for cell in CELLS])  # (18, 12)
ARCHITECTURES = [architecture(cell) for cell in CELLS]
COUNT = len(CELLS)


def flat(network: Controller, value: torch.Tensor) -> torch.Tensor:
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(network.parameters()))])


def score_gradient(network: Controller, counts: torch.Tensor, cells: torch.Tensor = CELLS) -> torch.Tensor:
    """Sum of counts, one a cell, times grad log pi."""
    return flat(network, counts.detach() @ network.log_prob(cells))


def error(one: torch.Tensor, exact: torch.Tensor) -> float:
    return float((one - exact).norm() / exact.norm())


# --- the exact objectives, as functions of the controller


def aligned_objective(network: Controller) -> torch.Tensor:
    """J = E_a[R(w - eta E_b[s(b)], a)]."""
    pi = network.log_prob(CELLS).exp()
    after = W - ETA * pi @ STEPS
    return pi @ torch.stack([TOY.reward(after, cell) for cell in CELLS])


def joint_rewards(steps: int, cells: torch.Tensor) -> torch.Tensor:
    """R(w after these steps, a) for every sequence of n cells b_1 ... b_M and a, `(n, ..., n)`; constants."""
    weights = [W]
    for _ in range(steps):
        weights = [w - ETA * TOY.step(w, cell) for w in weights for cell in cells]
    with torch.no_grad():
        found = torch.stack([TOY.reward(w, cell) for w in weights for cell in cells])
    return found.view([len(cells)] * (steps + 1))


def joint_objective(network: Controller, cells: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    pi = network.log_prob(cells).exp()
    for _ in range(rewards.dim()):
        rewards = rewards @ pi
    return rewards


def central_difference(network: Controller, objective: Callable[[], torch.Tensor], along: torch.Tensor) -> float:
    """Of fourth order, along a direction in the controller's weights."""
    start, found, h = nn.utils.parameters_to_vector(network.parameters()).detach(), [], 1e-3
    with torch.no_grad():
        for multiple in (1, -1, 2, -2):
            nn.utils.vector_to_parameters(start + multiple * h * along, network.parameters())
            found.append(float(objective()))
        nn.utils.vector_to_parameters(start, network.parameters())
    return (8 * (found[0] - found[1]) - (found[2] - found[3])) / (12 * h)


def check_differences(network: Controller, objective: Callable[[], torch.Tensor], found: torch.Tensor) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        along = torch.randn(len(found), generator=generator, dtype=torch.float64)
        along /= along.norm()
        assert central_difference(network, objective, along) == pytest.approx(float(found @ along), abs=1e-6)


# --- the expectation of the estimators over all that may be drawn


def of_rewards(network: Controller, rewards: torch.Tensor) -> torch.Tensor:
    """The expected counts of grad log pi from two cells with rewards `(18,)`, each less the other's."""
    pi, counts = network.log_prob(CELLS).exp().detach(), torch.zeros(COUNT, dtype=torch.float64)
    for one, other in itertools.product(range(COUNT), repeat=2):
        pair = rewards[[one, other]]
        counts.index_add_(0, torch.tensor([one, other]), pi[one] * pi[other] * (pair - leave_one_out(pair)) / 2)
    return counts


def aligned_counts(network: Controller, change: Callable[[torch.Tensor], torch.Tensor], **step: Any) -> torch.Tensor:
    """Of both terms, at w' of the exact E_b[s(b)]; `change` is made to the pseudo-rewards, `step` to the optimiser."""
    pi = network.log_prob(CELLS).exp().detach()
    problem = TOY.problem(last=pi @ STEPS)
    _, steps = draw_steps(TOY.problem(**step), lambda count: (CELLS, ARCHITECTURES), COUNT)
    with moved(look_ahead(problem, "last_gradient", []), ETA):
        found = [reward_gradient(problem, [each], "inverse_ppl") for each in ARCHITECTURES]
    counts = of_rewards(network, rewards_of(torch.cat([losses for losses, _ in found]), "inverse_ppl"))
    for k, (_, each) in enumerate(found):
        q = change(pseudo_rewards(each, steps, step.get("eta", ETA)))
        for pair in itertools.product(range(COUNT), repeat=2):
            chance = pi[k] * pi[pair[0]] * pi[pair[1]]
            counts.index_add_(0, torch.tensor(pair), chance * credits_of(q[list(pair)]))
    return counts


def test_aligned_is_the_gradient_of_the_exact_objective_and_lookahead_is_not() -> None:
    network = controller()
    exact = flat(network, aligned_objective(network))
    check_differences(network, lambda: aligned_objective(network), exact)
    raw = [step_for(TOY.problem(clip=1e9), each)[TOY.w].norm() for each in ARCHITECTURES]
    assert min(raw) > 2 * 0.25, "all are clipped"

    same = aligned_counts(network, lambda q: q)
    assert (
        float((score_gradient(network, same) - exact).abs().max()) < 1e-10
        and error(score_gradient(network, same), exact) < 1e-10
    )

    dropped = aligned_counts(network, torch.zeros_like)  # which is what `lookahead` is
    for wrong in (
        dropped,
        aligned_counts(network, torch.neg),
        aligned_counts(network, lambda q: q, eta=2 * ETA),
        aligned_counts(network, lambda q: q, clip=1e9),
    ):
        assert error(score_gradient(network, wrong), exact) > 0.05
    assert torch.equal(TOY.w, W)


@pytest.mark.parametrize(("steps", "scored", "activations"), [(1, 2, 3), (2, 1, 2)])
def test_joint_is_the_gradient_of_the_exact_objective(steps: int, scored: int, activations: int) -> None:
    """By the strategy's own class, after real steps: it is told of the cells, then scores those of an update.

    After two steps of 8 of the cells, to be quick.
    """
    cells = CELLS[(activations > CELLS).all(1)]
    count, architectures = len(cells), [architecture(cell) for cell in cells]
    network, rewards = controller(activations), joint_rewards(steps, cells)
    pi, counts = network.log_prob(cells).exp().detach(), torch.zeros(count, dtype=torch.float64)
    exact = flat(network, joint_objective(network, cells, rewards))
    check_differences(network, lambda: joint_objective(network, cells, rewards), exact)
    config = SimpleNamespace(joint_horizon=3, reward="inverse_ppl", baseline_decay=0.9)
    joint = Joint(config, 3)  # type: ignore[arg-type]
    numbers = {tuple(cell): k for k, cell in enumerate(cells.tolist())}
    for made in itertools.product(range(count), repeat=steps):
        directions: list[Direction] = []
        for b in made:
            with moved(dict_sum(directions), ETA):
                directions.append(step_for(TOY.problem(), architectures[b]))
        with moved(dict_sum(directions), ETA):
            losses = TOY.problem().valid_scores(architectures)  # type: ignore[misc]
        for drawn in itertools.product(range(count), repeat=scored):
            joint.average.fill_(17.0)  # of the updates before, which know nothing of these cells
            for b in made:
                joint.remember(cells[b].tolist())
            table = _table(losses[list(drawn)])
            found = joint.score(table, cells[list(drawn)], [architectures[k] for k in drawn], never)
            assert [numbers[tuple(cell)] for cell in found.cells.tolist()] == list(made)
            gained = rewards_of(found.losses, "inverse_ppl")
            baseline = leave_one_out(gained) if scored > 1 else torch.tensor(17.0)
            chance = pi[list(made) + list(drawn)].prod()
            counts.index_add_(0, torch.tensor(drawn), chance * (gained - baseline) / scored)
            counts.index_add_(0, torch.tensor(made), chance * found.advantages)
    assert error(score_gradient(network, counts, cells), exact) < 1e-10
    assert torch.equal(TOY.w, W)


def dict_sum(directions: list[Direction]) -> Direction:
    return {TOY.w: torch.stack([each[TOY.w] for each in directions]).sum(0)} if directions else {}


def never(count: int) -> Any:
    raise AssertionError("joint draws no other cells")


def _table(losses: torch.Tensor) -> Problem:
    return Problem(never, never, [], WeightStep(1.0, 0.0, 0.0, 1.0, []), lambda tensors: None, lambda cells: losses)


def test_the_planted_problem() -> None:
    """w = 0, R(w, a) = -(w - 3)^2 + 0.3 [a = 0]; cell 0 trains nothing, cell 1 pulls w to 3; both as likely.

    By hand, with eta 0.2: ENAS and a look-ahead move the logit of cell 1 by -0.3 / 4. It is drawn to half of the step -6, so
    w' = 0.6, v = 4.8, q(1) = 0.2 * 6 * 4.8 = 5.76, and aligned adds 5.76 / 4.
    """
    w = nn.Parameter(torch.zeros((), dtype=torch.float64))
    cells, both = torch.tensor([[0], [1]]), [architecture(torch.tensor([k])) for k in range(2)]

    def train(weights: Any) -> torch.Tensor:
        return (w - 3).square() if weights is both[1] else 0 * w

    def valid(weights: Any) -> torch.Tensor:
        return (w - 3).square() - (0.3 if weights is both[0] else 0.0)

    def scores(architectures: Any) -> torch.Tensor:
        return torch.stack([valid(each).detach() for each in architectures])

    step = WeightStep(0.2, 0.0, 0.0, 100.0, [None], [torch.tensor(-3.0, dtype=torch.float64)])
    problem = Problem(train, valid, [w], step, lambda tensors: None, scores, valid)
    config = SimpleNamespace(response_cells=2, lookahead="last_gradient", reward="negative_loss")
    aligned, direct, full = Aligned(config, 1), 0.0, 0.0  # type: ignore[arg-type]
    for a, b in itertools.product(itertools.product(range(2), repeat=2), repeat=2):
        drawn = [both[k] for k in a]
        found = aligned.score(problem, cells[list(a)], drawn, lambda count, b=b: (cells[list(b)], [both[k] for k in b]))
        assert found.cells.flatten().tolist() == list(b)
        rewards = rewards_of(found.losses, "negative_loss")
        of_a = float(((rewards - leave_one_out(rewards)) / 2) @ (torch.tensor(a) - 0.5).double())
        direct += of_a / 16
        full += (of_a + float(found.advantages @ (torch.tensor(b) - 0.5).double())) / 16
    assert direct == pytest.approx(-0.075, abs=1e-12) and full == pytest.approx(1.365, abs=1e-12)
    assert sum(float(scores(both)[k]) * (0.5, -0.5)[k] / 2 for k in range(2)) == pytest.approx(-0.075)  # ENAS, at w


@pytest.mark.parametrize("kind", REWARDS)
def test_v_is_the_gradient_of_the_mean_reward(kind: str) -> None:
    problem, some = TOY.problem(), [ARCHITECTURES[k] for k in (1, 7, 7, 16)]
    losses, found = reward_gradient(problem, some, kind)
    loss = torch.stack([problem.valid_loss(each) for each in some])
    assert torch.equal(losses, loss.detach())
    (exact,) = torch.autograd.grad(rewards_of(loss, kind).mean(), [TOY.w])
    torch.testing.assert_close(found[TOY.w], exact, rtol=1e-12, atol=0)

    def exploding(weights: ArchWeights) -> torch.Tensor:
        return problem.valid_loss(weights) * (torch.nan if weights is some[0] else 1.0)

    broken = replace(problem, scored_loss=exploding)
    losses, found = reward_gradient(broken, some, kind)
    assert losses.isnan().tolist() == [True, False, False, False]
    torch.testing.assert_close(found, reward_gradient(problem, some[1:], kind)[1], rtol=1e-12, atol=0)
    assert reward_gradient(broken, some[:1], kind)[1] == {}
