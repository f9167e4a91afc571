"""On a GPU the same seeds give the same bits, and float32 is float32."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.cuda_flags import preserved_flags
from support.fast_networks import generator
from support.runs import Laptop, assert_equal_runs, stopped_after

from cnn_nas.architecture import ALL_OPERATIONS, Genotype
from cnn_nas.fast.model import FastForm, FastNetwork
from cnn_nas.images.augmentation import Augmentation
from cnn_nas.model import ModelConfig, Network, draw_path_masks
from cnn_nas.space import SPACE
from nas.core.optimizers import fused_sgd
from nas.core.seeds import torch_generator
from nas.trial.device import prepare

pytestmark = pytest.mark.gpu
EVERYTHING = Genotype(
    normal=tuple((name, k % (2 + k // 2)) for k, name in enumerate(ALL_OPERATIONS)),
    reduce=tuple((name, k % (2 + k // 2)) for k, name in enumerate(ALL_OPERATIONS[::-1])),
)
GENOTYPES = {"every operation": EVERYTHING, **{name: SPACE.by_name(name) for name in ("DARTS_V2", "CONSTRAINED_ASHA")}}
BATCH = 48


@pytest.fixture(autouse=True)
def prepared() -> Iterator[None]:
    """As a trial prepares its device; put back after the test."""
    with preserved_flags():
        prepare(torch.device("cuda"))
        yield


def trained(
    genotype: Genotype,
    kind: Callable[..., Network],
    dtype: torch.dtype,
    memory: torch.memory_format,
    size: int,
    steps: int = 4,
) -> dict[str, torch.Tensor]:
    """Weights, buffers and the last logits after some steps with all that a trial does, on images as large as `size`."""
    config = ModelConfig(12, 6, True, auxiliary_weight=0.4, drop_path_prob=0.3)
    net = kind(config, genotype, 10, 3, (size, size), generator()).to("cuda", memory_format=memory)
    sgd = fused_sgd(net.parameters(), 0.05, 0.9, weight_decay=3e-4)
    augmentation = Augmentation((0.5,) * 3, (0.25,) * 3, padding=2, flip=True, cutout_length=size // 2)
    images = torch.randint(256, (BATCH, 3, size, size), generator=generator(1), dtype=torch.uint8).to("cuda")
    classes = torch.randint(10, (BATCH,), generator=generator(2)).to("cuda")
    for step in range(steps):
        draws = augmentation.draw(torch_generator("cuda", 1, "augmentation", step), BATCH, slice(None), (size, size))
        x = augmentation.apply(images, draws).contiguous(memory_format=memory)
        masks = draw_path_masks(
            torch_generator("cuda", 1, "drop path", step), net.droppable_edges, BATCH, slice(None), 0.3, dtype
        )
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits, auxiliary = net(x, masks)
        (F.cross_entropy(logits.float(), classes) + 0.4 * F.cross_entropy(auxiliary.float(), classes)).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5)
        sgd.step()
        sgd.zero_grad()
    return {"logits": logits.detach(), **net.state_dict()}


@pytest.mark.parametrize("name", GENOTYPES)
@pytest.mark.parametrize("kind", [Network, FastNetwork])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format], ids=str)
@pytest.mark.parametrize("size", [32, 27])  # the auxiliary head pools otherwise where a side is odd
def test_the_same_seeds_give_the_same_bits(
    name: str, kind: type[Network], dtype: torch.dtype, memory: torch.memory_format, size: int
) -> None:
    first, *others = (trained(GENOTYPES[name], kind, dtype, memory, size) for _ in range(3))
    for other in others:
        assert [key for key, value in first.items() if not torch.equal(value, other[key])] == []
    assert all(value.isfinite().all() for value in first.values())


FORMS = [FastForm(casts_once=True), FastForm(padded=True), FastForm(True, True), FastForm(True, True, "inductor")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_what_is_for_a_gpu_gives_the_same_bits_and_nearly_those_of_the_fast_form(
    form: FastForm, dtype: torch.dtype
) -> None:
    """One step is compared, as roundings grow in the ones that follow; casting at once rounds nothing otherwise."""
    kind = functools.partial(FastNetwork, form=form)
    common: Any = (dtype, torch.channels_last, 32)
    first, again = (trained(EVERYTHING, kind, *common) for _ in range(2))
    assert [key for key, value in first.items() if not torch.equal(value, again[key])] == []
    ours, theirs = (trained(EVERYTHING, each, *common, steps=1)["logits"].double() for each in (kind, FastNetwork))
    assert (ours - theirs).norm() < (1e-4 if dtype == torch.float32 else 0.1) * theirs.norm()


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_what_is_for_a_gpu_is_near_float64(form: FastForm) -> None:
    config = ModelConfig(12, 6, True, auxiliary_weight=0.4, drop_path_prob=0.3)
    exact = Network(config, GENOTYPES["CONSTRAINED_ASHA"], 7, 3, (32, 32), generator()).double()
    net = FastNetwork(config, GENOTYPES["CONSTRAINED_ASHA"], 7, 3, (32, 32), generator(), form=form)
    net.to("cuda", memory_format=torch.channels_last)
    x = torch.randn(BATCH, 3, 32, 32, generator=generator(1))
    right, ours = exact(x.double()).logits, net(x.to("cuda")).logits.cpu().double()
    assert (ours - right).norm() < 2e-5 * right.norm()


@pytest.mark.parametrize("kind", [Network, FastNetwork])
def test_float32_is_not_tf32(kind: type[Network]) -> None:
    """Logits are as near to float64 as float32 is; with TF32 they would be a hundred times as far away."""
    config = ModelConfig(12, 6, True, auxiliary_weight=0.4, drop_path_prob=0.3)
    exact = Network(config, GENOTYPES["CONSTRAINED_ASHA"], 7, 3, (32, 32), generator()).double()
    net = kind(config, GENOTYPES["CONSTRAINED_ASHA"], 7, 3, (32, 32), generator()).to("cuda")
    x = torch.randn(BATCH, 3, 32, 32, generator=generator(1))
    right, ours = exact(x.double()).logits, net(x.to("cuda")).logits.cpu().double()
    assert (ours - right).norm() < 2e-5 * right.norm()


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("groups", "size"), [(1, 1), (1, 3), (24, 3), (24, 5)])
def test_gradients_of_float32_are_not_tf32(groups: int, size: int, memory: torch.memory_format) -> None:
    """Of convolutions alone: in a whole network a rounding can turn a ReLU, in any precision."""
    x, weight = torch.randn(16, 24, 32, 32, generator=generator(1)), torch.randn(24, 24 // groups, size, size)
    found = []
    for kind, device in ((torch.float64, "cpu"), (torch.float32, "cuda")):
        inputs = [each.to(device, kind).to(memory_format=memory).requires_grad_() for each in (x, weight)]
        output = F.conv2d(*inputs, padding=size // 2, groups=groups)
        output.backward(torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view(output.shape).to(output))
        found.append([each.grad.cpu().double() for each in inputs if each.grad is not None])
    for right, ours in zip(*found, strict=True):
        assert (ours - right).norm() < 1e-5 * right.norm()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("fast", [True, False])
def test_a_resumed_run_equals_a_straight_one(darkroom: Laptop, fast: bool, mixed: bool) -> None:
    options: dict[str, Any] = {"train_epochs": 3, "learning_rate": 0.2, "drop_path_prob": 0.4, "cutout_length": 4}
    options |= {"init_channels": 12, "channels_last": True, "fast": fast, "mixed_precision": mixed, "auxiliary": True}
    straight = darkroom.train(**options)
    with stopped_after(6):
        run = darkroom.train(**options)
    assert_equal_runs(darkroom.resume(run.path), straight)
