"""A network that draws recurrent cells, one decision after another, and knows the probability of each.

The controller of ENAS (Pham et al. 2018, arXiv 1802.03268, section 2.1 and figure 1; sizes as in carpedm20/ENAS-pytorch): an
LSTM whose input is the embedding of the decision before, and a linear head a decision. A cell of N nodes takes 2N - 1 of
them: the activation of node 1, then of each node its predecessor and its activation. K is the number of cells, D of
decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from nas.core.errors import ConfigError

INITIAL = 0.1
"""Weights start uniform in +- 0.1, so that every decision is nearly uniform; biases of heads start at 0."""
MOST_NODES = 100


class Decision(NamedTuple):
    """One choice among the first `options` of the states, or of the activations.

    Attributes:
        node: counted from 0.
        predecessor: whether it says which state the node reads, or else the activation.
        first_row: of its tokens in the embedding.
    """

    node: int
    predecessor: bool
    options: int
    first_row: int


class Controller(nn.Module):
    """A policy over cells: pi(cell) is the product of the probabilities of its decisions.

    Logits l become `tanh_constant * tanh(l / temperature)`, so that no option of k has a probability above
    1 / (1 + (k - 1) exp(-2 tanh_constant)). Cells are tokens `(K, D)`: numbers of options, in the order of `decisions`.

    Args:
        nodes: N; node i, counted from 0, reads one of i + 1 states.
        activations: how many a node may have.
        hidden: size of the LSTM and of the embedding.
        generator: draws the initial weights, on the CPU.
        temperature: divides the logits.
        tanh_constant: bounds them.

    Raises:
        ConfigError: for sizes that make no controller.
    """

    def __init__(
        self,
        nodes: int,
        activations: int,
        hidden: int,
        generator: torch.Generator,
        temperature: float = 5.0,
        tanh_constant: float = 2.5,
    ) -> None:
        super().__init__()
        _check(nodes, activations, hidden, temperature, tanh_constant)
        self.nodes, self.activations, self.hidden = nodes, activations, hidden
        self.temperature, self.tanh_constant = temperature, tanh_constant
        self.decisions = [Decision(0, False, activations, 0)]
        for node in range(1, nodes):
            self.decisions += [Decision(node, True, node + 1, activations), Decision(node, False, activations, 0)]
        with torch.random.fork_rng(devices=[]):  # their own initial weights come from the global generator
            self.cell = nn.LSTMCell(hidden, hidden)
            self.embedding = nn.Embedding(activations + nodes, hidden)
            self.heads = nn.ModuleList(nn.Linear(hidden, decision.options) for decision in self.decisions)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL, generator=generator)
        for name, parameter in self.heads.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of each decision of given cells `(K, D)`, log pi and the entropy in nats before it is taken, both `(K, D)`."""
        _, log_probs, entropies = self._unroll(len(cells), lambda number, _: cells[:, number])
        return log_probs, entropies

    @torch.no_grad()
    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """So many cells `(K, D)`. The first ones do not depend on `count`.

        Args:
            generator: on the CPU; as many numbers are drawn for every cell.
        """
        numbers = torch.rand(count, len(self.decisions), generator=generator, dtype=torch.float64)
        numbers = numbers.to(self.embedding.weight)

        def choose(number: int, log_probs: torch.Tensor) -> torch.Tensor:
            below = log_probs.exp().cumsum(-1) <= numbers[:, number, None]
            return below.sum(-1).clamp(max=log_probs.size(-1) - 1)

        return self._unroll(count, choose)[0]

    def log_prob(self, cells: torch.Tensor) -> torch.Tensor:
        """log pi of cells `(K, D)`, `(K,)`."""
        log_probs: torch.Tensor = self(cells)[0]
        return log_probs.sum(-1)

    def _unroll(
        self, count: int, choose: Callable[[int, torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens, their log-probabilities and the entropies, `(K, D)` each.

        Args:
            choose: of the decision of that number, given its log-probabilities `(K, options)`, the tokens `(K,)`.
        """
        x = self.embedding.weight.new_zeros(count, self.hidden)
        state, taken = (x, x), []
        for number, decision in enumerate(self.decisions):
            state = self.cell(x, state)
            logits = self.heads[number](state[0])
            log_probs = F.log_softmax(self.tanh_constant * torch.tanh(logits / self.temperature), -1)
            tokens = choose(number, log_probs)
            x = self.embedding(tokens + decision.first_row)
            entropy = -(log_probs.exp() * log_probs).sum(-1)
            taken.append((tokens, log_probs.gather(-1, tokens[:, None]).squeeze(-1), entropy))
        tokens, log_probs, entropies = (torch.stack(columns, 1) for columns in zip(*taken, strict=True))
        return tokens, log_probs, entropies


def _check(nodes: int, activations: int, hidden: int, temperature: float, tanh_constant: float) -> None:
    wrong = []
    if not 1 <= nodes <= MOST_NODES:
        wrong.append(f"nodes of a cell must be 1..{MOST_NODES}, got {nodes}")
    wrong += [
        f"{name} must be at least 1, got {value}"
        for name, value in (("activations", activations), ("controller_hidden", hidden))
        if value < 1
    ]
    wrong += [
        f"{name} must be above 0, got {value:g}"
        for name, value in (("temperature", temperature), ("tanh_constant", tanh_constant))
        if not value > 0
    ]
    if wrong:
        raise ConfigError(wrong)
