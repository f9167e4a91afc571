"""Many tensors copied into one, with zeros between them, and gradients back: a few operations instead of one for each.

On a GPU a step of a network of small layers takes as long as it takes to start its operations. Under autocast two of them go
to each convolution, to cast its weights and their gradient. Here all weights are laid side by side, cast at once, and put
where they are wanted by one look-up, which can also widen them by zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

ALIGNED = 64
"""Each copy begins at a multiple of so many numbers, as fast kernels want it."""


@dataclass(frozen=True)
class Place:
    """Where a copy has the numbers of its source; the rest of it are zeros.

    Attributes:
        rows: of the first dimension, one for each of the source.
        height: of the copy's first dimension.
        columns: of the second dimension; empty for a vector.
        width: of the copy's second dimension.
    """

    rows: tuple[int, ...]
    height: int
    columns: tuple[int, ...] = ()
    width: int = 0

    def shape(self, source: torch.Tensor) -> tuple[int, ...]:
        """Of the copy."""
        return (self.height, *(() if source.dim() == 1 else (self.width,)), *source.shape[2:])


class Pack:
    """Copies of some tensors.

    Args:
        sources: as they lie in memory now, on the device where they will be copied.
        places: of each.
    """

    def __init__(self, sources: Sequence[torch.Tensor], places: Sequence[Place]) -> None:
        self.last = [_is_last(source) for source in sources]
        self.source_shapes = [source.shape for source in sources]
        self.sizes = [source.numel() for source in sources]
        self.shapes = [torch.Size(place.shape(source)) for source, place in zip(sources, places, strict=True)]
        self.strides, self.starts = list[tuple[int, ...]](), list[int]()
        end, total, first, before = 0, sum(self.sizes), 0, 0
        forward, backward = list[np.ndarray](), list[np.ndarray]()
        for source, place, shape, last in zip(sources, places, self.shapes, self.last, strict=True):
            where = np.full(shape, total, np.int64)  # the number behind all sources is zero
            numbers = np.arange(first, first + source.numel(), dtype=np.int64).reshape(_turned(source.shape, last))
            at = (place.rows,) if source.dim() == 1 else np.ix_(place.rows, place.columns)
            where[at] = numbers.transpose(0, 3, 1, 2) if last else numbers
            flat = (where.transpose(0, 2, 3, 1) if last else where).reshape(-1)
            filled = np.flatnonzero(flat < total)
            backward.append(before + filled[flat[filled].argsort()])
            forward.append(np.pad(flat, (0, -len(flat) % ALIGNED), constant_values=total))
            self.strides.append(_strides(shape, last))
            self.starts.append(end)
            end, first, before = end + len(forward[-1]), first + source.numel(), before + len(flat)
        device = sources[0].device
        self.forward, self.backward = (
            torch.from_numpy(np.concatenate(index)).to(device) for index in (forward, backward)
        )
        self.zero = torch.zeros(1, dtype=sources[0].dtype, device=device)

    def copies(self, sources: Sequence[torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
        """The copies, of another type."""
        made: tuple[torch.Tensor, ...] = _Copies.apply(self, dtype, *sources)
        return made

    def _copy(self, dtype: torch.dtype, sources: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        flat = [_flat(source, last) for source, last in zip(sources, self.last, strict=True)]
        packed = torch.cat([*flat, self.zero]).to(dtype).index_select(0, self.forward)
        return tuple(
            packed.as_strided(shape, strides, start)
            for shape, strides, start in zip(self.shapes, self.strides, self.starts, strict=True)
        )

    def gather(self, grads: Sequence[torch.Tensor | None], dtype: torch.dtype) -> list[torch.Tensor | None]:
        """The sources' gradients, of those of the copies; None of a copy without one."""
        some = next(grad for grad in grads if grad is not None)
        none = some.new_zeros(1)
        flat = [
            none.expand(shape.numel()) if grad is None else _flat(grad, last)
            for grad, shape, last in zip(grads, self.shapes, self.last, strict=True)
        ]
        packed = torch.cat(flat).index_select(0, self.backward).to(dtype)
        return [
            None if grad is None else part.as_strided(shape, _strides(shape, last))
            for grad, part, shape, last in zip(
                grads, packed.split(self.sizes), self.source_shapes, self.last, strict=True
            )
        ]


class _Copies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pack: Pack, dtype: torch.dtype, *sources: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """See `Pack.copies`."""
        ctx.set_materialize_grads(False)
        ctx.pack, ctx.dtype = pack, sources[0].dtype
        return pack._copy(dtype, sources)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Of the sources, in their type."""
        return None, None, *ctx.pack.gather(grads, ctx.dtype)


def _turned(shape: Sequence[int], last: bool) -> tuple[int, ...]:
    """The shape in the order of memory, for tensors `(O, I, H, W)` that are channels-last."""
    return (shape[0], shape[2], shape[3], shape[1]) if last else tuple(shape)


def _strides(shape: Sequence[int], last: bool) -> tuple[int, ...]:
    """Of a tensor that is dense in memory."""
    turned = _turned(shape, last)
    dense = [math.prod(turned[k + 1 :]) for k in range(len(turned))]
    return (dense[0], dense[3], dense[1], dense[2]) if last else tuple(dense)


def _is_last(x: torch.Tensor) -> bool:
    """Whether a tensor `(O, I, H, W)` is channels-last, and says so also where a side is 1."""
    return x.dim() == 4 and x.stride() == _strides(x.shape, True)


def _flat(x: torch.Tensor, last: bool) -> torch.Tensor:
    """The numbers in the order of memory, without a copy where they lie in that order."""
    return x.permute(0, 2, 3, 1).reshape(-1) if last else x.reshape(-1)
