"""The fast form of the recurrent model against the plain one, the model of 2019, finite differences, and itself resumed."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
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
    masks_of,
    normal,
    wide_weights,
)
from support.runs import ROOT, Laptop, assert_equal_runs, stopped_after

from benchmarks.plain_recurrent import Penalties, PlainMasks, PlainModel, objective, score
from randomNAS_files import scoring
from randomNAS_files.architecture import Genotype, sample
from randomNAS_files.averaged_sgd import AveragedSGD
from randomNAS_files.dropout import DropoutMasks
from randomNAS_files.fast import column_sparse, decoder
from randomNAS_files.fast import scoring as fast_scoring
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.once import ONCE
from randomNAS_files.fast.plan import CARRIED, plan_of
from randomNAS_files.model import LanguageModel, RecurrentCell, activation_penalty, summed_loss
from randomNAS_files.slices import IGNORED, Columns, fixed_slices

TIME = 6
DROPOUTS = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def all_close(ours: Any, theirs: Any) -> None:
    """Gradients, of which one that is missing is as good as zero."""
    for a, b in zip(ours, theirs, strict=True):
        assert (a is None or not a.any()) if b is None else True
        if b is not None:
            close(torch.zeros_like(b) if a is None else a, b)


def both_forms(cell: RecurrentCell, inputs: tuple[Any, ...], genotype: Genotype | None = None) -> None:
    """Outputs, last state and all gradients are the same."""
    x, h, *masks = inputs
    found = []
    for form in (cell, fast_cell(cell)):
        leaves = [x.clone().requires_grad_(), h.clone().requires_grad_()]
        outputs, last = form(*leaves, *masks, genotype)
        weighed = (outputs * normal(*outputs.shape, seed=3)).sum() + (last * normal(*last.shape, seed=4)).sum()
        grads = torch.autograd.grad(weighed, [*leaves, *form.parameters()], allow_unused=True)
        found.append((outputs, last, grads))
    (plain, last, grads), (ours, our_last, our_grads) = found
    close(ours, plain)
    close(our_last, last)
    all_close(our_grads, grads)


def inputs_of(time: int = TIME, columns: int = BATCH, size: int = HIDDEN, masked: bool = True) -> tuple[Any, ...]:
    masks = (torch.rand(2, columns, size, generator=torch.Generator().manual_seed(9)) < 0.6).double() / 0.6
    return normal(time, columns, size), normal(columns, size, seed=2), *(masks.unbind(0) if masked else (None, None))


# Both forms are one module with two ways to compute


@pytest.mark.parametrize("depth", [1, 3])
def test_both_forms_start_from_the_same_weights_under_the_same_names(depth: int) -> None:
    first, second = (
        kind(config(depth=depth), CELLS["ENAS"], WORDS, torch.Generator().manual_seed(3)).state_dict()
        for kind in (LanguageModel, FastLanguageModel)
    )
    assert list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_the_plain_model_stands_alone() -> None:
    code = """
import sys
import randomNAS_files.model, randomNAS_files.scoring, randomNAS_files.averaged_sgd
sys.exit(any(name.startswith("randomNAS_files.fast") for name in sys.modules))
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# Plans


@given(cells())
def test_a_plan_computes_every_used_node_once_after_what_it_reads(genotype: Genotype) -> None:
    plan = plan_of(genotype, "tanh")
    none = {i for i, (name, _) in enumerate(genotype.recurrent, start=1) if name == "none"}
    used = set(range(1, len(genotype.recurrent) + 1)) - set(genotype.unused_nodes()) - none
    assert sorted(node for group in plan.groups for node in group.nodes) == [0, *sorted(used)]
    known = set(plan.zero)
    for group in plan.groups:
        assert group.source in known | {CARRIED}
        assert [name for name, first, last in group.runs for _ in range(first, last)] == [
            genotype.recurrent[node - 1][0] if node else "tanh" for node in group.nodes
        ]
        known |= set(range(group.first, group.last))
    assert known == set(range(plan.slots)) and len({group.source for group in plan.groups}) == len(plan.groups)


# The cell


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_a_cell_is_the_same_in_both_forms(name: str, masked: bool, gather: bool) -> None:
    both_forms(build_cell(CELLS[name]), inputs_of(masked=masked))


@settings(max_examples=40, deadline=None)
@given(cells(), st.sampled_from(ACTIVATIONS), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5), st.booleans())
def test_any_cell_of_any_shape(genotype: Genotype, init: str, time: int, columns: int, size: int, masked: bool) -> None:
    assume(len(genotype.unused_nodes()) < len(genotype.recurrent))  # otherwise nothing has a gradient
    cell = build_cell(genotype, init, size)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(0.5)  # relus and identities in a row grow fast
    both_forms(cell, inputs_of(time, columns, size, masked))


