"""From a complexity level u in [0, 1] to the parameters of an architecture, one function for all of them.

In the place of one table of logits there is a curve of tables (Yakovlev et al. 2021, AIST, "Neural Architecture Search with
Structure Complexity Control"). All points of a curve start alike, so that the level makes no difference at first.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import nn

Tables = dict[str, torch.Tensor]
"""By name."""

_AT_A_KNOT = 1e-9  # as near, a level is at the knot: k / (knots - 1) in floats need not be


class Hypernetwork(nn.Module, ABC):
    """A table of each name for every level."""

    @abstractmethod
    def forward(self, level: float) -> Tables:
        """The tables at a level, differentiable by the parameters."""


class Knots(Hypernetwork):
    """Piecewise linear between tables at fixed, equally spaced levels, which are the parameters `tables.<name>.<knot>`.

    Each knot of a table is a parameter of its own, so that one to either side of a level is all that has a gradient: Adam
    leaves the others alone, and neither decays them nor moves them on by their momentum.

    Args:
        starts: of each table the values that all its knots start with.
        knots: how many, 2 or more.
    """

    def __init__(self, starts: Mapping[str, torch.Tensor], knots: int) -> None:
        super().__init__()
        if knots < 2:
            raise ValueError(f"knots must be at least 2, got {knots}")
        self.tables = nn.ModuleDict(
            {name: nn.ParameterList(start.clone() for _ in range(knots)) for name, start in starts.items()}
        )
        self.knots = knots

    def forward(self, level: float) -> Tables:
        place = level * (self.knots - 1)
        near = round(place)
        if abs(place - near) < _AT_A_KNOT:
            return {name: rows[near] for name, rows in self.tables.items()}  # type: ignore[index]
        below = math.floor(place)
        return {
            name: torch.lerp(rows[below], rows[below + 1], place - below)  # type: ignore[index]
            for name, rows in self.tables.items()
        }


class Smooth(Hypernetwork):
    """A network of one hidden layer on the level and cubic B-splines of it: start + tanh(f(u) A + a) B.

    B starts at zero, so that all levels start alike; the gradient reaches it at once, and A after it.

    Args:
        starts: of each table the values at all levels at first.
        knots: centres of the splines, equally spaced, 2 or more.
        hidden: units.
        generator: draws A, on the CPU.
    """

    centres: torch.Tensor

    def __init__(self, starts: Mapping[str, torch.Tensor], knots: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.shapes = {name: start.shape for name, start in starts.items()}
        bound = 1 / math.sqrt(1 + knots)
        self.inner = nn.Parameter(bound * (2 * torch.rand(1 + knots, hidden, generator=generator) - 1))  # A
        self.shift = nn.Parameter(torch.zeros(hidden))  # a
        self.outer = nn.Parameter(torch.zeros(hidden, sum(start.numel() for start in starts.values())))  # B
        self.start = nn.Parameter(torch.cat([start.flatten() for start in starts.values()]))
        self.register_buffer("centres", torch.arange(knots) / (knots - 1), persistent=False)

    def forward(self, level: float) -> Tables:
        u = self.inner.new_full((1,), level)
        features = torch.cat([u, _spline((u - self.centres) * (len(self.centres) - 1))])  # (1 + knots,)
        flat = self.start + torch.tanh(features @ self.inner + self.shift) @ self.outer
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}


def _spline(x: torch.Tensor) -> torch.Tensor:
    """The cubic B-spline of unit spacing around 0, which is 0 from -2 down and from 2 up."""
    distance = x.abs()
    inner = 2 / 3 - distance.square() + distance**3 / 2
    outer = (2 - distance).clamp(min=0) ** 3 / 6
    return torch.where(distance < 1, inner, outer)


def hypernetwork(
    starts: Mapping[str, torch.Tensor], knots: int, hidden: int | None, generator: torch.Generator
) -> Hypernetwork:
    """Piecewise linear, or with hidden units."""
    return Knots(starts, knots) if hidden is None else Smooth(starts, knots, hidden, generator)
