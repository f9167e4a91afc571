"""Gradients where one backward pass covers several forward passes, or a part of one: the fast form against the plain one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.recurrent import (
    BATCH,
    CELLS,
    HIDDEN,
    WORDS,
    build,
    build_cell,
    fast_cell,
    fast_net,
    generator,
    masks_of,
    normal,
)

from randomNAS_files.fast import column_sparse, decoder
from randomNAS_files.fast.once import ONCE
from randomNAS_files.model import LanguageModel, Output, activation_penalty
from randomNAS_files.slices import IGNORED

TIME = 5
RATES = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}


class Passes:
    """Forward passes of one model, each with words and masks of its own, and their losses."""

    def __init__(self, net: LanguageModel, decoded: bool) -> None:
        self.net, self.decoded, self.count = net, decoded, 0

    def run(self, hidden: list[torch.Tensor] | None = None, **more: Any) -> Output:
        """One pass; its `loss` is there with and without targets."""
        self.count += 1
        words, targets = torch.randint(WORDS, (2, TIME, BATCH), generator=generator(self.count))
        targets[2, 1] = IGNORED
        masks = masks_of(self.net, self.count)
        state = self.net.initial_state(BATCH) if hidden is None else hidden
        output: Output = self.net(words, state, masks, **more, targets=targets if self.decoded else None)
        if output.loss is not None:
            return output
        assert output.logits is not None
        loss = F.cross_entropy(output.logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        return output._replace(loss=loss)

    def loss(self, **more: Any) -> torch.Tensor:
        output = self.run(**more)
        assert output.loss is not None
        return output.loss + activation_penalty(output, 2.0, 1.0)

    def grads(self, value: torch.Tensor, **more: Any) -> list[torch.Tensor | None]:
        return list(torch.autograd.grad(value, list(self.net.parameters()), allow_unused=True, **more))

    def stored(self) -> list[torch.Tensor | None]:
        return [parameter.grad for parameter in self.net.parameters()]


Found = list[torch.Tensor | None]
SCENARIOS: dict[str, Callable[[Passes], Found]] = {}


def scenario(function: Callable[[Passes], Found]) -> Callable[[Passes], Found]:
    SCENARIOS[function.__name__] = function
    return function


@scenario
def two_passes_summed(passes: Passes) -> Found:
    return passes.grads(passes.loss() + 0.3 * passes.loss())


@scenario
def the_earlier_pass_counts_more(passes: Passes) -> Found:
    first, second, third = passes.loss(), passes.loss(), passes.loss()
    return passes.grads(third + 7 * first - 2 * second)


@scenario
def slices_that_go_on_from_each_other(passes: Passes) -> Found:
    total, hidden = torch.zeros((), dtype=torch.float64), None
    for _ in range(3):
        output = passes.run(hidden)
        hidden, total = output.hidden, total + output.loss
    return passes.grads(total)


@scenario
def two_genotypes_in_a_step(passes: Passes) -> Found:
    return passes.grads(passes.loss(genotype=CELLS["sample1"]) + passes.loss(genotype=CELLS["sample2"]))


@scenario
def a_penalty_on_all_weights(passes: Passes) -> Found:
    return passes.grads(passes.loss() + sum(p.square().sum() for p in passes.net.parameters()))


@scenario
def a_penalty_first(passes: Passes) -> Found:
    penalty = passes.net.embedding.square().sum()
    return passes.grads(penalty + passes.loss() + passes.net.embedding[:3].sum())


@scenario
def two_backward_passes(passes: Passes) -> Found:
    for _ in range(2):
        passes.loss().backward()
    return passes.stored()


@scenario
def a_sum_then_another_backward_pass(passes: Passes) -> Found:
    (passes.loss() + passes.loss()).backward()
    passes.loss().backward()
    return passes.stored()


@scenario
def backward_in_another_order(passes: Passes) -> Found:
    first, second = passes.loss(), passes.loss()
    second.backward()
    first.backward()
    return passes.stored()


@scenario
def only_the_lookup(passes: Passes) -> Found:
    return passes.grads(passes.run().states.square().sum())


@scenario
def only_the_decoder(passes: Passes) -> Found:
    """Up to the outputs of the cells, and not beyond them."""
    output = passes.run()
    leaves = [output.states, passes.net.decoder_bias]
    return list(torch.autograd.grad(output.loss, leaves))  # type: ignore[arg-type]


@scenario
def the_decoder_then_the_rest(passes: Passes) -> Found:
    """What the decoder gave is not given again to a pass that does not ask for it."""
    output = passes.run()
    assert output.loss is not None
    (states,) = torch.autograd.grad(output.loss, output.states, retain_graph=True)
    return [states, *passes.grads((output.states * states).sum())]


@scenario
def one_parameter_alone(passes: Passes) -> Found:
    return list(torch.autograd.grad(passes.loss() + passes.loss(), [passes.net.embedding]))


@scenario
def summed_losses_with_weights_from_outside(passes: Passes) -> Found:
    losses, weights = torch.stack([passes.loss() for _ in range(3)]), normal(3, seed=8)
    return passes.grads(losses, grad_outputs=weights)


def held_against_plain(net: LanguageModel, decoded: bool, run: Callable[[Passes], Found]) -> None:
    plain, ours = run(Passes(net, decoded)), run(Passes(fast_net(net), decoded))
    for a, b in zip(ours, plain, strict=True):
        wanted = torch.zeros(()) if b is None else b
        torch.testing.assert_close(torch.zeros_like(wanted) if a is None else a, wanted, rtol=1e-9, atol=1e-10)


@pytest.fixture(params=["rows", "columns", "logits"])
def decoded(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """The ways in which the fast form decodes; in models as small as these, leaving out features would never pay."""
    for module in (column_sparse, decoder):
        monkeypatch.setattr(module, "gathering_pays", lambda *_: request.param == "columns")
    return bool(request.param != "logits")


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", SCENARIOS)
def test_gradients_are_those_of_the_plain_form(name: str, depth: int, decoded: bool) -> None:
    net = build(CELLS["DARTS_V2"], depth, **RATES)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.4)
    held_against_plain(net, decoded, SCENARIOS[name])


@pytest.mark.parametrize("frozen", [["embedding"], ["decoder_bias"], ["embedding", "cells.0.w0"]], ids=str)
def test_several_passes_with_frozen_weights(frozen: list[str]) -> None:
    found = []
    net = build(CELLS["ASHA"])
    for form in (net, fast_net(net)):
        for name, parameter in form.named_parameters():
            parameter.requires_grad_(name not in frozen)
        passes = Passes(form, decoded=True)
        (passes.loss() + passes.loss()).backward()
        found.append({name: parameter.grad for name, parameter in form.named_parameters()})
    for name, grad in found[0].items():
        if name in frozen:
            assert grad is None and found[1][name] is None
        else:
            torch.testing.assert_close(found[1][name], grad, rtol=1e-9, atol=1e-10)


def test_the_sum_of_two_passes_has_the_slope_of_finite_differences() -> None:
    net = fast_net(build(CELLS["ASHA"], **RATES))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.3)

    def value() -> torch.Tensor:
        passes = Passes(net, decoded=True)
        return passes.loss() + passes.loss() + net.embedding.square().sum()

    (grad,) = torch.autograd.grad(value(), [net.embedding])
    for seed in range(3):
        direction, values = normal(*grad.shape, seed=seed), []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                net.embedding.add_(direction, alpha=step)
                values.append(value().item())
                net.embedding.sub_(direction, alpha=step)
        assert (grad * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6)


def test_a_kept_graph_gives_its_gradients_once_and_says_so_afterwards() -> None:
    net = build(CELLS["ASHA"])
    plain, ours = (Passes(form, decoded=True) for form in (net, fast_net(net)))
    plain_loss, loss = (passes.loss() + passes.loss() for passes in (plain, ours))
    for passes, value in ((plain, plain_loss), (ours, loss)):
        value.backward(retain_graph=True)
        for parameter in passes.net.parameters():
            assert parameter.grad is not None
    expected = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    with pytest.raises(RuntimeError, match=re.escape(ONCE)):
        loss.backward()
    for wanted, parameter in zip(expected, ours.net.parameters(), strict=True):  # the refused pass adds nothing
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-9, atol=1e-10)


def test_second_derivatives_are_refused_rather_than_incomplete() -> None:
    net = fast_net(build(CELLS["ASHA"]))
    with pytest.raises(RuntimeError, match=re.escape(ONCE)):
        Passes(net, decoded=True).grads(Passes(net, decoded=True).loss(), create_graph=True)
    x = normal(TIME, BATCH, HIDDEN).requires_grad_()
    for value in (
        column_sparse.ColumnSparseProduct.apply(x, normal(BATCH, HIDDEN, seed=2), normal(HIDDEN, 7, seed=3)),
        fast_cell(build_cell(CELLS["ASHA"]))(x, normal(BATCH, HIDDEN, seed=2))[0],
    ):
        with pytest.raises(RuntimeError, match=re.escape(ONCE)):
            torch.autograd.grad(value.sum(), [x], create_graph=True)


@pytest.mark.parametrize("columns", [1, 2])
def test_later_passes_leave_what_earlier_ones_returned_as_it_was(columns: int) -> None:
    cell, h = fast_cell(build_cell(CELLS["ASHA"])), normal(columns, HIDDEN, seed=2)
    x, other = (normal(TIME, columns, HIDDEN, seed=seed).requires_grad_() for seed in (3, 4))
    outputs, last = cell(x, h)
    (grad,) = torch.autograd.grad(outputs.square().sum(), [x])
    returned = [each.detach().clone() for each in (outputs, last, grad)]
    cell(other, 2 * h)[0].sum().backward()
    for each, expected in zip((outputs, last, grad), returned, strict=True):
        assert torch.equal(each, expected)
