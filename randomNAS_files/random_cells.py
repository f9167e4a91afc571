"""Random cells that are scored with the weights of a trained one, each process its share of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from randomNAS_files.architecture import Genotype, sample


class RandomCell(NamedTuple):
    """One of them."""

    number: int  # from 0
    genotype: Genotype


class ScoredCell(NamedTuple):
    """What one of them scores on the validation stream."""

    number: int
    genotype: Genotype
    metrics: dict[str, float]  # finite, "loss" among them


def draw_cells(seed: int, count: int, nodes: int) -> list[RandomCell]:
    """So many cells, always the same ones for a seed."""
    return [RandomCell(k, sample(seed, "evaluate", k, nodes=nodes)) for k in range(count)]


def ranked(shares: Iterable[Iterable[ScoredCell]]) -> list[ScoredCell]:
    """The cells of all processes, the best first."""
    return sorted((cell for share in shares for cell in share), key=lambda cell: (cell.metrics["loss"], cell.number))
