"""What one process needs in memory to train a convolutional network, estimated without data: see `nas.core.memory`."""

from __future__ import annotations

from dataclasses import replace

import torch

from cnn_nas.architecture import Genotype
from cnn_nas.fast.model import FastForm, FastNetwork
from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.images.metrics import Classification, Regression
from cnn_nas.model import ModelConfig, Network
from cnn_nas.relaxation import RELAXATION
from cnn_nas.settings import Settings
from cnn_nas.supernet import Supernet, SupernetConfig
from nas.core.arch_weights import ArchWeights
from nas.core.memory import MemoryEstimate, estimate_memory, saved_bytes
from nas.core.relaxation import Paths
from nas.core.seeds import torch_generator

HALVES = "Mixed precision about halves the activations."
COPIES = {"first": -1, "unrolled": 2, "exact": 2}
"""By order, copies of the weights and of their gradients that an architecture step holds at once, beside one gradient."""


def estimate(
    model: ModelConfig,
    genotype: Genotype,
    outputs: int,
    shape: tuple[int, int, int],
    batch: int,
    *,
    fast: bool,
    momentum: bool,
    crop_padding: int,
    flip: bool,
    padded: bool = False,
    mixed: bool | None = None,
    device: str = "meta",
) -> MemoryEstimate:
    """The estimate for `batch` images of one process.

    Args:
        outputs: classes; 1 for a regression.
        shape: channels, height and width of an image.
        padded: of the fast form, see `FastForm`.
        mixed: see `MemoryEstimate`.
        device: where the step runs; the tests run it on real ones.
    """
    channels, height, width = shape
    metrics = Regression(0.0, 1.0) if outputs == 1 else Classification()
    with torch.device(device):
        sizes = model, genotype, outputs, channels, (height, width), torch_generator("cpu", 0)
        net = FastNetwork(*sizes, form=FastForm(padded=padded)) if fast else Network(*sizes)
        targets = torch.zeros(batch, dtype=torch.float32 if outputs == 1 else torch.int64)

        def forward() -> list[torch.Tensor]:
            masks = torch.ones(net.droppable_edges, batch, 1, 1, 1) if model.drop_path_prob else None
            output = net(torch.zeros(batch, channels, height, width), masks)
            heads = [logits for logits in output if logits is not None]
            return [*heads, *(metrics.objective(logits, targets) for logits in heads)]

        activations = saved_bytes(forward, net.parameters())
    copies = _input_bytes(batch, shape, crop_padding, flip)
    return estimate_memory(
        net,
        activations,
        1 if momentum else 0,
        copies,
        assumes=f"batch of {batch}",
        note=HALVES,
        mixed=mixed,
    )


def estimate_trial(
    settings: Settings, outputs: int, shape: tuple[int, int, int], batch: int, device: str
) -> MemoryEstimate:
    """The estimate for a trial."""
    optimizer = settings.optimizer
    return estimate(
        settings.model,
        settings.genotype,
        outputs,
        shape,
        batch,
        fast=settings.run.fast is not False,
        padded=settings.gpu.pad_channels,
        mixed=optimizer.mixed_precision,
        momentum=optimizer.momentum > 0,
        crop_padding=optimizer.crop_padding,
        flip=optimizer.flip,
        device=device,
    ).with_graphs(settings.run.cuda_graphs)


def estimate_supernet(
    config: SupernetConfig,
    outputs: int,
    shape: tuple[int, int, int],
    batch: int,
    *,
    fast: bool,
    momentum: bool,
    order: str | None,
    crop_padding: int,
    flip: bool,
    paths: Paths | None = None,
    whole_cells: bool = False,
    mixed: bool | None = None,
    device: str = "meta",
) -> MemoryEstimate:
    """The estimate of a search: of its weight step or of its architecture step, whichever needs more.

    Args:
        batch: images of one process, of the weights' data and of the architecture's each.
        order: of the architecture step: "first", "unrolled" or "exact"; None where there is none.
        paths: the operations that run in a weight step; None: all.
        whole_cells: whether they are all that runs in an architecture step too; otherwise it runs all operations.
        mixed: see `MemoryEstimate`.
        device: where the steps run; the tests run them on real ones.

    Raises:
        ValueError: for another order.
    """
    if order is not None and order not in COPIES:
        raise ValueError(f"order must be one of {', '.join(COPIES)} or None, got {order!r}")
    with torch.device(device):
        kind = FastSupernet if fast else Supernet
        net = kind(config, outputs, shape[0], torch_generator("cpu", 0))
        weights = {
            name: torch.full((len(cell.edges), len(cell.operations)), 0.125) for name, cell in RELAXATION.items()
        }
    inputs = _input_bytes(batch, shape, crop_padding, flip) * (1 if order is None else 2)
    mixture = ArchWeights(weights if paths is None else None, paths=paths)
    found = [_estimate_step(net, mixture, outputs, shape, batch, momentum, inputs, None)]
    if order is not None:
        drawn = {name: tensor.requires_grad_() for name, tensor in weights.items()}
        leaves = ArchWeights(drawn, paths=paths if whole_cells else None)
        found.append(_estimate_step(net, leaves, outputs, shape, batch, momentum, inputs, order))
    return replace(max(found, key=lambda each: each.total), mixed=mixed)


def _estimate_step(
    net: Supernet,
    weights: ArchWeights,
    outputs: int,
    shape: tuple[int, int, int],
    batch: int,
    momentum: bool,
    inputs: int,
    order: str | None,
) -> MemoryEstimate:
    """Of a weight step where there is no order, of an architecture step otherwise."""
    device = net.classifier.weight.device
    metrics = Regression(0.0, 1.0) if outputs == 1 else Classification()
    targets = torch.zeros(batch, dtype=torch.float32 if outputs == 1 else torch.int64, device=device)

    def forward() -> list[torch.Tensor]:
        logits = net(torch.zeros(batch, *shape, device=device), weights).logits
        kept = [logits, metrics.objective(logits, targets)]
        if order == "exact":  # the graph of the gradient keeps what it needs, too
            kept += torch.autograd.grad(kept[-1].mean(), list(net.parameters()), create_graph=True)
        return kept

    activations = saved_bytes(forward, [*net.parameters(), *weights.tensors()])
    words = "weight step" if order is None else f"architecture step of order {order}"
    needed = estimate_memory(net, activations, int(momentum), inputs, assumes=f"batch of {batch}, {words}", note=HALVES)
    more = COPIES[order] * sum(parameter.nbytes for parameter in net.parameters()) if order is not None else 0
    return replace(needed, optimizer=needed.optimizer + more)


def _input_bytes(batch: int, shape: tuple[int, int, int], crop_padding: int, flip: bool) -> int:
    """Bytes of a batch of images (uint8) and of its copies while it is augmented."""
    channels, height, width = shape
    pixels = batch * channels * height * width
    padding = 2 * crop_padding
    padded = batch * channels * (height + padding) * (width + padding) if padding else 0
    return pixels * (1 + 3 * flip) + padded + (pixels if padding else 0)
