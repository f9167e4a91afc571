"""How much memory a training step keeps: measured on the meta device, whose tensors have shapes and no contents.

A step's forward pass runs there, and every tensor that autograd saves for the backward pass is counted. What a device
takes beside this: the framework itself (about half a GB for CUDA), the data set, space for convolutions, and what its
allocator holds back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that one process needs in training.

    Attributes:
        parameters: with batch norm's running means.
        optimizer: gradients, and the momentum or mean of each parameter.
        activations: saved for the backward pass.
        working: where the backward pass starts, such as the gradients of the largest activation.
        inputs: the batch as it is read, and its copies while it is augmented.
        assumes: what the estimate assumes, in words, such as `batch of 64, longest slices`.
        note: what else a reader should know.
        graphs: what CUDA graphs keep beside a step that is not replayed, on a device that has them.
        mixed: whether activations are bfloat16 in training, half of what is told here; None: on a CUDA GPU that computes in it.
    """

    parameters: int
    optimizer: int
    activations: int
    working: int
    inputs: int
    assumes: str = ""
    note: str = ""
    graphs: int = 0
    mixed: bool | None = False

    @property
    def total(self) -> int:
        """All of it but what graphs keep."""
        return self.parameters + self.optimizer + self.activations + self.working + self.inputs

    def on(self, device: torch.device) -> int:
        """All of it on a device."""
        cuda = device.type == "cuda"
        mixed = cuda and torch.cuda.is_bf16_supported() if self.mixed is None else self.mixed
        times = 2 if cuda and self.graphs else 1  # activations are kept
        return self.total + (self.graphs if cuda else 0) - (times * self.activations // 2 if mixed else 0)

    def with_graphs(self, asked: bool) -> MemoryEstimate:
        """The same where steps are replayed as CUDA graphs, whose pool holds a step's inputs, activations and gradients."""
        kept = self.inputs + self.activations + self.working + self.parameters
        return dataclasses.replace(self, graphs=kept) if asked else self


def saved_bytes(forward: Callable[[], Iterable[torch.Tensor]], without: Iterable[torch.Tensor]) -> list[int]:
    """Bytes of each piece of memory that backward needs, or that the tensors returned by `forward` keep alive.

    Views of the same memory count once; that of the tensors `without` does not count.
    """
    found: dict[int, torch.UntypedStorage] = {}  # which also keeps them from being freed and their place used again

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = list(forward())
    for tensor in kept:
        pack(tensor)
    for tensor in without:
        found.pop(tensor.untyped_storage()._cdata, None)
    return [storage.nbytes() for storage in found.values()]


def estimate_memory(
    net: torch.nn.Module,
    activations: list[int],
    moments: int,
    inputs: int,
    *,
    working: int | None = None,
    assumes: str = "",
    note: str = "",
    mixed: bool | None = False,
) -> MemoryEstimate:
    """Put an estimate together.

    Args:
        net: on any device, the meta device too.
        activations: from `saved_bytes`.
        moments: numbers that the optimiser keeps for each parameter, beside its gradient.
        inputs: bytes of the batch and its copies.
        working: bytes where the backward pass starts; None: the gradients before and after the largest activation.
        mixed: see `MemoryEstimate`.
    """
    parameters = sum(parameter.nbytes for parameter in net.parameters())
    buffers = sum(buffer.nbytes for buffer in net.buffers())
    start = 2 * max(activations, default=0) if working is None else working
    return MemoryEstimate(
        parameters + buffers, parameters * (1 + moments), sum(activations), start, inputs, assumes, note, mixed=mixed
    )
