"""Ablation of a cell: what each single change of it does to its score.

What they are scored by is in `ablation_shared` and `ablation_retrained`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nas.core.errors import ConfigError
from nas.core.space import Space
from nas.core.variants import KINDS, Variant
from nas.results.architecture import Found

ITSELF = "the cell itself"


@dataclass(frozen=True)
class Score:
    """Of one cell.

    Attributes:
        value: the metric, a mean over seeds where it was trained with several; None if there is none.
        difference: to that of the unchanged cell, a mean over the seeds that both have.
        low, high: the interval of that difference; None of a single pair.
        seeds: trainings that ended with a number; 0 with shared weights.
        pairs: of these, those whose seed the unchanged cell has too.
        not_finite: trainings that ended without a number, and with shared weights a score that is none.
    """

    value: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    pairs: int = 0
    not_finite: int = 0


@dataclass(frozen=True)
class Row:
    """One change.

    Attributes:
        unused: whether the output of the unchanged cell does not depend on the node.
        same_as: the change, or ITSELF, that leads to the same network; "" if none does. It has the same score.
        alike: with shared weights, a change that leads to the same network with other matrices, which score differently.
        missing: why there is no score.
    """

    kind: str
    node: int | None
    change: str
    genotype: str
    score: Score
    unused: bool = False
    same_as: str = ""
    alike: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Ablation:
    """A cell and its changes, the most harmful first.

    Attributes:
        origin: where the cell is from.
        cell: in words.
        retrained: or scored with shared weights.
        smaller_is_better: of the metric.
        base: the score of the cell itself.
        notes: what to know, a sentence each.
    """

    origin: str
    cell: str
    genotype: str
    retrained: bool
    metric: str
    smaller_is_better: bool
    base: Score
    rows: list[Row]
    notes: list[str]


def select(space: Space[Any], genotype: Any, kinds: Sequence[str] | None, nodes: Sequence[int] | None) -> list[Variant]:
    """The changes of these kinds (None: all) and of these nodes (None: also those that are of no single node).

    Raises:
        ConfigError: the space names no changes, there is no such node, or none of the changes is left.
    """
    found = space.variants(genotype)
    known = sorted({each.node for each in found if each.node is not None})
    wrong = [node for node in nodes or () if node not in known]
    if wrong:
        raise ConfigError([f"--nodes must be {known[0]}..{known[-1]}, the nodes of the cell, got {wrong[0]}"])
    chosen = [each for each in found if kinds is None or each.kind in kinds]
    if nodes is not None:
        chosen = [each for each in chosen if each.node in nodes]
    if not chosen:
        asked = " ".join(kinds or KINDS)
        raise ConfigError([f"--changes {asked} changes none of the --nodes; leave out one of the two"])
    return chosen


def assembled(
    found: Found, retrained: bool, metric: str, smaller: bool, base: Score, rows: list[Row], notes: list[str]
) -> Ablation:
    """Of these rows, the most harmful first: those that exploded, then by difference, then those without a score."""

    def harm(row: Row) -> tuple[int, float]:
        if row.score.difference is None:
            return (0 if row.score.not_finite else 2), 0.0
        return 1, -row.score.difference if smaller else row.score.difference

    cell, text = str(found.genotype), found.genotype.to_text()
    return Ablation(found.origin, cell, text, retrained, metric, smaller, base, sorted(rows, key=harm), notes)


def row_of(variant: Variant, score: Score, unused: frozenset[int], same_as: str, missing: str) -> Row:
    """The row of a variant; `unused` are the nodes that the cell does not need."""
    text = variant.genotype.to_text()
    unneeded = variant.node in unused
    return Row(variant.kind, variant.node, variant.text, text, score, unneeded, same_as=same_as, missing=missing)


def unused_nodes(space: Space[Any], genotype: Any) -> frozenset[int]:
    """The nodes whose removal leaves the same network."""
    own = space.canonical(genotype)
    removed = [each for each in space.variants(genotype) if each.kind == "remove"]
    return frozenset(each.node for each in removed if each.node is not None and space.canonical(each.genotype) == own)
