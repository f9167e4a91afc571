"""Random search with weight sharing: train a random path in every step, then score paths with the shared weights.

Li & Talwalkar 2019, arXiv 1902.07638. Nothing is learned but the weights of the supernet; the trial scores, the
strategy draws, ranks and remembers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.fields import field
from nas.core.relaxation import CellShape, Path, Paths, Relaxation
from nas.core.seeds import numpy_generator
from one_shot.strategy import Choice, Objective, Progress, Score, Strategy


@dataclass(frozen=True)
class RandomConfig:
    """Hyperparameters of random search."""

    score_archs: int = field(1000, ge=1, most=10_000_000)  # random architectures that are scored at the end
    score_batches: int | None = field(None, ge=1)  # of the validation data, for each of them; null: all
    rescore: int = field(10, ge=1)  # the best of them, which are scored again on all validation data
    epoch_archs: int = field(10, ge=1, most=10_000_000)  # random architectures that are scored after every epoch
    sample_none: bool = False  # train with `none` on some edges, as the authors do on images

    def problems(self) -> list[str]:
        """Rules over several fields."""
        if self.rescore > self.score_archs:
            return [f"rescore must be at most score_archs {self.score_archs}, got {self.rescore}"]
        return []


class RandomSearch(Strategy):
    """Draws architectures uniformly, of all or of those within limits, and knows the best of those it is told the scores of.

    Its state is the best architecture, 1 for each operation that it has (`best_<kind of cell>`, `(edges, operations)`), its
    score, and how many scores were no numbers.
    """

    learns = False
    best_score: torch.Tensor
    told: torch.Tensor
    not_finite: torch.Tensor

    def __init__(self, relaxation: Relaxation, config: RandomConfig) -> None:
        super().__init__(relaxation)
        self.config, self.entrant_count = config, config.epoch_archs
        for kind, shape in relaxation.items():
            self.register_buffer(
                f"best_{kind}", torch.zeros(len(shape.edges), len(shape.operations), dtype=torch.int64)
            )
        self.register_buffer("best_score", torch.tensor(math.inf, dtype=torch.float64))
        self.register_buffer("told", torch.zeros((), dtype=torch.int64))  # scores of this round
        self.register_buffer("not_finite", torch.zeros((), dtype=torch.int64))  # of them, over the whole search

    def sample(
        self, generator: torch.Generator, progress: Progress, train_loss: Objective | None = None
    ) -> ArchWeights:
        return one_path(self._draw(generator, self.config.sample_none))

    def _draw(self, generator: torch.Generator, with_excluded: bool = False) -> Paths:
        """One of all architectures, or of those that the decoder allows, all equally likely."""
        if self.decoder is None:
            return draw(self.relaxation, generator, with_excluded)
        seed = int(torch.randint(2**62, (), generator=generator))
        return self.decoder.draw(numpy_generator(seed, "within limits"))

    def candidates(self, generator: torch.Generator, count: int) -> list[Paths]:
        """So many random architectures, none with an excluded operation. The first ones do not depend on `count`."""
        return [self._draw(generator) for _ in range(count)]

    def entrants(self, generator: torch.Generator) -> list[Paths]:
        return self.candidates(generator, self.entrant_count)

    def scored(self, entrants: Sequence[Paths], losses: Sequence[float]) -> None:
        self.new_round()
        for paths, cost in zip(entrants, self.costs_of(entrants, losses), strict=True):
            self.tell(paths, cost)

    def costs_of(self, architectures: Sequence[Paths], losses: Sequence[float]) -> list[float]:
        """What architectures of these losses are ranked by, lower is better."""
        return list(losses)

    def choose(self, score: Score, generator: torch.Generator) -> Choice:
        """Score many on some batches, and the best of them again on all."""
        drawn = self.candidates(generator, self.config.score_archs)
        first = [each["loss"] for each in score([one_path(paths) for paths in drawn], self.config.score_batches)]
        best = [drawn[k] for k in ranked(self.costs_of(drawn, first))[: self.config.rescore]]
        again = score([one_path(paths) for paths in best])
        losses = [each["loss"] for each in again]
        self.scored(best, losses)
        order = ranked(self.costs_of(best, losses))
        others = [(best[k], again[k]) for k in order]
        return Choice(*others[0], others, {**_summary(first), "first_best_rank": 1.0 + order.index(0)})

    def new_round(self) -> None:
        """Forget the best: scores of other weights, or on other data, do not compare with those that follow."""
        self.told.zero_()
        self.best_score.fill_(math.inf)

    def tell(self, paths: Paths, score: float) -> None:
        """The score of an architecture, lower is better.

        One that is no finite number is counted, and worse than every number. Of equal scores the first is kept.
        """
        best, first = float(self.best_score), int(self.told) == 0
        self.told += 1
        self.not_finite += int(not math.isfinite(score))
        if first or _rank(score) < _rank(best):
            self.best_score.fill_(score)
            for kind, path in paths.items():
                table = [[int(k in running) for k in range(len(self.relaxation[kind].operations))] for running in path]
                self.get_buffer(f"best_{kind}").copy_(torch.tensor(table))

    def derive(self) -> Paths | None:
        """The best that was told of in this round; None before the first."""
        if not int(self.told):
            return None
        return {kind: self._best(kind) for kind in self.relaxation}

    def report(self) -> dict[str, float]:
        """How many scores of the whole search were not finite."""
        return {"scores_not_finite": float(self.not_finite)}

    def _best(self, kind: str) -> Path:
        table = self.get_buffer(f"best_{kind}").tolist()
        return tuple(tuple(k for k, chosen in enumerate(row) if chosen) for row in table)


def draw(relaxation: Relaxation, generator: torch.Generator, with_excluded: bool = False) -> dict[str, Path]:
    """A random architecture, by what `CellShape.drawn` makes equally likely.

    Args:
        generator: on the CPU; as many numbers are drawn every time.
        with_excluded: also operations that no derived genotype has.
    """
    return {kind: _draw_cell(shape, generator, with_excluded) for kind, shape in relaxation.items()}


def ranked(scores: Sequence[float]) -> list[int]:
    """The numbers of scores, best first, those that are not finite last; of equal ones the lower number."""
    return sorted(range(len(scores)), key=lambda k: _rank(scores[k]))


def _rank(score: float) -> float:
    return score if math.isfinite(score) else math.inf


def _draw_cell(shape: CellShape, generator: torch.Generator, with_excluded: bool) -> Path:
    numbers = torch.rand(shape.numbers, generator=generator, dtype=torch.float64).tolist()
    return shape.drawn(numbers, with_excluded)


def _summary(losses: Sequence[float]) -> dict[str, float]:
    sane = [loss for loss in losses if math.isfinite(loss)]
    counted = {"count": float(len(losses)), "exploded": float(len(losses) - len(sane))}
    if not sane:
        return counted
    spread = statistics.stdev(sane) if len(sane) > 1 else 0.0
    return {**counted, "mean": statistics.fmean(sane), "sd": spread, "best": min(sane), "worst": max(sane)}
