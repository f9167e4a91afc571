"""What random samples of a search space came to: how many satisfy the constraints, and how large they are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bounds = tuple[float | None, float | None]
"""The smallest and the largest value that is allowed; None is open."""


class Rule(NamedTuple):
    """One constraint, and what it does to the samples."""

    name: str
    allowed: str  # in words
    rejects: float  # share of the samples that break it, whatever else they break


@dataclass(frozen=True, eq=False)
class SpaceSurvey:
    """Samples of a search space, measured. Arrays have one entry a sample.

    Attributes:
        what: the samples, in words, such as `random architectures`.
        satisfies: whether a sample satisfies all constraints.
        sizes: what was counted, by its name, such as `parameters` and `MACs`.
        bounds: what the constraints allow of those.
        rules: the constraints; empty where there are none.
        redrawn: whether a trial draws again until a sample satisfies them; otherwise it fails.
        covers: hyperparameters whose rules were checked here over all samples, so that single trials may break them.
    """

    what: str
    satisfies: npt.NDArray[np.bool_]
    sizes: Mapping[str, npt.NDArray[np.int64]]
    bounds: Mapping[str, Bounds] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    redrawn: bool = True
    covers: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Of the samples that satisfy all constraints."""
        return float(self.satisfies.mean())


def wilson_interval(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a binomial share, after Wilson (1927), which is right for shares near 0 and 1 too."""
    z2, share = 1.959964**2, hits / count
    centre, scale = share + z2 / (2 * count), 1 + z2 / count
    half = math.sqrt(z2 * (share * (1 - share) / count + z2 / (4 * count**2)))
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
