"""What the fast form's operations have in common: they can be differentiated once, and refuse to be differentiated again.

Without a gradient to compute they are plain functions; an operation's `forward` cannot tell, for torch runs it without
gradients and says that its weights want some.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

ONCE = (
    "the fast form of the recurrent model can be differentiated once only; "
    "hyperparameters.fast: false (LanguageModel instead of FastLanguageModel) allows more"
)

Backward = Callable[..., Any]


def wants_gradient(*tensors: torch.Tensor) -> bool:
    """Whether a gradient of what is computed from these tensors may be asked for."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def once_only(backward: Backward) -> Backward:
    """The backward pass of an operation, which raises RuntimeError where its gradients are to be differentiated again.

    Unlike torch's `once_differentiable`, it does so even where the gradient that comes in is a constant, as that of a loss
    is; second derivatives would lack the operation's part otherwise.
    """

    @wraps(backward)
    def checked(ctx: Any, *grads: torch.Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(ONCE)
        return backward(ctx, *grads)

    return checked
