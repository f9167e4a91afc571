"""The network of `model.py` computed in a faster order: the same modules, weights, buffers and masks, the same function.

`Network.forward` says what is computed; this says it again for speed, and differs by rounding only. Feature maps are
`(B, C, H, W)`, in the memory format of the images and weights: it is fastest in channels-last, where a 1x1 convolution is a
matrix product. What is different:

- A state goes through its ReLU once, not once for each edge that reads it, and in place where nothing reads it without.
  A cell's output is wanted after a ReLU only, except by the classifier.
- Depthwise convolutions: see `depthwise.py`.
- Drop path multiplies and adds in one operation.
- Batch norm counts its batches for all layers at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from cnn_nas.fast.depthwise import depthwise, even, every_second
from cnn_nas.model import Cell, Network, Output
from cnn_nas.operations import FactorizedReduce, Zero


class State:
    """A feature map `(B, C, H, W)` and, once it is asked for, its positive part.

    Args:
        value: the map; None where only the positive part is known.
        positive: the positive part; the rest is computed at first use.
    """

    def __init__(self, value: torch.Tensor | None, positive: torch.Tensor | None = None) -> None:
        self._value, self._positive = value, positive

    @property
    def value(self) -> torch.Tensor:
        """The map itself."""
        assert self._value is not None, "this state is known after its ReLU only"
        return self._value

    @property
    def either(self) -> torch.Tensor:
        """The map or its positive part, where only the shape and the type count."""
        return self.positive if self._value is None else self._value

    @property
    def positive(self) -> torch.Tensor:
        """The map after a ReLU."""
        if self._positive is None:
            self._positive = torch.relu(self.value)
        return self._positive


class FastNetwork(Network):
    """`Network` with another forward pass, in which cells and operations are data: their `forward` is not called."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.norms = [layer for layer in self.cells.modules() if isinstance(layer, nn.BatchNorm2d)]

    def forward(self, x: torch.Tensor, masks: torch.Tensor | None = None) -> Output:
        """See `Network.forward`."""
        before = last = State(None, torch.relu_(self.stem(x)))
        auxiliary_logits = None
        for i, (part, cell_masks) in enumerate(zip(self.cells, self.cell_masks(masks), strict=True)):
            cell, final = cast(Cell, part), i == len(self.cells) - 1
            before, last = last, _cell(cell, before, last, cell_masks, final)
            if i == self.auxiliary_at and self.auxiliary is not None and self.training:
                auxiliary_logits = self.auxiliary(last.positive)
        if self.training:
            torch._foreach_add_([cast(torch.Tensor, norm.num_batches_tracked) for norm in self.norms], 1)
        return Output(self.classifier(last.value.mean(dim=(2, 3))), auxiliary_logits)


def _cell(cell: Cell, input0: State, input1: State, masks: torch.Tensor | None, final: bool) -> State:
    """The cell's output, from its inputs; after a ReLU unless it is the `final` one's."""
    plain = {state for name, state in cell.edges if name in _NO_RELU} | (set(cell.concat) if final else set())
    states: list[State] = []
    for i, (fit, given) in enumerate(((cell.preprocess0, input0), (cell.preprocess1, input1))):
        states.append(State(run(fit, given)) if i in plain else State(None, run(fit, given, positive=True)))
    edge_masks = cell.edge_masks(masks)
    for k in range(0, len(cell.edges), 2):
        x = _node(cell, k, states, edge_masks)
        states.append(State(x) if len(states) in plain else State(None, torch.relu_(x)))
    if final:
        return State(torch.cat([states[i].value for i in cell.concat], dim=1))
    return State(None, torch.cat([states[i].positive for i in cell.concat], dim=1))


_NO_RELU = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3")
"""The operations that, at stride 1 at least, read a state without a ReLU."""


def _node(cell: Cell, k: int, states: list[State], masks: Sequence[torch.Tensor | None]) -> torch.Tensor:
    """The sum of edges k and k + 1, in memory of its own."""
    x, y = (run(cell.operations[edge], states[cell.edges[edge][1]]) for edge in (k, k + 1))
    mask_x, mask_y = masks[k : k + 2]
    if mask_x is not None and mask_y is not None:
        return (x * mask_x).addcmul_(y, mask_y)
    if mask_x is not None:
        return torch.addcmul(y, x, mask_x)
    return x + y if mask_y is None else torch.addcmul(x, y, mask_y)


def run(module: nn.Module, state: State, positive: bool = False) -> torch.Tensor:
    """What an operation makes of a state; an identity returns the state's own memory."""
    if isinstance(module, nn.Identity):
        return state.value
    if isinstance(module, Zero):
        return torch.zeros_like(state.value[:, :, :: module.stride, :: module.stride])
    if isinstance(module, FactorizedReduce):
        return _factorised(module, state.positive, positive)
    if isinstance(module, nn.Sequential):
        return _sequence(module, state, positive)
    x: torch.Tensor = module(state.value)
    return x


def _sequence(layers: nn.Sequential, state: State, positive: bool) -> torch.Tensor:
    """A sequence of layers that begins with a ReLU, or one of such sequences."""
    first, *rest = [layer for part in layers for layer in (part if isinstance(part, nn.Sequential) else [part])]
    x = state.positive if isinstance(first, nn.ReLU) else run(first, state)
    for layer, following in zip(rest, [*rest[1:], None], strict=True):
        if isinstance(layer, nn.BatchNorm2d):
            x = norm(layer, x, positive or isinstance(following, nn.ReLU))
        elif isinstance(layer, nn.Conv2d):
            x = _convolve(layer, x)
        elif not isinstance(layer, nn.ReLU):
            x = run(layer, State(x))
    return x


def _convolve(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    stride, padding, dilation = (cast("tuple[int, int]", pair) for pair in (conv.stride, conv.padding, conv.dilation))
    if conv.groups == 1:
        return F.conv2d(x, conv.weight, None, stride, padding, dilation)
    return depthwise(x, conv.weight, stride, padding, dilation)


def _factorised(module: FactorizedReduce, x: torch.Tensor, positive: bool) -> torch.Tensor:
    """`FactorizedReduce` after its ReLU."""
    x = even(x)
    halves = [_convolve(module.conv1, every_second(x, 0)), _convolve(module.conv2, every_second(x, 1))]
    return norm(module.norm, torch.cat(halves, dim=1), positive)


def norm(layer: nn.BatchNorm2d, x: torch.Tensor, positive: bool) -> torch.Tensor:
    """Batch norm that counts no batches; `positive` if a ReLU follows."""
    mean, var, momentum = layer.running_mean, layer.running_var, cast(float, layer.momentum)
    of_batch = layer.training or mean is None
    y = F.batch_norm(x, mean, var, layer.weight, layer.bias, of_batch, momentum, layer.eps)
    return torch.relu_(y) if positive else y  # in place: batch norm's backward needs its input only
