"""The plain recurrent model with less than single precision: under autocast, and with weights of bfloat16."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from support.recurrent import CELLS, build_model, config, generator, masks_of

from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.model import LanguageModel, activation_penalty, summed_loss
from randomNAS_files.slices import IGNORED

TIME, COLUMNS, HIDDEN, WORDS = 20, 8, 32, 200
RATES = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}
DIGITS = 2.0**-8  # a bfloat16 has 8 bits: it is off by 2^-9 of itself at most, and a product's two factors by 2^-8
Step = tuple[torch.Tensor, list[torch.Tensor]]


def autocast(net: LanguageModel) -> Step:
    with torch.autocast(net.embedding.device.type, torch.bfloat16):
        return step(net)


def bfloat16(net: LanguageModel) -> Step:
    return step(net.bfloat16())


def step(net: LanguageModel) -> Step:
    """The objective of a training step, and all gradients."""
    device = net.embedding.device
    words, targets = torch.randint(WORDS, (2, TIME, COLUMNS), generator=generator(4)).to(device)
    targets[1, 2] = IGNORED
    masks = masks_of(net, columns=COLUMNS)
    output = net(words, net.initial_state(COLUMNS), masks, targets=targets)
    value = output.loss / targets.numel() + activation_penalty(output, 2.0, 1.0)
    value.backward()
    assert all(h.dtype == net.embedding.dtype for h in output.hidden)  # what the next slice goes on from
    assert masks == masks_without_types(masks, net.embedding.dtype)
    return value.detach().double(), [p.grad.double() for p in net.parameters() if p.grad is not None]


def masks_without_types(masks: DropoutMasks, dtype: torch.dtype) -> DropoutMasks:
    assert all(mask is None or mask.dtype == dtype for mask in (masks.embedding, masks.input, masks.output))
    return masks


def model(name: str, depth: int) -> LanguageModel:
    net = build_model(config(HIDDEN, depth, **RATES), CELLS[name], WORDS, fast=False)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(5)  # so that nonlinearities matter: uniform in +-0.2
            parameter.copy_(parameter.bfloat16())  # the same weights in all types
    return net


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("name", "roundings"), [("ASHA", 16), ("DARTS_V2", 16), ("with_none", 16), ("ENAS", 48)])
@pytest.mark.parametrize("reduced", [autocast, bfloat16])
def test_the_error_is_that_of_the_digits(
    reduced: Callable[[LanguageModel], Step], name: str, roundings: int, depth: int
) -> None:
    """Against float64 from the same weights: the objective to one rounding, each gradient as a whole to some of them.

    An error may pass through all nodes in a row and 20 time steps; the twelve of ENAS have relus that it may turn on or off.
    """
    net = model(name, depth)
    expected, wanted = step(copy.deepcopy(net).double())
    value, grads = reduced(net)
    assert abs(value - expected) < DIGITS * expected
    assert len(grads) == len(wanted) > 0
    for ours, exact in zip(grads, wanted, strict=True):
        assert torch.isfinite(ours).all()
        assert (ours - exact).norm() <= roundings * DIGITS * exact.norm()


def test_states_are_carried_in_single_precision_under_autocast() -> None:
    net = model("ASHA", 2)
    words = torch.zeros(TIME, COLUMNS, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        output = net(words, net.initial_state(COLUMNS), targets=words)
    assert output.logits.dtype == torch.bfloat16  # products are what autocast saves
    assert {each.dtype for each in (output.states, output.loss, *output.hidden)} == {torch.float32}


def test_a_loss_is_summed_in_at_least_single_precision() -> None:
    """4,096 equal losses of ln 2: a sum in bfloat16 would end in steps of 16."""
    logits, targets = torch.zeros(64, 64, 2), torch.zeros(64, 64, dtype=torch.int64)
    for dtype in (torch.float32, torch.bfloat16):
        total = summed_loss(logits.to(dtype), targets)
        assert total.dtype == torch.float32 and total.item() == pytest.approx(4096 * 0.6931471805599453, rel=1e-6)
    assert summed_loss(logits.double(), targets).dtype == torch.float64
