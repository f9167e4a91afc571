"""Hidden sizes as parts of one network: the units 0..k-1 of its H, with views of its weights.

Low units serve all sizes, as channels do in slimmable networks (Yu et al. 2019, arXiv 1812.08928). Of the weights (see
`model.LanguageModel`) size k has the columns 0..k-1 of the embedding, which is the decoder too, the whole bias of the decoder,
and of every matrix the first k rows that read inputs, the first k that read h or a node, and the first k columns of each
half: [c, g] are side by side. Nothing is a parameter of its own, so that gradients fall into the one block.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from nas.core.optimizers import SGD
from randomNAS_files.dropout import DropoutMasks, Mask


def inner(name: str, weight: torch.Tensor, size: int) -> torch.Tensor:
    """The view of a parameter that a size has.

    Args:
        name: of the parameter, in the language model.
        weight: or anything else of its shape.
    """
    if name == "decoder_bias":
        return weight
    if name == "embedding":
        return weight[:, :size]
    parts = 2 if name.endswith("w0") else 1  # that read inputs, and h
    rows, columns = weight.shape
    return weight.view(parts, rows // parts, 2, columns // 2)[:, :size, :, :size]  # (parts, k, 2, k)


def inner_matrix(name: str, weight: torch.Tensor, size: int) -> torch.Tensor:
    """The same of a matrix, as one that can be multiplied by: `(k, 2k)`, or `(2k, 2k)` of `w0`. A copy, but of all H units."""
    if weight.size(1) == 2 * size:
        return weight
    return inner(name, weight, size).flatten(2, 3).flatten(0, 1)


def inner_masks(masks: DropoutMasks, size: int) -> DropoutMasks:
    """Masks `(B, H)` cut to a size: what is dropped of a unit is the same for all sizes that have it."""

    def cut(mask: Mask) -> Mask:
        return None if mask is None else mask[:, :size]

    cells, hidden = tuple(map(cut, masks.cell_inputs)), tuple(map(cut, masks.hidden))
    return DropoutMasks(masks.embedding, cut(masks.input), cells, hidden, cut(masks.output))


def resized(state: torch.Tensor, size: int) -> torch.Tensor:
    """A state `(B, any)` for the next slice, `(B, k)`: its first units, and zeros for units that were not there."""
    if state.size(1) >= size:
        return state[:, :size]
    return torch.cat([state, state.new_zeros(len(state), size - state.size(1))], 1)


class NestedSGD(SGD):
    """SGD without momentum that steps the weights of one size only: nothing else decays or moves, not by a bit.

    Attributes:
        size: k, set before each step.
    """

    size: int

    def __init__(self, named: Sequence[tuple[str, torch.nn.Parameter]], lr: float, weight_decay: float) -> None:
        super().__init__([parameter for _, parameter in named], lr, weight_decay=weight_decay)
        self._names = {parameter: name for name, parameter in named}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """w -= lr * (g + weight_decay * w), of the views."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    name = self._names[parameter]
                    weight, grad = (inner(name, each, self.size) for each in (parameter, parameter.grad))
                    weight.add_(grad.add(weight, alpha=group["weight_decay"]), alpha=-group["lr"])
