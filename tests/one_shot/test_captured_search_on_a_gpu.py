"""Searches with real CUDA graphs: they are made, and train as searches without them do. `make test-gpu` runs these.

That a stop changes nothing with them is in tests/test_gpu.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.replays import count_replays
from support.runs import step_losses
from support.search import search, search_config

pytestmark = pytest.mark.gpu
WORDS: dict[str, Any] = {"learning_rate": 1, "dropout": 0.3, "dropouth": 0.2, "bptt": 5, "max_seq_length_delta": 1}
PIXELS: dict[str, Any] = {"init_channels": 8, "channels_last": True, "op_drop": 0.4, "flip": True, "layers": 3}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "text, first order": ("text", "DrNAS", WORDS),
    "text, unrolled": ("text", "SNAS", WORDS),
    "images, first order": ("images", "GAEA", PIXELS | {"mixed_precision": False}),
    "images, unrolled": ("images", "DARTS, second order", PIXELS | {"mixed_precision": False}),
    "images, exact": ("images", "DARTS, exact", PIXELS | {"mixed_precision": False}),
    "images, bfloat16": ("images", "SmoothDARTS", PIXELS | {"mixed_precision": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_replayed_steps_search_as_steps_do(
    name: str,
    tmp_path: Path,
    corpus: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Losses of the weights and of the architecture in all steps; only the learning rate is rounded otherwise."""
    space, method, changes = CASES[name]
    data, found, replays = pictures if space == "images" else corpus, [], count_replays(monkeypatch)
    for graphs in (False, True):
        config = search_config(space, method, data, **{**changes, "cuda_graphs": graphs, "arch_learning_rate": 0.02})
        with pytest.MonkeyPatch.context() as patch:
            losses = step_losses(patch)
            run = search(tmp_path / str(graphs), config, "--device", "cuda")
        assert run.code == 0 and "device       cuda" in run.out, run.err
        found.append([*losses, *run.values("training", "arch_loss")])
    assert replays[0] > len(found[0]) / 2 and "no CUDA graphs" not in caplog.text
    assert found[1] == pytest.approx(found[0], rel=2e-2 if "bfloat16" in name else 1e-3)
