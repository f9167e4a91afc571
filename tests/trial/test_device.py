"""What a process is told before it trains on a device; what comes of it: see `tests/cnn_nas/test_on_a_gpu.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.cuda_flags import FLAGS, flags, preserved_flags
from support.runs import Laptop

import nas.trial.base
from nas.trial import device


@pytest.fixture
def opposite() -> Iterator[None]:
    """The flags are not as they should be; put back after the test."""
    with preserved_flags():
        for (owner, name), value in FLAGS.items():
            setattr(owner, name, not value)
        yield


def test_on_cuda_kernels_are_exact_and_the_same_every_time(opposite: None) -> None:
    device.prepare(torch.device("cuda", 1))
    assert flags() == list(FLAGS.values())


def test_on_a_cpu_they_stay_as_they_are_and_freed_memory_is_kept(
    opposite: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[None] = []
    monkeypatch.setattr(device, "keep_freed_memory", lambda: kept.append(None))
    for name in ("cpu", "mps"):
        device.prepare(torch.device(name))
    assert flags() == [not value for value in FLAGS.values()] and len(kept) == 1


@pytest.mark.parametrize("kind", ["laptop", "darkroom"])
def test_every_trial_prepares_its_device(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[torch.device] = []
    monkeypatch.setattr(nas.trial.base, "prepare", prepared.append)
    trials: Laptop = request.getfixturevalue(kind)
    run = trials.main([*trials.arguments(train_epochs=1), "--device", "cpu"])
    assert run.code == 0 and prepared == [torch.device("cpu")]
