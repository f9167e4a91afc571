"""The fast form of the network against `Network` and against the plain baseline of `benchmarks`: values, gradients, state."""

from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support.convolutional import genotypes_with_gaps
from support.fast_networks import TIGHT, assert_near, both, drop, generator, loss_of, moved, normal, nudged, shake
from support.runs import ROOT, Laptop, assert_equal_runs, stopped_after
from support.torch_version import OLD_COMPILER
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.plain_cnn import PlainNetwork
from cnn_nas import genotypes
from cnn_nas.architecture import ALL_OPERATIONS, Genotype, sample
from cnn_nas.fast.cells import State, run
from cnn_nas.fast.depthwise import depthwise
from cnn_nas.fast.model import FastNetwork
from cnn_nas.images.metrics import Classification
from cnn_nas.model import ModelConfig, Network, Output, draw_path_masks
from cnn_nas.operations import OPERATIONS, FactorizedReduce, build, initialise, relu_conv_norm
from cnn_nas.space import SPACE
from cnn_nas.trial import ImageTrial
from nas.core.optimizers import fused_sgd
from nas.core.space import named_genotypes
from nas.trial.inspection import read_experiment

SIZES = [(8, 8), (7, 4), (5, 9), (2, 3), (1, 2), (6, 7)]
published = pytest.mark.parametrize("name", named_genotypes("cnn_nas", Genotype))


