"""One search for all budgets: architecture weights as a function of how much the size of the network counts.

Yakovlev et al. 2021 (AIST, "Neural Architecture Search with Structure Complexity Control") train weights alpha(u) for all
complexity levels u in [0, 1] at once. Each update draws a level and descends

    L_val(w, alpha(u)) + mu(u) (E[count] - low) / (high - low),

where E[count] is the mean count of the sampled network, at the size at which it is retrained, `low` and `high` are the
smallest and the largest network of the space, and mu(0) = 0, so that level 0 is DARTS. Afterwards each level derives a cell,
and the best of all of each size are the front. As opposed to the published code: the knots are fixed, the penalty has one
unit for all network sizes, and all passes of an update share their noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.budget import Budget
from nas.core.errors import ConfigError
from nas.core.optimizers import Adam
from nas.core.relaxation import Paths, Relaxation, derive
from one_shot import bilevel, schedules
from one_shot.budget_config import BudgetConfig
from one_shot.counted import Cell, Counted
from one_shot.front import Front, changes, largest_gap, undominated, violation
from one_shot.gradient import NOISE, softmax_of_edges
from one_shot.hypernetwork import hypernetwork
from one_shot.sampled_cells import sampled_cells
from one_shot.samplers import gumbel_soft
from one_shot.strategy import Choice, Objective, Problem, Progress, Score, Strategy

STRATA, STRIDE = 16, 7
"""Parts of [0, 1] of which each step draws from another one, all of them in turn, and how far the next one is: far, as the
momenta of the weights would otherwise follow the level."""
COUNTED = 33
"""Levels at which the expected count is looked at."""
SHOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Levels that are scored after every epoch."""


