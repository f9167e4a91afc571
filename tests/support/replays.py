"""How often CUDA graphs are replayed."""

from __future__ import annotations

import pytest
import torch


def count_replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number, which goes on counting."""
    counted, replay = [0], torch.cuda.CUDAGraph.replay

    def counting(self: torch.cuda.CUDAGraph) -> None:
        counted[0] += 1
        replay(self)

    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", counting)
    return counted
