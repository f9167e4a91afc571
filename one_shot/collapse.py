"""Seeing a search collapse to skip connections, and stopping it before.

Two rules: DARTS+ (Liang et al. 2019, arXiv 1909.06035) stops when the normal cell derives too many skip connections.
RobustDARTS (Zela et al. 2020, arXiv 1909.09656, section 4.3) stops when the largest eigenvalue of the validation loss's
Hessian by the architecture has grown too quickly, and goes back to the architecture before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from one_shot.strategy import Strategy

Gradient = Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]]
"""The gradient of the validation loss by the architecture's parameters, as a function of their values."""

STEP = 1e-2
"""Of the difference of gradients that stands for a second derivative, relative to a unit vector."""


def largest_eigenvalue(
    gradient: Gradient, parameters: Sequence[torch.Tensor], generator: torch.Generator, iterations: int = 20
) -> float:
    """The eigenvalue of largest absolute value of the Hessian, by power iteration on differences of gradients.

    Differences of first derivatives serve for networks that can be differentiated once only.

    Args:
        gradient: see `Gradient`.
        parameters: where the Hessian is taken; they are not changed.
        generator: draws the vector to start with, on the CPU.
        iterations: each takes two gradients.
    """
    start = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in parameters]
    vector = _normalised([each.to(own) for each, own in zip(start, parameters, strict=True)])
    value = 0.0
    for _ in range(iterations):
        there, back = (
            gradient([own.detach() + sign * STEP * each for own, each in zip(parameters, vector, strict=True)])
            for sign in (1, -1)
        )
        product = [(a - b) / (2 * STEP) for a, b in zip(there, back, strict=True)]
        value = float(sum((a * b).sum() for a, b in zip(product, vector, strict=True)))
        if not any(bool(each.any()) for each in product):
            return 0.0
        vector = _normalised(product)
    return value


def _normalised(vector: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    norm = torch.stack([each.double().square().sum() for each in vector]).sum().sqrt()
    return [each / norm.to(each.dtype) for each in vector]


def too_many_skips(strategy: Strategy, most: int | None) -> str:
    """DARTS+'s rule in words, if its first kind of cell, the normal one, derives `most` skip connections; "" otherwise."""
    if most is None:
        return ""
    kind = next(iter(strategy.relaxation))
    skips = int(strategy.report()[f"skip_connections_{kind}"])
    return f"{kind} derives {skips} skip connections (stop_skip_connections)" if skips >= most else ""


def grown_too_quickly(eigenvalues: Sequence[float], window: int, ratio: float) -> bool:
    """RobustDARTS's rule: the mean of `window` eigenvalues that ended `window` epochs ago, over the mean now, is below.

    The paper has a window of 5 epochs and a ratio of 0.75 (section 4.3).
    """
    if len(eigenvalues) < 2 * window:
        return False
    before, now = (sum(part) / window for part in (eigenvalues[-2 * window : -window], eigenvalues[-window:]))
    return now > 0 and before / now < ratio
