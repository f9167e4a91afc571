"""From logits to the weights of operations: differentiable, one row an edge, one function a published method.

Noise comes from the generator that is given, always the same numbers for the same seed on the same kind of device. A
temperature of 1 is none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd.function import once_differentiable

Sampler = Callable[[torch.Tensor, float, torch.Generator], torch.Tensor]
"""Logits `(edges, operations)`, the temperature and a generator on the CPU give weights of the same shape."""

TINY = 1e-30  # of an exponential variable, which is drawn as exactly 0 once in a while
CONCENTRATION = 1e-4  # the least, below which all samples are corners and gammas underflow


def softmax(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """DARTS, Liu et al. 2019, arXiv 1806.09055, equation 2. Draws nothing."""
    return logits.softmax(-1)


def sigmoid(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """FairDARTS, Chu et al. 2020, arXiv 1911.12126: operations do not compete. Draws nothing."""
    return logits.sigmoid()


def simplex(weights: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """GAEA, Li et al. 2021, arXiv 2004.07802: the parameters are the weights. Draws nothing."""
    return weights


def concentration(logits: torch.Tensor) -> torch.Tensor:
    """DrNAS, Chen et al. 2021, arXiv 2006.10355: the parameters of a Dirichlet distribution, elu(logits) + 1."""
    return (torch.nn.functional.elu(logits) + 1).clamp_min(CONCENTRATION)


def dirichlet(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """DrNAS: a sample of the Dirichlet distribution, differentiated through the sample."""
    return _Dirichlet.apply(concentration(logits), generator)  # type: ignore[no-any-return]


def gumbel_soft(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """SNAS, Xie et al. 2019, arXiv 1812.09926: the concrete relaxation of a sample."""
    return ((logits.log_softmax(-1) + gumbel(logits, generator)) / temperature).softmax(-1)


def gumbel_st(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """GDAS, Dong & Yang 2019, arXiv 1910.04465, equations 3 and 4: one operation an edge, exactly 1, with the gradient of
    the relaxed sample.
    """
    soft = gumbel_soft(logits, temperature, generator)
    return _one_hot(soft) + (soft - soft.detach())  # in this order, as (1 - p) + p need not be 1


def reinmax(logits: torch.Tensor, temperature: float, generator: torch.Generator) -> torch.Tensor:
    """ReinMax, Liu et al. 2023, arXiv 2304.08612, algorithm 2: a one-hot sample D with a gradient of the second order.

    With p the probabilities and q the mean of D and of the probabilities at the temperature, the gradient of 2 q' - p / 2,
    where q' is q as a softmax of the logits.
    """
    drawn = _one_hot(logits.detach() + gumbel(logits, generator))
    mean = (drawn + (logits.detach() / temperature).softmax(-1)) / 2
    second = (mean.log() - logits.detach() + logits).softmax(-1)
    estimate = 2 * second - logits.softmax(-1) / 2
    return drawn + (estimate - estimate.detach())


SAMPLERS: dict[str, Sampler] = {
    each.__name__: each for each in (softmax, sigmoid, dirichlet, gumbel_st, gumbel_soft, reinmax, simplex)
}
ONE_PATH = ("gumbel_st", "reinmax")
"""Those that weigh one operation an edge with 1 and all others with 0."""
TEMPERED = ("gumbel_st", "gumbel_soft", "reinmax")
"""Those that have a temperature."""


def mean(sampler: str, parameters: torch.Tensor) -> torch.Tensor:
    """The weights that a sampler gives without noise: what a search would choose by now. Differentiable.

    For the samplers with a temperature they are the probabilities, those of the temperature 1.
    """
    if sampler == "simplex":
        return parameters
    if sampler == "sigmoid":
        return parameters.sigmoid()
    if sampler == "dirichlet":
        beta = concentration(parameters)
        return beta / beta.sum(-1, keepdim=True)
    return parameters.softmax(-1)


def gumbel(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard Gumbel noise in the shape of `like`."""
    noise = torch.empty(like.shape, device=generator.device).exponential_(generator=generator)
    # Not waiting is safe: a copy from memory that is not pinned has read it when it returns.
    return -noise.clamp_(min=TINY).log_().to(like.device, like.dtype, non_blocking=True)


def _one_hot(scores: torch.Tensor) -> torch.Tensor:
    """1 at the largest of each row, 0 elsewhere; no gradient."""
    return torch.zeros_like(scores).scatter_(-1, scores.detach().argmax(-1, keepdim=True), 1.0)


class _Dirichlet(torch.autograd.Function):
    """A sample x of the Dirichlet distribution; its derivative by the concentration is torch.distributions' own."""

    @staticmethod
    def forward(ctx: Any, concentration: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        sample = torch._sample_dirichlet(concentration, generator=_beside(concentration, generator))
        ctx.save_for_backward(sample, concentration)
        return sample

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        sample, concentration = ctx.saved_tensors
        total = concentration.sum(-1, keepdim=True).expand_as(concentration)
        by_total = torch._dirichlet_grad(sample, concentration, total)
        return by_total * (gradient - (sample * gradient).sum(-1, keepdim=True)), None


def _beside(tensor: torch.Tensor, generator: torch.Generator) -> torch.Generator:
    """The generator, or one on the tensor's device that it seeds, so that nothing waits for the device."""
    if generator.device == tensor.device:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device=tensor.device).manual_seed(seed)