def step(net: nn.Module, x: torch.Tensor, masks: torch.Tensor | None) -> dict[str, torch.Tensor | None]:
    """All that a step computes, by name."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    output = net(x, masks)
    loss = loss_of(output)
    loss.backward()
    gradients = {f"gradient of {name}": parameter.grad for name, parameter in net.named_parameters()}
    buffers = {name: value.detach().double() for name, value in net.named_buffers()}
    return {"logits": output.logits, "auxiliary": output.auxiliary_logits, "images": x.grad, **gradients, **buffers}


def assert_same_step(plain: Network, fast: FastNetwork, x: torch.Tensor, masks: torch.Tensor | None) -> None:
    """Equal up to rounding, and to what plain makes of images that are `NUDGE` away."""
    start = copy.deepcopy(plain)
    theirs, ours, aside = step(plain, x, masks), step(fast, x, masks), step(start, nudged(x), masks)
    assert theirs.keys() == ours.keys() == aside.keys()
    for name, value in theirs.items():
        assert_near(ours[name], value, name, TIGHT + moved(value, aside[name]))


# Operations


def operation_step(
    run: Callable[[torch.Tensor], torch.Tensor], operation: nn.Module, x: torch.Tensor
) -> dict[str, Any]:
    x = x.clone().requires_grad_()
    before, value = x.detach().clone(), run(x)
    if value.requires_grad:
        (value * normal(*value.shape, seed=3)).sum().backward()
    assert torch.equal(x, before)  # the state that an operation reads stays as it is
    gradients = {name: parameter.grad for name, parameter in operation.named_parameters()}
    # the network counts batches for all of its layers
    buffers = {name: buffer for name, buffer in operation.named_buffers() if "num_batches" not in name}
    return {"value": value, "input": x.grad, **gradients, **buffers}


def assert_same_operation(operation: nn.Module, x: torch.Tensor) -> None:
    """Value, gradients and running means, up to rounding and to what the plain form makes of an input `NUDGE` away."""
    operation.double()
    initialise(operation, generator())
    shake(operation)
    other, start = copy.deepcopy(operation), copy.deepcopy(operation)
    theirs, aside = operation_step(operation, operation, x), operation_step(start, start, nudged(x))
    channels_last = x.contiguous(memory_format=torch.channels_last)
    ours = operation_step(lambda x: run(other, State(x)), other, channels_last)
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        assert_near(ours[name], value, name, TIGHT + moved(value, aside[name]))


@pytest.mark.parametrize("name", sorted(OPERATIONS))
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("affine", [True, False])
def test_every_operation_is_the_same(name: str, stride: int, size: tuple[int, int], affine: bool) -> None:
    for channels in (2, 5):
        assert_same_operation(build(name, channels, stride, affine), normal(3, channels, *size))


@pytest.mark.parametrize("name", ["max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3"])
def test_pools_followed_by_batch_norm_are_the_same(name: str) -> None:
    assert_same_operation(build(name, 3, 2, affine=False, pool_bn=True), normal(3, 3, 7, 6))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 7), st.integers(2, 4), st.data())
@settings(max_examples=60, deadline=None)
def test_operations_are_the_same_at_any_size(height: int, width: int, channels: int, batch: int, data: Any) -> None:
    name, stride = data.draw(st.sampled_from(ALL_OPERATIONS)), data.draw(st.sampled_from([1, 2]))
    if name == "skip_connect" and stride == 2:
        channels += 1
    assert_same_operation(build(name, channels, stride, True), normal(batch, channels, height, width))


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_fits_the_inputs_of_a_cell_is_the_same(size: tuple[int, int]) -> None:
    assert_same_operation(relu_conv_norm(3, 5), normal(3, 3, *size))
    assert_same_operation(FactorizedReduce(3, 5), normal(3, 3, *size))


# Networks


@published
@pytest.mark.parametrize("size", [(16, 16), (15, 9)], ids=str)
def test_published_networks_are_the_same(name: str, size: tuple[int, int]) -> None:
    plain, fast = both(SPACE.by_name(name), size=size)
    assert_same_step(plain, fast, normal(4, 3, *size), drop(fast, 4))


@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 7), st.booleans(), st.data())
@settings(max_examples=25, deadline=None)
def test_drawn_networks_are_the_same(seed: int, channels: int, layers: int, auxiliary: bool, data: Any) -> None:
    size = data.draw(st.integers(1, 17)), data.draw(st.integers(1, 17))
    p, batch = data.draw(st.sampled_from([None, 0.0, 0.4])), data.draw(st.integers(2, 5))
    plain, fast = both(sample(seed), channels, layers, auxiliary, size, data.draw(st.booleans()))
    assert_same_step(plain, fast, normal(batch, 3, *size), None if p is None else drop(fast, batch, p))


@pytest.mark.parametrize("auxiliary", [False, True])
def test_networks_with_idle_parts_are_the_same(auxiliary: bool) -> None:
    for genotype in genotypes_with_gaps():
        for layers in (1, 2, 3, 4):
            plain, fast = both(genotype, 2, layers, auxiliary, (8, 8))
            assert_same_step(plain, fast, normal(3, 3, 8, 8), drop(fast, 3))
            assert {id(p) for p in fast.unused_parameters()} == {id(p) for p in fast.parameters() if p.grad is None}


@pytest.mark.parametrize("last", [True, False])
def test_every_operation_at_every_place(last: bool) -> None:
    """Any operation on any state: what reads a state before its ReLU, and after it, and neither."""
    for seed in range(30):
        rng = random.Random(seed)
        cells = [
            tuple((rng.choice(ALL_OPERATIONS), rng.randrange(2 + k // 2)) for k in range(2 * rng.randint(1, 5)))
            for _ in range(2)
        ]
        concats = [tuple(rng.sample(range(2, 2 + len(cell) // 2), rng.randint(1, len(cell) // 2))) for cell in cells]
        genotype = Genotype(normal=cells[0], normal_concat=concats[0], reduce=cells[1], reduce_concat=concats[1])
        plain, fast = both(genotype, 3, 4, size=(9, 8), last=last)
        assert_same_step(plain, fast, normal(3, 3, 9, 8), drop(fast, 3))


@published
def test_evaluation_is_the_same_and_changes_nothing(name: str) -> None:
    plain, fast = both(SPACE.by_name(name))
    step(plain, normal(4, 3, 16, 16), None)
    plain.zero_grad()
    fast.load_state_dict(plain.state_dict())
    before, x = copy.deepcopy(fast.state_dict()), normal(4, 3, 16, 16, seed=2)
    unchanged = x.clone()
    plain.eval(), fast.eval()
    with torch.no_grad():
        theirs, ours = plain(x), fast(x)
    assert_near(ours.logits, theirs.logits)
    assert ours.auxiliary_logits is None and torch.equal(x, unchanged)
    assert all(torch.equal(value, before[key]) for key, value in fast.state_dict().items())
    assert_same_step(plain, fast, x, drop(fast, 4))  # with drop path, as nothing forbids it


@pytest.mark.parametrize("weights_last", [False, True])
@pytest.mark.parametrize("images_last", [False, True])
def test_any_memory_format_gives_the_same(weights_last: bool, images_last: bool) -> None:
    plain, fast = both(genotypes.CONSTRAINED_ASHA, last=weights_last)
    x = normal(4, 3, 16, 16)
    if images_last:
        x = x.contiguous(memory_format=torch.channels_last)
    assert_same_step(plain, fast, x, drop(fast, 4))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [True, False])
def test_all_feature_maps_have_the_memory_format_that_is_asked_for(last: bool, channels: int) -> None:
    """Also with images of one channel, which have both."""
    memory = torch.channels_last if last else torch.contiguous_format
    for name in ALL_OPERATIONS:
        edges = ((name, 0), (name, 1), (name, 2), (name, 0))
        config = ModelConfig(4, 3, True, 0.4, 0.2)
        net = FastNetwork(config, Genotype(normal=edges, reduce=edges), 7, channels, (16, 16), generator())
        net.to(memory_format=memory)
        with MemoryFormats() as seen:
            loss_of(net(torch.randn(2, channels, 16, 16).contiguous(memory_format=memory))).backward()
        heavy = {"convolution", "native_batch_norm", "relu", "relu_", "max_pool2d_with_indices", "avg_pool2d", "cat"}
        heavy |= {"convolution_backward", "native_batch_norm_backward"}
        found = {there for operation, there in seen.found if operation in heavy}
        assert found == {last}, name


class MemoryFormats(TorchDispatchMode):
    """Notes each operation that makes a feature map, and whether that is channels-last; not where it is both or neither."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        first = made[0] if isinstance(made, tuple) else made
        if isinstance(first, torch.Tensor) and first.dim() == 4 and not func.is_view:
            last = first.is_contiguous(memory_format=torch.channels_last)
            if last != first.is_contiguous():
                self.found.append((func.overloadpacket.__name__, last))
        return made


