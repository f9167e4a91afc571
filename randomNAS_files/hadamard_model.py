"""A language model around one Hadamard cell: `model.LanguageModel` with products and sums of states, and a second state.

For the cell see `hadamard`. A layer's state is h and c side by side, `(B, 2H)`. There is no fast form.

Sums let a state grow from step to step without end: with c' = c + c it is infinite after 130 words. So every unit of h and c
is clipped when a step ends, as that of c is in LSTMs in use (Sak et al. 2014, arXiv 1402.1128, at 50).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from randomNAS_files.dropout import apply
from randomNAS_files.hadamard import HadamardGenotype, Node, index_of
from randomNAS_files.model import FUNCTIONS, LanguageModel, ModelConfig, RecurrentCell, gated

Mask = torch.Tensor | None
CLIP = 10.0
"""No unit of h and c is larger. The h of an LSTM never is: it is below 1."""


def unroll(
    genotype: HadamardGenotype,
    init_op: str,
    weights: Sequence[torch.Tensor | None],
    x: torch.Tensor,
    state: torch.Tensor,
    x_mask: Mask,
    h_mask: Mask,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run x `(T, B, H)` from a state [h, c] `(B, 2H)`; returns the outputs `(T, B, H)` and the last state `(B, 2H)`.

    Args:
        weights: of the initial state `(2H, 2H)`, and of each node `(H, 2H)`, those of sums left alone.
    """
    first, *own = weights
    assert first is not None
    width, outputs = x.size(-1), []
    h, c = state.chunk(2, dim=-1)
    for gates in (apply(x, x_mask) @ first[:width]).unbind(0):  # (B, 2H) each
        states = [c, gated(gates + apply(h, h_mask) @ first[width:], h, init_op)]  # (B, H) each, as `index_of` counts
        for node, weight in zip(genotype.nodes, own, strict=True):
            states.append(_node(node, weight, [states[index_of(each)] for each in node.reads], h_mask))
        h = torch.stack([states[index_of(i)] for i in genotype.concat]).mean(0).clamp(-CLIP, CLIP)
        c = states[index_of(genotype.next_c)].clamp(-CLIP, CLIP)
        outputs.append(h)
    return torch.stack(outputs), torch.cat([h, c], -1)


def _node(node: Node, weight: torch.Tensor | None, reads: Sequence[torch.Tensor], mask: Mask) -> torch.Tensor:
    """The state `(B, H)` of a node; `weight` is [C, G] side by side, as in all recurrent cells."""
    if node.kind == "sum":
        return reads[0] + reads[1]
    assert weight is not None and node.activation is not None
    masked = [apply(state, mask) for state in reads]
    if node.kind == "gate":
        return gated(masked[0] @ weight, reads[0], node.activation)
    of_gate, of_value = weight.chunk(2, dim=1)  # (H, H) each
    value = FUNCTIONS[node.activation]((masked[0] @ of_value).to(reads[0].dtype))
    return value * torch.sigmoid((masked[1] @ of_gate).to(reads[1].dtype))


class HadamardCell(RecurrentCell):
    """The cell of a genotype, unrolled over time; `nodes` has a matrix for each node that is no sum, in their order."""

    genotype: HadamardGenotype  # type: ignore[assignment]

    def __init__(self, genotype: HadamardGenotype, hidden: int, init_op: str = "tanh") -> None:
        nn.Module.__init__(self)
        self.genotype, self.init_op = genotype, init_op
        self.w0 = nn.Parameter(torch.empty(2 * hidden, 2 * hidden))
        count = sum(node.kind != "sum" for node in genotype.nodes)
        self.nodes = nn.ParameterList([nn.Parameter(torch.empty(hidden, 2 * hidden)) for _ in range(count)])

    def forward(  # type: ignore[override]
        self, x: torch.Tensor, h: torch.Tensor, x_mask: Mask = None, h_mask: Mask = None, genotype: None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `unroll`. No other genotype can be run with these weights."""
        rest = iter(self.nodes)
        own = [None if node.kind == "sum" else next(rest) for node in self.genotype.nodes]
        return unroll(self.genotype, self.init_op, [self.w0, *own], x, h, x_mask, h_mask)


class HadamardLanguageModel(LanguageModel):
    """See `LanguageModel`."""

    cell_type = HadamardCell  # type: ignore[assignment]
    genotype: HadamardGenotype  # type: ignore[assignment]

    def __init__(
        self, config: ModelConfig, genotype: HadamardGenotype, vocabulary: int, generator: torch.Generator
    ) -> None:
        super().__init__(config, genotype, vocabulary, generator)  # type: ignore[arg-type]

    def initial_state(self, batch: int) -> list[torch.Tensor]:
        """Zeros, `(batch, 2H)` a layer: h and c."""
        return [self.embedding.new_zeros(batch, 2 * self.config.nhid) for _ in self.cells]

    def unused_parameters(self) -> list[nn.Parameter]:
        """Weights on which the output does not depend: of nodes; and where cells do not read their input, those before it."""
        unused, reads_input = self.genotype.unused_nodes(), self.genotype.reads_input
        found: list[nn.Parameter] = []
        with_matrix = [i for i, node in enumerate(self.genotype.nodes, start=1) if node.kind != "sum"]
        for k, cell in enumerate(self.cells, start=1):
            assert isinstance(cell, HadamardCell)
            cut_off = not reads_input and k < len(self.cells)
            found += [w for i, w in zip(with_matrix, cell.nodes, strict=True) if i in unused or cut_off]
            found += [] if reads_input else [cell.w0]
        return found
