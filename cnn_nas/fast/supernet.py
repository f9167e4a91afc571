"""The supernet of `supernet.py` computed in a faster order: the same modules and weights, the same function.

`Supernet.forward` says what is computed; this says it again for speed, and differs by rounding only. Feature maps are
`(B, C, H, W)`, and fastest in channels-last. What is different:

- Edges that leave the same state, or the two inputs of a cell, run an operation together: n edges are one depthwise
  convolution of n * C channels, one pointwise convolution in n groups, one batch norm, while their maps fit the caches.
- A state goes through its ReLU, its pools and their batch norm once, not once for each edge; `none` costs nothing.
- What an operation counts is the scale of its last batch norm. Pools and skip connections have none of their own on an edge:
  their maps, one a row, are multiplied with the weights of all edges at once.
- Depthwise convolutions: see `depthwise.py`.

Gradients can be differentiated again, as the plain form's can.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from cnn_nas.architecture import NODES
from cnn_nas.fast.cells import State, run
from cnn_nas.fast.depthwise import memory_format
from cnn_nas.fast.edges import beside, chunks, convolve, factorised, sum_of
from cnn_nas.fast.mixing import CONVOLUTIONS, OPERATIONS, POOLS, SLOTS, Mixing, Slots, select
from cnn_nas.model import Output
from cnn_nas.operations import FactorizedReduce
from cnn_nas.relaxation import INPUTS, RELAXATION
from cnn_nas.supernet import NONE, SKIP, MixedEdge, SkipMasks, SuperCell, Supernet, shuffle
from nas.core.arch_weights import ArchWeights


class FastSupernet(Supernet):
    """`Supernet` with another forward pass, in which cells, edges and operations are data: their `forward` is not called."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.layers = [[_layers(edge) for edge in cast(SuperCell, cell).edges] for cell in self.cells]

    def forward(self, x: torch.Tensor, weights: ArchWeights, skip_masks: SkipMasks | None = None) -> Output:
        """See `Supernet.forward`."""
        before = last = State(None, torch.relu_(self.stem(x)))
        mixings = {kind: Mixing(kind, weights, self.classifier.weight.dtype) for kind in RELAXATION}
        for i, (part, layers) in enumerate(zip(self.cells, self.layers, strict=True)):
            cell, final = cast(SuperCell, part), i == len(self.cells) - 1
            masks = None if skip_masks is None else skip_masks[i]
            before, last = last, CellPass(cell, layers, mixings[cell.kind], masks, final).run(before, last)
        return Output(self.classifier(last.value.mean(dim=(2, 3))), None)


def _layers(edge: nn.Module) -> dict[int, list[nn.Module]]:
    """The layers of each operation that is a sequence of convolutions."""
    found = {}
    for k in CONVOLUTIONS:
        parts = cast("nn.Sequential", cast(MixedEdge, edge).operations[k])
        found[k] = [layer for part in parts for layer in (part if isinstance(part, nn.Sequential) else [part])]
    return found


class Feature(NamedTuple):
    """A map that the edges of some slots share, and what it counts on all slots; None: 1."""

    value: torch.Tensor
    slots: Slots
    row: torch.Tensor | None


Parts = list[list[torch.Tensor]]
"""For each node the maps whose sum it is."""


def _parts() -> Parts:
    return [[] for _ in range(NODES)]


