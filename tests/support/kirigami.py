"""Sheets of graphene with cuts, and a strain that depends on the cuts."""

from __future__ import annotations

import itertools

import numpy as np


def sheets(rows: int = 3) -> np.ndarray:
    """Every choice of cuts in the first `rows` rows that leaves a link in each: 31 to that power."""
    links = [row for row in itertools.product((0, 1), repeat=5) if any(row)]
    whole = [(1, 1, 1, 1, 1)]
    return np.array([sum(choice, ()) for choice in itertools.product(*[links] * rows, *[whole] * (3 - rows))])


def strain(cuts: np.ndarray) -> np.ndarray:
    return 0.25 + 0.1 * (cuts == 0).sum(1) + 0.01 * (cuts.reshape(-1, 3, 5)[:, :, 2] == 0).sum(1)
