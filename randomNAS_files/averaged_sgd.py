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
        lr: step size; `param_groups[i]["lr"]` may change from step to step, and be a tensor, see `nas.core.optimizers.at_rate`.
        weight_decay: L2 penalty, added to the gradient (after clipping).
        max_norm: before a step, all gradients together are scaled down to this L2 norm if theirs is larger, as
            `torch.nn.utils.clip_grad_norm_` does; None: they are taken as they are.
        capturable: as torch's own: a CUDA graph that was captured of a step can be replayed. The count of averaged steps is a
            tensor where the weights are, which each replay raises, and everything stays where it is in memory. A graph
            captured before `start_averaging()` averages nothing. The iterates are the same, and so is `state_dict()`.
    """

    def __init__(
        self,
        params: Iterable[torch.Tensor],
        lr: float,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
        capturable: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "averaging": False, "averaged_steps": 0})
        self.max_norm, self.capturable = max_norm, capturable
        self._counts_to_tensors()

    def state_dict(self) -> dict[str, Any]:
        """See `torch.optim.Optimizer.state_dict`; the count is a number there, whether it is a tensor here or not."""
        state: dict[str, Any] = super().state_dict()
        for group in state["param_groups"]:
            group["averaged_steps"] = int(group["averaged_steps"])
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        super().load_state_dict(state_dict)
        self._counts_to_tensors()

    def _counts_to_tensors(self) -> None:
        """In double precision, as Python's numbers are: what is computed of them is rounded once, as of theirs."""
        for group in self.param_groups if self.capturable else ():
            device = group["params"][0].device
            group["averaged_steps"] = torch.as_tensor(group["averaged_steps"], dtype=torch.float64, device=device)

    @property
    def averaging(self) -> bool:
        """Whether the mean of the iterates is being kept."""
        return any(group["averaging"] for group in self.param_groups)

    def start_averaging(self) -> None:
        """Average the iterates from the next step on."""
        for group in self.param_groups:
            group["averaging"] = True
            if self.capturable:  # whose memory must be there before a step is captured
                self._means(group["params"])

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One step on every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("AveragedSGD takes no closure: compute the gradients before step()")
        self._descend()
        for group in self.param_groups:
            if group["averaging"]:
                group["averaged_steps"] += 1
                self._average(group["params"], number(group["averaged_steps"]))

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
            rate = number(group["lr"])
            if isinstance(rate, torch.Tensor):
                torch._foreach_add_(params, list(torch._foreach_mul(grads, -rate.to(grads[0].dtype))))
            else:
                torch._foreach_add_(params, grads, alpha=-rate)

    def _average(self, params: list[torch.Tensor], steps: float | torch.Tensor) -> None:
        """Take the weights after so many averaged steps, this one included, into their means."""
        means = self._means(params)
        if isinstance(steps, torch.Tensor):
            weight = steps.reciprocal()
            for mean, p in zip(means, params, strict=True):
                mean.lerp_(p, weight.to(p.dtype))
        else:
            torch._foreach_lerp_(means, params, 1.0 / steps)  # by a weight of 1, which is the first, a mean becomes p

    def _means(self, params: list[torch.Tensor]) -> list[torch.Tensor]:
        """Of these parameters; a parameter that has none begins with itself."""
        for p in params:
            if "mean" not in self.state[p]:
                self.state[p]["mean"] = p.detach().clone(memory_format=torch.preserve_format)
        return [self.state[p]["mean"] for p in params]

    def exchange(self) -> None:
        """Swap the weights and their means; calling it again swaps them back. Does nothing before the first mean."""
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state.get(p, {}).get("mean")
                if mean is not None and self.capturable:  # a captured step knows where both are
                    weights = p.detach().clone(memory_format=torch.preserve_format)
                    p.data.copy_(mean)
                    mean.copy_(weights)
                elif mean is not None:
                    p.data, self.state[p]["mean"] = mean, p.data

    def restart(self) -> None:
        """Forget that weights were averaged; the parameters become the means, if there are any."""
        self.exchange()
        self.state.clear()
        for group in self.param_groups:
            group["averaging"], group["averaged_steps"] = False, 0
        self._counts_to_tensors()

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Within it, the parameters hold the means, if there are any."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()


def number(value: float | torch.Tensor) -> float | torch.Tensor:
    """A tensor of the CPU as a number, which nobody waits for there; one of another device as it is."""
    return float(value) if isinstance(value, torch.Tensor) and value.device.type == "cpu" else value
