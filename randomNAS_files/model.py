"""A word-level language model around one recurrent cell of the DARTS space.

Cell and model: Liu et al. 2019, arXiv 1806.09055, section 2 and appendix A.1.2, in the setting that Li & Talwalkar 2019,
arXiv 1902.07638, search. Regularisation: Merity et al. 2018, arXiv 1708.02182. T is time, B the batch's columns, H the
hidden size, V the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from nas.core.fields import field
from randomNAS_files.architecture import ACTIVATIONS, Genotype
from randomNAS_files.dropout import DropoutMasks, apply, draw_masks
from randomNAS_files.slices import IGNORED

INIT_RANGE = 0.04
"""Weights start uniformly in +-0.04, as in DARTS."""

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}


@dataclass(frozen=True)
class ModelConfig:
    """Hyperparameters of the language model. The embedding is tied to the decoder, so its size is the hidden size."""

    emsize: int = field(ge=1, most=65_536)
    nhid: int = field(ge=1, most=65_536)
    nhidlast: int = field(ge=1, most=65_536)
    depth: int = field(ge=1, most=100)
    dropout: float = field(ge=0, lt=1)  # on the outputs of the last layer, one mask for all time steps
    dropouth: float = field(ge=0, lt=1)  # on the hidden state inside the cell
    dropoutx: float = field(ge=0, lt=1)  # on the input inside the cell
    dropouti: float = field(ge=0, lt=1)  # on the embeddings, one mask for all time steps
    dropoute: float = field(ge=0, lt=1)  # drops whole words from the embedding
    init_op: str = field("tanh", choices=ACTIVATIONS[1:])  # activation of the initial state s_0

    def problems(self) -> list[str]:
        """Rules over several fields."""
        if self.emsize == self.nhid == self.nhidlast:
            return []
        sizes = f"emsize {self.emsize}, nhid {self.nhid}, nhidlast {self.nhidlast}"
        return [f"emsize must equal nhid and nhidlast, for embedding and decoder share their weights, got {sizes}"]


class RecurrentCell(nn.Module):
    """The cell of a genotype, unrolled over time.

    With s_0 = h + sigmoid(c_0) * (init_op(g_0) - h), where [c_0, g_0] = [x * mx, h * mh] W_0, node i with predecessor p and
    activation f has [c, g] = (s_p * mh) W_i and s_i = s_p + sigmoid(c) * (f(g) - s_p). The output, which is also the next
    h, is the mean of the states that the genotype concatenates. The masks mx, mh are fixed over time.

    Args:
        genotype: the cell; node i has the weight W_i, `nodes[i - 1]`.
        hidden: H.
        init_op: activation of the initial state s_0.
    """

    def __init__(self, genotype: Genotype, hidden: int, init_op: str = "tanh") -> None:
        super().__init__()
        self.genotype = genotype
        self.init_op = init_op
        self.w0 = nn.Parameter(torch.empty(2 * hidden, 2 * hidden))
        self.nodes = nn.ParameterList([nn.Parameter(torch.empty(hidden, 2 * hidden)) for _ in genotype.recurrent])

    def forward(
        self,
        x: torch.Tensor,
        h: torch.Tensor,
        x_mask: torch.Tensor | None = None,
        h_mask: torch.Tensor | None = None,
        genotype: Genotype | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run x `(T, B, H)` from the state h `(B, H)`; returns the outputs `(T, B, H)` and the last state `(B, H)`.

        `genotype` runs another cell with the same weights; it may have as many nodes as this one, or fewer.
        """
        genotype = genotype or self.genotype
        (from_inputs, from_state, *weights), outputs = self.weights_of(genotype, x.size(-1)), []
        for gates in (apply(x, x_mask) @ from_inputs).unbind(0):  # (B, 2H) each, of one product for all time steps
            h = self._step(gates + apply(h, h_mask) @ from_state, h, h_mask, genotype, weights)
            outputs.append(h)
        return torch.stack(outputs), h

    def weights_of(self, genotype: Genotype, width: int) -> Sequence[torch.Tensor]:
        """Those `(H, 2H)` of inputs `(T, B, width)`, of h and of each node of a genotype; there may be more of them."""
        return [self.w0[:width], self.w0[width:], *self.nodes]

    def _step(
        self,
        gates: torch.Tensor,
        h: torch.Tensor,
        h_mask: torch.Tensor | None,
        genotype: Genotype,
        weights: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        states = [self._normalised(gated(gates, h, self.init_op))]  # (B, H) each
        for weight, (activation, predecessor) in zip(weights, genotype.recurrent, strict=False):
            previous = states[predecessor]
            if activation == "none":
                new = torch.zeros_like(previous)
            else:
                new = gated(apply(previous, h_mask) @ weight, previous, activation)
            states.append(self._normalised(new))
        return torch.stack([states[i] for i in genotype.concat]).mean(0)

    def _normalised(self, state: torch.Tensor) -> torch.Tensor:
        """A state `(B, H)` as others read it: as it is."""
        return state


def gated(gates: torch.Tensor, previous: torch.Tensor, activation: str) -> torch.Tensor:
    """previous + sigmoid(c) * (f(g) - previous), with gates = [c, g] of shape `(B, 2H)`, in the type of the state.

    Under autocast gates are less exact than states, for they are products; a state is carried through all time steps.
    """
    c, g = gates.to(previous.dtype).chunk(2, dim=-1)
    return torch.lerp(previous, FUNCTIONS[activation](g), torch.sigmoid(c))


class Output(NamedTuple):
    """What the language model returns."""

    logits: torch.Tensor | None  # (T, B, V); None if the loss was asked for and computed without them
    hidden: list[torch.Tensor]  # (B, H) a layer, the state to go on from
    states: torch.Tensor  # (T, B, H), outputs of the last layer
    dropped: torch.Tensor  # (T, B, H), the same after dropout
    loss: torch.Tensor | None = None  # summed cross entropy in nats, if targets were given


class LanguageModel(nn.Module):
    """Embedding, `depth` stacked cells of one genotype, and a decoder that shares the embedding's weights.

    Args:
        config: sizes and dropout rates.
        genotype: the cell of all layers.
        vocabulary: V.
        generator: draws the initial weights, on the CPU.
    """

    cell_type: type[RecurrentCell] = RecurrentCell

    def __init__(self, config: ModelConfig, genotype: Genotype, vocabulary: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        self.genotype = genotype
        self.embedding = nn.Parameter(torch.empty(vocabulary, config.emsize))
        self.decoder_bias = nn.Parameter(torch.zeros(vocabulary))
        self.cells = nn.ModuleList([self.cell_type(genotype, config.nhid, config.init_op) for _ in range(config.depth)])
        for name, parameter in self.named_parameters():
            if name != "decoder_bias":
                nn.init.uniform_(parameter, -INIT_RANGE, INIT_RANGE, generator=generator)

    def initial_state(self, batch: int) -> list[torch.Tensor]:
        """Zeros, `(batch, H)` a layer."""
        return [self.embedding.new_zeros(batch, self.config.nhid) for _ in self.cells]

    def draw_masks(self, generator: torch.Generator, batch_size: int, columns: slice) -> DropoutMasks:
        """The dropout masks of a training step; see `dropout.draw_masks`."""
        words, like = len(self.embedding), self.embedding
        return draw_masks(self.config, words, generator, batch_size, columns, dtype=like.dtype, device=like.device)

    def unused_parameters(self) -> list[nn.Parameter]:
        """Weights of nodes on which the output does not depend."""
        weights = dict(self.named_parameters())
        return [
            weights[f"cells.{k}.nodes.{i - 1}"] for k in range(len(self.cells)) for i in self.genotype.unused_nodes()
        ]

    def forward(
        self,
        tokens: torch.Tensor,
        hidden: list[torch.Tensor],
        masks: DropoutMasks | None = None,
        genotype: Genotype | None = None,
        targets: torch.Tensor | None = None,
    ) -> Output:
        """Predict the next word at each place of tokens `(T, B)`, going on from `hidden`.

        Args:
            masks: the dropout masks of this step, from `draw_masks`; without them nothing is dropped.
            genotype: score another cell with the same weights.
            targets: the words that follow, `(T, B)`, IGNORED where none counts: sum the loss.
        """
        embedded = F.embedding(tokens, self.embedding)
        states, last = self.unroll(embedded, tokens, hidden, masks, genotype)
        dropped = states if masks is None else apply(states, masks.output)
        logits = F.linear(dropped, self.embedding, self.decoder_bias)
        loss = None if targets is None else summed_loss(logits, targets)
        return Output(logits, last, states, dropped, loss)

    def unroll(
        self,
        embedded: torch.Tensor,
        tokens: torch.Tensor,
        hidden: list[torch.Tensor],
        masks: DropoutMasks | None,
        which: Any,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Run the embeddings `(T, B, H)` of tokens `(T, B)` through all layers, with dropout before and within them.

        `which` is what the cells are asked to run; to those of a language model another genotype, or None.

        Returns:
            The outputs of the last layer, `(T, B, H)`, and the last state of each layer, `(B, H)`.
        """
        masks = masks or DropoutMasks.nothing(len(self.cells))
        x = embedded if masks.embedding is None else embedded * masks.embedding[tokens]
        x, last = apply(x, masks.input), []
        for cell, h, x_mask, h_mask in zip(self.cells, hidden, masks.cell_inputs, masks.hidden, strict=True):
            x, h = cell(x, h, x_mask, h_mask, which)
            last.append(h)
        return x, last


def summed_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy in nats of logits `(T, B, V)` and targets `(T, B)`, summed over those that are not IGNORED.

    Of logits of less than single precision in that, since half a type's digits cannot hold a sum of thousands.
    """
    return F.cross_entropy(
        _at_least_single(logits).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def activation_penalty(output: Output, alpha: float, beta: float) -> torch.Tensor:
    """alpha * mean(dropped^2) + beta * mean((s_t+1 - s_t)^2): activation and temporal activation regularisation.

    Merity et al. 2017, arXiv 1708.01009.
    """
    states, dropped = _at_least_single(output.states), _at_least_single(output.dropped)
    penalty = states.new_zeros(())
    if alpha:
        penalty = penalty + alpha * dropped.square().mean()
    if beta and len(states) > 1:
        penalty = penalty + beta * (states[1:] - states[:-1]).square().mean()
    return penalty


def _at_least_single(x: torch.Tensor) -> torch.Tensor:
    """As float32 what has fewer digits, and the rest as it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
