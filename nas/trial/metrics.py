"""Means over many batches that weigh every sample equally, kept on the device until somebody reads them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from determined import pytorch

from nas.runs.ranking import NONFINITE_PLACEHOLDER

logger = logging.getLogger(__name__)


class WeightedMeans(pytorch.MetricReducer):
    """Sums of named quantities and their weight, over batches and processes.

    Args:
        names: what is summed.
        report: from the means to the metrics to report, for example loss to loss and perplexity.
        over_epoch: keep summing over reports and validations, until `start()`; a training curve is then the same however
            often the run was interrupted. Otherwise every report and validation starts afresh.
    """

    def __init__(
        self,
        device: torch.device,
        names: tuple[str, ...],
        report: Callable[[dict[str, float]], dict[str, float]],
        *,
        over_epoch: bool = False,
    ) -> None:
        self.names, self.report, self.over_epoch = names, report, over_epoch
        self._device = device
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._warned = False
        self.start()

    def start(self) -> None:
        """Forget all sums."""
        self._sums = torch.zeros(len(self.names) + 1, dtype=self._dtype, device=self._device)

    def update(self, weight: int | torch.Tensor, **sums: torch.Tensor) -> None:
        """Add one batch of `weight` samples: for each name the sum over them, a tensor on the device."""
        batch = torch.stack([sums[name].detach().to(self._dtype) for name in self.names])
        self._sums[:-1] += batch
        self._sums[-1] += weight

    def totals(self) -> list[float]:
        """The sums and, last, the weight; this waits for the device."""
        values: list[float] = self._sums.tolist()
        return values

    def add(self, totals: list[float]) -> None:
        """Add what another process or an earlier run had summed."""
        self._sums += torch.tensor(totals, dtype=self._dtype, device=self._device)

    def reset(self) -> None:
        """Called by Determined before each stretch of training and each validation."""
        if not self.over_epoch:
            self.start()

    def per_slot_reduce(self) -> list[float]:
        """What this process hands to the others."""
        return self.totals()

    def cross_slot_reduce(self, per_slot_metrics: list[list[float]]) -> dict[str, float]:
        """The metrics over all processes."""
        *sums, weight = (sum(column) for column in zip(*per_slot_metrics, strict=True))
        if not weight:
            return {}
        metrics = self.report({name: total / weight for name, total in zip(self.names, sums, strict=True)})
        if self.over_epoch and replace_nonfinite(metrics) and not self._warned:
            self._warned = True
            logger.warning("the training loss is not finite any more (NaN or infinity); lower learning_rate")
        return metrics


def replace_nonfinite(metrics: dict[str, Any], worst: Mapping[str, float] | None = None) -> list[str]:
    """Put a large finite number in place of each NaN or infinity; returns the names of what was replaced.

    One NaN as a searcher's metric puts a whole ASHA experiment into ERROR. `worst` says what to report for a metric for
    which larger is better.
    """
    bad = [name for name, value in metrics.items() if _is_nonfinite(value)]
    for name in bad:
        metrics[name] = (worst or {}).get(name, NONFINITE_PLACEHOLDER)
    return bad


def told_of(bad: Sequence[str]) -> str:
    """What a user should know of metrics that were replaced."""
    return f"{', '.join(bad)} not finite (NaN or infinity): reported as {NONFINITE_PLACEHOLDER:g}"


def _is_nonfinite(value: Any) -> bool:
    try:
        return not math.isfinite(value)
    except (TypeError, ValueError):
        return False
