"""A recurrent language model in plain, eager PyTorch, as it was written in 2019: what the fast one is measured against.

A Python loop over time steps and nodes, one product a node, masks applied at every step, log-softmax over all outputs.
The function is that of `randomNAS_files.model`, from the same papers; `copy_weights` gives it the same weights, and masks are
drawn here or handed in, so that both can be compared number by number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from randomNAS_files.architecture import Genotype
from randomNAS_files.model import LanguageModel, ModelConfig, RecurrentCell

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **{"tanh": torch.tanh, "relu": F.relu, "sigmoid": torch.sigmoid},
    "identity": lambda x: x,
}


@dataclass
class PlainMasks:
    """The masks of one step, `(B, H)` each; None: draw them."""

    inputs: torch.Tensor | None = None  # on the embeddings
    x: torch.Tensor | None = None  # in the cell
    h: torch.Tensor | None = None
    outputs: torch.Tensor | None = None


class PlainCell(nn.Module):
    """The cell of a genotype, one node at a time."""

    def __init__(self, genotype: Genotype, hidden: int, init_op: str = "tanh") -> None:
        super().__init__()
        self.genotype, self.hidden, self.init_op = genotype, hidden, init_op
        self.w0 = nn.Parameter(torch.empty(2 * hidden, 2 * hidden))
        self.weights = nn.ParameterList([nn.Parameter(torch.empty(hidden, 2 * hidden)) for _ in genotype.recurrent])

    def forward(
        self, x: torch.Tensor, h: torch.Tensor, x_mask: torch.Tensor | None = None, h_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs `(T, B, H)` and the last state of x `(T, B, H)` and h `(B, H)`."""
        outputs = []
        for t in range(x.size(0)):
            h = self.step(x[t], h, x_mask, h_mask)
            outputs.append(h)
        return torch.stack(outputs), h

    def step(
        self, x: torch.Tensor, h: torch.Tensor, x_mask: torch.Tensor | None, h_mask: torch.Tensor | None
    ) -> torch.Tensor:
        """One time step."""
        both = torch.cat([x if x_mask is None else x * x_mask, h if h_mask is None else h * h_mask], dim=-1)
        states = [self.node(both.mm(self.w0), h, self.init_op)]
        for weight, (name, predecessor) in zip(self.weights, self.genotype.recurrent, strict=True):
            state = states[predecessor]
            masked = state if h_mask is None else state * h_mask
            states.append(self.node(masked.mm(weight), state, name))
        return torch.mean(torch.stack([states[i] for i in self.genotype.concat], -1), -1)

    def node(self, product: torch.Tensor, state: torch.Tensor, name: str) -> torch.Tensor:
        """A node's state, of the product of the one before with its weight."""
        c, g = torch.split(product, self.hidden, dim=-1)
        if name == "none":
            return torch.zeros_like(state)
        c, g = c.sigmoid(), FUNCTIONS[name](g)
        return state + c * (g - state)


class PlainModel(nn.Module):
    """Embedding, cell, and a decoder that shares the embedding's weights."""

    def __init__(self, config: ModelConfig, genotype: Genotype, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.encoder = nn.Embedding(vocabulary, config.emsize)
        self.cell = PlainCell(genotype, config.nhid, config.init_op)
        self.decoder = nn.Linear(config.nhidlast, vocabulary)
        self.decoder.weight = self.encoder.weight

    def copy_weights(self, net: LanguageModel) -> PlainModel:
        """Take over the weights of ours, which must have one layer."""
        cell = net.cells[0]
        assert isinstance(cell, RecurrentCell)
        self.load_state_dict(
            {
                "encoder.weight": net.embedding,
                "decoder.weight": net.embedding,
                "decoder.bias": net.decoder_bias,
                "cell.w0": cell.w0,
                **{f"cell.weights.{i}": weight for i, weight in enumerate(cell.nodes)},
            }
        )
        return self

    def forward(
        self, tokens: torch.Tensor, h: torch.Tensor, masks: PlainMasks | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log probabilities `(TB, V)` of the words after tokens `(T, B)`, the last state, and the outputs before and after
        dropout `(T, B, H)`.
        """
        masks, config = masks or PlainMasks(), self.config
        x = self.encoder(tokens)
        x = self.drop(x, masks.inputs, config.dropouti)
        x_mask = self.mask(x[0], masks.x, config.dropoutx)
        h_mask = self.mask(x[0], masks.h, config.dropouth)
        outputs, h = self.cell(x, h, x_mask, h_mask)
        dropped = self.drop(outputs, masks.outputs, config.dropout)
        logits = self.decoder(dropped.view(-1, dropped.size(-1)))
        return F.log_softmax(logits, dim=-1), h, outputs, dropped

    def mask(self, like: torch.Tensor, given: torch.Tensor | None, p: float) -> torch.Tensor | None:
        """What was given, or a new draw."""
        if given is not None or not p or not self.training:
            return given
        return torch.empty_like(like).bernoulli_(1 - p).div_(1 - p)

    def drop(self, x: torch.Tensor, given: torch.Tensor | None, p: float) -> torch.Tensor:
        """x `(T, B, H)` with one mask for all time steps."""
        mask = self.mask(x[0], given, p)
        return x if mask is None else x * mask.expand_as(x)


@dataclass(frozen=True)
class Penalties:
    """What is added to the loss, and how it is clipped."""

    alpha: float = 0.0
    beta: float = 1e-3
    clip: float = 0.25


def objective(
    net: PlainModel,
    tokens: torch.Tensor,
    targets: torch.Tensor,
    h: torch.Tensor,
    penalties: Penalties,
    masks: PlainMasks | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The penalised loss, the loss itself, and the state to go on from."""
    log_probabilities, h, outputs, dropped = net(tokens, h, masks)
    loss = F.nll_loss(log_probabilities, targets.flatten())
    total = loss
    if penalties.alpha:
        total = total + penalties.alpha * dropped.pow(2).mean()
    if penalties.beta:
        total = total + penalties.beta * (outputs[1:] - outputs[:-1]).pow(2).mean()
    return total, loss, h


def train_step(
    net: PlainModel,
    optimizer: torch.optim.Optimizer,
    tokens: torch.Tensor,
    targets: torch.Tensor,
    h: torch.Tensor,
    penalties: Penalties,
    masks: PlainMasks | None = None,
) -> tuple[float, torch.Tensor]:
    """One step; returns the loss and the state to go on from."""
    h = h.detach()
    optimizer.zero_grad()
    total, loss, h = objective(net, tokens, targets, h, penalties, masks)
    total.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), penalties.clip)
    optimizer.step()
    return loss.item(), h


def score(net: PlainModel, slices: Sequence[tuple[torch.Tensor, torch.Tensor]], columns: int) -> float:
    """Mean loss over slices of tokens and targets `(T, B)`."""
    net.eval()
    total, words = 0.0, 0
    with torch.no_grad():
        h = net.encoder.weight.new_zeros(columns, net.config.nhid)
        for tokens, targets in slices:
            log_probabilities, h, _, _ = net(tokens, h)
            total += F.nll_loss(log_probabilities, targets.flatten(), reduction="sum").item()
            words += targets.numel()
    return total / words
