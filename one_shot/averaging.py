"""Means over the processes that train together, and a check that they agree."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import distributed

from nas.core.errors import ConfigError


def average_over_processes(tensors: Sequence[torch.Tensor]) -> None:
    """Replace tensors by their means over all processes, in place, in one exchange for each type of number.

    A supernet's steps differ in which weights they use, which data parallelism by hooks cannot follow; the processes agree
    on it, as all choose the same architectures.
    """
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    groups: dict[torch.dtype, list[torch.Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    for members in groups.values():
        flat = torch.cat([tensor.reshape(-1) for tensor in members])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for tensor, mean in zip(members, flat.split([tensor.numel() for tensor in members]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def check_same_everywhere(state: Mapping[str, torch.Tensor], allgather: Callable[[str], list[str]]) -> None:
    """Raises ConfigError, on all processes, if they do not have the same architecture weights, bit for bit."""
    digest = hashlib.sha256()
    for value in state.values():
        digest.update(value.detach().cpu().numpy().tobytes())
    if len(set(allgather(digest.hexdigest()))) > 1:
        what = "the processes have different architecture weights"
        raise ConfigError([f"{what}; use equal devices and versions of PyTorch in all of them"])
