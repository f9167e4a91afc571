"""Cells computed in a faster order: what `model.py` says in general is done here for one cell and its operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from cnn_nas.fast.depthwise import depthwise, even, every_second
from cnn_nas.fast.tensors import OWN, Given
from cnn_nas.model import Cell
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


def run_cell(
    cell: Cell, input0: State, input1: State, masks: torch.Tensor | None, final: bool, tensors: Given
) -> State:
    """The cell's output, from its inputs; after a ReLU unless it is the `final` one's."""
    plain = {state for name, state in cell.edges if name in _NO_RELU} | (set(cell.concat) if final else set())
    states: list[State] = []
    for i, (fit, given) in enumerate(((cell.preprocess0, input0), (cell.preprocess1, input1))):
        x = run(fit, given, tensors, positive=i not in plain)
        states.append(State(x) if i in plain else State(None, x))
    edge_masks = cell.edge_masks(masks)
    for k in range(0, len(cell.edges), 2):
        x = _node(cell, k, states, edge_masks, tensors)
        states.append(State(x) if len(states) in plain else State(None, torch.relu_(x)))
    if final:
        return State(torch.cat([states[i].value for i in cell.concat], dim=1))
    return State(None, torch.cat([states[i].positive for i in cell.concat], dim=1))


_NO_RELU = ("none", "skip_connect", "max_pool_3x3", "avg_pool_3x3")
"""The operations that, at stride 1 at least, read a state without a ReLU."""


def _node(
    cell: Cell, k: int, states: list[State], masks: Sequence[torch.Tensor | None], tensors: Given
) -> torch.Tensor:
    """The sum of edges k and k + 1, in memory of its own."""
    x, y = (run(cell.operations[edge], states[cell.edges[edge][1]], tensors) for edge in (k, k + 1))
    mask_x, mask_y = masks[k : k + 2]
    if mask_x is not None and mask_y is not None:
        return (x * mask_x).addcmul_(y, mask_y)
    if mask_x is not None:
        return torch.addcmul(y, x, mask_x)
    return x + y if mask_y is None else torch.addcmul(x, y, mask_y)


def run(module: nn.Module, state: State, tensors: Given = OWN, positive: bool = False) -> torch.Tensor:
    """What an operation makes of a state, or a ReLU of that; an identity returns the state's own memory.

    Args:
        tensors: that the layers compute with.
        positive: whether a ReLU follows, for an operation that ends with a batch norm.
    """
    if isinstance(module, nn.Identity):
        return state.value
    if isinstance(module, Zero):
        return torch.zeros_like(state.value[:, :, :: module.stride, :: module.stride])
    if isinstance(module, FactorizedReduce):
        return _factorised(module, state.positive, positive, tensors)
    if isinstance(module, nn.Sequential):
        return _sequence(module, state, positive, tensors)
    if isinstance(module, nn.Conv2d):
        return _convolve(module, state.value, tensors)
    if isinstance(module, nn.Linear):
        return F.linear(state.value, *tensors.linear(module))
    x: torch.Tensor = module(state.value)
    return x


def _sequence(layers: nn.Sequential, state: State, positive: bool, tensors: Given) -> torch.Tensor:
    """A sequence of layers, or of such sequences, in which a ReLU comes first or after a batch norm."""
    flat = [layer for part in layers for layer in (part if isinstance(part, nn.Sequential) else [part])]
    for layer, following in zip(flat, [*flat[1:], None], strict=True):
        if isinstance(layer, nn.BatchNorm2d):
            x = norm(layer, state.value, positive if following is None else isinstance(following, nn.ReLU), tensors)
        elif isinstance(layer, nn.ReLU):
            x = state.positive if layer is flat[0] else state.value  # the batch norm before it has done it
        else:
            x = run(layer, state, tensors)
        state = State(x)
    return x


def _convolve(conv: nn.Conv2d, x: torch.Tensor, tensors: Given) -> torch.Tensor:
    stride, padding, dilation = (cast("tuple[int, int]", pair) for pair in (conv.stride, conv.padding, conv.dilation))
    weight = tensors.linear(conv).weight
    if conv.groups == 1:
        return F.conv2d(x, weight, None, stride, padding, dilation)
    return depthwise(x, weight, stride, padding, dilation)


def _factorised(module: FactorizedReduce, x: torch.Tensor, positive: bool, tensors: Given) -> torch.Tensor:
    """`FactorizedReduce` after its ReLU."""
    x = even(x)
    halves = [
        _convolve(module.conv1, every_second(x, 0), tensors),
        _convolve(module.conv2, every_second(x, 1), tensors),
    ]
    return norm(module.norm, torch.cat(halves, dim=1), positive, tensors)


def norm(layer: nn.BatchNorm2d, x: torch.Tensor, positive: bool, tensors: Given) -> torch.Tensor:
    """Batch norm that counts no batches; `positive` if a ReLU follows."""
    mean, var, weight, bias = tensors.norm(layer)
    of_batch = layer.training or mean is None
    y = F.batch_norm(x, mean, var, weight, bias, of_batch, cast(float, layer.momentum), layer.eps)
    return torch.relu_(y) if positive else y  # in place: batch norm's backward needs its input only
