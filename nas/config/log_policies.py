"""`log_policies` of an experiment's config: which lines of a trial's log keep a master from starting it again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nas.core.errors import CANNOT_WORK


def cancels_retries(config: Mapping[str, Any]) -> bool:
    """Whether a run that says it cannot work is not started again."""
    policies = config.get("log_policies")
    return isinstance(policies, list) and any(map(is_for_hopeless_runs, policies))


def is_for_hopeless_runs(policy: Any) -> bool:
    """Whether a policy cancels the retries of a run that says it cannot work."""
    action, pattern = (policy.get(name) if isinstance(policy, Mapping) else None for name in ("action", "pattern"))
    if action not in ("cancel_retries", {"type": "cancel_retries"}) or not isinstance(pattern, str):
        return False
    try:
        return re.search(pattern, f"{CANNOT_WORK}\N{HORIZONTAL ELLIPSIS}") is not None
    except re.error:
        return False
