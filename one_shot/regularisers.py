"""Terms that are added to the validation loss when the architecture is updated. The weights' own loss has none of them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from one_shot.samplers import concentration

TINY = 1e-30  # below which p log p counts as 0

Tables = Mapping[str, torch.Tensor]
"""For each kind of cell `(edges, operations)`."""


def zero_one(weights: Tables) -> torch.Tensor:
    """-mean((w - 1/2)^2), which drives sigmoids to 0 or 1: FairDARTS, Chu et al. 2020, arXiv 1911.12126."""
    return -torch.cat([table.flatten() for table in weights.values()]).sub(0.5).square().mean()


def anchor(logits: Tables) -> torch.Tensor:
    """The divergence of each edge's Dirichlet distribution from the uniform one, KL(Dir(beta) || Dir(1)), summed over edges.

    DrNAS, Chen et al. 2021, arXiv 2006.10355: keeps the concentrations near 1, the logits near 0.
    """
    return torch.stack([_divergences(concentration(table)).sum() for table in logits.values()]).sum()


def _divergences(beta: torch.Tensor) -> torch.Tensor:
    """KL(Dir(beta) || Dir(1)) of each row."""
    whole = beta.sum(-1)
    constants = whole.lgamma() - beta.lgamma().sum(-1) - math.lgamma(beta.size(-1))
    return constants + ((beta - 1) * (beta.digamma() - whole.digamma().unsqueeze(-1))).sum(-1)


def negative_entropy(weights: Tables) -> torch.Tensor:
    """sum p log(p n) over edges and their n operations, 0 for uniform weights and log n an edge for a choice.

    The penalty of GAEA, Li et al. 2021, arXiv 2004.07802: it holds the search back from choosing too early.
    """
    return torch.stack([(p * (p.clamp_min(TINY) * p.size(-1)).log()).sum() for p in weights.values()]).sum()


def cost(weights: Tables, edges: Tables | None, costs: Tables) -> torch.Tensor:
    """What the operations cost, summed as they are in the mixture: weight of the edge, of the operation, and its cost."""
    scaled = weights if edges is None else {kind: p * edges[kind].unsqueeze(-1) for kind, p in weights.items()}
    return torch.stack([(p * costs[kind]).sum() for kind, p in scaled.items()]).sum()
