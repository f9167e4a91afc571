"""The hyperparameters of a search for all budgets at once, and which of them go together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nas.core.budget import MEASURES
from nas.core.fields import field
from one_shot import bilevel, schedules

MIXING = {"softmax": "softmax", "gumbel": "gumbel_soft", "straight_through": "gumbel_st"}
"""The sampler of each way to mix operations."""


@dataclass(frozen=True)
class BudgetConfig:
    """Hyperparameters of strategy `budget`."""

    arch_learning_rate: float = field(gt=0)
    mixing: str = field("softmax", choices=MIXING)
    temperature: float = field(1.0, gt=0)  # of gumbel and straight_through, in the first epoch
    temperature_end: float | None = field(None, gt=0)  # in the last one
    temperature_schedule: str = field("constant", choices=schedules.KINDS)
    bilevel: str = field("first", choices=bilevel.ORDERS)
    finite_difference: float = field(0.01, gt=0)
    arch_beta1: float = field(0.5, ge=0, lt=1)
    arch_beta2: float = field(0.999, ge=0, lt=1)
    arch_weight_decay: float = field(0.0, ge=0)
    arch_warmup_epochs: int = field(0, ge=0)
    edge_norm: bool = False
    knots: int = field(5, ge=2, most=1000)  # levels at which there are weights, or splines where hidden is given
    hidden: int | None = field(None, ge=1, most=10_000)  # units of a smooth curve in the place of straight pieces
    measure: str = field("parameters", choices=MEASURES)  # what is penalised
    penalty_low: float = field(
        1e-3, gt=0
    )  # of the expected count, 1 from the smallest network to the largest, near level 0
    penalty_high: float = field(30.0, gt=0)  # the same at level 1
    level: float | None = field(None, ge=0, le=1)  # search at this level only
    levels_per_step: int = field(1, ge=1, most=100)  # different levels that an update of the architecture averages
    projections: int = field(20, ge=0, most=10_000)  # budgets for which the front has a cell beside those of levels
    random_cells: int = field(20, ge=0, most=10_000)  # scored beside the front, of the sizes of its cells

    @property
    def sampler(self) -> str:
        """See `one_shot.samplers`."""
        return MIXING[self.mixing]

    @property
    def whole_cells(self) -> bool:
        """Whether an update of the architecture runs one cell as it is retrained, and not all operations."""
        return self.mixing == "straight_through"

    def penalty(self, level: float) -> float:
        """What the expected count weighs at a level: exactly 0 at level 0, else log-uniform between both ends."""
        if level == 0:
            return 0.0
        low, high = math.log(self.penalty_low), math.log(self.penalty_high)
        return math.exp(low + level * (high - low))

    def problems(self) -> list[str]:
        """Rules over several fields."""
        found = []
        if self.penalty_low > self.penalty_high:
            found.append(f"penalty_low must be at most penalty_high {self.penalty_high:g}, got {self.penalty_low:g}")
        if self.level is not None and self.levels_per_step > 1:
            found.append(f"levels_per_step must be 1 where level is fixed, got {self.levels_per_step}")
        if self.bilevel != "unrolled" and self.finite_difference != 0.01:
            why = f"unless bilevel is unrolled, and it is {self.bilevel}"
            found.append(f"finite_difference must be left at 0.01 {why}, got {self.finite_difference:g}")
        return found + self._of_the_temperature()

    def _of_the_temperature(self) -> list[str]:
        names = ("temperature", "temperature_end", "temperature_schedule")
        if self.mixing == "softmax":
            given = [name for name in names if getattr(self, name) != BudgetConfig.__dataclass_fields__[name].default]
            why = "with mixing softmax, which has no temperature"
            return [f"{name} must be left out {why}, got {getattr(self, name)!r}" for name in given]
        if (self.temperature_end is None) != (self.temperature_schedule == "constant"):
            both = "temperature_end and a temperature_schedule other than constant go together"
            return [f"{both}, got {self.temperature_end} and {self.temperature_schedule}"]
        return []
