"""Cells that a controller draws, as plain data: what a trial hands to whoever analyses its controller."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Table = list[list[float]]


@dataclass(frozen=True)
class DrawnCells:
    """The n different cells among those that one controller drew. D is the number of its decisions.

    Attributes:
        genotypes: as JSON.
        counts: how often each was drawn.
        log_probs: log pi of each.
        losses: with the shared weights on validation data, in nats a word; some may be no numbers.
        states: `(n, H)`, the LSTM's last hidden states.
        largest: `(n, D)`, the largest probability of each decision when it was taken.
        common_edges: `(n, n)`, how many nodes read the same state in both cells.
        common_pairs: `(n, n)`, how many of those have the same activation too.
        tree_distances: `(n, n)`, edit distance of the two cells as trees.
    """

    genotypes: list[dict[str, Any]]
    counts: list[int]
    log_probs: list[float]
    losses: list[float]
    states: Table
    largest: Table
    common_edges: Table
    common_pairs: Table
    tree_distances: Table


@dataclass(frozen=True)
class ControllerCells:
    """Cells of a trained controller, and of the one that it started as, which has learned nothing.

    Attributes:
        package: of the search space.
        drawn: how many cells each drew.
        batches: of validation data by which they were scored; None: all.
        decisions: what each is about, in words.
        options: of each decision.
        control: the cells of the trained one, with the states and probabilities that the untrained one has of them.
    """

    package: str
    drawn: int
    batches: int | None
    decisions: list[str]
    options: list[int]
    trained: DrawnCells
    control: DrawnCells
    fresh: DrawnCells

    def to_json(self) -> dict[str, Any]:
        """Plain types."""
        return asdict(self)
