"""The permutation test over controllers: are the cells of trained controllers better than uniform ones?

If training a controller changed nothing, its cells would be uniform, and which of an experiment's two groups is called trained
would be chance. So each controller's two groups are exchanged or not, in all 2^k ways, and p is the share of these in which the
statistic is at least as large as it was (Fisher 1935; Pitman 1937). The controller is the unit: its cells stay together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nas.results.statistics import Floats

_EXACT_UP_TO = 20  # controllers; beyond them signs are drawn
_DRAWN = 100_000
_ROUNDING = 1e-9


def permutation_p(differences: Sequence[float], *, two_sided: bool, seed: int = 0) -> float:
    """p of the sum of the controllers' differences, each of which is as likely to have the other sign.

    Args:
        differences: one a controller, larger where its own cells are the better.
        two_sided: whether a sum as large below 0 counts too.
        seed: of the signs that are drawn for more than twenty controllers.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) <= _EXACT_UP_TO:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(_DRAWN, len(values)))
        sums = np.append(signs @ values, values.sum())  # what was seen is one of the ways
    return _share(sums, float(values.sum()), two_sided)


def _share(sums: Floats, seen: float, two_sided: bool) -> float:
    room = _ROUNDING * max(1.0, float(np.abs(sums).max()))
    tail = np.abs(sums) >= abs(seen) - room if two_sided else sums >= seen - room
    return float(tail.mean())


def smallest_p(controllers: int, *, two_sided: bool) -> float:
    """The smallest p that the test can give with so many controllers."""
    return min(1.0, (2 if two_sided else 1) * 0.5**controllers)


def fewest_controllers(largest_p: float, *, two_sided: bool) -> int:
    """How many controllers it takes before so small a p is possible."""
    return math.ceil(math.log2((2 if two_sided else 1) / largest_p))
