"""Whether a trial fits into the memory of a device, asked before any data is read."""

from __future__ import annotations

from typing import Any

import torch

from nas.core.errors import ConfigError
from nas.core.host import free_memory
from nas.core.memory import MemoryEstimate
from nas.trial.base import Trial


def device_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device; None where nobody says."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    return free_memory() if device.type == "cpu" else None


def check_fits(trial: type[Trial], settings: Any, processes: int, device: torch.device, sharing: int = 1) -> None:
    """Refuse a trial whose training step is estimated to need more than the device has free.

    Args:
        processes: among which the batch is split.
        sharing: how many of them use this device.

    Raises:
        ConfigError: with what is needed, what there is, and the largest batch by halves that would fit.
    """
    estimate = trial.memory(settings, processes)
    if too_large := what_is_too_large(estimate, trial, settings, processes, device, sharing):
        size = trial.global_batch_size(settings)
        raise ConfigError([f"hyperparameters.global_batch_size {size} is too large: {too_large}"])


def what_is_too_large(
    estimate: MemoryEstimate | None,
    trial: type[Trial],
    settings: Any,
    processes: int,
    device: torch.device,
    sharing: int = 1,
) -> str | None:
    """What training needs more than a device has free, and which batch would fit; "" if it fits, None if nobody knows.

    Args:
        estimate: the trial's, with these settings and processes.
    """
    free = device_memory(device)
    if free is None or estimate is None:
        return None
    if estimate.on(device) * sharing <= free:
        return ""
    smaller = _largest_that_fits(trial, settings, processes, device, free // sharing)
    advice = f"{smaller} would fit" if smaller else "no batch would fit, so make the network smaller"
    needed = f"training needs {estimate.on(device) * sharing / 1e6:,.0f} MB, estimated"
    return f"{needed}, and {device} has {free / 1e6:,.0f} free; {advice}"


def _largest_that_fits(
    trial: type[Trial], settings: Any, processes: int, device: torch.device, free: int
) -> int | None:
    """The first of the halves of the batch, shared out evenly, with two samples a process at least."""
    batch = trial.global_batch_size(settings) or 0
    while (batch := batch // 2 // processes * processes) >= 2 * processes:
        estimate = trial.memory(settings, processes, batch)
        if estimate is not None and estimate.on(device) <= free:
            return batch
    return None
