"""What a process is told before it trains on a device; what comes of it: see `tests/cnn_nas/test_on_a_gpu.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from support.cuda_flags import FLAGS, flags, preserved_flags
from support.runs import Laptop

import nas.trial.base
from nas.core.errors import ConfigError
from nas.core.host import most_threads
from nas.trial import device
from nas.trial.command import build_parser
from nas.trial.local import choose_device


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


def test_kernels_are_measured_on_cuda_alone_and_until_the_next_trial() -> None:
    with preserved_flags():
        torch.backends.cudnn.benchmark = False
        device.measure_kernels(torch.device("cpu"))
        assert not torch.backends.cudnn.benchmark
        device.measure_kernels(torch.device("cuda"))
        assert torch.backends.cudnn.benchmark
        device.prepare(torch.device("cuda"))
        assert not torch.backends.cudnn.benchmark


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


def test_several_processes_do_not_share_the_gpu_of_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before a search starts: otherwise each of its trials refuses what was chosen for it."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto", 1).type == choose_device("mps", 1).type == "mps"
    assert choose_device("auto", 2).type == choose_device("cpu", 2).type == "cpu"
    with pytest.raises(ConfigError, match="--device mps: one process can train there, and this trial has 2"):
        choose_device("mps", 2)
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun says it
    assert choose_device("auto").type == "cpu"


@pytest.mark.parametrize("threads", ["-1", "0", "100000", "1" * 30, "2.0", "many"])
def test_threads_are_a_number_that_openmp_survives(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(["--config", "x.yaml", "--threads", threads])
    assert left.value.code == 2 and f"must be a whole number of 1 to {most_threads()}, got '{threads}'" in (
        capsys.readouterr().err
    )
    assert build_parser().parse_args(["--config", "x.yaml", "--threads", "256"]).threads == 256
