"""A network that draws recurrent cells, one decision after another, and knows the probability of each.

The controller of ENAS (Pham et al. 2018, arXiv 1802.03268, section 2.1 and figure 1), an LSTM, as two codes have it. Which
decisions there are, `cell_tokens.decisions_of` says. K is the number of cells, D of decisions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from nas.core.errors import ConfigError
from one_shot.cell_tokens import ACTIVATION, KIND, NEXT_C, NODES, OF_CELL, PREDECESSOR, SECOND, SIZE, Decision

INITIAL = 0.1
"""Weights start uniform in +- 0.1, so that every decision is nearly uniform; biases of heads start at 0."""
_NEVER = -1e9
"""The logit of what is not an option: a probability of 0 with an entropy that is a number."""


class Memory:
    """What a controller knows while it takes decisions for K cells.

    Attributes:
        x: `(K, H)`, what the LSTM reads next.
        state: of the LSTM, two `(K, H)`.
        anchors: `(K, H)` for each state of the cell so far; of attention only.
        beyond: how many nodes each cell has beyond the fewest, `(K,)`; None where all have as many.
        tokens: of the decisions so far, `(K,)` each.
    """

    def __init__(self, x: torch.Tensor) -> None:
        zeros = torch.zeros_like(x)
        self.x, self.state = x, (zeros, zeros)
        self.anchors: list[torch.Tensor] = []
        self.beyond: torch.Tensor | None = None
        self.tokens: list[torch.Tensor] = []


class Controller(nn.Module, ABC):
    """A policy over cells: pi(cell) is the product of the probabilities of its decisions.

    Logits l become `tanh_constant * tanh(l / temperature)`, so that no option of k has a probability above
    1 / (1 + (k - 1) exp(-2 tanh_constant)). Cells are tokens `(K, D)`: numbers of options, in the order of `decisions`. What is
    not decided, as the cell has no such node, is token 0 with probability 1: log pi and entropy are 0.

    Args:
        decisions: one or more.
        hidden: H, the size of the LSTM and of the embedding.
        generator: draws the initial weights, on the CPU.
        temperature: divides the logits.
        tanh_constant: bounds them.

    Raises:
        ConfigError: for sizes that make no controller.
    """

    def __init__(
        self,
        decisions: Sequence[Decision],
        hidden: int,
        generator: torch.Generator,
        temperature: float = 5.0,
        tanh_constant: float = 2.5,
    ) -> None:
        super().__init__()
        _check(hidden, temperature, tanh_constant)
        self.decisions, self.hidden = list(decisions), hidden
        self.temperature, self.tanh_constant = temperature, tanh_constant
        self._most = {
            kind: max((each.options for each in decisions if each.kind == kind), default=0)
            for kind in (ACTIVATION, PREDECESSOR, NODES, SIZE, KIND, SECOND, NEXT_C)
        }
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
    def _open_logits(self, memory: Memory, number: int) -> torch.Tensor:
        """Of the decision of that number, if it is to be taken, bounded, `(K, options)`."""

    @abstractmethod
    def _read(self, memory: Memory, number: int, tokens: torch.Tensor) -> None:
        """Go on from a decision."""

    def _logits(self, memory: Memory, number: int) -> torch.Tensor:
        """Of the decision of that number, `(K, options)`; where it is not to be taken, option 0 is the only one."""
        logits, needs = self._open_logits(memory, number), self.decisions[number].needs
        if self.decisions[number].given:
            return torch.where(self._open(memory, number), logits, _NEVER)
        if not needs or memory.beyond is None:
            return logits
        only = torch.full_like(logits[0], _NEVER)
        only[0] = 0
        return torch.where(memory.beyond[:, None] >= needs, logits, only)

    def _open(self, memory: Memory, number: int) -> torch.Tensor:
        """Which options the decisions before leave, `(K, options)`."""
        decision, row = self.decisions[number], torch.zeros_like(memory.tokens[0])
        for earlier in decision.given:
            row = row * self.decisions[earlier].options + memory.tokens[earlier]
        return torch.tensor(decision.open, device=row.device)[row]

    def _take(self, memory: Memory, number: int, tokens: torch.Tensor) -> None:
        """Go on from a decision."""
        memory.tokens.append(tokens)
        if self.decisions[number].kind == NODES:
            memory.beyond = tokens
        self._read(memory, number, tokens)

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
            if not self.decisions[number].given:
                return below.sum(-1).clamp(max=log_probs.size(-1) - 1)
            options = torch.arange(log_probs.size(-1), device=log_probs.device)
            last = torch.where(log_probs > _NEVER / 2, options, 0).amax(-1)
            return torch.minimum(below.sum(-1), last)

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
        self.first_row, rows = {}, 0  # of the tokens of each kind of decision
        for kind, options in self._most.items():
            self.first_row[kind], rows = rows, rows + options
        self.embedding = nn.Embedding(rows, self.hidden)
        self.heads = nn.ModuleList(nn.Linear(self.hidden, decision.options) for decision in self.decisions)

    def _begin(self, count: int) -> Memory:
        return Memory(self.embedding.weight.new_zeros(count, self.hidden))

    def _open_logits(self, memory: Memory, number: int) -> torch.Tensor:
        memory.state = self.cell(memory.x, memory.state)
        return self.bounded(self.heads[number](memory.state[0]))

    def _read(self, memory: Memory, number: int, tokens: torch.Tensor) -> None:
        memory.x = self.embedding(tokens + self.first_row[self.decisions[number].kind])


class Attention(Controller):
    """Predecessors are found by attention, as in the authors' code (melodyguan/enas, google-research/enas_lm).

    Each state j of the cell has an anchor a_j, the LSTM's output when its node was begun. A predecessor's logit is
    v tanh(W1 a_j + W2 a_i), bounded, less distance^2 / 6, which favours near states: this policy does not start uniform, and
    the bound of the class is one before that prior. What is read next is a_j / (0.1 + distance). Logits of activations are
    products with their embedding, which is read next; so are those of decisions about the cell as a whole, before any state
    has begun.
    """

    def _add_layers(self) -> None:
        self.start = nn.Parameter(torch.empty(self.hidden))
        self.embedding = nn.Embedding(self._most[ACTIVATION], self.hidden)
        self.of_state = nn.Linear(self.hidden, self.hidden, bias=False)
        self.of_node = nn.Linear(self.hidden, self.hidden, bias=False)
        self.score = nn.Linear(self.hidden, 1, bias=False)
        first = [each for each in self.decisions if each.kind in OF_CELL]
        self.of_cell = nn.ModuleDict({each.kind: nn.Embedding(each.options, self.hidden) for each in first})

    def _begin(self, count: int) -> Memory:
        memory = Memory(self.start.expand(count, -1))
        if not self.of_cell:
            self._begin_cell(memory)
        return memory

    def _begin_cell(self, memory: Memory) -> None:
        self._begin_state(memory)
        memory.x = self.start.expand(len(memory.x), -1)
        self._begin_state(memory)
        memory.x = memory.anchors[0] / 1.1  # node 0 has no choice: it reads state 0, at distance 1

    def _begin_state(self, memory: Memory) -> None:
        memory.state = self.cell(memory.x, memory.state)
        memory.anchors.append(memory.state[0])

    def _open_logits(self, memory: Memory, number: int) -> torch.Tensor:
        decision = self.decisions[number]
        if not decision.predecessor:
            memory.state = self.cell(memory.x, memory.state)
            return self.bounded(F.linear(memory.state[0], self._table(decision).weight))
        self._begin_state(memory)
        *states, own = memory.anchors
        hidden = torch.tanh(self.of_state(torch.stack(states, 1)) + self.of_node(own)[:, None])  # (K, states, H)
        distance = torch.arange(len(states), 0, -1, device=own.device)
        return self.bounded(self.score(hidden).squeeze(-1)) - distance.square() / 6

    def _table(self, decision: Decision) -> nn.Embedding:
        return cast(nn.Embedding, self.of_cell[decision.kind]) if decision.kind in OF_CELL else self.embedding

    def _read(self, memory: Memory, number: int, tokens: torch.Tensor) -> None:
        decision = self.decisions[number]
        if not decision.predecessor:
            memory.x = self._table(decision)(tokens)
            if decision.kind in OF_CELL and number + 1 == len(self.of_cell):
                self._begin_cell(memory)
            return
        states = torch.stack(memory.anchors[:-1], 1)
        chosen = states[torch.arange(len(tokens), device=tokens.device), tokens]
        memory.x = chosen / (0.1 + (states.size(1) - tokens))[:, None]


CONTROLLERS: dict[str, type[Controller]] = {"heads": Heads, "attention": Attention}


def _check(hidden: int, temperature: float, tanh_constant: float) -> None:
    wrong = [] if hidden >= 1 else [f"controller_hidden must be at least 1, got {hidden}"]
    wrong += [
        f"{name} must be above 0, got {value:g}"
        for name, value in (("temperature", temperature), ("tanh_constant", tanh_constant))
        if not value > 0
    ]
    if wrong:
        raise ConfigError(wrong)
