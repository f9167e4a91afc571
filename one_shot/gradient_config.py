"""The hyperparameters of gradient-based search, and which of them go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from nas.core.fields import field
from one_shot import bilevel, perturb, schedules
from one_shot.samplers import ONE_PATH, SAMPLERS, TEMPERED


@dataclass(frozen=True)
class GradientConfig:
    """Hyperparameters of gradient-based search."""

    arch_learning_rate: float = field(gt=0)
    sampler: str = field("softmax", choices=SAMPLERS)
    temperature: float = field(1.0, gt=0)  # of the samplers that have one, at the start
    temperature_end: float | None = field(None, gt=0)
    temperature_schedule: str = field("constant", choices=schedules.KINDS)
    bilevel: str = field("first", choices=bilevel.ORDERS)
    finite_difference: float = field(0.01, gt=0)  # r of "unrolled"; 0.1 is less noisy on networks with ReLU
    arch_beta1: float = field(0.5, ge=0, lt=1)  # of Adam
    arch_beta2: float = field(0.999, ge=0, lt=1)
    arch_weight_decay: float = field(0.0, ge=0)
    arch_warmup_epochs: int = field(0, ge=0)  # the architecture stays as it is for so long
    edge_norm: bool = False  # learn how much each edge counts (PC-DARTS)
    perturb: str = field("none", choices=perturb.KINDS)  # SmoothDARTS
    perturb_size: float = field(0.0, ge=0, le=1)  # at the end of the search; it grows from 0
    perturb_steps: int = field(7, ge=1, most=10_000)  # of the adversary
    zero_one_weight: float = field(0.0, ge=0)
    anchor_weight: float = field(0.0, ge=0)
    entropy_weight: float = field(0.0, ge=0)
    cost_weight: float = field(0.0, ge=0)
    auxiliary_weight: float = field(0.0, ge=0)  # of DARTS-'s skip connections at the start; it falls to 0

    def problems(self) -> list[str]:
        """Rules over several fields."""
        return [*self._of_the_sampler(), *self._of_the_temperature(), *self._of_the_rest()]

    def _of_the_sampler(self) -> list[str]:
        found = []
        if self.sampler == "simplex":
            why = "with sampler simplex, whose exponentiated gradient has none"
            found += self._must_be_left(("arch_beta1", "arch_beta2", "arch_weight_decay"), why)
        if self.sampler != "sigmoid":
            found += self._must_be_left(("zero_one_weight",), f"unless sampler is sigmoid, and it is {self.sampler}")
        else:
            found += self._must_be_left(("entropy_weight",), "with sampler sigmoid, whose weights are no distribution")
        if self.sampler != "dirichlet":
            why = f"unless sampler is dirichlet, and it is {self.sampler}; arch_weight_decay pulls other logits to 0"
            found += self._must_be_left(("anchor_weight",), why)
        return found

    def _of_the_temperature(self) -> list[str]:
        names = ("temperature", "temperature_end", "temperature_schedule")
        if self.sampler not in TEMPERED:
            return self._must_be_left(
                names, f"unless sampler is one of {', '.join(TEMPERED)}, and it is {self.sampler}"
            )
        if self.temperature_schedule == "constant":
            return self._must_be_left(("temperature_end",), "where temperature_schedule is constant")
        if self.temperature_end is None:
            return [
                f"temperature_end must be given where temperature_schedule is {self.temperature_schedule}, got null"
            ]
        return []

    def _of_the_rest(self) -> list[str]:
        found = []
        if self.bilevel != "unrolled":
            found += self._must_be_left(("finite_difference",), f"unless bilevel is unrolled, and it is {self.bilevel}")
        if self.perturb == "none":
            found += self._must_be_left(("perturb_size",), "where perturb is none")
        elif self.perturb_size == 0:
            found += [f"perturb_size must be above 0 where perturb is {self.perturb}, got 0"]
        if self.perturb != "adversarial":
            found += self._must_be_left(("perturb_steps",), f"unless perturb is adversarial, and it is {self.perturb}")
        if self.perturb != "none" and self.sampler in ONE_PATH:
            found += [f"perturb must be none with sampler {self.sampler}, which runs one path, got {self.perturb!r}"]
        return found

    def _must_be_left(self, names: Sequence[str], why: str) -> list[str]:
        """A sentence for each of the fields that is not at its default."""
        found = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in names and value != each.default:
                default = "null" if each.default is None else each.default
                found.append(f"{each.name} must be left at {default} {why}, got {value!r}")
        return found