def test_checkpoints_of_one_form_are_those_of_the_other() -> None:
    plain, fast = both(genotypes.PC_DARTS_CIFAR)
    for _ in range(3):
        assert_same_step(plain, fast, normal(4, 3, 16, 16), drop(fast, 4))
    theirs, ours = plain.state_dict(), fast.state_dict()
    assert list(theirs) == list(ours)
    for key, value in theirs.items():
        assert ours[key].dtype == value.dtype and ours[key].shape == value.shape
    counted = {int(value) for key, value in ours.items() if key.endswith("num_batches_tracked")}
    assert counted == {3}
    assert [name for name, _ in plain.named_modules()] == [name for name, _ in fast.named_modules()]


def test_a_copy_counts_its_own_batches() -> None:
    _, fast = both(genotypes.DARTS_V2, layers=3)
    other = copy.deepcopy(fast)
    other(normal(2, 3, 16, 16))
    counts = [
        {int(v) for k, v in net.state_dict().items() if k.endswith("num_batches_tracked")} for net in (fast, other)
    ]
    assert counts == [{0}, {1}]


@pytest.mark.parametrize("part", [slice(0, 3), slice(3, 6)])
def test_a_process_drops_the_paths_of_its_own_images(part: slice) -> None:
    plain, fast = both(genotypes.DARTS_V2)
    x = normal(6, 3, 16, 16)[part]
    assert_same_step(plain, fast, x, drop(fast, 6, shard=part))


