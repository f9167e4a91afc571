"""Evaluation in the fast form: the plain form's numbers, and no work but that of a forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recurrent import (
    ACTIVATIONS,
    BATCH,
    CELLS,
    HIDDEN,
    WORDS,
    build,
    build_cell,
    cells,
    config,
    fast_cell,
    fast_net,
    generator,
    masks_of,
    normal,
)
from support.torch_version import OLD_COUNTERS
from torch.utils.flop_counter import FlopCounterMode

from randomNAS_files import scoring
from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.fast import column_sparse, decoder, inference
from randomNAS_files.fast import scoring as fast_scoring
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.plan import plan_of
from randomNAS_files.fast.sequence import group_weights
from randomNAS_files.model import LanguageModel
from randomNAS_files.slices import IGNORED, Columns
from randomNAS_files.space import SPACE

TIME = 6
RATES = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@settings(max_examples=60, deadline=None)
@given(cells(), st.sampled_from(ACTIVATIONS), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_any_cell_of_any_shape(genotype: Genotype, init: str, time: int, columns: int, size: int, masked: bool) -> None:
    cell = build_cell(genotype, init, size)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(0.5)  # relus and identities in a row grow fast
        masks = [normal(columns, size, seed=seed) for seed in (6, 7)] if masked else [None, None]
        inputs = normal(time, columns, size), normal(columns, size, seed=2), *masks
        for ours, plain in zip(fast_cell(cell)(*inputs), cell(*inputs), strict=True):
            close(ours, plain)


def frozen(net: LanguageModel) -> LanguageModel:
    return net.requires_grad_(False)


@pytest.mark.parametrize("how", ["no_grad", "inference_mode", "frozen"])
@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_loss_and_states_are_those_of_the_plain_form(
    masked: bool, gather: bool, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (column_sparse, decoder):
        monkeypatch.setattr(module, "gathering_pays", lambda *_: gather)
    net = build(CELLS["DARTS_V2"], 2, **RATES)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.4)
    words, targets = torch.randint(WORDS, (2, TIME, BATCH), generator=generator(4))
    targets[1, 2] = targets[4, 0] = IGNORED
    masks, hidden = masks_of(net) if masked else None, [normal(BATCH, HIDDEN, seed=k) for k in range(2)]
    found: list[Any] = []
    for form in (net, fast_net(net)):
        if how == "frozen":
            found.append(frozen(form)(words, hidden, masks, targets=targets))
        else:
            with torch.no_grad() if how == "no_grad" else torch.inference_mode():
                found.append(form(words, hidden, masks, targets=targets))
    plain, ours = found
    assert not ours.loss.requires_grad
    for name in ("loss", "states", "dropped"):
        close(getattr(ours, name), getattr(plain, name))
    for a, b in zip(ours.hidden, plain.hidden, strict=True):
        close(a, b)


def multiplications(run: Any) -> int:
    """In matrix products, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        run()
    assert counter.get_total_flops() % 2 == 0
    return int(counter.get_total_flops()) // 2


@pytest.mark.skipif(OLD_COUNTERS, reason="its counter cannot count products that are written to a tensor")
@pytest.mark.parametrize("name", ["ASHA", "DARTS_V2", "sample1"])
def test_an_evaluation_multiplies_as_often_as_the_space_says_and_keeps_nothing(name: str) -> None:
    net = fast_net(build(CELLS[name], 2))
    words = torch.zeros(TIME, BATCH, dtype=torch.int64)
    macs = SPACE.size(CELLS[name], hidden=HIDDEN, vocabulary=WORDS, depth=2).macs

    def evaluate() -> None:
        with torch.no_grad():
            scoring.score_slice(net, words, words, net.initial_state(BATCH))

    assert multiplications(evaluate) == macs * TIME * BATCH
    assert all(not cell._workspaces._free for cell in net.cells)


@pytest.mark.skipif(OLD_COUNTERS, reason="its counter cannot count products that are written to a tensor")
def test_scoring_many_cells_multiplies_as_often_as_the_space_says() -> None:
    chosen = [sample(seed) for seed in range(5)]
    net = FastLanguageModel(config(), chosen[0], WORDS, generator())
    columns = Columns(torch.arange(BATCH * TIME + 1) % WORDS, BATCH, slice(None), pad=True)
    macs = sum(SPACE.size(cell, hidden=HIDDEN, vocabulary=WORDS).macs for cell in chosen)
    shared = HIDDEN * 2 * HIDDEN  # the inputs' part of the initial state, which is the same for all cells
    run = multiplications(lambda: fast_scoring.score_cells(net, columns, TIME, chosen))
    assert run == (macs - (len(chosen) - 1) * shared) * TIME * BATCH


def test_an_evaluation_between_forward_and_backward_changes_no_gradient() -> None:
    net, words = build(CELLS["ASHA"]), torch.arange(TIME * BATCH).view(TIME, BATCH) % WORDS
    grads = []
    for form, between in ((net, False), (fast_net(net), True)):
        loss = form(words, form.initial_state(BATCH), targets=words).loss
        if between:
            with torch.no_grad():
                form(words.flip(0), form.initial_state(BATCH), targets=words)
        grads.append(torch.autograd.grad(loss, list(form.parameters())))
    for ours, plain in zip(grads[1], grads[0], strict=True):
        close(ours, plain)


@pytest.mark.parametrize("seed", range(12))
def test_products_side_by_side_are_those_of_each_node(seed: int) -> None:
    """A GPU multiplies by the weights of a group at once, a CPU by one after the other."""
    plan, state, nodes = plan_of(sample(seed), "tanh"), normal(BATCH, HIDDEN), list(range(9))
    weights = [normal(HIDDEN, 2 * HIDDEN) for _ in nodes]
    for group, wide in zip(plan.groups, group_weights(weights, plan), strict=True):
        alone = inference._products(state, [weights[node] for node in group.nodes], len(group))
        expected = torch.stack([(state @ weights[node]).view(BATCH, 2, HIDDEN) for node in group.nodes])
        torch.testing.assert_close(inference._products(state, wide, len(group)), expected)
        torch.testing.assert_close(alone, expected)


def test_the_loss_without_gradients_is_that_of_all_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is decoded a few rows at a time, in memory for no more than those."""
    draw = torch.Generator().manual_seed(2)
    hidden, embedding = (torch.randn(*shape, 3, generator=draw, dtype=torch.float64) for shape in ((7, 5), (11,)))
    bias, targets = torch.randn(11, generator=draw, dtype=torch.float64), torch.randint(11, (7, 5), generator=draw)
    targets[1, 2] = targets[6, 4] = IGNORED
    logits = (hidden @ embedding.t() + bias).flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")
    for rows in (1, 4, 35, decoder.SCORED):
        monkeypatch.setattr(decoder, "SCORED", rows)
        parts = list(decoder.parts_by_rows(hidden, embedding, targets, rows))
        assert [len(part.states) for part in parts] == [rows] * (35 // rows) + [35 % rows] * (35 % rows > 0)
        torch.testing.assert_close(decoder.summed_loss(hidden, None, embedding, bias, targets), expected)
