"""SGD that can start to average its iterates: the optimiser of AWD-LSTM language models (NT-ASGD).

Merity et al. 2018, arXiv 1708.02182, section 4: plain SGD until validation stops improving, then the same SGD while the
mean of the iterates since then is kept, and used for evaluation. `torch.optim.ASGD` with `t0=0, lambd=0` computes the
same up to two details that matter here: it applies a learning rate one step late, and its mean lacks the first iterate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from nas.core.optimizers import Uncompiled


class AveragedSGD(Uncompiled):
    """SGD with weight decay; after `start_averaging()` it also keeps the mean of all iterates that follow.

    Everything it knows is in `state_dict()`, so a resumed run goes on averaging where it stopped.

    Args:
        lr: step size; `param_groups[i]["lr"]` may change from step to step.
        weight_decay: L2 penalty, added to the gradient (after clipping).
        max_norm: before a step, all gradients together are scaled down to this L2 norm if theirs is larger, as
            `torch.nn.utils.clip_grad_norm_` does; None: they are taken as they are.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "averaging": False, "averaged_steps": 0})
        self.max_norm = max_norm

    @property
    def averaging(self) -> bool:
        """Whether the mean of the iterates is being kept."""
        return any(group["averaging"] for group in self.param_groups)

    def start_averaging(self) -> None:
        """Average the iterates from the next step on."""
        for group in self.param_groups:
            group["averaging"] = True

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step on every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("AveragedSGD takes no closure: compute the gradients before step()")
        self._descend()
        for group in self.param_groups:
            if group["averaging"]:
                group["averaged_steps"] += 1
                self._average(group["params"], group["averaged_steps"])

    def _descend(self) -> None:
        """Clip all gradients together, then move every parameter that has one."""
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_([p for group in self.param_groups for p in group["params"]], self.max_norm)
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in params if p.grad is not None]
            if not params:
                continue
            if group["weight_decay"]:
                grads = list(torch._foreach_add(grads, params, alpha=group["weight_decay"]))
            torch._foreach_add_(params, grads, alpha=-group["lr"])

    def _average(self, params: list[torch.Tensor], steps: int) -> None:
        if steps == 1:
            for p in params:
                self.state[p]["mean"] = p.detach().clone(memory_format=torch.preserve_format)
        else:
            torch._foreach_lerp_([self.state[p]["mean"] for p in params], params, 1.0 / steps)

    def exchange(self) -> None:
        """Swap the weights and their means; calling it again swaps them back. Does nothing before the first mean."""
        for group in self.param_groups:
            for p in group["params"]:
                if "mean" in self.state.get(p, {}):
                    p.data, self.state[p]["mean"] = self.state[p]["mean"], p.data

    def restart(self) -> None:
        """Forget that weights were averaged; the parameters become the means, if there are any."""
        self.exchange()
        self.state.clear()
        for group in self.param_groups:
            group["averaging"], group["averaged_steps"] = False, 0

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within it, the parameters hold the means, if there are any."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()
