"""The score-function gradient of ENAS (Pham et al. 2018, arXiv 1802.03268, section 2.2), with an entropy bonus that is one.

What is maximised is J = E[R(cell)] + weight * H over cells that the controller draws, H being the entropy of whole cells. K is
the number of cells, D of decisions a cell.
"""

from __future__ import annotations

import torch

SCALE = 80.0
"""c of the paper's reward c / perplexity. Adam does not see the scale of a gradient: it weighs rewards against the entropy."""
REWARDS = ("inverse_ppl", "inverse_ppl_squared", "negative_loss")
ENTROPIES = ("gradient", "reward")
BASELINES = ("leave_one_out", "moving_average")
OF_UPDATES = ("controller_loss", "reward", "baseline", "advantage_spread", "exploded_share")
"""What is reported of an update, see `numbers_of`."""


def rewards_of(losses: torch.Tensor, kind: str) -> torch.Tensor:
    """The rewards `(K,)` of mean losses in nats a word `(K,)`. A loss that is not finite gets the worst one.

    That is 0, as of an infinite perplexity, or for `negative_loss` the smallest of the others.
    """
    finite = losses.isfinite()
    if kind == "negative_loss":
        rewards = -losses
        return torch.where(finite, rewards, rewards[finite].min())
    power = 2.0 if kind == "inverse_ppl_squared" else 1.0
    return torch.where(finite, SCALE * torch.exp(-power * losses), torch.zeros_like(losses))


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """For each cell the mean reward of the others, `(K,)`, which does not depend on it; K is at least 2."""
    return (rewards.sum() - rewards) / (len(rewards) - 1)


def objective(
    log_probs: torch.Tensor, entropies: torch.Tensor, advantages: torch.Tensor, weight: float, entropy: str
) -> torch.Tensor:
    """A number whose gradient is an unbiased estimate of that of J.

    H = E[sum_i h_i], where h_i is the entropy of decision i after the decisions before it. Its gradient is

        E[sum_i grad h_i + sum_i grad log pi_i * sum_{j>i} h_j],

    as a decision also decides how open later ones are. To reward decision i with its own h_i, as earlier code does, adds
    noise only: h_i depends on earlier decisions alone, and E[h_i grad log pi_i] = 0.

    Args:
        log_probs: of each decision, `(K, D)`.
        entropies: h_i, `(K, D)`.
        advantages: rewards less a baseline, `(K,)`; with entropy "reward" -log pi is part of the reward, see `with_entropy`.
        entropy: "gradient": the formula above. "reward": nothing more.
    """
    total = log_probs.sum(1) * advantages.detach()
    if entropy == "gradient":
        later = (entropies.sum(1, keepdim=True) - entropies.cumsum(1)).detach()
        total = total + weight * (entropies.sum(1) + (log_probs * later).sum(1))
    return total.mean()


def with_entropy(rewards: torch.Tensor, log_probs: torch.Tensor, weight: float, entropy: str) -> torch.Tensor:
    """The rewards, and for entropy "reward" weight * (-log pi) of the whole cell, whose expectation is weight * H."""
    return rewards - weight * log_probs.detach().sum(1) if entropy == "reward" else rewards


def numbers_of(
    loss: torch.Tensor, rewards: torch.Tensor, advantages: torch.Tensor, losses: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The numbers to follow an update by, OF_UPDATES.

    Args:
        loss: minus the estimate of J less the baseline, whose gradient is descended.
        rewards: `(K,)`, with what the entropy adds to them.
        advantages: rewards less the baseline.
        losses: of the cells, some of which may be no numbers.
    """
    spread = advantages.std(unbiased=False)
    numbers = (loss, rewards.mean(), (rewards - advantages).mean(), spread, 1 - losses.isfinite().to(rewards).mean())
    return dict(zip(OF_UPDATES, (each.detach() for each in numbers), strict=True))
