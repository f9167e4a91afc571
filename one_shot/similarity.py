"""Whether looking ahead tells anything: the controller's gradient there, against that after the step itself.

With the controller, the validation batch and the cells a held, let D be the gradient E_a[R grad log pi(a)] at the weights w,
F at the look-ahead, and T at the weights after a training step with a cell that the look-ahead does not know. Looking ahead
is no use if cos(F, T) is low, nor if cos(D, T) is as high. All are estimated from cells, so that even the best F cannot agree
better with T than T does with another T, of other cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from one_shot.reinforce import leave_one_out, rewards_of
from one_shot.response import Draw, Lookahead, draw_steps, look_ahead, losses_of, pseudo_rewards, reward_gradient
from one_shot.strategy import Problem
from one_shot.weight_step import moved

if TYPE_CHECKING:
    from one_shot.controller import Controller
    from one_shot.enas import EnasConfig

NAMES = (
    "lookahead_cosine",
    "lookahead_length",
    "lookahead_null",
    "lookahead_ceiling",
    "pseudo_reward_correlation",
)
"""cos(F, T), |F| / |T|, cos(D, T), cos(T, T') of two halves of the cells, and `rank_correlation`."""
RANKED = 10
"""One of so many cells is ranked."""


def similarity(problem: Problem, config: EnasConfig, controller: Controller, draw: Draw) -> torch.Tensor:
    """The measures of NAMES, in double precision. It scores 3 times `similarity_cells` cells, and takes steps beside."""
    look, rate = Lookahead(config, 0), problem.weight_step.learning_rate
    cells, architectures = draw(config.similarity_cells)
    _, steps = look.steps(problem, draw)
    _, real = draw_steps(problem, draw, 1)
    now = losses_of(problem, architectures)
    with look.after(problem, steps):
        ahead = losses_of(problem, architectures)
    with moved(look_ahead(problem, "gradient", real), rate):
        then = losses_of(problem, architectures)
    half = len(cells) // 2
    whole = slice(None)
    scores = [(now, whole), (ahead, whole), (then, whole), (then, slice(half)), (then, slice(half, None))]
    log_probs = controller.log_prob(cells)
    d, f, t, one, other = (
        _gradient(controller, log_probs[part], rewards_of(losses[part], config.reward)) for losses, part in scores
    )
    found = [_cosine(f, t), f.norm() / t.norm(), _cosine(d, t), _cosine(one, other)]
    return torch.stack([*found, ranked_steps(problem, config, draw).to(f)])


def ranked_steps(problem: Problem, config: EnasConfig, draw: Draw) -> torch.Tensor:
    """Spearman's correlation, over cells b, of q(b) with what their steps truly change, E_a[R(w - eta s(b), a) - R(w, a)].

    As many cells a as an update has, the same for both, so that this is about one step being a line and not about few cells.
    """
    look, rate = Lookahead(config, 0), problem.weight_step.learning_rate
    _, architectures = draw(config.cells_per_update)
    _, steps = look.steps(problem, draw)
    with look.after(problem, steps):
        _, v = reward_gradient(problem, architectures, config.reward)
    q, changes = [], []
    for _ in range(config.similarity_cells // RANKED):
        step = look_ahead(problem, "gradient", draw_steps(problem, draw, 1)[1])
        q.append(pseudo_rewards(v, [step], rate))
        with moved(step, rate):
            changes.append(rewards_of(losses_of(problem, architectures), config.reward).mean())
    return rank_correlation(torch.cat(q), torch.stack(changes))


def rank_correlation(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Spearman's, of `(n,)` each; equal numbers share their mean rank. NaN if all numbers of one are equal."""
    ranks = [(each[:, None] > each).sum(1) + 0.5 * (each[:, None] == each).sum(1) for each in (x, y)]
    found: torch.Tensor = torch.corrcoef(torch.stack(ranks).double())[0, 1]
    return found


def _gradient(controller: Controller, log_probs: torch.Tensor, rewards: torch.Tensor) -> torch.Tensor:
    """The estimate of E[R grad log pi], as one vector."""
    advantages = (rewards - leave_one_out(rewards)).to(log_probs)
    parameters = list(controller.parameters())
    found = torch.autograd.grad((advantages * log_probs).mean(), parameters, retain_graph=True, allow_unused=True)
    return torch.cat([part.flatten() for part in found if part is not None]).double()


def _cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    found: torch.Tensor = one @ other / (one.norm() * other.norm())
    return found
