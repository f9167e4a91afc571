"""Which form computes a cell between its products: torch's own operations, or kernels where they are asked for and work.

Kernels that do not work, because the machine has no C compiler for Triton to start them with, say, cost a warning and
nothing else: before the first pass over memory of some layout they are tried on two time steps of their own.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from functools import lru_cache
from types import ModuleType

import torch

from nas.core.errors import ConfigError
from randomNAS_files.fast.kernels.eager import EagerBackward, EagerForward
from randomNAS_files.fast.workspace import Arena, Layout, Workspace
from randomNAS_files.settings import EAGER, TRITON

_TYPES = (torch.float32, torch.bfloat16, torch.float16)  # kernels compute in float32, which is too little for float64
_TRIED_STEPS = 2  # the last one is another kernel than those before

logger = logging.getLogger(__name__)


class _Told:
    """Whether this process was told that kernels do not work; they are not tried again then."""

    broken = False


def check_kernels(kernels: str, device: torch.device) -> None:
    """Raises ConfigError if a device, or what is installed, does not go with the hyperparameter `kernels`."""
    if kernels == EAGER:
        return
    rule = "hyperparameters.kernels must be eager"
    if not _runs_on(device):
        raise ConfigError([f"{rule} on {device.type}, got {kernels}, whose kernels run on a CUDA GPU only"])
    if importlib.util.find_spec("triton") is None:
        raise ConfigError([f"{rule} where the package triton is not installed, got {kernels}; or pip install triton"])


def forward(kernels: str, space: Workspace, mask: torch.Tensor | None) -> EagerForward:
    """What computes a forward pass between the products; see `EagerForward`."""
    if kernels == TRITON and _work(space):
        return _fused().FusedForward(space, mask)  # type: ignore[no-any-return]
    return EagerForward(space, mask)


def backward(kernels: str, space: Workspace, mask: torch.Tensor | None) -> EagerBackward:
    """What computes a backward pass between the products; see `EagerBackward`."""
    if kernels == TRITON and _work(space):
        return _fused().FusedBackward(space, mask)  # type: ignore[no-any-return]
    return EagerBackward(space, mask)


def _runs_on(device: torch.device) -> bool:
    """Triton's interpreter runs kernels on a CPU, very slowly, for tests."""
    return device.type == "cuda" or (device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1")


def _fused() -> ModuleType:
    """The module that imports Triton, which may be missing."""
    from randomNAS_files.fast.kernels import fused

    return fused


def _work(space: Workspace) -> bool:
    """Whether kernels compute the cell of a workspace here."""
    dtype, device = space.outputs.dtype, space.outputs.device
    if _Told.broken or dtype not in _TYPES or not _runs_on(device) or not _tried(space.layout, dtype, device):
        return False
    fits: bool = _fused().fits(space)
    return fits


@lru_cache(maxsize=64)
def _tried(layout: Layout, dtype: torch.dtype, device: torch.device) -> bool:
    """Compile the kernels of a layout, and run each; where that fails, say so once."""
    try:
        _try(layout, torch.zeros((), dtype=dtype, device=device))
        return True
    except Exception as error:  # whatever Triton, its compiler or the driver raise
        _Told.broken = True
        reason = (str(error).strip().splitlines() or [""])[0]
        logger.warning(
            "kernels: triton does not work here (%s: %s), so torch's own operations compute the recurrent cell",
            type(error).__name__,
            reason,
        )
        return False


def _try(layout: Layout, like: torch.Tensor) -> None:
    fused = _fused()
    arena = Arena(layout.numbers(_TRIED_STEPS), like)
    arena.memory.zero_()
    arena.lay_out(layout, _TRIED_STEPS)
    space, mask = arena.space, like.new_zeros(layout.size, layout.columns) if layout.masked else None
    ahead, back = fused.FusedForward(space, mask), fused.FusedBackward(space, mask)
    back.start(space.outputs[0])
    for step in space.at:
        for i in range(len(step.groups)):
            ahead.gate(step, i)
            back.gates(step, i)
