"""One architecture with a single thing changed, and what such a variant scores with shared weights: words of an ablation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Variant:
    """An architecture with one thing changed.

    Attributes:
        kind: of change, a word such as `remove`.
        node: that is changed, by its number before; None where it is no single one.
        text: the change in words.
        genotype: what comes of it.
        in_place: the same network in the numbering from before, in which each node has the shared weights that it had; the
            genotype itself where no number changes.
    """

    kind: str
    node: int | None
    text: str
    genotype: Any
    in_place: Any


@dataclass(frozen=True)
class SharedScore:
    """What an architecture scores with weights that it shares with others.

    Attributes:
        metrics: by name; empty if it cannot be scored.
        same_as: the number of one scored before it that is the same network with the same weights.
        missing: why it cannot be scored.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    same_as: int | None = None
    missing: str = ""


@dataclass(frozen=True)
class SharedScores:
    """Scores of several, in their order.

    Attributes:
        scores: of each.
        about: what was shared, and what that means for a comparison, a sentence each.
    """

    scores: list[SharedScore]
    about: list[str]


KINDS = {
    "remove": "a node removed",
    "predecessor": "another predecessor",
    "activation": "another activation",
    "unify": "one activation for all",
    "add": "a node added",
}
"""The kinds of change, in words."""
