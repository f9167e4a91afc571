"""The metrics of a validation: of the mixture, or the mean of random architectures, and of the one that would be chosen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from one_shot.random_search import ranked
from one_shot.settings import Settings
from one_shot.task import Task

DERIVED = "derived_"
"""Before the metrics of the architecture that would be chosen, with the shared weights."""
REPORTED = ("arch_entropy", "largest_probability", "skip_connections")
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
