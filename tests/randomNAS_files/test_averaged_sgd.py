"""SGD that can average: against torch's SGD and ASGD, and against plain arithmetic."""

from __future__ import annotations

import copy
from itertools import chain
from typing import Any

import pytest
import torch

from randomNAS_files.averaged_sgd import AveragedSGD

SHAPES = [(3, 2), (4,), ()]


def parameters(seed: int = 0) -> list[torch.nn.Parameter]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=rng, dtype=torch.float64)) for shape in SHAPES]


def set_gradients(params: list[torch.nn.Parameter], step: int) -> None:
    rng = torch.Generator().manual_seed(100 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=rng, dtype=p.dtype)


def run(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter], steps: range) -> list[list[torch.Tensor]]:
    """The iterates after each step."""
    iterates = []
    for step in steps:
        set_gradients(params, step)
        optimizer.step()
        iterates.append([p.detach().clone() for p in params])
    return iterates


def means(optimizer: AveragedSGD, params: list[torch.nn.Parameter]) -> list[torch.Tensor]:
    with optimizer.averaged_weights():
        return [p.detach().clone() for p in params]


def assert_close(first: Any, second: Any, **tolerance: float) -> None:
    torch.testing.assert_close(list(first), list(second), **(tolerance or {"rtol": 1e-12, "atol": 1e-12}))


