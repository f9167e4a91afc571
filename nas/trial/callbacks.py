"""What has to happen around a validation, for trials that need it."""

from __future__ import annotations

from typing import Protocol

from determined import pytorch
from torch import nn


class Exchanges(Protocol):
    """An optimiser that keeps a second set of weights, such as `AveragedSGD`."""

    def exchange(self) -> None:
        """Swap both sets; swapping twice changes nothing."""


class SwapAveragedWeights(pytorch.PyTorchCallback):
    """Puts the optimiser's second set of weights into the model while it is validated."""

    def __init__(self, optimizer: Exchanges) -> None:
        self._optimizer = optimizer

    def on_validation_start(self) -> None:
        self._optimizer.exchange()

    def on_validation_end(self, metrics: dict[str, object]) -> None:
        self._optimizer.exchange()


class BroadcastBuffers(pytorch.PyTorchCallback):
    """Before a validation all processes take over the running means of the first one's batch norms.

    In training each process updates its own, and data parallelism evens them out at the next training step only; what is
    saved, and should be validated, is the first one's.
    """

    def __init__(self, context: pytorch.PyTorchTrialContext, net: nn.Module) -> None:
        self._distributed, self._net = context.distributed, net

    def on_validation_start(self) -> None:
        if self._distributed.size > 1:
            own = dict(self._net.named_buffers())
            first = self._distributed.broadcast({name: value.cpu() for name, value in own.items()})
            for name, value in own.items():
                value.copy_(first[name])
