"""A trial at work, as the engine and those who show it know it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from nas.engine.placement import Placement


@dataclass
class Running:
    """A trial at work."""

    number: int
    placement: Placement
    begun: float | None = None  # time of the checkpoint it goes on from
    since: float = field(default_factory=time.monotonic)
    batches: int = 0
    total: int = 0
    time: float = 0  # of its last validation, in units of the time metric
    metric: float | None = None  # of its last validation
    outcome: str | None = None  # as the trial itself said at its end
    errors: list[str] = field(default_factory=list)
