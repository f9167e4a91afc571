"""A language model that holds every recurrent cell of its space: all activations on all edges, one matrix a node.

The search model of DARTS (Liu et al. 2019, arXiv 1806.09055, section 2.2 and appendix A.1.2), whose weights random search
shares as well (Li & Talwalkar 2019, arXiv 1902.07638). T is time, B the batch's columns, H the hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F

from nas.core.arch_weights import ArchWeights
from nas.core.fields import field
from randomNAS_files.architecture import ACTIVATIONS, NODES, Genotype
from randomNAS_files.dropout import DropoutMasks, apply
from randomNAS_files.model import FUNCTIONS, LanguageModel, ModelConfig, Output, RecurrentCell, gated, summed_loss
from randomNAS_files.relaxation import CELL, RELAXATION, genotype_of

NORM_EPS = 1e-5
_ANY = Genotype((("tanh", 0),) * NODES)  # of which a supernet uses the number of nodes


@dataclass(frozen=True)
class SupernetConfig:
    """What the supernet has beside the hyperparameters of the language model."""

    state_norm: bool = field(True)  # batch norm of every state, as DARTS searches with; random search needs none


class SuperCell(RecurrentCell):
    """All cells at once: node i sums over every earlier state s_j and activation f, with its weight p,

        s_i = sum_j sum_f p_jf * (s_j + sigmoid(c_j) * (f(g_j) - s_j)),    [c_j, g_j] = (s_j * mh) W_i,

    and then normalises s_i over the batch, if it is to. A path runs its own activations only; without normalisation it is
    the plain cell of its genotype.
    """

    state_norm = False

    def forward(  # type: ignore[override]
        self,
        x: torch.Tensor,
        h: torch.Tensor,
        x_mask: torch.Tensor | None,
        h_mask: torch.Tensor | None,
        weights: ArchWeights,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run x `(T, B, H)` from the state h `(B, H)`; returns the outputs `(T, B, H)` and the last state `(B, H)`."""
        if is_one_cell(weights) and not self.state_norm:
            assert weights.paths is not None
            return super().forward(x, h, x_mask, h_mask, genotype_of(weights.paths))
        width = x.size(-1)
        from_inputs, from_state = self.w0[:width], self.w0[width:]
        outputs = []
        for gates in (apply(x, x_mask) @ from_inputs).unbind(0):  # (B, 2H) each
            h = self._mixed_step(gates + apply(h, h_mask) @ from_state, h, h_mask, weights)
            outputs.append(h)
        return torch.stack(outputs), h

    def _mixed_step(
        self, gates: torch.Tensor, h: torch.Tensor, h_mask: torch.Tensor | None, weights: ArchWeights
    ) -> torch.Tensor:
        shape = RELAXATION[CELL]
        states = [self._normalised(gated(gates, h, self.init_op))]  # (B, H) each
        for node in range(shape.nodes):
            total = torch.zeros_like(h)
            for edge in shape.entering(node):
                running = weights.running(CELL, edge, len(shape.operations))
                previous = states[shape.edges[edge][1]]
                active = [k for k in running if ACTIVATIONS[k] != "none"]  # `none` adds zeros
                if not active:
                    continue
                c, g = (apply(previous, h_mask) @ self.nodes[node]).to(previous.dtype).chunk(2, dim=-1)
                c = torch.sigmoid(c)
                for k in active:
                    y = torch.lerp(previous, FUNCTIONS[ACTIVATIONS[k]](g), c)
                    y = y if weights.operations is None else y * weights.operations[CELL][edge, k]
                    total = total + (y if weights.edges is None else y * weights.edges[CELL][edge])
            states.append(self._normalised(total))
        return torch.stack(states[1:]).mean(0)

    def _normalised(self, state: torch.Tensor) -> torch.Tensor:
        """By the mean and variance of each unit over the batch, without weight and bias; nothing is remembered."""
        return F.batch_norm(state, None, None, training=True, eps=NORM_EPS) if self.state_norm else state


class Supernet(LanguageModel):
    """Embedding, `depth` stacked supernet cells with the same architecture weights, and the decoder of the embedding.

    Args:
        config: sizes and dropout rates.
        vocabulary: V.
        generator: draws the initial weights, on the CPU.
        supernet: what the supernet has beside.
    """

    cell_type = SuperCell

    def __init__(
        self, config: ModelConfig, vocabulary: int, generator: torch.Generator, supernet: SupernetConfig
    ) -> None:
        super().__init__(config, _ANY, vocabulary, generator)
        for cell in self.cells:
            cast(SuperCell, cell).state_norm = supernet.state_norm

    def forward(  # type: ignore[override]
        self,
        tokens: torch.Tensor,
        hidden: list[torch.Tensor],
        weights: ArchWeights,
        masks: DropoutMasks | None = None,
        targets: torch.Tensor | None = None,
    ) -> Output:
        """Predict the next word at each place of tokens `(T, B)` with an architecture, or a mixture of all of them.

        Args:
            hidden: the state to go on from, `(B, H)` a layer.
            weights: for the cell "recurrent".
            masks: the dropout masks of this step, from `draw_masks`; without them nothing is dropped.
            targets: the words that follow, `(T, B)`, IGNORED where none counts: sum the loss.
        """
        embedded = F.embedding(tokens, self.embedding)
        states, last = self.unroll(embedded, tokens, hidden, masks, weights)
        dropped = states if masks is None else apply(states, masks.output)
        logits = F.linear(dropped, self.embedding, self.decoder_bias)
        loss = None if targets is None else summed_loss(logits, targets)
        return Output(logits, last, states, dropped, loss)


def is_one_cell(weights: ArchWeights) -> bool:
    """Whether the weights are one genotype, unscaled."""
    if weights.paths is None or weights.operations is not None or weights.edges is not None:
        return False
    shape = RELAXATION[CELL]
    counts = [sum(len(weights.paths[CELL][edge]) for edge in shape.entering(node)) for node in range(shape.nodes)]
    return all(count == 1 for count in counts)
