"""The mixture of `mixture.py` from products of rounded factors, see `precision.py`.

States, gates, carried gradients and sums over edges have all digits; what nodes read is kept rounded. T is time, B the
batch's columns, H the hidden size, P the next multiple of 8, n the edges of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from randomNAS_files.fast.blocks import Block
from randomNAS_files.fast.mixture import Mixture, Nodes
from randomNAS_files.fast.precision import factor, multiply, multiply_into, padded, tensor_cores, type_of, widened


class RoundedMixture(Mixture):
    """A pass of a mixture that a backward pass follows; `precision` is one other than fp32."""

    def __init__(self, *of_mixture: Any, precision: str) -> None:
        super().__init__(*of_mixture)
        self._precision = precision

    def run(self, inputs: torch.Tensor, h: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
        """See `Mixture.run`."""
        with tensor_cores(self._precision):
            return super().run(inputs, h, coefficients)

    def backward(self, grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Mixture.backward`."""
        with tensor_cores(self._precision):
            return super().backward(grads)

    def _allocate(self, steps: int, like: torch.Tensor) -> None:
        super()._allocate(steps, like)
        (columns, size), precision = like.shape, self._precision
        self._size, self._wide = size, padded(size)
        self._of_first = factor(self.weights[0].t(), precision)  # a row for each of the gates
        self._factors = {blocks[0].node: self._turned(self.weights[blocks[0].node + 1]) for blocks in self.nodes}
        rows = columns * max(map(len, self.blocks))
        self._first_grads = widened(columns, 2 * size, precision, like)
        self._gate_grads = like.new_zeros(rows, 2, self._wide, dtype=self.read.dtype)
        self._product = like.new_empty(rows, self._wide)

    def _new_read(self, kept: int, states: int, like: torch.Tensor) -> torch.Tensor:
        columns, size = like.shape
        return like.new_zeros(kept, states, columns, padded(size), dtype=type_of(self._precision, like.dtype))

    def _turned(self, weight: torch.Tensor) -> torch.Tensor:
        """Of a node's weight `(H, 2H)` a factor with a row for each gate of c, then of g, `(2, P, P)`."""
        found = weight.new_zeros(2, self._wide, self._wide, dtype=self.read.dtype)
        found[:, : self._size, : self._size] = weight.view(self._size, 2, self._size).permute(1, 2, 0)
        return found

    def memory(self) -> list[torch.Tensor]:
        """All that is kept for the backward pass."""
        read = [self.read] if self.mask is None else []  # else it is there already
        return [*super().memory(), *read, self._of_first, *self._factors.values()]

    def _keep_read(self, own: torch.Tensor, place: int, state: int) -> None:
        read = self.read[place, state, :, : self._size]
        if self.mask is None:
            read.copy_(own)
        else:
            torch.mul(own, self.mask, out=read)

    def _add_product_of_h(self, first: torch.Tensor, h: torch.Tensor, place: int) -> None:
        self._keep_read(h, place, 0)  # the first state takes its place
        product = multiply(self.read[place, 0], self._of_first.t(), first.dtype)
        first.add_(product[:, : first.size(1)])

    def _gate_products(self, block: Block, read: torch.Tensor, c: torch.Tensor, g: torch.Tensor) -> None:
        for weight, out in zip(self._factors[block.node], (c, g), strict=True):
            multiply_into(out, read, weight[: self._size].t())

    def _of_read(self, block: Block, c: torch.Tensor, g: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        count, columns, size = c.shape
        grads, out = self._gate_grads[: count * columns], self._product[: count * columns]
        grads[:, 0, :size], grads[:, 1, :size] = c.flatten(0, 1), g.flatten(0, 1)
        multiply_into(out, grads.flatten(1), self._factors[block.node].flatten(0, 1))
        return out.view(count, columns, -1)[..., :size]

    def _of_h(self, first: torch.Tensor) -> torch.Tensor:
        columns, width = first.shape
        self._first_grads[:columns, :width] = first
        return multiply(self._first_grads, self._of_first, first.dtype)[:columns, : self._size]


def rounded_read(read: torch.Tensor, precision: str) -> torch.Tensor:
    """Nothing but the shape and type of `Mixture.read` where it is rounded, of its shape where it is not."""
    number = read.new_zeros((), dtype=type_of(precision, read.dtype))
    return number.expand(*read.shape[:-1], padded(read.size(-1)))


def rounded_weight_gradients(
    nodes: Nodes, mask: torch.Tensor | None, precision: str, found: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """See `mixture.weight_gradients`: one product a block, over its edges, all time steps and columns."""
    outputs, read, first, of_c, of_g = found
    before = outputs[:-1] if mask is None else outputs[:-1] * mask
    size, wide, dtype = outputs.size(-1), read.size(-1), outputs.dtype
    grads: list[torch.Tensor | None] = [None] * read.size(1)
    with tensor_cores(precision):
        states, gates = (factor(each.flatten(0, 1), precision) for each in (before, first))
        grads[0] = multiply(states.t(), gates, dtype)[:size, : 2 * size].contiguous()
        for blocks in nodes:
            grad = grads[blocks[0].node + 1] = outputs.new_zeros(size, 2, size)
            for block in blocks:
                rows = slice(block.row, block.row + len(block))
                states = read[:, block.first : block.last].flatten(0, 2)  # (TnB, P)
                gates = read.new_zeros(len(states), 2, wide)
                gates[:, 0, :size], gates[:, 1, :size] = of_c[:, rows].flatten(0, 2), of_g[:, rows].flatten(0, 2)
                product = multiply(states.t(), gates.flatten(1), dtype)
                grad.add_(product.view(wide, 2, wide)[:size, :, :size])
            grads[blocks[0].node + 1] = grad.flatten(1)
    return grads
