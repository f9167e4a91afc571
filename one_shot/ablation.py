"""Recurrent cells scored with the weights of a supernet that holds others: of fewer nodes, with any mean as their output.

A cell is cut out as a network of its own whose parameters are the supernet's, not copies. A node's matrix is the one that the
supernet has for its number, predecessor and activation, so a removed node must be bypassed and not taken out of the
numbering (`randomNAS_files.variants.bypassed`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch

from nas.core.errors import ConfigError
from nas.core.metrics import perplexity
from nas.core.seeds import torch_generator
from nas.core.variants import SharedScore, SharedScores
from randomNAS_files.architecture import Genotype
from randomNAS_files.canonical import canonical, numbering
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import LanguageModel, RecurrentCell
from randomNAS_files.outputs import with_output
from randomNAS_files.scoring import ManyCells, score_stream, scored_at_once
from randomNAS_files.slices import Columns
from randomNAS_files.supernet import Supernet, matrices_of, normalised

_KEPT = "keeps its matrix, which was trained with all of them"
_BROUGHT = "brings another matrix, which was trained apart from the first, so that both change at once"
_ABOUT = {
    "node": f"sharing node: a node with another predecessor or activation {_KEPT}",
    "edge": f"sharing edge: another predecessor {_BROUGHT}; a node with another activation {_KEPT}",
    "edge_activation": f"sharing edge_activation: another predecessor or activation {_BROUGHT}",
}


class _NormedCell(RecurrentCell):
    """A cell whose states are normalised over the batch, as those of a supernet with `state_norm` are."""

    def _normalised(self, state: torch.Tensor) -> torch.Tensor:
        return normalised(state)


class _NormedModel(LanguageModel):
    cell_type = _NormedCell


def cut_out(net: Supernet, genotype: Genotype) -> LanguageModel:
    """The network of one cell, which shares its parameters with the supernet."""
    fast = isinstance(net, FastSupernet)
    kind = _NormedModel if net.supernet.state_norm else FastLanguageModel if fast else LanguageModel
    with torch.device("meta"):
        found = kind(net.config, genotype, 1, torch_generator("cpu", 0))
    found.embedding, found.decoder_bias = net.embedding, net.decoder_bias
    chosen = matrices_of(genotype, net.supernet.sharing)
    for own, shared in zip(found.cells, net.cells, strict=True):
        cell, all_of_them = cast(RecurrentCell, own), cast(RecurrentCell, shared)
        cell.w0 = all_of_them.w0
        cell.nodes = torch.nn.ParameterList([all_of_them.nodes[k] for k in chosen])
    return found


def score_others(net: Supernet, columns: Columns, bptt: int, genotypes: Sequence[Genotype]) -> SharedScores:
    """Score cells on a whole stream, those that are the same network with the same weights once.

    Those with more nodes than the supernet has matrices for are not scored.

    Args:
        columns: the stream.
        bptt: words at a time.
        genotypes: in the supernet's numbering; the first is the one that the others are compared with.

    Raises:
        ConfigError: the first has more nodes than the supernet.
    """
    most = net.supernet.most_nodes
    if net.supernet.hadamard:
        raise ConfigError(["changes one at a time are there for recurrent cells of gates, not for Hadamard cells"])
    if len(genotypes[0].recurrent) > most:
        raise ConfigError(
            [
                f"the supernet has cells of {most} nodes, so that one of {len(genotypes[0].recurrent)} cannot be scored with it"
            ]
        )
    first: dict[object, int] = {}
    found: list[SharedScore | None] = []
    for i, cell in enumerate(genotypes):
        if len(cell.recurrent) > most:
            why = f"node {most + 1} has no trained matrix: the supernet has {most} nodes"
            found.append(SharedScore(missing=why))
            continue
        same = first.setdefault(_key(net, cell), i)
        found.append(None if same == i else SharedScore(same_as=same))
    losses = iter(_losses(net, columns, bptt, [genotypes[i] for i, each in enumerate(found) if each is None]))
    scored = [_score(next(losses)) if each is None else each for each in found]
    complete = [
        each if each.same_as is None else SharedScore(scored[each.same_as].metrics, each.same_as) for each in scored
    ]
    return SharedScores(complete, [_ABOUT[net.supernet.sharing], *_cell_notes(net, genotypes[0])])


def _key(net: Supernet, genotype: Genotype) -> object:
    """Equal for cells that compute the same with the supernet's weights."""
    chosen = matrices_of(genotype, net.supernet.sharing)
    kept = tuple(chosen[old - 1] if genotype.recurrent[old - 1][0] != "none" else -1 for old in numbering(genotype))
    return canonical(genotype), kept


def _losses(net: Supernet, columns: Columns, bptt: int, cells: Sequence[Genotype]) -> list[float]:
    if isinstance(net, ManyCells) and scored_at_once(net):
        return net.score_cells(columns, bptt, cells)
    return [score_stream(cut_out(net, cell), columns, bptt) for cell in cells]


def _score(loss: float) -> SharedScore:
    return SharedScore({"loss": loss, "perplexity": perplexity(loss)} if math.isfinite(loss) else {"loss": math.nan})


def _cell_notes(net: Supernet, genotype: Genotype) -> list[str]:
    """In what the cell is not one of those that the supernet was trained with."""
    wanted, nodes, found = net.supernet.output, len(genotype.recurrent), []
    if sorted(genotype.concat) != sorted(with_output(genotype, wanted).concat):
        averaged = ", ".join(map(str, genotype.concat))
        found.append(f"the cell averages nodes {averaged}, while the supernet was trained with output {wanted}")
    most, least = net.supernet.most_nodes, net.supernet.least_nodes
    if nodes < (least or most):
        trained = f"{least} to {most}" if least else most
        found.append(f"the cell has {nodes} nodes, while the supernet was trained with {trained}")
    if net.supernet.hidden_choices is not None:
        found.append(f"all cells are scored with {net.config.nhid} units, the largest of the supernet's sizes")
    return found
