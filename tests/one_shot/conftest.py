"""What a search needs in memory is estimated once for each config, as the estimate follows from its settings alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from nas.core.memory import MemoryEstimate
from one_shot.trial import SearchTrial


@pytest.fixture(scope="session", autouse=True)
def estimated_once() -> Iterator[None]:
    """On tensors without contents a step takes longer than a whole tiny search, and each start of a search asks for it."""
    known: dict[str, MemoryEstimate] = {}
    estimate = vars(SearchTrial)["memory"].__func__

    def memory(cls: type[SearchTrial], *arguments: Any, **named: Any) -> MemoryEstimate:
        asked = repr((cls, arguments, sorted(named.items())))
        if asked not in known:
            known[asked] = estimate(cls, *arguments, **named)
        return known[asked]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchTrial, "memory", classmethod(memory))
        yield