@pytest.mark.skipif(OLD_COMPILER, reason="its compiler takes no plain arguments of an operation")
def test_it_compiles_whole() -> None:
    """Without a graph break, with drop path, both heads and their loss."""
    _, fast = both(genotypes.CONSTRAINED_ASHA, layers=3)
    x, masks, classes = normal(4, 3, 16, 16), drop(fast, 4), torch.tensor([0, 1, 2, 3])
    other, scores = copy.deepcopy(fast), Classification()

    def losses(net: Network, masks: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
        logits, auxiliary = net(x, masks)
        assert auxiliary is not None
        loss = scores.objective(logits, classes) + 0.4 * scores.objective(auxiliary, classes)
        return loss, logits, auxiliary

    expected = losses(other, masks)
    for ours, eager in zip(torch.compile(losses, backend="eager", fullgraph=True)(fast, masks), expected, strict=True):
        assert_near(ours, eager)


def test_drop_path_drops_its_share() -> None:
    """A network of one cell, one node and no other edge: an image's logits are the bias where both edges are dropped."""
    genotype = Genotype(normal=(("sep_conv_3x3", 0), ("none", 1)), reduce=(("sep_conv_3x3", 0), ("none", 1)))
    _, fast = both(genotype, 2, 1, auxiliary=False, size=(2, 2))
    logits = fast(normal(4000, 3, 2, 2), drop(fast, 4000)).logits
    share = float((logits == fast.classifier.bias).all(1).double().mean())
    assert share == pytest.approx(0.3, abs=4.5 * (0.3 * 0.7 / 4000) ** 0.5)


def test_autocast_stays_as_near_as_the_plain_form() -> None:
    plain, fast = (net.float().to(memory_format=torch.channels_last) for net in both(genotypes.CONSTRAINED_ASHA))
    x = normal(8, 3, 16, 16).float().contiguous(memory_format=torch.channels_last)
    exact = plain(x, drop(plain, 8, dtype=torch.float32)).logits.detach()
    masks = drop(plain, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs, ours = plain(x, masks), fast(x, masks)
    loss_of(ours).backward()
    assert ours.logits.dtype == theirs.logits.dtype == torch.bfloat16
    errors = [float((each.logits.detach().float() - exact).norm() / exact.norm()) for each in (theirs, ours)]
    assert errors[1] < 2 * errors[0] < 0.3
    assert all(p.dtype == torch.float32 and p.grad is not None and p.grad.isfinite().all() for p in fast.parameters())


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_trains_in_half_precision(name: str) -> None:
    genotype = Genotype(normal=((name, 0), (name, 1), (name, 2), (name, 0)), reduce=((name, 0), (name, 1)))
    _, fast = both(genotype, 4, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = fast.float()(normal(4, 3, 16, 16).float(), drop(fast, 4, dtype=torch.bfloat16))
    loss_of(output).backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in fast.parameters())


# The baseline of the benchmark


@published
def test_the_baseline_computes_the_same(name: str) -> None:
    assert_baseline_is_the_same(SPACE.by_name(name), 4, 5)


@pytest.mark.parametrize("seed", range(4))
def test_the_baseline_computes_the_same_for_drawn_networks(seed: int) -> None:
    assert_baseline_is_the_same(sample(seed), 3, 6)


def assert_baseline_is_the_same(genotype: Genotype, channels: int, layers: int) -> None:
    """Against both of ours, from the same weights, with the masks that ours draw."""
    networks = both(genotype, channels, layers, size=(32, 32))
    x, p = normal(3, 3, 32, 32), 0.3
    masks = drop(networks[0], 3, p)
    assert masks is not None
    rows = iter((masks > 0).double())
    baseline = PlainNetwork(genotype, channels, layers, 7, lambda _: next(rows)).double().copy_weights(networks[0])
    logits, auxiliary = baseline(x, p)
    assert next(rows, None) is None  # the baseline drops as many edges
    loss_of(Output(logits, auxiliary)).backward()
    for net in networks:
        found = step(net, x, masks)
        assert_near(found["logits"], logits)
        assert_near(found["auxiliary"], auxiliary)
        for (name, ours), theirs in zip(net.named_parameters(), baseline.parameters(), strict=True):
            assert_near(ours.grad, theirs.grad, name)
        for (name, value), theirs in zip(net.named_buffers(), baseline.buffers(), strict=True):
            assert_near(value.double(), theirs.double(), name)


# Memory


FEW_CHANNELS = """
import sys
sys.path[:0] = [{root!r}, {root!r} + "/tests"]
import torch
from cnn_nas.architecture import ALL_OPERATIONS, Genotype
from cnn_nas.fast.cells import State, run
from cnn_nas.fast.depthwise import depthwise
from cnn_nas.fast.model import FastNetwork
from cnn_nas.images.metrics import Classification
from cnn_nas.model import ModelConfig, draw_path_masks
torch.set_num_threads(1)
for channels in (2, 3, 4, 5):
    for name in ALL_OPERATIONS:
        edges = ((name, 0), (name, 1), (name, 2), (name, 0))
        genotype = Genotype(normal=edges, reduce=edges)
        for size, memory in (((8, 8), torch.channels_last), ((7, 5), torch.channels_last), ((7, 5), torch.contiguous_format)):
            config = ModelConfig(channels, 4, True, 0.4, 0.2)
            net = FastNetwork(config, genotype, 3, 1, size, torch.Generator()).to(memory_format=memory)
            x = torch.randn(5, 1, *size).contiguous(memory_format=memory)
            masks = draw_path_masks(torch.Generator(), net.droppable_edges, 5, slice(None), 0.2)
            for _ in range(4):
                out = net(x, masks)
                (out.logits.sum() + out.auxiliary_logits.sum()).backward()
print("fine")
"""


@pytest.mark.parametrize("fill", ["85", "0"])
def test_few_channels_do_not_corrupt_memory(fill: str) -> None:
    """In a process that glibc, where there is one, ends at the first block whose neighbour was written over."""
    environment = {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": fill}
    if sys.platform.startswith("linux"):
        environment["LD_PRELOAD"] = "libc_malloc_debug.so.0"  # without it, newer releases of glibc check less
    code = FEW_CHANNELS.format(root=str(ROOT))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr[-2000:]


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_depthwise_convolutions_have_the_gradients_of_finite_differences(kernel: int, dilation: int) -> None:
    padding = (dilation * (kernel // 2),) * 2
    x, weight = normal(2, 2, 5, 6).requires_grad_(), normal(2, 1, kernel, kernel, seed=2).requires_grad_()

    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return depthwise(x, weight, (1, 1), padding, (dilation, dilation))

    assert torch.equal(run(x, weight), F.conv2d(x, weight, None, 1, padding, dilation, 2))
    assert torch.autograd.gradcheck(run, (x, weight))


@pytest.mark.parametrize("frozen", ["x", "weight"])
def test_a_depthwise_convolution_makes_no_gradient_that_nobody_wants(frozen: str) -> None:
    tensors = {"x": normal(2, 2, 5, 6), "weight": normal(2, 1, 5, 5)}
    other = next(tensor.requires_grad_() for name, tensor in tensors.items() if name != frozen)
    depthwise(tensors["x"], tensors["weight"], (1, 1), (4, 4), (2, 2)).sum().backward()
    assert tensors[frozen].grad is None and other.grad is not None


def test_the_fast_form_keeps_less() -> None:
    small = ["hyperparameters.arch_to_use=CONSTRAINED_ASHA", "hyperparameters.layers=6"]
    kept = [
        ImageTrial.memory(read_experiment(ROOT / "cnn_nas" / "folder.yaml", [*small, fast], 1).points[0], 1)
        for fast in ("hyperparameters.fast=true", "hyperparameters.fast=false", "hyperparameters.fast=null")
    ]
    assert kept[0].activations < kept[1].activations and kept[2] == kept[0]


# The optimiser


def test_the_fused_optimiser_is_sgd() -> None:
    plain, fast = both(genotypes.DARTS_V2, layers=3)
    theirs = torch.optim.SGD(plain.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    ours = fused_sgd(fast.parameters(), 0.1, 0.9, weight_decay=0.01)
    for seed in range(3):
        for net, sgd in ((plain, theirs), (fast, ours)):
            sgd.zero_grad()
            loss_of(net(normal(4, 3, 16, 16, seed=seed), drop(net, 4))).backward()
            sgd.step()
    for (name, a), b in zip(fast.named_parameters(), plain.parameters(), strict=True):
        assert_near(a, b, name)
    states = [sgd.state_dict()["state"] for sgd in (theirs, ours)]
    assert states[0].keys() == states[1].keys()
    assert [set(state) for state in states[0].values()] == [set(state) for state in states[1].values()]


# The trial

ALL: dict[str, Any] = {"train_epochs": 2, "drop_path_prob": 0.4, "auxiliary": True, "learning_rate": 0.1}


def test_the_switch_chooses_the_form_and_changes_next_to_nothing(
    darkroom: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[type] = []
    for kind in (Network, FastNetwork):
        forward = kind.forward

        def noted(self: Network, *arguments: Any, forward: Any = forward) -> Output:
            used.append(type(self))
            return forward(self, *arguments)  # type: ignore[no-any-return]

        monkeypatch.setattr(kind, "forward", noted)
    losses = []
    for switch, form in ((None, FastNetwork), (True, FastNetwork), (False, Network)):
        run = darkroom.train(fast=switch, **ALL)
        assert run.code == 0 and set(used) == {form}
        used.clear()
        losses.append(run.values("training", "loss"))
    assert losses[0] == losses[1] and losses[0] == pytest.approx(losses[2], rel=1e-3)


@pytest.mark.parametrize("fast", [True, False])
def test_both_forms_resume_exactly(darkroom: Laptop, fast: bool) -> None:
    options = {**ALL, "fast": fast, "channels_last": True, "init_channels": 4}
    straight = darkroom.train(**options)
    with stopped_after(3):
        run = darkroom.train(**options)
    assert_equal_runs(darkroom.resume(run.path), straight)


def test_the_same_seed_gives_the_same_curve(darkroom: Laptop) -> None:
    first, second = (darkroom.train(**ALL) for _ in range(2))
    assert first.values("training", "loss") == second.values("training", "loss")


# On a GPU


@pytest.mark.gpu
@published
def test_on_a_gpu_networks_are_the_same(name: str) -> None:
    plain, fast = (net.to("cuda", memory_format=torch.channels_last) for net in both(SPACE.by_name(name)))
    x = normal(4, 3, 16, 16).to("cuda")
    masks = draw_path_masks(torch.Generator("cuda").manual_seed(5), plain.droppable_edges, 4, slice(None), 0.3)
    theirs, ours = step(plain, x, masks), step(fast, x, masks)
    for key, value in theirs.items():
        assert_near(ours[key], value, key)