class CellPass:
    """One forward pass of a cell.

    Args:
        layers: of each edge, see `_layers`.
        masks: for skip connections, `(edges, B, 1, 1, 1)`.
        final: whether the output is wanted as it is; after a ReLU otherwise.
    """

    def __init__(
        self,
        cell: SuperCell,
        layers: Sequence[dict[int, list[nn.Module]]],
        mixing: Mixing,
        masks: torch.Tensor | None,
        final: bool,
    ) -> None:
        self.cell, self.layers, self.mixing, self.masks, self.final = cell, layers, mixing, masks, final
        first = cast(MixedEdge, cell.edges[0])
        self.partial, self.mixed = first.partial, first.mixed
        self.auxiliary = first.auxiliary is not None and bool(mixing.auxiliary)
        self.states: list[State] = []
        # Of the channels that operations see, of those passed on, and of all after their shuffle:
        self.parts, self.passed, self.whole = _parts(), _parts(), _parts()

    def run(self, input0: State, input1: State) -> State:
        """The output for the two inputs."""
        cell = self.cell
        for i, (fit, given) in enumerate(((cell.preprocess0, input0), (cell.preprocess1, input1))):
            plain = self._is_read_plainly(i)
            self.states.append(State(run(fit, given)) if plain else State(None, run(fit, given, positive=True)))
        for node in range(NODES):
            self._leave((0, 1) if node == 0 else (node + 1,))
            self.states.append(self._node(node))
        nodes = self.states[INPUTS:]
        if self.final:
            return State(torch.cat([state.value for state in nodes], dim=1))
        return State(None, torch.cat([state.positive for state in nodes], dim=1))

    def _stride(self, state: int) -> int:
        return 2 if self.cell.kind == "reduce" and state < INPUTS else 1

    def _is_read_plainly(self, state: int) -> bool:
        """Whether anything reads a state without a ReLU."""
        running = [ks for slot, ks in zip(SLOTS, self.mixing.running, strict=True) if slot.state == state and ks]
        plain = POOLS if self._stride(state) == 2 else (*POOLS, SKIP)
        return bool(running) and (
            self.partial > 1 or self.auxiliary or any(k in plain for operations in running for k in operations)
        )

    def _node(self, node: int) -> State:
        """The state of a node, of the parts that it has by now."""
        total, own = sum_of(self.parts[node])
        rest, _ = sum_of(self.passed[node])
        if rest is not None:
            mixed = torch.zeros_like(rest[:, : self.mixed]) if total is None else total
            total, own = shuffle(torch.cat([mixed, rest], dim=1), self.partial), True
        more, _ = sum_of(self.whole[node])
        if more is not None:
            total, own = (more, False) if total is None else (total + more, True)
        if total is None:
            total, own = self._nothing(), True
        if own and not (self._is_read_plainly(INPUTS + node) or self.final):
            return State(None, torch.relu_(total))
        return State(total)

    def _nothing(self) -> torch.Tensor:
        """The state of a node that no operation reaches."""
        stride = self._stride(0)
        return torch.zeros_like(self.states[0].either[:, :, ::stride, ::stride])

    def _leave(self, sources: Sequence[int]) -> None:
        """Run all edges that leave some states, of the same shape, and add to the nodes' parts."""
        slots = [p for p, slot in enumerate(SLOTS) if slot.state in sources and self.mixing.running[p]]
        if not slots:
            return
        narrow = {s: self._narrow(self.states[s]) for s in sources}
        sums: dict[Slots, torch.Tensor] = {}
        for some, y in (*self._convolved(slots, narrow), *self._reduced(slots, narrow)):
            sums[some] = y if some not in sums else sums[some].add_(y)
        for some, total in sums.items():
            for p, y in zip(some, total.chunk(len(some), dim=1) if len(some) > 1 else [total], strict=True):
                self.parts[SLOTS[p].node].append(y)
        _spread(list(self._pooled(slots, narrow)), self.parts)
        if self.partial > 1:
            _spread(list(self._passed(slots)), self.passed)
        if self.auxiliary:
            self._auxiliary(slots)

    def _narrow(self, state: State) -> State:
        """The channels of a state that operations see."""
        return state if self.partial == 1 else State(state.value[:, : self.mixed])

    def _running(self, k: int, slots: Sequence[int]) -> list[int]:
        return [p for p in slots if k in self.mixing.running[p]]

    def _edge(self, p: int) -> MixedEdge:
        return cast(MixedEdge, self.cell.edges[SLOTS[p].edge])

    def _convolved(self, slots: Sequence[int], narrow: dict[int, State]) -> Iterator[tuple[Slots, torch.Tensor]]:
        """Of operations that are convolutions, some edges at a time: the edges, and their maps side by side."""
        inputs: dict[Slots, torch.Tensor] = {}
        for k in CONVOLUTIONS:
            running = self._running(k, slots)
            if not running:
                continue
            for some in chunks(running, narrow[SLOTS[running[0]].state].positive.numel()):
                states = tuple(SLOTS[p].state for p in some)
                if states not in inputs:
                    inputs[states] = beside([narrow[s].positive for s in states])
                rows = zip(*(self.layers[SLOTS[p].edge][k] for p in some), strict=True)
                yield some, convolve(list(rows), inputs[states], self.mixing.scale(k, some, self.mixed))

    def _reduced(self, slots: Sequence[int], narrow: dict[int, State]) -> Iterator[tuple[Slots, torch.Tensor]]:
        """Of skip connections of stride 2, and of those of stride 1 that masks drop."""
        for s, state in narrow.items():
            running = [p for p in self._running(SKIP, slots) if SLOTS[p].state == s]
            if not running or (self._stride(s) == 1 and self.masks is None):
                continue
            for some in chunks(running, state.either.numel()):
                scale = self.mixing.scale(SKIP, some, self.mixed)
                if self._stride(s) == 2:
                    y = factorised([cast(FactorizedReduce, self._edge(p).operations[SKIP]) for p in some], state, scale)
                else:
                    y = beside([state.value] * len(some))
                    y = y if scale is None else y * scale.view(-1, 1, 1)
                yield some, y if self.masks is None else y * self._mask(some, self.masks)

    def _mask(self, slots: Slots, masks: torch.Tensor) -> torch.Tensor:
        """`(B, slots * channels, 1, 1)`."""
        rows = torch.stack([masks[SLOTS[p].edge].flatten() for p in slots], dim=1)
        return rows.repeat_interleave(self.mixed, dim=1)[:, :, None, None]

    def _pooled(self, slots: Sequence[int], narrow: dict[int, State]) -> Iterator[Feature]:
        """Of pools, and of skip connections that are the state itself."""
        for k in (*POOLS, SKIP):
            for s, state in narrow.items():
                running = tuple(p for p in self._running(k, slots) if SLOTS[p].state == s)
                if not running or (k == SKIP and (self._stride(s) == 2 or self.masks is not None)):
                    continue
                row = None if self.mixing.operations is None else self.mixing.operations[k]
                yield Feature(run(self._edge(running[0]).operations[k], state), running, row)

    def _passed(self, slots: Sequence[int]) -> Iterator[Feature]:
        """Of the channels that operations do not see."""
        for s in sorted({SLOTS[p].state for p in slots}):
            running = tuple(p for p in slots if SLOTS[p].state == s)
            rest = self._edge(running[0]).passed(self.states[s].value[:, self.mixed :])
            yield Feature(rest, running, self.mixing.edges)

    def _auxiliary(self, slots: Sequence[int]) -> None:
        """Add auxiliary skip connections."""
        for p in slots:
            state, module = self.states[SLOTS[p].state], self._edge(p).auxiliary
            assert module is not None
            y = run(module, state) * self.mixing.auxiliary
            self.whole[SLOTS[p].node].append(y if self.mixing.edges is None else y * self.mixing.edges[p])


