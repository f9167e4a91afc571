"""How well a language model predicts a stream, exactly: every word but the first is predicted once and counts the same."""

from __future__ import annotations

from typing import Any

import torch

from randomNAS_files.architecture import Genotype
from randomNAS_files.model import LanguageModel
from randomNAS_files.slices import IGNORED, Columns, fixed_slices


def score_slice(
    net: LanguageModel,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    hidden: list[torch.Tensor],
    genotype: Genotype | None = None,
) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Score inputs and targets `(T, B)`, going on from `hidden`.

    Returns:
        The summed loss in nats and the number of words, both on the device, and the state to go on from.
    """
    output = net(inputs, hidden, genotype=genotype, targets=targets)
    return output.loss, (targets != IGNORED).sum(), output.hidden


@torch.no_grad()
def score_stream(net: LanguageModel, columns: Columns, bptt: int, means: Any, genotype: Genotype | None = None) -> None:
    """Score a whole stream in evaluation mode; `means.update(words, loss=...)` is called for each slice."""
    net.eval()
    device = net.embedding.device
    hidden = net.initial_state(columns.inputs.size(1))
    for piece in fixed_slices(len(columns), bptt):
        inputs, targets = (part.to(device) for part in columns[piece])
        total, words, hidden = score_slice(net, inputs, targets, hidden, genotype)
        means.update(words, loss=total)
