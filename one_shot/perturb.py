"""SmoothDARTS: train the weights with architecture weights that are off by a little, so that the loss is flat around them.

Chen & Hsieh 2020, arXiv 2002.05283. What is perturbed are the weights of operations, not the logits, and
for the step of the supernet's weights only: the parameters of the architecture are not touched. Perturbed weights are
clamped to [0, 1], and divided by their sum again where they compete, as in the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from nas.core.arch_weights import ArchWeights
from one_shot.strategy import Objective

KINDS = ("none", "random", "adversarial")
Tables = Mapping[str, torch.Tensor]
"""For each kind of cell `(edges, operations)`."""


def random(weights: Tables, size: float, competing: bool, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Weights with noise that is uniform between minus and plus `size`.

    Args:
        competing: whether the weights of an edge sum to 1.
        generator: on the CPU.
    """
    return {
        kind: valid(table + size * (2 * _uniform(table, generator) - 1), competing) for kind, table in weights.items()
    }


def adversarial(
    weights: ArchWeights,
    train_loss: Objective,
    size: float,
    steps: int,
    competing: bool,
    generator: torch.Generator,
) -> dict[str, torch.Tensor]:
    """The worst weights of operations that are found within `size` of each weight, by projected ascent of the training loss.

    It starts at random within the box, and takes `steps` steps of 2 `size` / `steps` along the signs of the gradient.
    Each process attacks with its own part of the batch.
    """
    assert weights.operations is not None
    original = dict(weights.operations)
    current = random(original, size, competing, generator)
    for _ in range(steps):
        leaves = {kind: table.detach().requires_grad_() for kind, table in current.items()}
        with torch.enable_grad():
            loss = train_loss(replace(weights, operations=leaves))
        gradients = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        for (kind, table), gradient in zip(leaves.items(), gradients, strict=True):
            if gradient is not None:
                moved = table.detach() + 2 * size / steps * gradient.sign() - original[kind]
                current[kind] = valid(original[kind] + moved.clamp_(-size, size), competing)
    return current


def valid(table: torch.Tensor, competing: bool) -> torch.Tensor:
    """Weights in [0, 1]; competing ones sum to 1 an edge, and where all were clamped to 0 the largest counts 1."""
    clamped = table.clamp(0, 1)
    if not competing:
        return clamped
    largest = torch.zeros_like(table).scatter_(-1, table.argmax(-1, keepdim=True), 1.0)
    sums = clamped.sum(-1, keepdim=True)
    return torch.where(sums > 0, clamped / sums, largest)


def _uniform(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    noise = torch.rand(like.shape, generator=generator, device=generator.device)
    return noise.to(like.device, like.dtype, non_blocking=True)
