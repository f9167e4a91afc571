"""The controller of ENAS against enumeration of all cells of small spaces, in double precision."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from support.strategy_suite import seeded

from nas.core.errors import ConfigError
from nas.core.relaxation import complete_cell
from one_shot.cell_tokens import Decision, decisions_of
from one_shot.controller import Attention, Controller, Heads
from one_shot.reinforce import leave_one_out, objective, rewards_of, with_entropy

SPACES = [(2, 3), (3, 2)]  # nodes, activations: 18 and 48 cells
KINDS = [Heads, Attention]


pytestmark = pytest.mark.usefixtures("double_precision")


def decisions(nodes: int, activations: int) -> list[Decision]:
    return decisions_of(complete_cell(nodes, 1, [str(k) for k in range(activations)], kept=1))


def controller(nodes: int, activations: int, spread: float = 30.0, kind: type[Controller] = Heads) -> Controller:
    """One that is far from uniform."""
    made = kind(decisions(nodes, activations), 6, seeded(0))
    for parameter in made.parameters():
        parameter.data.mul_(spread)
    return made


def all_cells(nodes: int, activations: int) -> torch.Tensor:
    """Written down apart from the controller: f1, then predecessor and activation of each node."""
    options = [range(activations)]
    for node in range(2, nodes + 1):
        options += [range(node), range(activations)]
    return torch.tensor(list(itertools.product(*options)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("nodes", "activations"), SPACES)
def test_probabilities_of_all_cells_sum_to_one_and_draws_follow_them(
    nodes: int, activations: int, kind: type[Controller]
) -> None:
    policy, cells = controller(nodes, activations, kind=kind), all_cells(nodes, activations)
    assert len(cells) == activations**nodes * math.factorial(nodes)
    probabilities = policy.log_prob(cells).detach().exp()
    assert float(probabilities.sum()) == pytest.approx(1, abs=1e-12)
    assert float(probabilities.max()) > 2.5 / len(cells), "it is far from uniform"
    count = 20_000
    drawn = policy.draw(count, seeded(1))
    found = (drawn[:, None] == cells).all(-1).double().sum(0)
    assert int(found.sum()) == count
    chi_squared = float(((found - count * probabilities) ** 2 / (count * probabilities)).sum())
    assert chi_squared < len(cells) - 1 + 5 * math.sqrt(2 * len(cells))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("nodes", "activations"), SPACES)
def test_entropies_of_decisions_add_up_to_that_of_cells(nodes: int, activations: int, kind: type[Controller]) -> None:
    policy, cells = controller(nodes, activations, kind=kind), all_cells(nodes, activations)
    log_probs, entropies = policy(cells)
    probabilities = log_probs.sum(1).exp()
    exact = -float((probabilities * log_probs.sum(1)).detach().sum())
    assert float((probabilities * entropies.sum(1)).detach().sum()) == pytest.approx(exact, abs=1e-12)


def gradient(value: torch.Tensor, policy: Controller) -> torch.Tensor:
    """By all parameters; the graph stays."""
    parameters = list(policy.parameters())
    found = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    return torch.cat([(p * 0 if g is None else g).flatten() for g, p in zip(found, parameters, strict=True)]).detach()


def plain_rewards(count: int) -> torch.Tensor:
    return torch.randn(count, generator=seeded(7))


def exact_objective(policy: Controller, cells: torch.Tensor, rewards: torch.Tensor, weight: float) -> torch.Tensor:
    """E[R] + weight * H, differentiable through the probabilities of all cells."""
    log_probs = policy.log_prob(cells)
    return (log_probs.exp() * (rewards - weight * log_probs)).sum()


@pytest.mark.parametrize("entropy", ["gradient", "reward"])
@pytest.mark.parametrize(("nodes", "activations"), SPACES)
@pytest.mark.parametrize("with_rewards", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_expected_gradient_is_that_of_expected_reward_and_entropy(
    nodes: int, activations: int, entropy: str, with_rewards: bool, kind: type[Controller]
) -> None:
    """A constant baseline, as a moving average is for the cells that follow it; without rewards it is that of H alone."""
    policy, cells, weight = controller(nodes, activations, kind=kind), all_cells(nodes, activations), 0.3
    rewards = plain_rewards(len(cells)) * with_rewards
    log_probs, entropies = policy(cells)
    probabilities = log_probs.detach().sum(1).exp()
    expected = torch.zeros(sum(p.numel() for p in policy.parameters()))
    for k in range(len(cells)):
        one = with_entropy(rewards[k : k + 1], log_probs[k : k + 1], weight, entropy)
        value = objective(log_probs[k : k + 1], entropies[k : k + 1], one - 0.7, weight, entropy)
        expected += probabilities[k] * gradient(value, policy)
    exact = gradient(exact_objective(policy, cells, rewards, weight), policy)
    assert float(exact.norm()) > 1e-3
    assert float((expected - exact).abs().max()) < 1e-10


@pytest.mark.parametrize("entropy", ["gradient", "reward"])
def test_leave_one_out_leaves_the_expectation_as_it_is(entropy: str) -> None:
    """Over all ordered pairs of cells, each with the probability pi(a) pi(b)."""
    policy, cells, weight = controller(2, 3), all_cells(2, 3), 0.3
    rewards, count = plain_rewards(len(cells)), len(cells)
    log_probs, entropies = policy(cells)
    probabilities, value = log_probs.detach().sum(1).exp(), torch.zeros(())
    for a, b in itertools.product(range(count), repeat=2):
        pair = [a, b]
        scored = with_entropy(rewards[pair], log_probs[pair], weight, entropy)
        advantages = scored - leave_one_out(scored)
        drawn = objective(log_probs[pair], entropies[pair], advantages, weight, entropy)
        value = value + probabilities[a] * probabilities[b] * drawn
    exact = gradient(exact_objective(policy, cells, rewards, weight), policy)
    assert float((gradient(value, policy) - exact).abs().max()) < 1e-10


def test_each_decision_rewarded_with_its_own_entropy_is_no_entropy_bonus() -> None:
    """The fault of earlier code, as a test that this one would be seen: by enumeration its gradient is zero."""
    policy, cells = controller(3, 2), all_cells(3, 2)
    log_probs, entropies = policy(cells)
    probabilities = log_probs.detach().sum(1).exp()
    theirs = (probabilities * (log_probs * entropies.detach()).sum(1)).sum()
    right = gradient(exact_objective(policy, cells, torch.zeros(len(cells)), 1.0), policy)
    assert float(gradient(theirs, policy).abs().max()) < 1e-10 < 1e-3 < float(right.abs().max())


def test_no_option_is_more_certain_than_temperature_and_tanh_allow() -> None:
    policy = controller(11, 4, spread=1e4)
    log_probs, _ = policy(policy.draw(300, seeded(2)))
    for column, decision in enumerate(policy.decisions):
        bound = 1 / (1 + (decision.options - 1) * math.exp(-5))
        assert float(log_probs[:, column].detach().max().exp()) <= bound + 1e-12
    largest = {4: 0.980, 11: 0.937}
    for options, value in largest.items():
        columns = [k for k, each in enumerate(policy.decisions) if each.options == options]
        assert columns and 1 / (1 + (options - 1) * math.exp(-5)) == pytest.approx(value, abs=5e-4)
    sharp = [k for k, each in enumerate(policy.decisions) if each.options == 4]
    assert float(log_probs[:, sharp].detach().max().exp()) > 0.9, "weights that large come near the bound"
    warm = Heads(decisions(2, 4), 6, seeded(0), temperature=1.0, tanh_constant=0.5)
    for parameter in warm.parameters():
        parameter.data.mul_(1e4)
    assert float(warm(warm.draw(100, seeded(0)))[0][:, 2].detach().max().exp()) <= 1 / (1 + 3 * math.exp(-1)) + 1e-12


def test_an_untrained_controller_is_nearly_uniform() -> None:
    policy = Heads(decisions(11, 4), 100, seeded(3))
    entropy = float(policy(policy.draw(50, seeded(0)))[1].detach().sum(1).mean())
    most = 11 * math.log(4) + math.lgamma(12)
    assert most - 0.02 < entropy <= most


def test_attention_without_weights_prefers_near_states() -> None:
    policy = controller(3, 2, spread=0.0, kind=Attention)
    far, near = math.exp(-4 / 6), math.exp(-1 / 6)
    log_probs, _ = policy(torch.tensor([[0, 0, 0, 0, 0], [0, 1, 0, 2, 0]]))
    assert log_probs.detach()[:, [0, 2, 4]].exp().tolist() == [[pytest.approx(0.5)] * 3] * 2
    assert log_probs[0, 1].exp().item() == pytest.approx(far / (far + near))
    assert log_probs[1, 1].exp().item() == pytest.approx(near / (far + near))
    assert log_probs[1, 3].exp().item() == pytest.approx(near / (near + far + math.exp(-9 / 6)))


def test_draws_repeat_and_do_not_depend_on_how_many() -> None:
    policy = controller(4, 4)
    torch.rand(3)
    first = policy.draw(3, seeded(5))
    assert torch.equal(policy.draw(8, seeded(5))[:3], first)
    assert not torch.equal(policy.draw(3, seeded(6)), first)
    state = torch.get_rng_state()
    other = Heads(decisions(4, 4), 6, seeded(0))
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from the global generator"
    same = Heads(decisions(4, 4), 6, seeded(0))
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), same.parameters(), strict=True))
    assert all(float(head.bias.detach().abs().max()) == 0 for head in other.heads)


def test_rewards() -> None:
    losses = torch.tensor([math.log(100), math.log(50), math.nan, math.inf])
    assert rewards_of(losses, "inverse_ppl").tolist() == pytest.approx([0.8, 1.6, 0, 0])
    assert rewards_of(losses, "inverse_ppl_squared").tolist() == pytest.approx([0.008, 0.032, 0, 0])
    worst = -math.log(100)
    assert rewards_of(losses, "negative_loss").tolist() == pytest.approx([worst, -math.log(50), worst, worst])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hidden": 0}, "controller_hidden must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0"),
        ({"tanh_constant": -1.0}, "tanh_constant must be above 0, got -1"),
        ({"temperature": math.nan}, "temperature must be above 0, got nan"),
    ],
)
def test_bad_sizes_are_refused(changes: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Heads(**{"decisions": decisions(2, 4), "hidden": 6, "generator": seeded(0), **changes})  # type: ignore[arg-type]
    assert caught.value.problems == [says]
