"""Metrics that follow from others."""

from __future__ import annotations

import math


def perplexity(loss: float) -> float:
    """exp(loss); infinity where that is more than a float holds."""
    return math.exp(loss) if loss < math.log(1e300) or math.isnan(loss) else math.inf
