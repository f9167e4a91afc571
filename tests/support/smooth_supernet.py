"""A small smooth supernet, and the bilevel objective written down a second time, without autograd's help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.relaxation import CellShape, Relaxation, complete_cell
from one_shot.strategy import Objective, Problem, WeightStep

FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": torch.zeros_like,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
}
TOY: Relaxation = {
    "first": complete_cell(2, 1, tuple(FUNCTIONS), kept=1),
    "second": complete_cell(2, 2, tuple(FUNCTIONS), kept=2),
}
"""Cells of two kinds, unlike in their number of inputs and of kept edges."""
WIDTH, CLASSES = 5, 3


class SmoothNet(nn.Module):
    """Both cells one after the other, `f(x M)` on every edge, and a linear head."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        draw = lambda *shape: nn.Parameter(torch.randn(*shape, generator=generator).double() / 2)  # noqa: E731
        self.matrices = nn.ParameterDict({kind: draw(len(cell.edges), WIDTH, WIDTH) for kind, cell in TOY.items()})
        self.head, self.bias = draw(WIDTH, CLASSES), draw(CLASSES)
        self.idle = draw(2)  # what no loss depends on

    def forward(self, x: torch.Tensor, weights: ArchWeights) -> torch.Tensor:
        for kind, cell in TOY.items():
            x = self.cell(x, kind, cell, weights)
        return x @ self.head + self.bias

    def cell(self, x: torch.Tensor, kind: str, cell: CellShape, weights: ArchWeights) -> torch.Tensor:
        inputs = 1 + max(state for node, state in cell.edges if node == 0)
        states = [x / (k + 1) for k in range(inputs)]
        for node in range(cell.nodes):
            total = torch.zeros_like(x)
            for edge in cell.entering(node):
                read = states[cell.edges[edge][1]]
                mixed = weights.auxiliary * read
                for k in weights.running(kind, edge, len(cell.operations)):
                    y = FUNCTIONS[cell.operations[k]](read @ self.matrices[kind][edge])
                    mixed = mixed + (y if weights.operations is None else y * weights.operations[kind][edge, k])
                total = total + (mixed if weights.edges is None else mixed * weights.edges[kind][edge])
            states.append(total)
        return torch.stack(states[inputs:]).mean(0)


def batch(seed: int, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, WIDTH, generator=generator).double(), torch.randint(CLASSES, (size,), generator=generator)


def objective(net: nn.Module, seed: int) -> Objective:
    x, y = batch(seed)
    return lambda weights: F.cross_entropy(net(x, weights), y)


def step_of(parameters: Sequence[nn.Parameter], kind: str) -> WeightStep:
    """Steps with and without momentum, decay and a clip that is active."""
    generator = torch.Generator().manual_seed(9)
    some = [torch.randn(p.shape, generator=generator).to(p) / 10 for p in parameters]
    none: list[torch.Tensor | None] = [None] * len(parameters)
    plain = WeightStep(learning_rate=2.0, momentum=0.0, weight_decay=0.0, max_norm=1e6, momenta=none)
    return {
        "plain": plain,
        "first momentum": replace(plain, momentum=0.9),
        "momentum": replace(plain, momentum=0.9, momenta=[some[0], None, *some[2:]]),
        "decay": replace(plain, weight_decay=0.1),
        "clip": replace(plain, max_norm=0.3),
        "all": replace(plain, momentum=0.9, momenta=some, weight_decay=0.1, max_norm=0.3),
    }[kind]


STEPS = ["plain", "first momentum", "momentum", "decay", "clip", "all"]


def problem_of(
    net: nn.Module, kind: str = "all", train: Objective | None = None, valid: Objective | None = None
) -> Problem:
    parameters = list(net.parameters())
    return Problem(
        train or objective(net, 1),
        valid or objective(net, 2),
        parameters,
        step_of(parameters, kind),
        lambda tensors: None,
    )


def stepped_loss(problem: Problem, weights: ArchWeights, at: ArchWeights | None = None) -> float:
    """The validation loss for `weights` after a step of the optimiser of torch with the gradient for `at`, or for `weights`."""
    step, parameters = problem.weight_step, list(problem.parameters)
    before = [p.detach().clone() for p in parameters]
    optimizer: Any = torch.optim.SGD(
        parameters, lr=step.learning_rate, momentum=step.momentum, weight_decay=step.weight_decay
    )
    for p, momentum in zip(parameters, step.momenta, strict=True):
        if momentum is not None:
            optimizer.state[p]["momentum_buffer"] = momentum.clone()
    problem.train_loss(at or weights).backward()
    torch.nn.utils.clip_grad_norm_(parameters, step.max_norm)
    optimizer.step()
    with torch.no_grad():
        loss = float(problem.valid_loss(weights))
        for p, old in zip(parameters, before, strict=True):
            p.copy_(old)
            p.grad = None
    return loss


def differences(
    f: Callable[[list[torch.Tensor]], float], tensors: Sequence[torch.Tensor], h: float = 1e-3
) -> list[torch.Tensor]:
    """The gradient of f by central differences, of the fourth order in h."""
    tensors = [tensor.detach().clone() for tensor in tensors]
    found = [torch.zeros_like(tensor) for tensor in tensors]
    for tensor, gradient in zip(tensors, found, strict=True):
        flat, into = tensor.view(-1), gradient.view(-1)
        for i in range(flat.numel()):
            kept, total = flat[i].item(), 0.0
            for way, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
                flat[i] = kept + way * h
                total += weight * f(tensors)
            flat[i] = kept
            into[i] = total / (12 * h)
    return found


def relative_error(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    one, other = (torch.cat([tensor.detach().flatten() for tensor in each]) for each in (found, expected))
    return float((one - other).norm() / other.norm())