class BudgetStrategy(Strategy):
    """Learns logits as a function of the level, and derives a cell at every one.

    Its parameters are those of `hypernetwork`, with tables `operations_<kind of cell>` `(edges, operations)` and, with
    `edge_norm`, `edges_<kind of cell>` `(edges,)`; all start with noise of standard deviation 0.001, as in DARTS. A knot
    without a gradient in an update does not move in it, and does not decay.

    Args:
        relaxation: the search space.
        config: the method.
        generator: draws the initial logits as `GradientStrategy` does, on the CPU.
        counted: what is counted.

    Raises:
        ConfigError: if nothing is counted.
    """

    drawn = "front"
    of_updates = ("arch_loss", "arch_penalty")
    best: torch.Tensor

    def __init__(
        self, relaxation: Relaxation, config: BudgetConfig, generator: torch.Generator, counted: Counted | None = None
    ) -> None:
        super().__init__(relaxation)
        if counted is None:
            raise ConfigError(["hyperparameters.strategy budget needs networks whose sizes are known"])
        self.config, self.counted = config, counted
        shapes: dict[str, tuple[int, ...]] = {
            f"operations_{kind}": (len(shape.edges), len(shape.operations)) for kind, shape in relaxation.items()
        }
        if config.edge_norm:
            shapes |= {f"edges_{kind}": (len(shape.edges),) for kind, shape in relaxation.items()}
        starts = {name: NOISE * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        self.logits = hypernetwork(starts, config.knots, config.hidden, generator)
        self.expected_count = counted.expected(config.measure)
        self.levels = SHOWN if config.level is None else (config.level,)
        self.entrant_count = len(self.levels)
        self.register_buffer("best", torch.tensor(self.levels[0], dtype=torch.float64))  # level, of the last epoch

    def optimizer(self) -> torch.optim.Optimizer:
        config = self.config
        betas = (config.arch_beta1, config.arch_beta2)
        return Adam(self.parameters(), config.arch_learning_rate, betas=betas, weight_decay=config.arch_weight_decay)

    @torch.no_grad()
    def sample(
        self, generator: torch.Generator, progress: Progress, train_loss: Objective | None = None
    ) -> ArchWeights:
        """At a level that it draws from the same part of [0, 1] as `update` in this step."""
        (level,) = self.draw_levels(generator, progress.step, 1)
        weights = self._drawn(level, generator, progress)[0]
        if weights.paths is not None:  # the numbers are 1, and multiplying by them would change nothing
            return one_path(weights.paths)
        return weights.copy()

    def draw_levels(self, generator: torch.Generator, step: int, count: int) -> list[float]:
        """Levels, one from each of so many equal parts of [0, 1]; within it all steps take turns with smaller ones.

        Nothing is drawn where the level is fixed.
        """
        if self.config.level is not None:
            return [self.config.level]
        drawn = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
        stratum = step * STRIDE % STRATA
        return [(k + (stratum + each) / STRATA) / count for k, each in enumerate(drawn)]

    def temperature(self, progress: Progress) -> float:
        """The same in a whole epoch, as published: `temperature` in the first, `temperature_end` in the last one."""
        config, epochs = self.config, math.ceil(progress.steps / progress.epoch_length)
        end = config.temperature if config.temperature_end is None else config.temperature_end
        fraction = min(progress.epoch / max(epochs - 1, 1), 1.0)
        return schedules.at(fraction, config.temperature, end, config.temperature_schedule)

    def update(self, problem: Problem, generator: torch.Generator, progress: Progress) -> dict[str, torch.Tensor]:
        """As in the contract; nothing is computed, and nothing reported, in the first `arch_warmup_epochs`."""
        parameters, config = list(self.parameters()), self.config
        for parameter in parameters:
            parameter.grad = None
        if progress.epoch < config.arch_warmup_epochs:
            return {}
        losses, penalties = [], []
        levels = self.draw_levels(generator, progress.step, config.levels_per_step)
        for level in levels:
            drawn, means, edges = self._drawn(level, generator, progress)
            found, loss = bilevel.gradient(problem, drawn, config.bilevel, config.finite_difference)
            outputs, weight = drawn.tensors(), config.penalty(level)
            penalty = torch.zeros_like(loss)
            if weight:  # or the gradient is that of DARTS, bit for bit
                penalty = weight * self.expected_count.scaled(means, edges)
                outputs, found = [*outputs, penalty], [*found, torch.ones_like(penalty)]
            gradients = torch.autograd.grad(outputs, parameters, found, allow_unused=True)
            _add(parameters, gradients, len(levels))
            losses.append(loss)
            penalties.append(penalty.detach())
        return {"arch_loss": torch.stack(losses).mean(), "arch_penalty": torch.stack(penalties).mean()}

    def mixture(self) -> ArchWeights | None:
        """At the lowest level that is searched; none where whole cells are sampled."""
        return None if self.config.whole_cells else self._expected_at(self.levels[0])

    @torch.no_grad()
    def probabilities(self, level: float | None = None) -> dict[str, torch.Tensor]:
        """What a derived architecture is ranked by, `(edges, operations)` for each kind of cell, as in `GradientStrategy`.

        Args:
            level: None: the one whose cell scored best.
        """
        weights = self._expected_at(float(self.best) if level is None else level)
        assert weights.operations is not None
        return {
            kind: table if weights.edges is None else table * weights.edges[kind].unsqueeze(-1)
            for kind, table in weights.operations.items()
        }

    def derive(self, level: float | None = None) -> Paths:
        """The cell of a level; None: of the one whose cell scored best."""
        ranked = self._ranked(level)
        return derive(self.relaxation, ranked) if self.decoder is None else self.decoder.decode(ranked)

    def entrants(self, generator: torch.Generator) -> list[Paths]:
        """The cells of `levels`."""
        return [self.derive(level) for level in self.levels]

    def scored(self, entrants: Sequence[Paths], losses: Sequence[float]) -> None:
        """Remember which level has the smallest loss."""
        finite = [loss if math.isfinite(loss) else math.inf for loss in losses]
        self.best.fill_(self.levels[finite.index(min(finite))])

    def choose(self, score: Score, generator: torch.Generator) -> Choice | None:
        """The cell of the front that scores best; the front beside random cells of its sizes."""
        front, config = self.front(score), self.config
        if not front.rows:  # nothing has a finite score
            return None
        rows, seed = front.rows, int(torch.randint(2**31, (), generator=generator))
        places = [k * len(rows) // config.random_cells for k in range(config.random_cells)]
        sizes = [getattr(rows[place].size, config.measure) for place in places]
        front.random.extend(self.counted.rows(self.counted.random(sizes, config.measure, seed), score) if sizes else [])
        best = rows[-1]
        self.best.fill_(best.level or 0.0)
        summary = {name: float(front.about[name]) for name in ("count_violation", "largest_gap")}
        return Choice(best.paths, dict(best.scores), summary={"cells": float(len(rows)), **summary}, front=front)

    def front(self, score: Score) -> Front:
        """All cells that some level derives, and the most likely ones of `projections` sizes, scored; the best of them."""
        measure, expected, count = self.config.measure, self.expected_count, self.config.projections
        low, span = expected.low, expected.high - expected.low
        runs = changes(self.derive, self.levels[0], self.levels[-1])
        counts = {level: low + span * share for level, share in self.expected_counts().items()}
        budgets = [low + k * span // max(count - 1, 1) for k in range(count)]
        cells: list[Cell] = [(level, paths, "level") for level, paths in runs]
        decoder = self.decoder or self.counted.decoder(Budget())
        cells += self.counted.projections(decoder, self._ranked, counts, budgets, measure)
        rows = self.counted.rows(cells, score)
        kept = undominated(rows, measure)
        about = {
            **{"network": self.counted.network, "measure": measure, "low": low, "high": expected.high},
            "count_violation": violation(list(self.expected_counts().values())),
            "largest_gap": largest_gap(kept, measure, low, expected.high),
        }
        weights = [{"level": level, "weights": self._ranked(level)} for level in list(counts)[::2]]
        return Front(kept, rows[: len(runs)], about, weights)

    @torch.no_grad()
    def expected_counts(self) -> dict[float, float]:
        """Of equally spaced levels, from 0, the smallest network of the space, to 1, the largest."""
        first, last = self.levels[0], self.levels[-1]
        levels = [first + (last - first) * k / (COUNTED - 1) for k in range(COUNTED)] if last > first else [first]
        weights = [self._expected_at(level) for level in levels]
        counts = torch.stack([self.expected_count.scaled(each.operations, each.edges) for each in weights])
        return dict(zip(levels, counts.tolist(), strict=True))

    @torch.no_grad()
    def report(self) -> dict[str, float]:
        """What the search has come to.

        Returns:
            `arch_entropy`: mean over edges and shown levels of the entropy of an edge's weights, in nats.
            `largest_probability`: the largest weight of an operation at a shown level.
            `count_low_level`, `count_high_level`: the expected count at both ends, from 0, the smallest network, to 1.
            `count_violation`: by how much it rises again as the level rises, at most.
        """
        tables = [table for level in self.levels for table in (self._expected_at(level).operations or {}).values()]
        counts = list(self.expected_counts().values())
        return {
            "arch_entropy": float(torch.cat([torch.special.entr(table).sum(-1) for table in tables]).mean()),
            "largest_probability": max(float(table.max()) for table in tables),
            **{"count_low_level": counts[0], "count_high_level": counts[-1], "count_violation": violation(counts)},
        }

    def _ranked(self, level: float | None) -> dict[str, list[list[float]]]:
        return {kind: table.tolist() for kind, table in self.probabilities(level).items()}

    def _drawn(
        self, level: float, generator: torch.Generator, progress: Progress
    ) -> tuple[ArchWeights, dict[str, torch.Tensor], dict[str, torch.Tensor] | None]:
        """The weights of this step, and those of operations and edges without noise, differentiable by the parameters."""
        tables, temperature = self.logits(level), self.temperature(progress)
        logits, edges = {kind: tables[f"operations_{kind}"] for kind in self.relaxation}, self._edges(tables)
        means = {kind: table.softmax(-1) for kind, table in logits.items()}
        if self.config.mixing == "softmax":
            return ArchWeights(means, edges), means, edges
        if self.config.mixing == "gumbel":
            noisy = {kind: gumbel_soft(table, temperature, generator) for kind, table in logits.items()}
            return ArchWeights(noisy, edges), means, edges
        chosen, paths = sampled_cells(self.relaxation, logits, edges, temperature, generator)
        # The network that is retrained does not weigh its edges: exactly 1, with the gradient of the logarithm.
        ones = edges and {kind: weights / weights.detach() for kind, weights in edges.items()}
        return ArchWeights(chosen, ones, paths), means, edges

    def _expected_at(self, level: float) -> ArchWeights:
        """The weights without noise."""
        tables = self.logits(level)
        operations = {kind: tables[f"operations_{kind}"].softmax(-1) for kind in self.relaxation}
        return ArchWeights(operations, self._edges(tables))

    def _edges(self, tables: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
        """For each kind of cell what its edges count, which sums to 1 a node; None if they do not learn it."""
        if not self.config.edge_norm:
            return None
        return {kind: softmax_of_edges(tables[f"edges_{kind}"], shape) for kind, shape in self.relaxation.items()}


def _add(parameters: Sequence[nn.Parameter], gradients: Sequence[torch.Tensor | None], count: int) -> None:
    """Add to `.grad` one of so many gradients whose mean is wanted; None is none at all, not zero."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            gradient = gradient / count if count > 1 else gradient
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
