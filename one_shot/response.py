"""How the training of the shared weights answers the controller, as a part of the controller's gradient.

ENAS takes the weights w for given, though its cells also train them: w is what a controller pi made it. Let L(w, a) be the
training loss of cell a, s(a) the direction in which the optimiser steps for it (clipped, with decay), eta its learning
rate, R(w, a) the reward on validation data, and let one step be taken at a time.

- `none`: E_a[R(w, a) grad log pi(a)], which is ENAS.
- `lookahead`: the same at w' = w - eta d, where d is the step that comes (extragradient, as MENAS was built). It still takes
  w' for given.
- `aligned`: with w' = w - eta E_b[s(b)] the whole gradient of E_a[R(w', a)] is

      E_a[R(w', a) grad log pi(a)] + E_b[q(b) grad log pi(b)],    q(b) = -eta <v, s(b)>,    v = E_a[grad_w R(w', a)]:

  a cell has the pseudo-reward q for training the weights in a direction that the rewards of all cells gain by. Cells are
  discrete and w is fixed, so there is no second derivative in it.
- `joint`: of the expected reward after steps with sampled cells b_1 ... b_M the gradient is

      E[R (grad log pi(a) + sum_m grad log pi(b_m))]:

  the reward is credited to the cells that made the weights, too. Nothing is linearised, and the noise grows with M.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from one_shot.reinforce import leave_one_out, rewards_of
from one_shot.strategy import Problem
from one_shot.weight_step import Direction, dense, inner, mean_of, moved, norm_of, step_for

if TYPE_CHECKING:
    from one_shot.enas import EnasConfig

LOOKAHEADS = ("gradient", "last_gradient", "momentum")

Draw = Callable[[int], tuple[torch.Tensor, list[ArchWeights]]]
"""So many new cells of the controller, as tokens `(n, D)` and as architectures."""


class Scored(NamedTuple):
    """What an update is computed from.

    Attributes:
        losses: of its cells, `(K,)`, means over the processes.
        cells: others, which trained the weights, or would, as tokens `(M, D)`.
        advantages: what grad log pi of each of the others counts, `(M,)`.
    """

    losses: torch.Tensor
    cells: torch.Tensor
    advantages: torch.Tensor


class Response(nn.Module):
    """`none`, and the base of the others."""

    def __init__(self, config: EnasConfig, decisions: int) -> None:
        super().__init__()
        self.config = config

    def score(self, problem: Problem, cells: torch.Tensor, architectures: Sequence[ArchWeights], draw: Draw) -> Scored:
        """Score the cells of an update, `(K, D)`. Raises ConfigError if no loss is finite."""
        return Scored(losses_of(problem, architectures), cells[:0], torch.zeros(0, device=cells.device))

    def remember(self, cell: Sequence[int]) -> None:
        """Told the tokens of each cell that the weights were trained with."""


class Lookahead(Response):
    """Scores after the step that comes."""

    def score(self, problem: Problem, cells: torch.Tensor, architectures: Sequence[ArchWeights], draw: Draw) -> Scored:
        _, steps = self.steps(problem, draw)
        with self.after(problem, steps):
            return super().score(problem, cells, architectures, draw)

    def steps(self, problem: Problem, draw: Draw) -> tuple[torch.Tensor, list[Direction]]:
        """New cells `(n, D)` and the training step of each; none where d is not made of them."""
        return draw_steps(problem, draw, self.config.response_cells if self.config.lookahead == "gradient" else 0)

    def after(self, problem: Problem, steps: Sequence[Direction]) -> AbstractContextManager[None]:
        """The weights after the step."""
        return moved(look_ahead(problem, self.config.lookahead, steps), problem.weight_step.learning_rate)


class Aligned(Lookahead):
    """`response_cells` new cells have pseudo-rewards.

    v is the mean over as many of the update's cells, which do not depend on the new ones, and whose scores come with it. w' is
    of the mean of the new cells' steps where `lookahead` is `gradient`, in place of the expectation.
    """

    def steps(self, problem: Problem, draw: Draw) -> tuple[torch.Tensor, list[Direction]]:
        return draw_steps(problem, draw, self.config.response_cells)

    def score(self, problem: Problem, cells: torch.Tensor, architectures: Sequence[ArchWeights], draw: Draw) -> Scored:
        others, steps = self.steps(problem, draw)
        count, rate = self.config.response_cells, problem.weight_step.learning_rate
        with self.after(problem, steps):
            first, v = reward_gradient(problem, architectures[:count], self.config.reward)
            losses = torch.cat([first, *scores_of(problem, architectures[count:])])
        check_finite(losses.tolist(), "of an update")
        return Scored(losses, others, credits_of(pseudo_rewards(v, steps, rate).to(losses)))


class Joint(Response):
    """Its state is the cells that trained the weights since the last update, the newest last, at most `joint_horizon`, and
    the moving average of earlier mean rewards, which theirs is compared with: it does not depend on them. Of the other cells
    of an update none has another reward for these.
    """

    cells: torch.Tensor
    count: torch.Tensor
    average: torch.Tensor

    def __init__(self, config: EnasConfig, decisions: int) -> None:
        super().__init__(config, decisions)
        self.register_buffer("cells", torch.zeros(config.joint_horizon, decisions, dtype=torch.int64))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("average", torch.tensor(math.nan, dtype=torch.float64))  # no reward yet

    def remember(self, cell: Sequence[int]) -> None:
        self.cells.copy_(torch.cat([self.cells[1:], self.cells.new_tensor([cell])]))
        self.count.add_(1).clamp_(max=len(self.cells))

    def score(self, problem: Problem, cells: torch.Tensor, architectures: Sequence[ArchWeights], draw: Draw) -> Scored:
        losses = losses_of(problem, architectures)
        made, advantage = int(self.count), self._advantage(rewards_of(losses, self.config.reward))
        self.count.zero_()
        return Scored(losses, self.cells[len(self.cells) - made :].clone(), advantage.expand(made))

    def _advantage(self, rewards: torch.Tensor) -> torch.Tensor:
        """Of the mean reward; 0 in the first update, where there is nothing to compare with."""
        now, decay = rewards.mean().to(self.average), self.config.baseline_decay
        before = torch.where(self.average.isnan(), now, self.average)
        self.average.copy_(decay * before + (1 - decay) * now)
        return (now - before).to(rewards)


RESPONSES: dict[str, type[Response]] = {"none": Response, "lookahead": Lookahead, "aligned": Aligned, "joint": Joint}


def losses_of(problem: Problem, architectures: Sequence[ArchWeights]) -> torch.Tensor:
    """The losses `(K,)` on the batch that cells are scored on. Raises ConfigError if none is finite."""
    (losses,) = scores_of(problem, architectures)
    check_finite(losses.tolist(), "of an update")
    return losses


def scores_of(problem: Problem, architectures: Sequence[ArchWeights]) -> list[torch.Tensor]:
    """The losses `(K,)`, means over the processes; [] of no architectures."""
    if not architectures:
        return []
    assert problem.valid_scores is not None
    losses = problem.valid_scores(architectures)
    problem.average([losses])
    return [losses]


def draw_steps(problem: Problem, draw: Draw, count: int) -> tuple[torch.Tensor, list[Direction]]:
    """New cells `(n, D)`, and how the weights would be stepped for each, each on its own on the coming training batch."""
    cells, architectures = draw(count)
    return cells, [step_for(problem, each) for each in architectures]


def look_ahead(problem: Problem, kind: str, steps: Sequence[Direction]) -> Direction:
    """d, against which the weights are moved.

    Args:
        kind: "gradient": the mean of `steps`, those that are finite. "last_gradient": the clipped gradient that the step
            before was taken with, and the decay. "momentum": the optimiser's, as it is.

    Raises:
        ValueError: if the optimiser has no momentum to look along.
    """
    step = problem.weight_step
    if kind == "gradient":
        return mean_of([each for each in steps if not each or bool(norm_of(list(each.values())).isfinite())])
    if kind == "momentum" and not step.momentum:
        raise ValueError("lookahead momentum needs an optimiser with a momentum above 0")
    found = step.momenta if kind == "momentum" else step.last
    pairs = [(weight, part) for weight, part in zip(problem.parameters, found, strict=False) if part is not None]
    if kind == "momentum":
        return dict(pairs)
    return {weight: torch.add(part, weight.detach(), alpha=step.weight_decay) for weight, part in pairs}


def reward_gradient(
    problem: Problem, architectures: Sequence[ArchWeights], kind: str
) -> tuple[torch.Tensor, Direction]:
    """The losses of architectures `(n,)`, and v, the gradient by the weights of the mean reward of those that are finite."""
    assert problem.scored_loss is not None
    weights = [weight for weight in problem.parameters if weight.requires_grad]
    found, parts = [], []
    for architecture in architectures:
        loss = problem.scored_loss(architecture)
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        found.append(loss.detach())
        parts.append({w: dense(g) for w, g in zip(weights, gradients, strict=True) if g is not None})
    losses = torch.stack(found)
    problem.average([losses, *(g for part in parts for g in part.values())])
    sane = losses.isfinite()
    leaf = losses[sane].requires_grad_()
    if not len(leaf):
        return losses, {}
    (slopes,) = torch.autograd.grad(rewards_of(leaf, kind).sum(), [leaf])
    counted = [part for part, finite in zip(parts, sane.tolist(), strict=True) if finite]
    return losses, mean_of(
        [{w: slope * g for w, g in part.items()} for slope, part in zip(slopes, counted, strict=True)]
    )


def pseudo_rewards(v: Direction, steps: Sequence[Direction], learning_rate: float | torch.Tensor) -> torch.Tensor:
    """q `(n,)`. One that is not finite, of a step that is not, is the worst of the others."""
    q = torch.stack([-learning_rate * inner(v, each) for each in steps])
    finite = q.isfinite()
    return torch.where(finite, q, q[finite].min() if bool(finite.any()) else torch.zeros_like(q[0]))


def credits_of(q: torch.Tensor) -> torch.Tensor:
    """What grad log pi of each of n cells counts, `(n,)`: a mean, each q less the mean of the others."""
    return (q - leave_one_out(q)) / len(q)


def check_finite(losses: Sequence[float], which: str) -> None:
    """Raises ConfigError if no loss is."""
    if not any(math.isfinite(loss) for loss in losses):
        what = f"the losses of all {len(losses)} cells {which} are not finite (NaN or infinity)"
        raise ConfigError(
            [
                f"{what}, as the shared weights have diverged; lower hyperparameters.learning_rate or "
                "hyperparameters.clip_gradients_l2_norm"
            ]
        )
