"""Means over the processes that train together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed


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
