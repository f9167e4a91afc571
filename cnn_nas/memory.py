"""What one process needs in memory to train a convolutional network, estimated without data: see `nas.core.memory`."""

from __future__ import annotations

import torch

from cnn_nas.architecture import Genotype
from cnn_nas.fast.model import FastNetwork
from cnn_nas.images.metrics import Classification, Regression
from cnn_nas.model import ModelConfig, Network
from nas.core.memory import MemoryEstimate, estimate_memory, saved_bytes
from nas.core.seeds import torch_generator


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
    device: str = "meta",
) -> MemoryEstimate:
    """The estimate for `batch` images of one process.

    Args:
        outputs: classes; 1 for a regression.
        shape: channels, height and width of an image.
        device: where the step runs; the tests run it on real ones.
    """
    channels, height, width = shape
    metrics = Regression(0.0, 1.0) if outputs == 1 else Classification()
    with torch.device(device):
        kind = FastNetwork if fast else Network
        net = kind(model, genotype, outputs, channels, (height, width), torch_generator("cpu", 0))
        targets = torch.zeros(batch, dtype=torch.float32 if outputs == 1 else torch.int64)

        def forward() -> list[torch.Tensor]:
            masks = torch.ones(net.droppable_edges, batch, 1, 1, 1) if model.drop_path_prob else None
            output = net(torch.zeros(batch, channels, height, width), masks)
            heads = [logits for logits in output if logits is not None]
            return [*heads, *(metrics.objective(logits, targets) for logits in heads)]

        activations = saved_bytes(forward, net.parameters())
    pixels = batch * channels * height * width
    padding = 2 * crop_padding
    padded = batch * channels * (height + padding) * (width + padding) if padding else 0
    copies = pixels * (1 + 3 * flip) + padded + (pixels if padding else 0)  # uint8
    return estimate_memory(
        net,
        activations,
        1 if momentum else 0,
        copies,
        assumes=f"batch of {batch}",
        note="Mixed precision about halves the activations.",
    )
