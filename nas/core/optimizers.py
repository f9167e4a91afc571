"""Optimisers that leave torch's compiler alone.

torch keeps its compiler away from an optimiser's methods by a wrapper that imports it when one of them is first called, which
takes a second or two of each process and nothing here needs. These are the same methods without the wrapper; where a
release of torch has none, they are simply the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
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


def fused_sgd(parameters: Iterable[torch.nn.Parameter], *arguments: Any, **named: Any) -> torch.optim.SGD:
    """SGD that updates all weights in one operation, where this torch has one for their device."""
    weights = list(parameters)
    try:
        return SGD(weights, *arguments, fused=True, **named)
    except RuntimeError:  # torch 2.3 has none for CPUs
        return SGD(weights, *arguments, **named)
