"""What the fast network does for a GPU: weights cast at once, channels widened by zeros, cells compiled. All of it on a CPU."""

from __future__ import annotations

import copy
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.convolutional import genotypes_with_gaps
from support.fast_networks import LOOSE, TIGHT, assert_near, drop, generator, loss_of, moved, normal, nudged, shake
from support.runs import Laptop, assert_equal_runs, stopped_after
from support.torch_version import OLD_COMPILER
from torch.utils._python_dispatch import TorchDispatchMode

from cnn_nas import genotypes
from cnn_nas.architecture import ALL_OPERATIONS, Genotype
from cnn_nas.fast.cells import State, run_cell
from cnn_nas.fast.compiling import CompiledCells
from cnn_nas.fast.model import FastForm, FastNetwork
from cnn_nas.fast.networks import form_of
from cnn_nas.fast.packing import ALIGNED, Pack, Place
from cnn_nas.fast.tensors import OWN
from cnn_nas.memory import estimate
from cnn_nas.model import Cell, ModelConfig, Network
from cnn_nas.settings import GpuConfig, OptimizerConfig
from nas.core.run_config import RunConfig

EVERYTHING = Genotype(
    normal=tuple((name, k % (2 + k // 2)) for k, name in enumerate(ALL_OPERATIONS)),
    reduce=tuple((name, k % (2 + k // 2)) for k, name in enumerate(ALL_OPERATIONS[::-1])),
)
FEW = Genotype(  # little to compile, with a pool, a skip connection and a convolution
    normal=(("dil_conv_3x3", 0), ("skip_connect", 1)), reduce=(("skip_connect", 0), ("max_pool_3x3", 1))
)


def built(
    genotype: Genotype, form: FastForm, channels: int = 5, layers: int = 3, last: bool = True, drop_path: float = 0.2
) -> tuple[Network, FastNetwork]:
    """The plain network and one of that form, of equal weights, in float64."""
    sizes = ModelConfig(channels, layers, True, 0.4, drop_path), genotype, 7, 3, (9, 8)
    plain, fast = Network(*sizes, generator()).double(), FastNetwork(*sizes, generator(), form=form).double()
    shake(plain)
    fast.load_state_dict(plain.state_dict())
    return plain, fast.to(memory_format=torch.channels_last if last else torch.contiguous_format)


def step(net: Network, x: torch.Tensor, masks: torch.Tensor | None) -> dict[str, torch.Tensor | None]:
    """All that a step computes, by name."""
    net.zero_grad()
    output = net(x, masks)
    loss_of(output).backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in net.named_parameters()}
    buffers = {name: value.detach().clone().double() for name, value in net.named_buffers()}
    return {"logits": output.logits, "auxiliary": output.auxiliary_logits, **gradients, **buffers}


def assert_same(plain: Network, fast: Network, batch: int = 3, steps: int = 2) -> None:
    """Over several steps, which also compares the moving means that the later ones begin with."""
    start = copy.deepcopy(plain)
    for seed in range(steps):
        x, masks = normal(batch, 3, 9, 8, seed=seed), drop(plain, batch)
        theirs, ours, aside = step(plain, x, masks), step(fast, x, masks), step(start, nudged(x), masks)
        assert theirs.keys() == ours.keys()
        for name, value in theirs.items():
            assert_near(ours[name], value, name, TIGHT + moved(value, aside[name]))


class Operations(TorchDispatchMode):
    """What runs, but for views; `look` is shown each with what it made."""

    def __init__(self, look: Callable[[str, Any], None] = lambda name, made: None) -> None:
        super().__init__()
        self.count, self.look = Counter[str](), look

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if not func.is_view:
            name = func.overloadpacket.__name__
            self.count[name] += 1
            self.look(name, made)
        return made


# Copies


@pytest.mark.parametrize("last", [False, True])
def test_a_copy_has_the_numbers_where_they_belong_and_zeros_elsewhere(last: bool) -> None:
    weight, other, bias = normal(3, 4, 2, 3), normal(5, 1, 3, 3, seed=2), normal(3, seed=3)
    if last:
        weight, other = (each.contiguous(memory_format=torch.channels_last) for each in (weight, other))
    places = [Place((0, 1, 4), 6, (1, 2, 5, 7), 8), Place(tuple(range(5)), 5, (0,), 1), Place((0, 1, 4), 6)]
    sources = [each.requires_grad_() for each in (weight, other, bias)]
    copies = Pack(sources, places).copies(sources, torch.float64)
    right = torch.zeros(6, 8, 2, 3, dtype=torch.float64)
    for i, row in enumerate((0, 1, 4)):
        for k, column in enumerate((1, 2, 5, 7)):
            right[row, column] = weight[i, k].detach()
    assert torch.equal(copies[0], right) and torch.equal(copies[1], other) and copies[2].shape == (6,)
    assert [each.is_contiguous(memory_format=torch.channels_last) for each in copies[:2]] == [last, True]
    assert all(each.storage_offset() % ALIGNED == 0 for each in copies)
    factors = [normal(*each.shape, seed=k + 5) for k, each in enumerate(copies)]
    sum((each * factor).sum() for each, factor in zip(copies[:2], factors[:2], strict=True)).backward()
    assert weight.grad is not None and other.grad is not None and bias.grad is None
    assert torch.equal(weight.grad, factors[0][[0, 1, 4]][:, [1, 2, 5, 7]]) and torch.equal(other.grad, factors[1])
    assert weight.grad.stride() == weight.stride()


# Channels that are zero

WIDTHS = {16: 9, 24: 18, 40: 36, 32: 27}  # of 9 channels and two reductions, and of the stem
PADDED = FastForm(padded=True)


@pytest.mark.parametrize("channels", [5, 9])
@pytest.mark.parametrize("last", [True, False])
def test_a_widened_network_is_the_same(channels: int, last: bool) -> None:
    assert_same(*built(EVERYTHING, PADDED, channels, 4, last))


def test_widened_networks_with_idle_parts_are_the_same() -> None:
    for genotype in genotypes_with_gaps():
        plain, fast = built(genotype, PADDED, 3, 2)
        assert_same(plain, fast, steps=1)
        assert {id(p) for p in fast.unused_parameters()} == {id(p) for p in fast.parameters() if p.grad is None}


def test_channels_that_are_added_are_zero_after_every_layer() -> None:
    _, fast = built(EVERYTHING, PADDED, 9)
    seen = Counter[int]()

    def look(name: str, made: Any) -> None:
        for value in made if isinstance(made, tuple | list) else (made,):
            is_map = isinstance(value, torch.Tensor) and value.dim() == 4 and value.is_floating_point()
            if is_map and value.shape[1] in WIDTHS:
                seen[value.shape[1]] += 1
                assert not value[:, WIDTHS[value.shape[1]] :].any(), name

    for training in (True, False):
        fast.train(training)
        with Operations(look):
            fast(normal(3, 3, 9, 8), drop(fast, 3))
    assert seen.keys() == WIDTHS.keys() and min(seen.values()) > 3


def test_a_widened_network_has_the_parameters_of_the_other_and_evaluates_alike() -> None:
    plain, fast = built(EVERYTHING, PADDED, 9, 3)
    assert_same(plain, fast, steps=1)
    assert {name: value.shape for name, value in fast.state_dict().items()} == {
        name: value.shape for name, value in plain.state_dict().items()
    }
    before, x = copy.deepcopy(fast.state_dict()), normal(4, 3, 9, 8, seed=2)
    plain.eval(), fast.eval()
    with torch.no_grad():
        assert_near(fast(x).logits, plain(x).logits)
    assert all(torch.equal(value, before[name]) for name, value in fast.state_dict().items())


def test_writing_to_one_moving_mean_leaves_the_others_valid() -> None:
    """They lie in one piece of memory, and compiled cells write to them where autograd sees it."""
    _, fast = built(FEW, PADDED)
    fast(normal(3, 3, 9, 8))
    preparation = fast.preparation
    assert preparation is not None and len(preparation.norms) > 3
    preparation.tensors(None)
    first, *others = preparation.moved
    first.add_(1)
    assert first._version == 1 and {other._version for other in others} == {0}


def test_a_copy_or_a_moved_network_is_widened_anew() -> None:
    plain, fast = built(FEW, PADDED)
    x = normal(3, 3, 9, 8)
    fast(x)
    other = copy.deepcopy(fast)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    plain.load_state_dict(other.state_dict())
    assert_near(other(x).logits, plain(x).logits)
    assert_near(fast.float()(x.float()).logits.double(), fast.double()(x).logits, bound=1e-4)


# Weights cast at once

ONCE = FastForm(casts_once=True)


@pytest.mark.parametrize("form", [ONCE, FastForm(casts_once=True, padded=True)], ids=["", "widened"])
@pytest.mark.parametrize("last", [True, False])
def test_weights_cast_at_once_give_the_bits_of_autocast(form: FastForm, last: bool) -> None:
    """Outputs, gradients and moving means, over two passes."""
    (_, each), (_, once) = (built(EVERYTHING, kind, last=last) for kind in (FastForm(), form))
    x, found = normal(4, 3, 9, 8).float(), []
    for net in (each.float(), once.float()):
        for _ in range(2):
            with torch.autocast("cpu", torch.bfloat16):
                output = net(x, drop(net, 4, dtype=torch.bfloat16))
            assert output.logits.dtype == torch.bfloat16
            loss_of(output).backward()
        found.append({"logits": output.logits, "auxiliary": output.auxiliary_logits, **net.state_dict()})
        found[-1] |= {f"gradient of {name}": p.grad for name, p in net.named_parameters()}
    for name, value in found[0].items():
        assert value is not None and value.dtype == found[1][name].dtype
        assert torch.equal(value, found[1][name]), name


def test_all_weights_take_a_few_operations() -> None:
    """And the gradients become the parameters' without being copied: they lie in one piece of memory."""
    counts = []
    for form in (FastForm(), ONCE):
        _, fast = built(genotypes.CONSTRAINED_ASHA, form, 8)
        fast.float()
        with Operations() as seen, torch.autocast("cpu", torch.bfloat16):
            output = fast(normal(4, 3, 9, 8).float(), drop(fast, 4, dtype=torch.bfloat16))
        with seen:
            loss_of(output).backward()
        counts.append(seen.count)
    weights = [p for p in fast.parameters() if p.dim() > 1]
    assert counts[0]["_to_copy"] > 2 * len(weights) > 100 > 10 > counts[1]["_to_copy"]
    assert len({p.grad.untyped_storage().data_ptr() for p in weights if p.grad is not None}) == 1
    assert counts[1].total() < counts[0].total() - 2 * len(weights) + 20


def test_without_autocast_nothing_is_cast() -> None:
    _, fast = built(FEW, ONCE)
    fast(normal(3, 3, 9, 8))
    assert fast.preparation is None and fast(normal(3, 3, 9, 8)).logits.dtype == torch.float64


# Cells compiled

compiles = pytest.mark.skipif(OLD_COMPILER, reason="its compiler takes no plain arguments of an operation")


class Graphs(list[Any]):
    """A compiler that notes its graphs and runs them as they are."""

    def __call__(self, graph: Any, _: Any) -> Any:
        self.append(graph)
        return graph.forward


@compiles
def test_a_network_of_compiled_cells_is_the_same() -> None:
    """With nothing dropped, as in the first epoch, as with drop path, for which nothing is compiled again."""
    graphs = Graphs()
    plain, fast = built(FEW, FastForm(padded=True, compiler=graphs), 3)
    assert_same(plain, fast)
    x = normal(3, 3, 9, 8, seed=4)
    theirs, ours = step(plain, x, None), step(fast, x, None)
    for name, value in theirs.items():
        assert_near(ours[name], value, name, LOOSE)
    plain.eval(), fast.eval()
    assert_near(fast(x).logits, plain(x).logits)  # without the compiler
    assert fast.compiled is not None and fast.compiled.works and len(fast.compiled.kinds) == len(graphs) == 3


@compiles
def test_cells_of_a_kind_share_a_graph() -> None:
    graphs = Graphs()
    compiled = CompiledCells(graphs)
    first, second, wider = (Cell(FEW, (4, 4), channels, False, False).double() for channels in (3, 3, 5))
    x, y = (State(None, normal(2, 4, 5, 6, seed=seed).relu()) for seed in (1, 2))
    for cell in (first, second, wider, first):
        expected = run_cell(copy.deepcopy(cell), x, y, None, True, OWN).value
        assert_near(compiled(cell, x, y, None, True, OWN).value, expected)
    assert len(graphs) == 2 and compiled.works


@compiles
def test_where_the_compiler_fails_training_goes_on_and_one_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler here")

    plain, fast = built(FEW, FastForm(compiler=broken))
    with caplog.at_level(logging.WARNING):
        assert_same(plain, fast)
    (record,) = (each for each in caplog.records if each.name.startswith("cnn_nas"))
    assert "cells are not compiled" in record.message and "no compiler here" in record.message


def test_an_error_of_the_step_is_not_one_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> torch.Tensor:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("cnn_nas.fast.compiling._compile", lambda *_: full)
    compiled, cell = CompiledCells("eager"), Cell(FEW, (4, 4), 3, False, False).double()
    x = State(None, normal(2, 4, 5, 6).relu())
    with pytest.raises(RuntimeError, match="out of memory"):
        compiled(cell, x, x, None, True, OWN)
    assert compiled.works


# The settings


def test_settings_become_a_form() -> None:
    assert form_of(GpuConfig()) == FastForm()
    assert form_of(GpuConfig("once", True, "cells")) == FastForm(True, True, "inductor")


@pytest.mark.parametrize(
    ("gpu", "problem"),
    [
        (
            GpuConfig(weight_casts="once"),
            "weight_casts once needs the fast form, got fast false; leave one of them out",
        ),
        (GpuConfig(pad_channels=True), "pad_channels true needs the fast form, got fast false; leave one of them out"),
        (GpuConfig(compile="cells"), "compile cells needs the fast form, got fast false; leave one of them out"),
    ],
)
def test_the_plain_form_refuses_what_it_cannot_do(gpu: GpuConfig, problem: str) -> None:
    plain, fast = (RunConfig(fast=fast) for fast in (False, None))
    optimizer = OptimizerConfig(0.1, 0.9, 0, 5, 4, 4, 0, False, 0)
    assert gpu.problems_with(plain, optimizer) == [f"hyperparameters.{problem}"]
    assert gpu.problems_with(fast, optimizer) == []
    exact = replace(optimizer, mixed_precision=False)
    assert len(gpu.problems_with(fast, exact)) == (gpu.weight_casts == "once")


def test_widened_channels_count_in_the_estimate_of_memory() -> None:
    sizes = ModelConfig(4, 3, True, 0.4, 0.2), FEW, 7, (3, 16, 16), 4
    options: dict[str, Any] = {"momentum": True, "crop_padding": 0, "flip": False}
    narrow, wide = (estimate(*sizes, fast=True, padded=padded, **options) for padded in (False, True))
    assert wide.parameters == narrow.parameters and 1.2 < wide.activations / narrow.activations < 2


def test_a_resumed_run_equals_a_straight_one(darkroom: Laptop) -> None:
    options: dict[str, Any] = {"train_epochs": 2, "drop_path_prob": 0.4, "auxiliary": True, "learning_rate": 0.1}
    options |= {"weight_casts": "once", "pad_channels": True, "mixed_precision": True, "init_channels": 3}
    straight = darkroom.train(**options)
    assert straight.code == 0, straight.err
    with stopped_after(3):
        run = darkroom.train(**options)
    assert_equal_runs(darkroom.resume(run.path), straight)
