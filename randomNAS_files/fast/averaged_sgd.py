"""The steps of `randomNAS_files/averaged_sgd.py` with fewer passes over memory: the same iterates, up to rounding."""

from __future__ import annotations

import torch

from randomNAS_files.averaged_sgd import AveragedSGD, number

_BLOCK = 1 << 16  # numbers at a time, on a CPU: few enough for its caches


class FastAveragedSGD(AveragedSGD):
    """`AveragedSGD` that scales gradients while it applies them; `.grad` stays as it was, without the clipping."""

    def _descend(self) -> None:
        """One pass over the gradients for their norm, and one over everything for the rest."""
        scale = self._scale()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            rate = number(group["lr"])
            keep = 1.0 - rate * group["weight_decay"]
            if not isinstance(keep, torch.Tensor) and not isinstance(scale, torch.Tensor):
                for p in params:
                    _descend_in_blocks(p, p.grad, keep, -float(rate) * scale)
            elif params:
                if group["weight_decay"]:
                    torch._foreach_mul_(params, _like(keep, params[0]))
                step = scale * _like(-rate, params[0])
                grads = torch._foreach_mul([p.grad for p in params if p.grad is not None], step)
                torch._foreach_add_(params, list(grads))

    def _scale(self) -> float | torch.Tensor:
        """What clipping multiplies the gradients by: a number on a CPU, a tensor elsewhere, which nobody waits for."""
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if self.max_norm is None or not grads:
            return 1.0
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
        scale = (self.max_norm / (norm + 1e-6)).clamp(max=1.0)
        return float(scale) if scale.device.type == "cpu" else scale


def _like(value: float | torch.Tensor, param: torch.Tensor) -> float | torch.Tensor:
    """A number as it is; a tensor in the type of a parameter, since mixed types are slow."""
    return value.to(param.dtype) if isinstance(value, torch.Tensor) else value


def _descend_in_blocks(param: torch.Tensor, grad: torch.Tensor | None, keep: float, step: float) -> None:
    """param = keep * param + step * grad, in place; both products of a block while it is in the cache."""
    assert grad is not None
    if keep == 1.0:
        param.add_(grad, alpha=step)
        return
    if not (param.is_contiguous() and grad.is_contiguous()):
        param.mul_(keep).add_(grad, alpha=step)
        return
    for weights, gradient in zip(param.view(-1).split(_BLOCK), grad.view(-1).split(_BLOCK), strict=True):
        weights.mul_(keep).add_(gradient, alpha=step)
