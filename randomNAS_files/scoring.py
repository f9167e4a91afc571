"""How well a language model predicts a stream, exactly: every word but the first is predicted once and counts the same."""

from __future__ import annotations

from collections.abc import Sequence

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
def score_stream(net: LanguageModel, columns: Columns, bptt: int, genotype: Genotype | None = None) -> float:
    """The mean loss over a whole stream, in nats a word, in evaluation mode.

    Args:
        net: its weights predict.
        columns: the stream.
        bptt: words at a time; the result does not depend on it but for rounding.
        genotype: score another cell with the same weights.
    """
    net.eval()
    device = net.embedding.device
    hidden = net.initial_state(columns.inputs.size(1))
    total = zero_sums(device)
    for piece in fixed_slices(len(columns), bptt):
        inputs, targets = (part.to(device) for part in columns[piece])
        loss, _, hidden = score_slice(net, inputs, targets, hidden, genotype)
        total += loss
    return float(total) / count_words(columns)


def score_cells(net: LanguageModel, columns: Columns, bptt: int, cells: Sequence[Genotype]) -> list[float]:
    """The mean loss of each cell over a whole stream with the weights of `net`: `score_stream`, one after another."""
    return [score_stream(net, columns, bptt, cell) for cell in cells]


def zero_sums(device: torch.device, *shape: int) -> torch.Tensor:
    """Zeros on the device to add losses to, in double precision where it has that."""
    return torch.zeros(shape, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)


def count_words(columns: Columns) -> int:
    """How many words of a stream are predicted; fillers are not counted."""
    return int((columns.targets != IGNORED).sum())
