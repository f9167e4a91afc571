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

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from cnn_nas.fast.cells import State, run, run_cell
from cnn_nas.fast.compiling import CompiledCells, Compiler
from cnn_nas.fast.preparing import Preparation
from cnn_nas.fast.tensors import OWN, Given
from cnn_nas.model import Cell, Network, Output


@dataclass(frozen=True)
class FastForm:
    """Ways of computing that are for a GPU.

    Attributes:
        casts_once: where autocast is on, cast all weights together at the beginning of a forward pass.
        padded: widen channels by zeros, see `widths.py`.
        compiler: the backend of `torch.compile` that compiles cells while the network trains; None: none does.
    """

    casts_once: bool = False
    padded: bool = False
    compiler: str | Compiler | None = None


class FastNetwork(Network):
    """`Network` with another forward pass, in which cells and operations are data: their `forward` is not called.

    With data parallelism `casts_once` and `padded` have all gradients at the end of the backward pass, and not one by one.
    """

    def __init__(self, *arguments: Any, form: FastForm | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.form = form or FastForm()
        self.norms = [layer for layer in self.modules() if isinstance(layer, nn.BatchNorm2d)]
        self.preparation: Preparation | None = None
        self.compiled = None if self.form.compiler is None else CompiledCells(self.form.compiler)

    def _apply(self, *arguments: Any, **named: Any) -> FastNetwork:
        """torch's way to move a network and to change its type; what is prepared is for its tensors as they were."""
        self.preparation = None
        super()._apply(*arguments, **named)
        return self

    def forward(self, x: torch.Tensor, masks: torch.Tensor | None = None) -> Output:
        """See `Network.forward`."""
        tensors = self._tensors(x.device)
        if self.compiled is not None and self.training and masks is None and self.config.drop_path_prob:
            masks = self._ones(x)
        before = last = State(None, run(self.stem, State(x), tensors, positive=True))
        auxiliary_logits = None
        compute = self.compiled if self.compiled is not None and self.training else run_cell
        for i, (part, cell_masks) in enumerate(zip(self.cells, self.cell_masks(masks), strict=True)):
            cell, final = cast(Cell, part), i == len(self.cells) - 1
            before, last = last, compute(cell, before, last, cell_masks, final, tensors)
            if i == self.auxiliary_at and self.auxiliary is not None and self.training:
                auxiliary_logits = run(self.auxiliary, last, tensors)
        if self.training:
            torch._foreach_add_([cast(torch.Tensor, norm.num_batches_tracked) for norm in self.norms], 1)
            if self.preparation is not None:
                self.preparation.keep_moving()
        logits = run(self.classifier, State(last.value.mean(dim=(2, 3))), tensors)
        return Output(logits, auxiliary_logits)

    def _tensors(self, device: torch.device) -> Given:
        """What the layers compute with."""
        dtype = autocast_type(device) if self.form.casts_once else None
        if dtype is None and not self.form.padded:
            return OWN
        if self.preparation is None:
            self.preparation = Preparation(self, self.form.padded, self.form.casts_once)
        return self.preparation.tensors(dtype)

    def _ones(self, x: torch.Tensor) -> torch.Tensor:
        """Masks that drop nothing, so that the first epoch, in which nothing is dropped yet, runs the graphs of all others."""
        dtype = autocast_type(x.device) or x.dtype
        return torch.ones(self.droppable_edges, len(x), 1, 1, 1, dtype=dtype, device=x.device)


def autocast_type(device: torch.device) -> torch.dtype | None:
    """The type to which autocast casts on a device; None where it is off."""
    if device.type not in ("cpu", "cuda"):
        return None
    if hasattr(torch, "get_autocast_dtype"):
        return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
    if device.type == "cpu":  # torch 2.3
        return torch.get_autocast_cpu_dtype() if torch.is_autocast_cpu_enabled() else None
    return torch.get_autocast_gpu_dtype() if torch.is_autocast_enabled() else None
