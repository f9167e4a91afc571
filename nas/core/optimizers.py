"""Optimisers that leave torch's compiler alone.

torch keeps its compiler away from an optimiser's methods by a wrapper that imports it when one of them is first called, which
takes a second or two of each process and nothing here needs. These are the same methods without the wrapper; where a
release of torch has none, they are simply the same.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer


class Uncompiled(Optimizer):
    """A base for optimisers of our own: they must not be used in what `torch.compile` compiles."""

    add_param_group = inspect.unwrap(Optimizer.add_param_group)
    zero_grad = inspect.unwrap(Optimizer.zero_grad)
    state_dict = inspect.unwrap(Optimizer.state_dict)
    load_state_dict = inspect.unwrap(Optimizer.load_state_dict)


class SGD(Uncompiled, torch.optim.SGD):
    """torch's, never differentiated through."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.SGD.step))


class Adam(Uncompiled, torch.optim.Adam):
    """torch's, never differentiated through."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


def fused_sgd(parameters: Iterable[torch.nn.Parameter], *arguments: Any, **named: Any) -> torch.optim.SGD:
    """SGD that updates all weights in one operation, where this torch has one for their device."""
    weights = list(parameters)
    devices = {weight.device.type for weight in weights}
    return SGD(weights, *arguments, fused=True if all(map(has_fused_sgd, devices)) else None, **named)


def with_momenta(sgd: torch.optim.SGD) -> torch.optim.SGD:
    """The optimiser with a momentum of zero for each weight, from which the first step comes out as without one.

    The fused operation cannot step weights that have a momentum together with some that have none yet, which is what there is
    where not all weights get a gradient in each step.
    """
    for group in sgd.param_groups:
        for weight in group["params"] if group["momentum"] else ():
            sgd.state[weight]["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
    return sgd


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """The learning rate of all groups from the next step on; what checkpoints have."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@contextmanager
def at_rate(optimizer: Optimizer, rate: float | torch.Tensor) -> Iterator[None]:
    """Within it all groups have this learning rate, and then their own again.

    A step that is captured as a CUDA graph is given its rate as a tensor, which each replay reads anew, and stands in this
    block. Outside of it the rate is the number that `set_rate` has set, for the next checkpoint.
    """
    before = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = rate
    try:
        yield
    finally:
        for group, own in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = own


@functools.cache
def has_fused_sgd(device: str) -> bool:
    """Whether this torch has the fused operation for a device, such as `cpu`: found out by taking one step.

    torch 2.3 has none for CPUs; a build of it for CUDA says so only when a step is taken.
    """
    weight = torch.nn.Parameter(torch.zeros(1, device=device))
    weight.grad = torch.zeros_like(weight)
    try:
        SGD([weight], 0.1, momentum=0.9, fused=True).step()
    except (RuntimeError, TypeError):  # NotImplementedError is a RuntimeError
        return False
    return True
