"""The steps of `randomNAS_files/averaged_sgd.py` with fewer passes over memory: the same iterates, up to rounding."""

from __future__ import annotations

import torch

from randomNAS_files.averaged_sgd import AveragedSGD

_BLOCK = 1 << 16  # numbers at a time, on a CPU: few enough for its caches


class FastAveragedSGD(AveragedSGD):
    """`AveragedSGD` that scales gradients while it applies them; `.grad` stays as it was, without the clipping."""

    def _descend(self) -> None:
        """One pass over the gradients for their norm, and one over everything for the rest."""
        scale = self._scale()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            keep = 1.0 - group["lr"] * group["weight_decay"]
            if isinstance(scale, torch.Tensor):
                if keep != 1.0:
                    torch._foreach_mul_(params, keep)
                grads = torch._foreach_mul([p.grad for p in params if p.grad is not None], scale * -group["lr"])
                torch._foreach_add_(params, list(grads))
            else:
                for p in params:
                    _descend_in_blocks(p, p.grad, keep, -group["lr"] * scale)

    def _scale(self) -> float | torch.Tensor:
        """What clipping multiplies the gradients by: a number on a CPU, a tensor elsewhere, which nobody waits for."""
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        if self.max_norm is None or not grads:
            return 1.0
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(grad) for grad in grads]))
        scale = (self.max_norm / (norm + 1e-6)).clamp(max=1.0)
        return float(scale) if scale.device.type == "cpu" else scale


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