@pytest.mark.parametrize("averaging", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
def test_iterates_are_those_of_sgd(weight_decay: float, averaging: bool) -> None:
    mine, theirs = parameters(), parameters()
    optimizer = AveragedSGD(mine, lr=0.3, weight_decay=weight_decay)
    if averaging:
        optimizer.start_averaging()
    iterates = run(optimizer, mine, range(6))
    expected = run(torch.optim.SGD(theirs, lr=0.3, weight_decay=weight_decay), theirs, range(6))
    assert_close(chain(*iterates), chain(*expected))


def test_iterates_are_those_of_torchs_asgd() -> None:
    mine, theirs = parameters(), parameters()
    optimizer = AveragedSGD(mine, lr=0.25, weight_decay=0.01)  # ASGD keeps its step size in float32: 0.25 is exact
    optimizer.start_averaging()
    iterates = run(optimizer, mine, range(6))
    expected = run(torch.optim.ASGD(theirs, lr=0.25, lambd=0, t0=0, weight_decay=0.01), theirs, range(6))
    assert_close(chain(*iterates), chain(*expected))


def test_torchs_asgd_leaves_the_first_iterate_out_of_its_mean_and_applies_a_learning_rate_one_step_late() -> None:
    """The two details in which it differs, as the module's text says."""
    for steps in range(2, 7):
        params = parameters()
        theirs = torch.optim.ASGD(params, lr=0.25, lambd=0, t0=0)
        iterates = run(theirs, params, range(steps))
        expected = [sum(values[1:]) / (steps - 1) for values in zip(*iterates, strict=True)]
        assert_close([theirs.state[p]["ax"] for p in params], expected, rtol=1e-6, atol=1e-6)  # its 1/n is a float32
    before = [p.detach().clone() for p in params]
    theirs.param_groups[0]["lr"] = 99.0
    set_gradients(params, 0)
    theirs.step()
    assert_close(params, [old - 0.25 * p.grad for old, p in zip(before, params, strict=True) if p.grad is not None])


def test_a_step_is_hand_computable() -> None:
    p = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
    p.grad = torch.tensor([0.5, 1.0])
    AveragedSGD([p], lr=0.1, weight_decay=0.2).step()
    torch.testing.assert_close(p.detach(), torch.tensor([2.0 - 0.1 * (0.5 + 0.4), -1.0 - 0.1 * (1.0 - 0.2)]))


@pytest.mark.parametrize("after", [1, 2, 3, 10])
def test_the_mean_is_the_arithmetic_mean_of_the_iterates_after_the_switch(after: int) -> None:
    params = parameters()
    optimizer = AveragedSGD(params, lr=0.3, weight_decay=0.01)
    run(optimizer, params, range(4))
    optimizer.start_averaging()
    iterates = run(optimizer, params, range(4, 4 + after))
    assert_close(means(optimizer, params), [sum(values) / after for values in zip(*iterates, strict=True)])


def test_starting_to_average_again_changes_nothing() -> None:
    params = parameters()
    optimizer = AveragedSGD(params, lr=0.3)
    optimizer.start_averaging()
    iterates = run(optimizer, params, range(3))
    optimizer.start_averaging()
    iterates += run(optimizer, params, range(3, 5))
    assert_close(means(optimizer, params), [sum(values) / 5 for values in zip(*iterates, strict=True)])


def test_averaging_is_known() -> None:
    optimizer = AveragedSGD(parameters(), lr=0.3)
    assert not optimizer.averaging
    optimizer.start_averaging()
    assert optimizer.averaging


def test_the_mean_takes_in_parameters_that_stand_still() -> None:
    moving, still = parameters()[:2]
    optimizer = AveragedSGD([moving, still], lr=0.3)
    optimizer.start_averaging()
    before = still.detach().clone()
    for step in range(3):
        set_gradients([moving], step)
        optimizer.step()
    assert_close([still, *means(optimizer, [moving, still])[1:]], [before, before])


def test_a_parameter_without_a_gradient_does_not_even_decay() -> None:
    (p, other) = parameters()[:2]
    before = p.detach().clone()
    other.grad = torch.ones_like(other)
    AveragedSGD([p, other], lr=0.3, weight_decay=0.5).step()
    assert torch.equal(p, before)


def test_gradients_are_left_as_they_were() -> None:
    params = parameters()
    set_gradients(params, 0)
    before = [p.grad.clone() for p in params if p.grad is not None]
    AveragedSGD(params, lr=0.3, weight_decay=0.5).step()
    assert_close([p.grad for p in params], before, rtol=0, atol=0)


def averaged(steps: int = 3) -> tuple[AveragedSGD, list[torch.nn.Parameter]]:
    params = parameters()
    optimizer = AveragedSGD(params, lr=0.3)
    optimizer.start_averaging()
    run(optimizer, params, range(steps))
    return optimizer, params


def test_exchanging_twice_is_the_identity() -> None:
    optimizer, params = averaged()
    weights = [p.detach().clone() for p in params]
    optimizer.exchange()
    assert not torch.allclose(params[0], weights[0])
    optimizer.exchange()
    assert_close(params, weights, rtol=0, atol=0)


@pytest.mark.parametrize("switched", [False, True])
def test_before_the_first_mean_exchanging_does_nothing(switched: bool) -> None:
    params = parameters()
    optimizer = AveragedSGD(params, lr=0.3)
    run(optimizer, params, range(2))
    if switched:
        optimizer.start_averaging()
    weights = [p.detach().clone() for p in params]
    with optimizer.averaged_weights():
        assert_close(params, weights, rtol=0, atol=0)


def test_looking_at_the_means_does_not_disturb_training() -> None:
    (watched, params), (plain, others) = averaged(), averaged()
    for step in range(3, 7):
        means(watched, params)
        run(watched, params, range(step, step + 1))
    run(plain, others, range(3, 7))
    assert_close(params, others, rtol=0, atol=0)
    assert_close(means(watched, params), means(plain, others), rtol=0, atol=0)


def test_averaged_weights_come_back_after_an_exception() -> None:
    optimizer, params = averaged()
    weights = [p.detach().clone() for p in params]
    with pytest.raises(KeyError), optimizer.averaged_weights():
        assert not torch.allclose(params[0], weights[0])
        raise KeyError
    assert_close(params, weights, rtol=0, atol=0)


@pytest.mark.parametrize("switch", [1, 3, 6], ids=["averaging", "at the switch", "before the switch"])
def test_a_run_resumed_from_its_state_continues_bit_for_bit(switch: int) -> None:
    def train(optimizer: AveragedSGD, params: list[torch.nn.Parameter], steps: range) -> None:
        for step in steps:
            if step == switch:
                optimizer.start_averaging()
            optimizer.param_groups[0]["lr"] = 0.3 / (step + 1)
            run(optimizer, params, range(step, step + 1))

    whole = parameters()
    uninterrupted = AveragedSGD(whole, lr=0.3, weight_decay=0.01)
    train(uninterrupted, whole, range(8))

    first = parameters()
    interrupted = AveragedSGD(first, lr=0.3, weight_decay=0.01)
    train(interrupted, first, range(4))
    saved = copy.deepcopy((interrupted.state_dict(), [p.detach() for p in first]))
    second = [torch.nn.Parameter(p) for p in saved[1]]
    resumed = AveragedSGD(second, lr=99.0)
    resumed.load_state_dict(saved[0])
    train(resumed, second, range(4, 8))

    assert resumed.averaging
    assert_close(second, whole, rtol=0, atol=0)
    assert_close(means(resumed, second), means(uninterrupted, whole), rtol=0, atol=0)
    assert not torch.allclose(means(resumed, second)[0], second[0])


def test_a_learning_rate_takes_effect_in_the_very_step_it_is_set_for() -> None:
    params = parameters()
    optimizer = AveragedSGD(params, lr=0.3)
    optimizer.start_averaging()
    for step, lr in enumerate([0.3, 0.0, 2.0, 0.1]):
        before = [p.detach().clone() for p in params]
        optimizer.param_groups[0]["lr"] = lr
        run(optimizer, params, range(step, step + 1))
        assert_close(params, [old - lr * p.grad for old, p in zip(before, params, strict=True) if p.grad is not None])


def test_groups_have_their_own_learning_rates() -> None:
    first, second = parameters()[:2]
    before = [first.detach().clone(), second.detach().clone()]
    optimizer = AveragedSGD([{"params": [first], "lr": 0.5}, {"params": [second]}], lr=0.1)  # type: ignore[list-item]
    optimizer.start_averaging()
    set_gradients([first, second], 0)
    optimizer.step()
    assert first.grad is not None and second.grad is not None
    assert_close([first, second], [before[0] - 0.5 * first.grad, before[1] - 0.1 * second.grad])
    assert_close(means(optimizer, [first, second]), [first, second])


def test_a_closure_is_refused() -> None:
    with pytest.raises(ValueError, match="closure"):
        AveragedSGD(parameters(), lr=0.3).step(lambda: 0.0)
