"""The metrics of a validation: of the mixture, or the mean of random architectures, and of the one that would be chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from nas.core.space import Space
from one_shot.random_search import ranked
from one_shot.settings import Settings
from one_shot.similarity import NAMES
from one_shot.strategy import Strategy
from one_shot.task import Task

DERIVED = "derived_"
"""Before the metrics of the architecture that would be chosen, with the shared weights."""
REPORTED = (
    *("arch_entropy", "largest_probability", "skip_connections"),
    *("count_low_level", "count_high_level", "count_violation"),
    *NAMES,
)
"""Of what a strategy says of itself."""
_Value = TypeVar("_Value")


def directions(task: type[Task], settings: Settings | None) -> dict[str, str]:
    """What is reported, and whether to "minimize" or "maximize" it."""
    own = task.directions(settings)
    return {**own, **derived({name: way for name, way in own.items() if name in task.shown})}


def derived(scores: Mapping[str, _Value]) -> dict[str, _Value]:
    """Metrics under the names that they have for a derived architecture."""
    return {f"{DERIVED}{name}": value for name, value in scores.items()}


def best_of(scores: Sequence[Mapping[str, float]]) -> int:
    """The number of the smallest loss, the first of equal ones; what is no number is the largest."""
    return ranked([score["loss"] for score in scores])[0]


def mean_of_sane(scores: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Means over the random architectures whose loss is a number, or all if none is; and how many exploded."""
    sane = [score for score in scores if math.isfinite(score["loss"])]
    counted = sane or scores
    means = {name: sum(score[name] for score in counted) / len(counted) for name in scores[0]}
    return means, {"exploded": float(len(scores) - len(sane))}


def of_policy(strategy: Strategy, space: Space[Any], weights: Sequence[torch.Tensor]) -> dict[str, float]:
    """What is reported of a strategy that has a policy; nothing of others.

    Returns:
        `distinct_cells`: how many different cells there are among those that it draws, as a share; cells with one canonical
            form are the same.
        `controller_norm`, `weights_norm`: Euclidean, of all its parameters and of the shared weights.
    """
    drawn = strategy.followed()
    if not drawn:
        return {}
    distinct = len({space.canonical(space.genotype_of(paths)) for paths in drawn}) / len(drawn)
    norms = {"controller_norm": _norm(list(strategy.parameters())), "weights_norm": _norm(weights)}
    return {"distinct_cells": distinct, **norms}


@torch.no_grad()
def _norm(tensors: Sequence[torch.Tensor]) -> float:
    return float(torch.stack([torch.linalg.vector_norm(each) for each in tensors]).norm())
