"""A training step lets the CPU run ahead of a GPU: it asks for no number of the device, and copies nothing to it.

Where there is no GPU, its branches run on tensors of torch's `FakeTensorMode`, which have a device and no numbers; there is no
backward pass for those, so whole steps run on the CPU.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.fast_networks import generator
from support.runs import Laptop
from support.torch_version import OLD_COMPILER
from support.waiting import never_waiting
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnn_nas import genotypes
from cnn_nas.fast.model import FastForm, FastNetwork
from cnn_nas.images.augmentation import Augmentation
from cnn_nas.images.metrics import Classification
from cnn_nas.model import ModelConfig, draw_path_masks
from cnn_nas.trial import ImageTrial
from nas.core.optimizers import SGD
from nas.trial import WeightedMeans

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "_unique2", "unique_consecutive"}
"""What must know numbers of the device."""
FROM_THE_HOST = {"lift_fresh", "lift_fresh_copy", "lift", "_pin_memory"}
"""What torch.tensor and its like do with numbers of the CPU."""


class Watch(TorchDispatchMode):
    """Fails at an operation for which the CPU would wait; with `device`, also at one with a tensor that is not there."""

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self.device, self.count = device, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in WAITING | FROM_THE_HOST, f"{func} waits for the device"
        made = func(*args, **(kwargs or {}))
        tensors = [each for each in tree_leaves((args, kwargs, made)) if isinstance(each, torch.Tensor)]
        if name in ("index", "index_put", "index_put_"):
            masks = [each for each in tensors if each.dtype in (torch.bool, torch.uint8)]
            assert not masks, f"{func} by a mask waits for the device"
        if self.device is not None:
            assert {each.device.type for each in tensors} <= {self.device}, f"{func} has a tensor on the CPU"
        self.count += 1
        return made


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: x + torch.tensor([1.0, 2.0]),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: bool(x.sum()),
    ],
)
def test_what_waits_is_seen(act: Any) -> None:
    with pytest.raises(AssertionError, match="waits"), Watch():
        act(torch.ones(2))


@pytest.mark.parametrize(
    "options",
    [{}, {"mixed_precision": True, "weight_casts": "once", "pad_channels": True}, {"fast": False}],
    ids=["fast", "for a GPU", "plain"],
)
def test_a_step_of_the_trial_waits_for_nothing(
    darkroom: Laptop, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """From the second on: the first one makes what is kept."""
    train, counts = ImageTrial.train_step, list[int]()

    def train_step(self: ImageTrial, batch: Any, epoch: int, index: int) -> dict[str, float]:
        if index < 1:
            return train(self, batch, epoch, index)
        with Watch() as watch:
            metrics = train(self, batch, epoch, index)
        counts.append(watch.count)
        return metrics

    monkeypatch.setattr(ImageTrial, "train_step", train_step)
    told = {"train_epochs": 1, "auxiliary": True, "drop_path_prob": 0.4, "init_channels": 3, "crop_padding": 2}
    run = darkroom.train(**told, flip=True, **options)
    assert run.code == 0, run.err
    assert len(counts) > 2 and min(counts) > 100


class Cuda(torch.Generator):
    """A generator that says it is on a GPU."""

    device = torch.device("cuda")


@pytest.mark.skipif(OLD_COMPILER, reason="its FakeTensorMode wants a GPU")
def test_what_a_gpu_runs_stays_on_it() -> None:
    """Augmentation, drop path, forward pass, objective, clipping, optimiser and means, in the branches of a GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        with torch.device("cuda"):
            config, form = ModelConfig(9, 2, True, 0.4, 0.2), FastForm(casts_once=True, padded=True)
            net = FastNetwork(config, genotypes.CONSTRAINED_ASHA, 10, 3, (16, 16), generator(), form=form)
            images, classes = torch.zeros(4, 3, 16, 16, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64)
        sgd = SGD(net.parameters(), 0.1, 0.9, foreach=True)  # fake tensors know no fused one
        augmentation, scores = Augmentation((0.5,) * 3, (0.2,) * 3), Classification()
        means = WeightedMeans(torch.device("cuda"), scores.names, scores.report)

        def step() -> None:
            x = augmentation.apply(images, augmentation.draw(Cuda(), 4, slice(None), (16, 16)))
            masks = draw_path_masks(Cuda(), net.droppable_edges, 4, slice(None), 0.3)
            logits, auxiliary = net(x.contiguous(memory_format=torch.channels_last), masks)
            assert auxiliary is not None and net.preparation is not None and net.preparation.weights is not None
            _ = scores.objective(logits, classes) + 0.4 * scores.objective(auxiliary, classes)
            for parameter in net.parameters():
                parameter.grad = torch.zeros_like(parameter)
            pack = net.preparation.weights
            pack.gather([torch.zeros(shape, device="cuda") for shape in pack.shapes], torch.float32)
            torch.nn.utils.clip_grad_norm_(net.parameters(), 5)
            sgd.step()
            sgd.zero_grad()
            means.update(len(images), **scores.sums(logits.detach(), classes))

        step()
        with Watch("cuda") as watch:
            step()
        assert watch.count > 150


@pytest.mark.gpu
@pytest.mark.parametrize("form", [FastForm(), FastForm(True), FastForm(True, True)], ids=str)
def test_on_a_gpu_a_step_does_not_wait_for_the_device(form: FastForm) -> None:
    config = ModelConfig(9, 3, True, 0.4, 0.2)
    net = FastNetwork(config, genotypes.CONSTRAINED_ASHA, 10, 3, (16, 16), generator(), form=form)
    net = net.to("cuda", memory_format=torch.channels_last)
    images = torch.zeros(4, 3, 16, 16, dtype=torch.uint8, device="cuda")
    classes, draws = torch.zeros(4, dtype=torch.int64, device="cuda"), torch.Generator("cuda")
    augmentation = Augmentation((0.5,) * 3, (0.2,) * 3)
    sgd = SGD(net.parameters(), 0.1, 0.9, fused=True)

    def step() -> None:
        x = augmentation.apply(images, augmentation.draw(draws, 4, slice(None), (16, 16)))
        masks = draw_path_masks(draws, net.droppable_edges, 4, slice(None), 0.3, torch.bfloat16)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits, auxiliary = net(x.contiguous(memory_format=torch.channels_last), masks)
        (F.cross_entropy(logits, classes) + F.cross_entropy(auxiliary, classes)).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5)
        sgd.step()
        sgd.zero_grad()

    step()
    with never_waiting():
        step()