def _spread(features: Sequence[Feature], parts: Parts) -> None:
    """Add features, times what they count, to the nodes that their edges enter."""
    nodes = {tuple(SLOTS[p].node for p in feature.slots) for feature in features}
    if len(nodes) == 1 and all(feature.row is not None for feature in features):
        for node, y in zip(*nodes, _products(features), strict=True):
            parts[node].append(y)
        return
    for value, slots, row in features:
        for p in slots:
            parts[SLOTS[p].node].append(value if row is None else value * row[p])


def _products(features: Sequence[Feature]) -> list[torch.Tensor]:
    """For each node that the features reach, all the same, the sum of the features times what they count there."""
    weights = torch.stack([select(cast(torch.Tensor, row), slots) for _, slots, row in features])  # (features, nodes)
    like = features[0].value
    batch, channels, height, width = like.shape
    if memory_format(like) is torch.channels_last:
        rows = torch.stack([feature.value.permute(0, 2, 3, 1).reshape(-1) for feature in features])
        return [y.view(batch, height, width, channels).permute(0, 3, 1, 2) for y in (weights.t() @ rows).unbind()]
    rows = torch.stack([feature.value.reshape(-1) for feature in features])
    return [y.view(like.shape) for y in (weights.t() @ rows).unbind()]


assert OPERATIONS[NONE] == "none" and NONE not in (*POOLS, SKIP, *CONVOLUTIONS)
