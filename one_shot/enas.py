"""ENAS: a controller learns by REINFORCE which recurrent cells predict well with the shared weights.

Pham et al. 2018, arXiv 1802.03268. Unlike the published code, cells are compared as they should be: those of an update are
all scored on the same validation minibatch, in evaluation mode and from zero states.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.optim import Adam

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.fields import field
from nas.core.relaxation import Paths, Relaxation
from one_shot.controller import CONTROLLERS
from one_shot.hadamard_tokens import tokens_of
from one_shot.random_search import RandomConfig, RandomSearch
from one_shot.reinforce import (
    BASELINES,
    ENTROPIES,
    OF_UPDATES,
    REWARDS,
    leave_one_out,
    numbers_of,
    objective,
    rewards_of,
    with_entropy,
)
from one_shot.response import LOOKAHEADS, RESPONSES, Draw, check_finite
from one_shot.similarity import NAMES, similarity
from one_shot.strategy import Choice, Objective, Problem, Progress, Score

logger = logging.getLogger(__name__)

FOLLOWED = 100
"""Cells that are drawn to report the policy by."""


@dataclass(frozen=True)
class EnasConfig:
    """Hyperparameters of ENAS; the paper's, where nothing else is said.

    A phase is `shared_steps` training steps of the weights with a new cell each, and `controller_updates` updates of the
    controller.
    """

    controller: str = field("heads", choices=tuple(CONTROLLERS))  # see one_shot/controller.py
    controller_hidden: int = field(100, ge=1, most=100_000)  # of the LSTM
    temperature: float = field(5.0, gt=0)  # divides the logits
    tanh_constant: float = field(2.5, gt=0)  # bounds them
    arch_learning_rate: float = field(3.5e-4, gt=0)  # of the controller, by Adam
    cells_per_update: int = field(10, ge=1, most=100_000)  # scored on one validation minibatch; 1 in the paper
    reward: str = field("inverse_ppl", choices=REWARDS)  # 80 / perplexity; 80 / its square; minus the loss
    baseline: str = field("leave_one_out", choices=BASELINES)  # moving_average in the paper
    baseline_decay: float = field(0.95, ge=0, lt=1)  # of the moving average
    entropy: str = field("gradient", choices=ENTROPIES)  # how its gradient is estimated; both without bias
    entropy_weight: float = field(1e-4, ge=0)
    parameter_price: float = field(0.0, ge=0)  # of a million parameters, subtracted from rewards
    shared_steps: int = field(400, ge=1)  # steps of the weights in a phase
    controller_updates: int = field(200, ge=1)  # updates in a phase; in the paper 2,000 of one cell each
    warmup_steps: int = field(0, ge=0)  # steps of the weights before the first update
    response: str = field(
        "none", choices=tuple(RESPONSES)
    )  # how weights answer the controller, see one_shot/response.py
    lookahead: str = field("gradient", choices=LOOKAHEADS)  # the step that is looked ahead along
    response_cells: int = field(
        2, ge=1, most=100_000
    )  # of the training steps that gradient averages and aligned weighs
    joint_horizon: int = field(1, ge=1, most=100_000)  # steps whose cells joint credits with a reward, at most
    similarity_every: int = field(0, ge=0)  # measure what looking ahead tells every so many updates; 0: never
    similarity_cells: int = field(200, ge=30, most=10_000_000)  # from so many cells
    score_archs: int = field(100, ge=1, most=10_000_000)  # cells that are drawn and scored at the end
    score_batches: int | None = field(1, ge=1)  # of the validation data, for each of them; null: all
    rescore: int = field(10, ge=1)  # the best of them, which are scored again on all validation data
    epoch_archs: int = field(10, ge=1, most=10_000_000)  # cells that are drawn and scored after every epoch

    def problems(self) -> list[str]:
        """Rules over several fields."""
        found = []
        if self.cells_per_update == 1 and self.baseline == "leave_one_out":
            rule = "must be at least 2 with baseline leave_one_out, the mean reward of the other cells"
            found.append(f"cells_per_update {rule}, got 1; take more, or baseline moving_average")
        if self.rescore > self.score_archs:
            found.append(f"rescore must be at most score_archs {self.score_archs}, got {self.rescore}")
        return found + self._response_problems()

    def _response_problems(self) -> list[str]:
        found = []
        if self.response == "aligned" and not 2 <= self.response_cells <= self.cells_per_update:
            rule = f"must be 2..cells_per_update {self.cells_per_update} with response aligned"
            found.append(f"response_cells {rule}, got {self.response_cells}")
        if self.response == "joint" and self.shared_steps > self.joint_horizon:
            rule = f"must be at most joint_horizon {self.joint_horizon} with response joint"
            why = "which credits a reward to the cells of all steps since the last update"
            found.append(f"shared_steps {rule}, {why}, got {self.shared_steps}; lower it, or raise joint_horizon")
        if self.response == "joint" and self.controller_updates > 1:
            why = "as the steps before a second update are of the controller before the first"
            found.append(f"controller_updates must be 1 with response joint, {why}, got {self.controller_updates}")
        return found

    @property
    def looks_ahead(self) -> bool:
        """Whether an update takes steps of the weights."""
        return self.response in ("lookahead", "aligned") or self.similarity_every > 0

    @property
    def copies(self) -> int:
        """How many vectors as large as the weights an update has at once: w, and steps and gradients of cells."""
        return (2 if self.response == "aligned" else 1) * self.response_cells + 2 if self.looks_ahead else 0


class Enas(RandomSearch):
    """Random search among the cells that a controller draws, which learns to draw better ones.

    Its state is the controller, the moving average of rewards, that of its `response`, the last measures of `similarity`,
    and the best cell it was told of, as in random search.

    Raises:
        ConfigError: if the space is not of recurrent cells: one kind of cell, whose nodes read one state each.
    """

    learns = True
    scores_cells = True
    drawn = "sampled"
    of_updates = ("arch_loss", *OF_UPDATES)
    average: torch.Tensor
    updated: torch.Tensor
    measured: torch.Tensor

    def __init__(self, relaxation: Relaxation, config: EnasConfig, generator: torch.Generator) -> None:
        scored = RandomConfig(config.score_archs, config.score_batches, config.rescore, config.epoch_archs)
        super().__init__(relaxation, scored)
        self.tokens = tokens_of(relaxation)
        self.kind = self.tokens.kind
        self.method = config
        self.controller = CONTROLLERS[config.controller](
            self.tokens.decisions,
            config.controller_hidden,
            generator,
            config.temperature,
            config.tanh_constant,
        )
        self.register_buffer("average", torch.tensor(math.nan, dtype=torch.float64))  # no reward yet
        self.response = RESPONSES[config.response](config, len(self.controller.decisions))
        self.register_buffer("updated", torch.zeros((), dtype=torch.int64))  # how often
        self.register_buffer("measured", torch.full((len(NAMES),), math.inf, dtype=torch.float64))  # not yet
        self.looks_ahead = config.looks_ahead
        self.keeps_gradient = config.looks_ahead and config.lookahead == "last_gradient"
        self.update_share = config.controller_updates / config.shared_steps

    def sample(
        self, generator: torch.Generator, progress: Progress, train_loss: Objective | None = None
    ) -> ArchWeights:
        return one_path(self.candidates(generator, 1)[0])

    def trained(self, weights: ArchWeights) -> None:
        if self.method.response == "joint":
            self.response.remember(self.cell_of(weights.paths or {}))

    def draw(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, list[ArchWeights]]:
        """So many cells of the controller, as tokens `(count, D)` and as architectures."""
        cells = self.controller.draw(count, generator)
        return cells, [one_path(self.paths_of(cell)) for cell in cells.tolist()]

    def candidates(self, generator: torch.Generator, count: int) -> list[Paths]:
        """So many cells of the controller. The first ones do not depend on `count`."""
        return [self.paths_of(cell) for cell in self.controller.draw(count, generator).tolist()]

    def paths_of(self, cell: Sequence[int]) -> Paths:
        """The path of a cell of the controller."""
        return self.tokens.paths_of(cell)

    def cell_of(self, paths: Paths) -> list[int]:
        """The inverse of `paths_of`."""
        return self.tokens.cell_of(paths)

    def updates(self, progress: Progress) -> range:
        """Those of a phase, before the last of its steps."""
        config, step = self.method, progress.step
        if step == 0 and progress.steps // config.shared_steps * config.shared_steps <= config.warmup_steps:
            logger.warning(
                "the controller is never updated, as shared_steps %d and warmup_steps %d end no phase in the %d steps of "
                "this search; lower them, or train longer",
                config.shared_steps,
                config.warmup_steps,
                progress.steps,
            )
        if step < config.warmup_steps or (step + 1) % config.shared_steps:
            return range(0)
        before = step // config.shared_steps * config.controller_updates
        return range(before, before + config.controller_updates)

    def update(self, problem: Problem, generator: torch.Generator, progress: Progress) -> dict[str, torch.Tensor]:
        """One step of REINFORCE on cells that are scored by `problem.valid_scores`; for the rest see `one_shot.response`."""
        if problem.valid_scores is None:
            raise ValueError("ENAS is updated by the losses of cells; give the problem valid_scores")
        config, draw = self.method, partial(self.draw, generator=generator)
        cells, architectures = draw(config.cells_per_update)
        mean, others, credits = self.response.score(problem, cells, architectures, draw)
        both = self.controller(torch.cat([cells, others]))
        log_probs, entropies = (each[: len(cells)] for each in both)
        rewards = with_entropy(self._rewards(cells, mean), log_probs, config.entropy_weight, config.entropy)
        advantages = rewards - self._baseline(rewards)
        loss = -objective(log_probs, entropies, advantages, config.entropy_weight, config.entropy)
        if len(others):
            loss = loss - credits.to(both[0]) @ both[0][len(cells) :].sum(1)
        parameters = list(self.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        problem.average([gradient for gradient in gradients if gradient is not None])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._measure(problem, draw)
        return {"arch_loss": mean[mean.isfinite()].mean(), **numbers_of(loss, rewards, advantages, mean)}

    def _rewards(self, cells: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        """Of mean losses `(K,)` of cells, less the price of their parameters."""
        rewards, price = rewards_of(losses, self.method.reward), self.method.parameter_price / 1e6
        if not price:
            return rewards
        return rewards - price * rewards.new_tensor(
            [self.parameters_of(self.paths_of(cell)) for cell in cells.tolist()]
        )

    def costs_of(self, architectures: Sequence[Paths], losses: Sequence[float]) -> list[float]:
        """With a price minus the rewards, so that what is derived is what was searched for."""
        if not self.method.parameter_price or not any(map(math.isfinite, losses)):
            return list(losses)
        cells = torch.tensor([self.cell_of(paths) for paths in architectures])
        rewards = self._rewards(cells, torch.tensor(losses, dtype=torch.float64))
        return [-reward if math.isfinite(loss) else loss for reward, loss in zip(rewards.tolist(), losses, strict=True)]

    def _measure(self, problem: Problem, draw: Draw) -> None:
        """Every so many updates, after all that the update itself draws."""
        self.updated += 1
        every = self.method.similarity_every
        if every and int(self.updated) % every == 0:
            found = similarity(problem, self.method, self.controller, draw)
            self.measured.copy_(found.nan_to_num(nan=math.inf))

    def _baseline(self, rewards: torch.Tensor) -> torch.Tensor:
        """What rewards are compared with; a moving average starts at the mean of the first ones."""
        if self.method.baseline == "leave_one_out":
            return leave_one_out(rewards)
        now, decay = rewards.mean().to(self.average), self.method.baseline_decay
        before = torch.where(self.average.isnan(), now, self.average)
        self.average.copy_(decay * before + (1 - decay) * now)
        return before.to(rewards)

    def optimizer(self) -> torch.optim.Optimizer:
        return Adam(self.controller.parameters(), self.method.arch_learning_rate)

    def choose(self, score: Score, generator: torch.Generator) -> Choice:
        """As random search, of the controller's cells. Raises ConfigError if none has a finite loss."""
        choice = super().choose(score, generator)
        check_finite([scores["loss"] for _, scores in choice.others], "that were scored at the end")
        return choice

    def followed(self) -> list[Paths]:
        """The cells that `report` reports the policy by."""
        return [self.paths_of(cell) for cell in self._followed().tolist()]

    def _followed(self) -> torch.Tensor:
        return self.controller.draw(FOLLOWED, torch.Generator().manual_seed(0))

    @torch.no_grad()
    def report(self) -> dict[str, float]:
        """The policy, by 100 cells that are drawn with the same numbers every time.

        Returns:
            `arch_entropy`: of whole cells, in nats: the mean over those cells of the sum of their decisions' entropies.
            `largest_probability`: of the likeliest of them.
            And the last measures of `one_shot.similarity`, those that are numbers.
        """
        log_probs, entropies = self.controller(self._followed())
        largest = float(log_probs.sum(1).max().exp())
        return {
            **super().report(),
            "arch_entropy": float(entropies.sum(1).mean()),
            "largest_probability": largest,
            **{name: value for name, value in zip(NAMES, self.measured.tolist(), strict=True) if math.isfinite(value)},
        }
