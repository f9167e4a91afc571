"""A language model that holds every recurrent cell of its space: all activations on all edges.

The search model of DARTS (Liu et al. 2019, arXiv 1806.09055, section 2.2 and appendix A.1.2), with one matrix a node, whose
weights random search shares as well (Li & Talwalkar 2019, arXiv 1902.07638); or that of ENAS (Pham et al. 2018, arXiv
1802.03268, section 2.1), with one an edge and the mean of the loose ends. T is time, B the batch's columns, H the hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.fields import field
from nas.core.space import Space
from randomNAS_files.architecture import ACTIVATIONS, NODES, SEARCHED_ACTIVATIONS, TOPOLOGIES, Genotype
from randomNAS_files.dropout import DropoutMasks, apply
from randomNAS_files.hadamard_space import HadamardSpace
from randomNAS_files.model import (
    FUNCTIONS,
    INIT_RANGE,
    LanguageModel,
    ModelConfig,
    Output,
    RecurrentCell,
    gated,
    summed_loss,
)
from randomNAS_files.nested import inner, inner_masks, inner_matrix, resized
from randomNAS_files.outputs import RULES
from randomNAS_files.relaxation import CELL, MOST_NODES, kept_nodes, shape_of
from randomNAS_files.space import RecurrentSpace

NORM_EPS = 1e-5
SHARING = ("node", "edge", "edge_activation")
"""What has a matrix of its own: each node, each pair of predecessor and node, or each activation of each pair."""


@dataclass(frozen=True)
class SupernetConfig:
    """What the supernet has beside the hyperparameters of the language model."""

    state_norm: bool = field(True)  # batch norm of every state, as DARTS searches with; random search needs none
    sharing: str = field("node", choices=SHARING)  # what has a matrix of its own; `edge` in the paper of ENAS
    output: str = field("all", choices=RULES)  # the mean of all nodes, or of those that no other reads, as in ENAS
    nodes: int | tuple[int, ...] = field(NODES, ge=1, most=MOST_NODES)  # of a cell; a list: the fewest and the most
    one_activation: bool = False  # all nodes of a cell that is drawn have the same
    fixed_topology: str | None = field(None, choices=TOPOLOGIES)  # only activations are drawn
    hidden_choices: tuple[int, ...] | None = field(None, ge=1, most=65_536)  # sizes that are drawn; null: all have nhid
    hadamard: bool = False  # nodes may be products and sums of two states, and a second state is carried, as in an LSTM

    def problems(self) -> list[str]:
        """Rules over several fields."""
        found, sizes = [], self.hidden_choices
        if not isinstance(self.nodes, int) and not (len(self.nodes) == 2 and self.nodes[0] < self.nodes[1]):
            rule = "nodes must be a number, or the fewest and the most, such as [3, 8]"
            found.append(f"{rule}, got {list(self.nodes)}")
        if sizes is not None and (len(sizes) < 2 or list(sizes) != sorted(set(sizes))):
            found.append(f"hidden_choices must be two or more sizes that rise, got {list(sizes)}")
        if self.hadamard:
            given = {name: value for name, value in self.restrictions().items() if name != "hadamard"}
            given |= {} if self.sharing == "node" else {"sharing": self.sharing}
            found += [f"{name} must be left out with hadamard true, got {value}" for name, value in given.items()]
        return found

    @property
    def most_nodes(self) -> int:
        """Of the largest cell."""
        return self.nodes if isinstance(self.nodes, int) else self.nodes[1]

    @property
    def least_nodes(self) -> int | None:
        """Of the smallest cell; None if all have as many."""
        return None if isinstance(self.nodes, int) else self.nodes[0]

    @property
    def space(self) -> Space[Any]:
        """The cells that are drawn, and how the supernet runs them."""
        if self.hadamard:
            return HadamardSpace(self.most_nodes, self.output)
        return RecurrentSpace(
            self.most_nodes,
            self.output,
            self.least_nodes,
            self.one_activation,
            self.fixed_topology,
            self.hidden_choices or (),
        )

    @property
    def matrices(self) -> int:
        """How many matrices `(H, 2H)` a layer has beside that of the initial state."""
        return _matrices(self.most_nodes, self.sharing)

    @property
    def one_cell_only(self) -> str:
        """The settings with which the supernet runs one cell at a time and no mixture, in words; "" if there are none."""
        given = {"sharing": self.sharing, "output": self.output, **self.restrictions()}
        return " and ".join(f"{name} {value}" for name, value in given.items() if value not in ("node", "all"))

    def restrictions(self) -> dict[str, str]:
        """The settings that say which cells are drawn, those that are not as in DARTS, in words."""
        given = {
            "nodes": "" if self.least_nodes is None else f"{self.least_nodes} to {self.most_nodes}",
            "one_activation": "true" if self.one_activation else "",
            "fixed_topology": self.fixed_topology or "",
            "hidden_choices": "" if self.hidden_choices is None else str(list(self.hidden_choices)),
            "hadamard": "true" if self.hadamard else "",
        }
        return {name: value for name, value in given.items() if value}


class SuperCell(RecurrentCell):
    """All cells at once: node i sums over every earlier state s_j and activation f, with its weight p,

        s_i = sum_j sum_f p_jf * (s_j + sigmoid(c_j) * (f(g_j) - s_j)),    [c_j, g_j] = (s_j * mh) W_i,

    and then normalises s_i over the batch, if it is to. A path runs its own activations only; without normalisation it is
    the plain cell of its genotype. With sharing `edge` or `edge_activation`, or the mean of the loose ends, there is no
    mixture.
    """

    config = SupernetConfig(state_norm=False)

    def configure(self, config: SupernetConfig, generator: torch.Generator) -> None:
        """Add the matrices that this sharing has beside one a node."""
        self.config = config
        for _ in range(config.matrices - len(self.nodes)):
            weight = nn.Parameter(torch.empty_like(self.nodes[0]))
            self.nodes.append(nn.init.uniform_(weight, -INIT_RANGE, INIT_RANGE, generator=generator))

    def weights_of(self, genotype: Genotype, width: int) -> Sequence[torch.Tensor]:
        """Those of the cell's own nodes, edges or activations; for inputs of fewer units, of the first units."""
        first = inner_matrix("w0", self.w0, width)
        own = [self.nodes[k] for k in matrices_of(genotype, self.config.sharing)]
        return [first[:width], first[width:], *(inner_matrix("nodes", weight, width) for weight in own)]

    def check_mixture(self) -> None:
        """Raises ValueError if this supernet runs one cell at a time only."""
        if self.config.one_cell_only:
            raise ValueError(
                f"a supernet with {self.config.one_cell_only} runs one cell at a time, no mixture of cells"
            )

    def forward(  # type: ignore[override]
        self,
        x: torch.Tensor,
        h: torch.Tensor,
        x_mask: torch.Tensor | None,
        h_mask: torch.Tensor | None,
        weights: ArchWeights,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run x `(T, B, H)` from the state h `(B, H)`; returns the outputs `(T, B, H)` and the last state `(B, H)`."""
        if is_one_cell(weights, self.config.least_nodes) and not self.config.state_norm:
            assert weights.paths is not None
            return super().forward(x, h, x_mask, h_mask, self.config.space.genotype_of(weights.paths))
        self.check_mixture()
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
        shape = shape_of(self.config.most_nodes)
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
        return normalised(state) if self.config.state_norm else state


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
        any_cell = Genotype((("tanh", 0),) * supernet.most_nodes)  # of which its number of nodes counts
        super().__init__(config, any_cell, vocabulary, generator)
        self.supernet = supernet
        for cell in self.cells:
            cast(SuperCell, cell).configure(supernet, generator)

    def sized(
        self, hidden: list[torch.Tensor], masks: DropoutMasks | None, weights: ArchWeights
    ) -> tuple[torch.Tensor, list[torch.Tensor], DropoutMasks | None]:
        """The embedding, states and masks of an architecture's hidden size."""
        size = self.size_of(weights)
        if size == self.config.nhid and all(h.size(1) == size for h in hidden):
            return self.embedding, hidden, masks
        cut = None if masks is None else inner_masks(masks, size)
        return inner("embedding", self.embedding, size), [resized(h, size) for h in hidden], cut

    def size_of(self, weights: ArchWeights) -> int:
        """The hidden size of an architecture."""
        found: int = self.supernet.space.beside(weights.paths or {}).get("hidden", self.config.nhid)
        return found

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
            hidden: the state to go on from, `(B, H)` a layer, or of another size: its first units go on, others start at zero.
            weights: for the cell "recurrent", and where sizes are chosen for "hidden".
            masks: the dropout masks of this step, from `draw_masks`; without them nothing is dropped.
            targets: the words that follow, `(T, B)`, IGNORED where none counts: sum the loss.
        """
        embedding, hidden, masks = self.sized(hidden, masks, weights)
        states, last = self.unroll(F.embedding(tokens, embedding), tokens, hidden, masks, weights)
        dropped = states if masks is None else apply(states, masks.output)
        logits = F.linear(dropped, embedding, self.decoder_bias)
        loss = None if targets is None else summed_loss(logits, targets)
        return Output(logits, last, states, dropped, loss)


def _matrices(nodes: int, sharing: str) -> int:
    edges = len(shape_of(nodes).edges)
    return {"node": nodes, "edge": edges, "edge_activation": edges * len(SEARCHED_ACTIVATIONS)}[sharing]


def normalised(state: torch.Tensor) -> torch.Tensor:
    """Each unit of a state `(B, H)` by its mean and variance over the batch, without weight and bias."""
    return F.batch_norm(state, None, None, training=True, eps=NORM_EPS)


@lru_cache(maxsize=4096)
def matrices_of(genotype: Genotype, sharing: str) -> tuple[int, ...]:
    """Which matrix of the cell each node of a genotype has; `none`, which reads none, has that of another activation."""
    if sharing == "node":
        return tuple(range(len(genotype.recurrent)))
    shape = shape_of(len(genotype.recurrent))
    edges = [shape.edge(node, state) for node, (_, state) in enumerate(genotype.recurrent)]
    if sharing == "edge":
        return tuple(edges)
    count = len(SEARCHED_ACTIVATIONS)
    names = [SEARCHED_ACTIVATIONS[0] if name == "none" else name for name, _ in genotype.recurrent]
    return tuple(edge * count + SEARCHED_ACTIVATIONS.index(name) for edge, name in zip(edges, names, strict=True))


def is_one_cell(weights: ArchWeights, least: int | None = None) -> bool:
    """Whether the weights are one genotype, unscaled; `least`: see `relaxation.kept_nodes`."""
    if weights.paths is None or weights.operations is not None or weights.edges is not None:
        return False
    shape = shape_of(kept_nodes(weights.paths[CELL], least))
    counts = [sum(len(weights.paths[CELL][edge]) for edge in shape.entering(node)) for node in range(shape.nodes)]
    return all(count == 1 for count in counts)
