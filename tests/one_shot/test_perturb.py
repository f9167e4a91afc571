"""SmoothDARTS: what the weights are trained with is off by a little, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.gradient_strategy import make
from support.smooth_supernet import TOY, SmoothNet, objective, problem_of
from support.strategy_suite import same_weights, seeded

from one_shot import perturb
from one_shot.gradient import GradientStrategy
from one_shot.strategy import Progress

NOW = Progress(50, 100, 10)


def perturbed(**values: Any) -> tuple[GradientStrategy, GradientStrategy]:
    values = {"edge_norm": True, **values}
    plain = {name: value for name, value in values.items() if not name.startswith("perturb")}
    return make(**values).double(), make(**plain).double()


@pytest.mark.parametrize("kind", ["random", "adversarial"])
@pytest.mark.parametrize("sampler", ["softmax", "sigmoid", "simplex"])
def test_perturbation_is_of_the_weight_step_only(sampler: str, kind: str) -> None:
    strategy, plain = perturbed(sampler=sampler, perturb=kind, perturb_size=0.1)
    train = objective(SmoothNet(), 1)
    before, clean = strategy.sample(seeded(1), NOW, train), plain.sample(seeded(1), NOW)
    assert before.operations is not None and clean.operations is not None
    off = torch.cat([(before.operations[k] - clean.operations[k]).abs().flatten() for k in TOY])
    assert 0.01 < float(off.max()) < 0.11  # half of the search: a box of 0.05, and what dividing by the sum adds
    same_weights(strategy.sample(seeded(1), Progress(0, 100, 10), train), plain.sample(seeded(1), Progress(0, 100, 10)))
    same_weights(strategy.expected(), plain.expected())
    for each in (strategy, plain):
        each.update(problem_of(SmoothNet()), seeded(2), NOW)
    assert all(torch.equal(p, q) for p, q in zip(strategy.parameters(), plain.parameters(), strict=True))
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(strategy.parameters(), plain.parameters(), strict=True))


def test_the_adversary_makes_the_loss_worse_than_chance_does() -> None:
    train = objective(SmoothNet(), 1)
    losses = {
        kind: [
            train(perturbed(perturb=kind, perturb_size=0.2)[0].sample(seeded(k), NOW, train)).item() for k in range(5)
        ]
        for kind in ("random", "adversarial")
    }
    clean = train(perturbed()[1].sample(seeded(0), NOW)).item()
    assert min(losses["adversarial"]) > max(*losses["random"], clean)


def test_the_adversary_is_within_its_box() -> None:
    """Sigmoids do not compete, so nothing is added by dividing: off by the size at most, and by just that somewhere."""
    strategy, plain = perturbed(sampler="sigmoid", perturb="adversarial", perturb_size=0.2)
    train = objective(SmoothNet(), 1)
    worst, clean = strategy.sample(seeded(1), NOW, train).operations, plain.sample(seeded(1), NOW).operations
    assert worst is not None and clean is not None
    off = torch.cat([(worst[kind] - clean[kind]).abs().flatten() for kind in TOY])
    assert float(off.max()) == pytest.approx(0.1) and float((off > 0.09).double().mean()) > 0.5


def test_the_adversary_needs_a_loss() -> None:
    with pytest.raises(ValueError, match="give it to sample"):
        perturbed(perturb="adversarial", perturb_size=0.2)[0].sample(seeded(1), NOW)


def test_perturbed_weights_stay_weights() -> None:
    table = torch.tensor([[0.5, -0.2, 0.9], [-0.3, -0.1, -0.2], [1.4, -1.0, 0.6]])
    expected = torch.tensor([[0.5 / 1.4, 0, 0.9 / 1.4], [0, 1, 0], [1 / 1.6, 0, 0.6 / 1.6]])
    torch.testing.assert_close(perturb.valid(table, True), expected)
    assert torch.equal(perturb.valid(table, False), table.clamp(0, 1))