def test_other_cells_with_the_same_weights() -> None:
    cell = build_cell(CELLS["ASHA"])
    for seed in range(5):
        both_forms(cell, inputs_of(), sample(seed))
    both_forms(cell, inputs_of(), Genotype((("relu", 0), ("tanh", 1))))


@pytest.mark.parametrize("name", ["ENAS", "with_none", "partial", "sample1"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    cell = fast_cell(build_cell(CELLS[name], hidden=3))
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(0.3)
    x, h, *masks = inputs_of(3, 2, 3)
    leaves = [x.requires_grad_(), h.requires_grad_(), *cell.parameters()]
    weights = normal(3, 2, 3, seed=6)

    def value() -> torch.Tensor:
        return (cell(x, h, *masks)[0] * weights).sum()

    grads = torch.autograd.grad(value(), leaves, allow_unused=True)
    for leaf, grad in zip(leaves, grads, strict=True):
        direction = normal(*leaf.shape, seed=7)
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                leaf.add_(direction, alpha=step)
                values.append(value().item())
                leaf.sub_(direction, alpha=step)
        slope = 0.0 if grad is None else (grad * direction).sum().item()
        assert slope == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-8)


def test_memory_is_used_again_but_never_while_it_is_needed() -> None:
    plain = build_cell(CELLS["DARTS_V2"])
    expected = {}
    for time, columns in ((4, 3), (2, 3), (7, 3), (3, 2)):
        x, h, *masks = inputs_of(time, columns)
        expected[time, columns] = torch.autograd.grad(plain(x, h, *masks)[0].square().sum(), plain.w0)[0]
    cell = fast_cell(plain)
    for _ in range(2):
        pending = []
        for time, columns in expected:
            x, h, *masks = inputs_of(time, columns)
            pending.append((cell(x, h, *masks)[0].square().sum(), expected[time, columns]))
        with torch.no_grad():  # an evaluation between forward and backward
            cell(*inputs_of(5, 3))
        for loss, gradient in pending:
            close(torch.autograd.grad(loss, cell.w0)[0], gradient)
    spare = list(cell._workspaces._free)
    assert 0 < len(spare) <= 2
    x, h, *masks = inputs_of(3, 2)
    cell(x, h, *masks)[0].sum().backward()
    assert any(space is cell._workspaces._free[0] for space in spare)


def test_a_second_backward_pass_is_refused() -> None:
    cell, net = fast_cell(build_cell(CELLS["ASHA"])), fast_net(build(CELLS["ASHA"]))
    words = torch.zeros(TIME, BATCH, dtype=torch.int64)
    for loss in (cell(*inputs_of())[0].sum(), net(words, net.initial_state(BATCH), targets=words).loss):
        loss.backward(retain_graph=True)
        with pytest.raises(RuntimeError, match=re.escape(ONCE)):
            loss.backward()


def test_weights_changed_before_the_backward_pass_are_noticed() -> None:
    cell = fast_cell(build_cell(CELLS["ASHA"]))
    loss = cell(*inputs_of())[0].sum()
    with torch.no_grad():
        cell.w0.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


# The model


@pytest.fixture(params=[1120, 5, 18], ids="chunks of {}".format)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(decoder, "CHUNK", request.param)
    return int(request.param)


@pytest.fixture(params=[False, True], ids=["all features", "active features"])
def gather(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether products leave out what dropout drops; in models as small as these it would never pay."""
    for module in (column_sparse, decoder):
        monkeypatch.setattr(module, "gathering_pays", lambda *_: request.param)
    return bool(request.param)


def words_and_targets(ignored: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    words = torch.randint(WORDS, (2, TIME, BATCH), generator=torch.Generator().manual_seed(4))
    targets = words[1].clone()
    if ignored:
        targets[1, 2] = targets[4, 0] = IGNORED
    return words[0], targets


def model_grads(net: LanguageModel, masks: DropoutMasks | None, targets: torch.Tensor) -> tuple[Any, ...]:
    words, _ = words_and_targets()
    hidden = [normal(BATCH, HIDDEN, seed=k).requires_grad_() for k in range(len(net.cells))]
    output = net(words, hidden, masks, targets=targets)
    loss = 0.7 * output.loss + activation_penalty(output, 2.0, 1.0) + sum(h.square().sum() for h in output.hidden)
    return output.loss, torch.autograd.grad(loss, [*hidden, *net.parameters()], allow_unused=True)


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("name", ["ASHA", "with_none", "partial", "ENAS"])
def test_loss_and_gradients_of_the_model_are_the_same(name: str, depth: int, chunk: int, gather: bool) -> None:
    net = build(CELLS[name], depth, **DROPOUTS)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.4)
    for masked in (False, True):
        found = [
            model_grads(form, masks_of(net, 3) if masked else None, targets)
            for targets in (words_and_targets()[1],)
            for form in (net, fast_net(net))
        ]
        close(found[1][0], found[0][0])
        all_close(found[1][1], found[0][1])


@pytest.mark.parametrize("lost", [[0], [1, 2], list(range(BATCH))], ids=str)
def test_columns_of_which_dropout_leaves_nothing(lost: list[int], gather: bool) -> None:
    mask = (torch.rand(BATCH, HIDDEN, generator=torch.Generator().manual_seed(2)) < 0.5).double() * 2
    mask[lost] = 0
    bias, (_, targets) = normal(WORDS, seed=8), words_and_targets()
    leaves = [normal(TIME, BATCH, HIDDEN), normal(WORDS, HIDDEN, seed=3), bias]
    found = []
    for fast in (False, True):
        h, embedding, bias = (leaf.clone().requires_grad_() for leaf in leaves)
        if fast:
            loss = decoder.decoded_loss(h, h * mask, mask, embedding, bias, targets)
        else:
            loss = summed_loss(F.linear(h * mask, embedding, bias), targets)
        found.append((loss, torch.autograd.grad(loss, [h, embedding, bias])))
    close(found[1][0], found[0][0])
    all_close(found[1][1], found[0][1])


@pytest.mark.parametrize("frozen", [None, 0, 1])
def test_a_product_with_active_features_is_the_product(frozen: int | None, gather: bool) -> None:
    mask = (torch.rand(BATCH, HIDDEN, generator=torch.Generator().manual_seed(2)) < 0.5).double() * 2
    mask[1] = 0
    grads = []
    for product in (
        lambda x, weight: (x * mask) @ weight,
        lambda x, weight: column_sparse.masked_product(x, mask, weight),
    ):
        leaves = [normal(TIME, BATCH, HIDDEN), normal(HIDDEN, 7, seed=3)]
        for i, leaf in enumerate(leaves):
            leaf.requires_grad_(i != frozen)
        value = product(*leaves)
        (value * normal(*value.shape, seed=5)).sum().backward()
        grads.append([value, *(leaf.grad for leaf in leaves)])
    all_close(grads[1], grads[0])


def test_features_are_left_out_where_that_saves_work() -> None:
    def mask(share: float, width: int = 850) -> torch.Tensor:
        return (torch.rand(16, width, generator=torch.Generator().manual_seed(1)) < share).float()

    assert column_sparse.gathering_pays(mask(0.25), 35, 10_000)
    assert not column_sparse.gathering_pays(mask(0.25), 5, 10_000)  # too few time steps to gather weights for
    assert not column_sparse.gathering_pays(mask(0.75), 35, 10_000)
    assert not column_sparse.gathering_pays(mask(0.25, 64), 35, 200)
    assert not column_sparse.gathering_pays(mask(0.25).to("meta"), 35, 10_000)


def test_only_what_wants_a_gradient_gets_one() -> None:
    net = build(CELLS["ASHA"])
    words, targets = words_and_targets()
    for frozen in (["embedding"], ["decoder_bias", "cells.0.w0"], ["cells.0.nodes.3"]):
        grads = []
        for form in (net, fast_net(net)):
            form.zero_grad()
            for name, parameter in form.named_parameters():
                parameter.requires_grad_(name not in frozen)
            form(words, form.initial_state(BATCH), targets=targets).loss.backward()
            grads.append([parameter.grad for parameter in form.parameters()])
        all_close(grads[1], grads[0])


def test_without_targets_logits_are_the_same() -> None:
    net = build(CELLS["DARTS_V1"], 2)
    words, _ = words_and_targets()
    plain = net(words, net.initial_state(BATCH)).logits
    close(fast_net(net)(words, net.initial_state(BATCH)).logits, plain)


def test_dropout_drops_the_share_that_it_should() -> None:
    net = FastLanguageModel(config(hidden=50, dropout=0.3), CELLS["ASHA"], WORDS, torch.Generator().manual_seed(0))
    words, targets = words_and_targets()
    dropped = []
    for batch in range(200):
        masks = masks_of(net, batch)
        output = net(words, net.initial_state(BATCH), masks, targets=targets)
        zero = output.dropped == 0
        assert (zero == zero[0]).all()  # the same at all time steps
        torch.testing.assert_close(output.dropped[~zero], output.states[~zero] / 0.7)
        dropped.append(zero.float().mean().item())
    assert abs(sum(dropped) / 200 - 0.3) < 4 * (0.3 * 0.7 / (200 * BATCH * 50)) ** 0.5


@pytest.mark.parametrize("name", [name for name in CELLS if name != "with_none"])
def test_it_is_the_function_of_2019(name: str, gather: bool) -> None:
    """float64, from the same weights and masks: the loss to 1e-12, gradients to 1e-9."""
    settings = config(**{**DROPOUTS, "dropoute": 0.0})
    net = fast_net(build(CELLS[name], **{**DROPOUTS, "dropoute": 0.0}))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.4)
    reference = PlainModel(settings, CELLS[name], WORDS).double().copy_weights(net)
    words, targets = words_and_targets(ignored=False)
    masks = masks_of(net)
    output = net(words, net.initial_state(BATCH), masks, targets=targets)
    total = output.loss / targets.numel() + activation_penalty(output, 2.0, 1.0)
    theirs = PlainMasks(masks.input, masks.cell_inputs[0], masks.hidden[0], masks.output)
    h = torch.zeros(BATCH, HIDDEN, dtype=torch.float64)
    expected, loss, last = objective(reference, words, targets, h, Penalties(2.0, 1.0), theirs)
    torch.testing.assert_close(output.loss / targets.numel(), loss, rtol=1e-12, atol=0)
    close(output.hidden[0], last)
    names = ["encoder.weight", "decoder.bias", "cell.w0"]
    names += [f"cell.weights.{i}" for i in range(len(CELLS[name].recurrent))]
    wanted = dict(reference.named_parameters())
    all_close(
        torch.autograd.grad(total, list(net.parameters()), allow_unused=True),
        torch.autograd.grad(expected, [wanted[key] for key in names], allow_unused=True),
    )


@pytest.mark.parametrize("device", DEVICES)
def test_single_precision_is_as_exact_as_the_plain_form(device: str) -> None:
    """The error against float64, of the fast form, is that of the plain one, give or take; relus make more of it."""
    net = FastLanguageModel(config(hidden=64), CELLS["DARTS_V2"], WORDS, torch.Generator().manual_seed(0)).to(device)
    exact = LanguageModel(config(hidden=64), CELLS["DARTS_V2"], WORDS, torch.Generator().manual_seed(0)).double()
    words, targets = words_and_targets()
    exact_loss = exact(words, exact.initial_state(BATCH), targets=targets).loss
    exact_loss.backward()
    loss = net(words.to(device), net.initial_state(BATCH), targets=targets.to(device)).loss
    loss.backward()
    assert abs(loss.item() / exact_loss.item() - 1) < 1e-6
    for ours, theirs in zip(net.parameters(), exact.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None
        error = (ours.grad.double().cpu() - theirs.grad).norm() / theirs.grad.norm()
        assert error < 1e-5


# The optimiser


@pytest.mark.parametrize("max_norm", [None, 0.5, 1e6])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_the_fast_step_is_the_plain_one(decay: float, max_norm: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("randomNAS_files.fast.averaged_sgd._BLOCK", 7)
    sides = []
    for kind in (AveragedSGD, FastAveragedSGD):
        params = [normal(5, 4, seed=1), normal(3, seed=2), normal(4, 6, seed=3).t(), normal(2, seed=4)]
        sgd = kind([p.requires_grad_() for p in params], 0.3, decay, max_norm=max_norm)
        for k in range(5):
            for i, p in enumerate(params[:3]):  # the last one has no gradient
                p.grad = normal(*p.shape, seed=10 * k + i)
            if k == 2:
                sgd.start_averaging()
            sgd.param_groups[0]["lr"] = 0.1 * (k + 1)
            sgd.step()
        sides.append((params, [sgd.state[p]["mean"] for p in params]))
    for ours, theirs in zip(sides[1], sides[0], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


def test_clipping_is_that_of_torch() -> None:
    gradient = normal(6, 4, seed=5)
    for kind in (AveragedSGD, FastAveragedSGD):
        p = torch.zeros(6, 4, dtype=torch.float64, requires_grad=True)
        p.grad = gradient.clone()
        kind([p], 1.0, max_norm=0.25).step()
        torch.testing.assert_close(p.detach().norm().item(), 0.25, rtol=1e-5, atol=0)
        torch.testing.assert_close(-p.detach() / 0.25, gradient / gradient.norm(), rtol=1e-5, atol=0)


# Many cells


@pytest.mark.parametrize("rows", [1, 12, 1024])
@pytest.mark.parametrize("depth", [1, 2])
def test_many_cells_score_as_one_after_another(depth: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_scoring, "ROWS", rows)
    net = build(CELLS["ENAS"], depth)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.3)
    chosen = [sample(seed) for seed in range(6)] + list(CELLS.values())
    columns = Columns(torch.randint(WORDS, (45,), generator=torch.Generator().manual_seed(1)), 4, slice(None), pad=True)
    found = fast_scoring.score_cells(fast_net(net), columns, 5, chosen)
    expected = scoring.score_cells(net, columns, 5, chosen)
    for loss, plain, genotype in zip(found, expected, chosen, strict=True):
        assert loss == pytest.approx(plain, rel=1e-10), str(genotype)
        assert plain == mean_loss(net, columns, 5, genotype)
    assert not net.training


def mean_loss(net: LanguageModel, columns: Columns, bptt: int, genotype: Genotype) -> float:
    """Summed over slices, and divided by the number of words that count."""
    total, words, hidden = 0.0, 0, net.initial_state(columns.inputs.size(1))
    for piece in fixed_slices(len(columns), bptt):
        inputs, targets = columns[piece]
        loss, count, hidden = scoring.score_slice(net, inputs, targets, hidden, genotype)
        total, words = total + loss.item(), words + int(count)
    return total / words


def test_the_scores_are_those_of_the_model_of_2019() -> None:
    genotype = sample(3)
    net = build(genotype)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(0.3)
    reference = PlainModel(config(), genotype, WORDS).double().copy_weights(net)
    columns = Columns(torch.arange(41) % WORDS, 4, slice(None), pad=True)
    slices = [columns[piece] for piece in fixed_slices(len(columns), 5)]
    expected = pytest.approx(score(reference, slices, 4), rel=1e-12)
    for found in (
        fast_scoring.score_cells(fast_net(net), columns, 5, [genotype]),
        scoring.score_cells(net, columns, 5, [genotype]),
    ):
        assert found == [expected]


# The trial


def test_a_trial_trains_the_same_in_both_forms(laptop: Laptop) -> None:
    runs = [laptop.train(fast=fast, eval_same_arch=False, num_archs_to_eval=7, evaluate_test=True) for fast in (1, 0)]
    assert [run.code for run in runs] == [2, 2]  # 1 and 0 are no truth values
    runs = [
        laptop.train(fast=fast, eval_same_arch=False, num_archs_to_eval=7, evaluate_test=True) for fast in (True, False)
    ]
    for group in ("training", "validation", "architectures", "test"):
        for ours, plain in zip(*(run.metrics(group) for run in runs), strict=True):
            assert ours.pop("group") == plain.pop("group")
            assert ours == pytest.approx(plain, rel=1e-4)
    assert runs[0].read("architectures.json") != []


@pytest.mark.parametrize("fast", [True, False])
def test_both_forms_resume_exactly(laptop: Laptop, fast: bool) -> None:
    settings = {"fast": fast, "nonmono": 0, "train_epochs": 3, "dropouth": 0.2}
    straight = laptop.train(**settings)
    with stopped_after(20):
        stopped = laptop.train(**settings)
    assert stopped.folder is not None and stopped.read("run.json")["status"] == "stopped"
    assert_equal_runs(laptop.resume(stopped.folder), straight)


@pytest.mark.gpu
def test_on_a_gpu_both_forms_train_the_same() -> None:
    found = []
    for fast in (False, True):
        kind = FastLanguageModel if fast else LanguageModel
        net = kind(config(depth=2, **DROPOUTS), CELLS["ENAS"], WORDS, torch.Generator().manual_seed(0))
        wide_weights(net)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.mul_(0.4)
        net.to("cuda")
        sgd = (FastAveragedSGD if fast else AveragedSGD)(net.parameters(), 0.5, 1e-3, max_norm=0.25)
        words, targets = (part.cuda() for part in words_and_targets())
        for _ in range(3):
            sgd.zero_grad()
            loss = net(words, net.initial_state(BATCH), masks_of(net), targets=targets).loss
            loss.backward()
            sgd.step()
        found.append([loss.detach(), *net.parameters()])
    for ours, plain in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-8, atol=1e-9)
