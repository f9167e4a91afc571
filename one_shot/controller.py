"""A network that draws recurrent cells, one decision after another, and knows the probability of each.

The controller of ENAS (Pham et al. 2018, arXiv 1802.03268, section 2.1 and figure 1), an LSTM, as two codes have it. A cell of
N nodes takes 2N - 1 decisions: the activation of node 1, then of each node its predecessor and its activation. K is the
number of cells, D of decisions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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


class Memory:
    """What a controller knows while it takes decisions for K cells.

    Attributes:
        x: `(K, H)`, what the LSTM reads next.
        state: of the LSTM, two `(K, H)`.
        anchors: `(K, H)` for each state of the cell so far; of attention only.
    """

    def __init__(self, x: torch.Tensor) -> None:
        zeros = torch.zeros_like(x)
        self.x, self.state = x, (zeros, zeros)
        self.anchors: list[torch.Tensor] = []


class Controller(nn.Module, ABC):
    """A policy over cells: pi(cell) is the product of the probabilities of its decisions.

    Logits l become `tanh_constant * tanh(l / temperature)`, so that no option of k has a probability above
    1 / (1 + (k - 1) exp(-2 tanh_constant)). Cells are tokens `(K, D)`: numbers of options, in the order of `decisions`.

    Args:
        nodes: N; node i, counted from 0, reads one of i + 1 states.
        activations: how many a node may have.
        hidden: H, the size of the LSTM and of the embedding.
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
        with torch.random.fork_rng(devices=[]):  # the layers' own initial weights come from the global generator
            self.cell = nn.LSTMCell(hidden, hidden)
            self._add_layers()
        for name, parameter in self.named_parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL, generator=generator)
            if name.startswith("heads.") and name.endswith("bias"):
                nn.init.zeros_(parameter)

    @abstractmethod
    def _add_layers(self) -> None:
        """Add what there is beside the LSTM."""

    @abstractmethod
    def _begin(self, count: int) -> Memory:
        """Before the first decision."""

    @abstractmethod
    def _logits(self, memory: Memory, number: int) -> torch.Tensor:
        """Of the decision of that number, bounded, `(K, options)`."""

    @abstractmethod
    def _take(self, memory: Memory, number: int, tokens: torch.Tensor) -> None:
        """Go on from a decision."""

    def bounded(self, logits: torch.Tensor) -> torch.Tensor:
        """See the class."""
        return self.tanh_constant * torch.tanh(logits / self.temperature)

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
        numbers = numbers.to(self.cell.weight_hh)

        def choose(number: int, log_probs: torch.Tensor) -> torch.Tensor:
            below = log_probs.exp().cumsum(-1) <= numbers[:, number, None]
            return below.sum(-1).clamp(max=log_probs.size(-1) - 1)

        return self._unroll(count, choose)[0]

    def log_prob(self, cells: torch.Tensor) -> torch.Tensor:
        """log pi of cells `(K, D)`, `(K,)`."""
        log_probs: torch.Tensor = self(cells)[0]
        return log_probs.sum(-1)

    @torch.no_grad()
    def follow(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The LSTM's hidden state when it has read all tokens of cells `(K, D)`, the last one too, `(K, H)`; and the
        largest probability of each decision when it was taken, `(K, D)`.
        """
        memory, largest = self._begin(len(cells)), []
        for number in range(len(self.decisions)):
            largest.append(F.softmax(self._logits(memory, number), -1).amax(-1))
            self._take(memory, number, cells[:, number])
        return self.cell(memory.x, memory.state)[0], torch.stack(largest, 1)

    def _unroll(
        self, count: int, choose: Callable[[int, torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Tokens, their log-probabilities and the entropies, `(K, D)` each.

        Args:
            choose: of the decision of that number, given its log-probabilities `(K, options)`, the tokens `(K,)`.
        """
        memory, taken = self._begin(count), []
        for number in range(len(self.decisions)):
            log_probs = F.log_softmax(self._logits(memory, number), -1)
            tokens = choose(number, log_probs)
            self._take(memory, number, tokens)
            entropy = -(log_probs.exp() * log_probs).sum(-1)
            taken.append((tokens, log_probs.gather(-1, tokens[:, None]).squeeze(-1), entropy))
        tokens, log_probs, entropies = (torch.stack(columns, 1) for columns in zip(*taken, strict=True))
        return tokens, log_probs, entropies


class Heads(Controller):
    """The input is the embedding of the decision before, zero at first; every decision has a linear head (carpedm20)."""

    def _add_layers(self) -> None:
        self.embedding = nn.Embedding(self.activations + self.nodes, self.hidden)
        self.heads = nn.ModuleList(nn.Linear(self.hidden, decision.options) for decision in self.decisions)

    def _begin(self, count: int) -> Memory:
        return Memory(self.embedding.weight.new_zeros(count, self.hidden))

    def _logits(self, memory: Memory, number: int) -> torch.Tensor:
        memory.state = self.cell(memory.x, memory.state)
        return self.bounded(self.heads[number](memory.state[0]))

    def _take(self, memory: Memory, number: int, tokens: torch.Tensor) -> None:
        memory.x = self.embedding(tokens + self.decisions[number].first_row)


class Attention(Controller):
    """Predecessors are found by attention, as in the authors' code (melodyguan/enas, google-research/enas_lm).

    Each state j of the cell has an anchor a_j, the LSTM's output when its node was begun. A predecessor's logit is
    v tanh(W1 a_j + W2 a_i), bounded, less distance^2 / 6, which favours near states: this policy does not start uniform, and
    the bound of the class is one before that prior. What is read next is a_j / (0.1 + distance). Logits of activations are
    products with their embedding, which is read next.
    """

    def _add_layers(self) -> None:
        self.start = nn.Parameter(torch.empty(self.hidden))
        self.embedding = nn.Embedding(self.activations, self.hidden)
        self.of_state = nn.Linear(self.hidden, self.hidden, bias=False)
        self.of_node = nn.Linear(self.hidden, self.hidden, bias=False)
        self.score = nn.Linear(self.hidden, 1, bias=False)

    def _begin(self, count: int) -> Memory:
        memory = Memory(self.start.expand(count, -1))
        self._begin_state(memory)
        memory.x = self.start.expand(count, -1)
        self._begin_state(memory)
        memory.x = memory.anchors[0] / 1.1  # node 0 has no choice: it reads state 0, at distance 1
        return memory

    def _begin_state(self, memory: Memory) -> None:
        memory.state = self.cell(memory.x, memory.state)
        memory.anchors.append(memory.state[0])

    def _logits(self, memory: Memory, number: int) -> torch.Tensor:
        decision = self.decisions[number]
        if not decision.predecessor:
            memory.state = self.cell(memory.x, memory.state)
            return self.bounded(F.linear(memory.state[0], self.embedding.weight))
        self._begin_state(memory)
        *states, own = memory.anchors
        hidden = torch.tanh(self.of_state(torch.stack(states, 1)) + self.of_node(own)[:, None])  # (K, states, H)
        distance = torch.arange(len(states), 0, -1, device=own.device)
        return self.bounded(self.score(hidden).squeeze(-1)) - distance.square() / 6

    def _take(self, memory: Memory, number: int, tokens: torch.Tensor) -> None:
        if not self.decisions[number].predecessor:
            memory.x = self.embedding(tokens)
            return
        states = torch.stack(memory.anchors[:-1], 1)
        chosen = states[torch.arange(len(tokens), device=tokens.device), tokens]
        memory.x = chosen / (0.1 + (states.size(1) - tokens))[:, None]


CONTROLLERS: dict[str, type[Controller]] = {"heads": Heads, "attention": Attention}


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
