"""The step that training takes of the shared weights next, and the weights after it, for as long as something looks at them.

What looks ahead is `one_shot/bilevel.py` and `one_shot/response.py`. Weights are moved in place and put back bit for bit;
the optimiser's state and every `.grad` are read at most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from nas.core.arch_weights import ArchWeights
from one_shot.strategy import Problem, WeightStep

NORM_EPS = 1e-6  # what torch's clipping adds to the norm

Tensors = list[torch.Tensor]
Direction = dict[torch.Tensor, torch.Tensor]
"""A vector over the weights: for each that it has a part of, that part."""


def train_gradient(problem: Problem, weights: ArchWeights) -> tuple[Tensors, Tensors, list[torch.Tensor | None]]:
    """The weights that the training loss depends on, its gradient by them, and their momenta. The optimiser moves no others."""
    parameters = [parameter for parameter in problem.parameters if parameter.requires_grad]
    momenta = [m for p, m in zip(problem.parameters, problem.weight_step.momenta, strict=True) if p.requires_grad]
    found = torch.autograd.grad(problem.train_loss(weights), parameters, allow_unused=True)
    rows = [(p, dense(g), m) for p, g, m in zip(parameters, found, momenta, strict=True) if g is not None]
    return [p for p, _, _ in rows], [g for _, g, _ in rows], [m for _, _, m in rows]


@torch.no_grad()
def descent(
    step: WeightStep, live: Tensors, gradients: Tensors, momenta: Sequence[torch.Tensor | None], norm: torch.Tensor
) -> Tensors:
    """m' of `WeightStep`, which the optimiser moves the weights against; `norm` is that of the gradients."""
    direction = list(torch._foreach_mul(gradients, (step.max_norm / (norm + NORM_EPS)).clamp(max=1.0)))
    if step.weight_decay:
        torch._foreach_add_(direction, live, alpha=step.weight_decay)
    moving = [k for k, momentum in enumerate(momenta) if momentum is not None]
    if step.momentum and moving:
        kept = [momentum for momentum in momenta if momentum is not None]
        torch._foreach_add_([direction[k] for k in moving], kept, alpha=step.momentum)
    return direction


def step_for(problem: Problem, weights: ArchWeights) -> Direction:
    """What a training step with this architecture would move the weights against, averaged over the processes."""
    live, gradients, momenta = train_gradient(problem, weights)
    if not live:
        return {}
    problem.average(gradients)
    return dict(zip(live, descent(problem.weight_step, live, gradients, momenta, norm_of(gradients)), strict=True))


@contextmanager
def moved(direction: Direction, learning_rate: float | torch.Tensor) -> Iterator[None]:
    """The weights after a step of this size against the direction."""
    live = list(direction)
    if not live:
        yield
        return
    with restored(live):
        subtract_(live, list(direction.values()), learning_rate)
        yield


@torch.no_grad()
def subtract_(tensors: Tensors, others: Tensors, factor: float | torch.Tensor) -> None:
    """Subtract so many times the others, in place. A factor that is a tensor is not read, as a CUDA graph cannot."""
    if isinstance(factor, torch.Tensor):
        torch._foreach_sub_(tensors, torch._foreach_mul(others, factor))
    else:
        torch._foreach_add_(tensors, others, alpha=-factor)


def mean_of(directions: Sequence[Direction]) -> Direction:
    """Their mean; a weight that one does not have counts as 0 there."""
    total: Direction = {}
    for direction in directions:
        for weight, part in direction.items():
            total[weight] = total[weight] + part if weight in total else part
    return {weight: part / len(directions) for weight, part in total.items()}


def inner(one: Direction, other: Direction) -> torch.Tensor:
    """Their inner product, in double precision where the device has it."""
    parts = [(part * other[weight]).sum() for weight, part in one.items() if weight in other]
    if not parts:
        return torch.zeros(())
    return torch.stack(parts).to(torch.float32 if parts[0].device.type == "mps" else torch.float64).sum()


@contextmanager
def restored(live: Tensors) -> Iterator[Tensors]:
    """Give copies of the weights, and copy them back in the end."""
    original = [weight.detach().clone() for weight in live]
    try:
        yield original
    finally:
        with torch.no_grad():
            torch._foreach_copy_(live, original)


def norm_of(tensors: Tensors) -> torch.Tensor:
    """Of all tensors as one vector, as torch's clipping has it."""
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm


def dense(gradient: torch.Tensor) -> torch.Tensor:
    """Autograd may give one number seen as many, of which no mean over processes can be taken in place."""
    expanded = any(stride == 0 and size > 1 for stride, size in zip(gradient.stride(), gradient.shape, strict=True))
    return gradient.contiguous() if expanded else gradient
