"""How well a language model predicts a stream, exactly: every word but the first is predicted once and counts the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch

from nas.core.arch_weights import ArchWeights, one_path
from randomNAS_files.architecture import Genotype
from randomNAS_files.model import LanguageModel
from randomNAS_files.slices import IGNORED, Columns, fixed_slices
from randomNAS_files.supernet import Supernet, is_one_cell


@runtime_checkable
class ManyCells(Protocol):
    """What a supernet has beside that can score many cells at once; see `scored_at_once`."""

    def score_cells(self, columns: Columns, bptt: int, cells: Sequence[Genotype]) -> list[float]:
        """See `score_cells` of this module."""


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
    """The mean loss of each cell over a whole stream with the weights of `net`: `score_stream`, one after another.

    A supernet scores the cells of its space, see `SupernetConfig.space`.
    """
    if isinstance(net, Supernet):
        paths = [one_path(net.supernet.space.paths_of(cell)) for cell in cells]
        return score_paths(net, columns, bptt, paths)
    return [score_stream(net, columns, bptt, cell) for cell in cells]


@torch.no_grad()
def score_paths(
    net: Supernet, columns: Columns, bptt: int, architectures: Sequence[ArchWeights], rows: int | None = None
) -> list[float]:
    """The mean loss of each architecture, or mixture, with the weights of a supernet, in nats a word, in evaluation mode.

    The fast form scores cells all at once where it can, see `scored_at_once`.

    Args:
        columns: the stream; where states are normalised, over these columns, which should then be many (64 or more).
        bptt: words at a time; the result does not depend on it but for rounding.
        rows: only the first so many; None: the whole stream.
    """
    chosen = columns if rows is None else columns.some_rows(0, rows)
    if isinstance(net, ManyCells) and scored_at_once(net):
        space, least = net.supernet.space, net.supernet.least_nodes
        cells = [space.genotype_of(each.paths or {}) for each in architectures if is_one_cell(each, least)]
        if len(cells) == len(architectures):
            return net.score_cells(chosen, bptt, cells)
    net.eval()
    return [_score_path(net, chosen, bptt, each) for each in architectures]


def scored_at_once(net: Supernet) -> bool:
    """Whether node i of all cells is one product: they share its weight, all of it, and no state is normalised."""
    supernet = net.supernet
    return supernet.sharing == "node" and not supernet.state_norm and supernet.hidden_choices is None


def _score_path(net: Supernet, columns: Columns, bptt: int, architecture: ArchWeights) -> float:
    device = net.embedding.device
    hidden, total = net.initial_state(columns.inputs.size(1)), zero_sums(device)
    for piece in fixed_slices(len(columns), bptt):
        inputs, targets = (part.to(device) for part in columns[piece])
        output = net(inputs, hidden, architecture, targets=targets)
        hidden, total = output.hidden, total + output.loss
    return float(total) / count_words(columns)


def zero_sums(device: torch.device, *shape: int) -> torch.Tensor:
    """Zeros on the device to add losses to, in double precision where it has that."""
    return torch.zeros(shape, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)


def count_words(columns: Columns) -> int:
    """How many words of a stream are predicted; fillers are not counted."""
    return int((columns.targets != IGNORED).sum())
