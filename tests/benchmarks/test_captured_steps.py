"""The steps that `benchmarks.gpu` replays from CUDA graphs train as those that run as they are, by graphs emulated on a CPU."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from support.graph_emulator import Graph, emulate

from benchmarks import cnn_step, image_search, recurrent, recurrent_supernet, supernet_step
from benchmarks.gpu_parts import works
from benchmarks.gpu_parts.task import SkippedError, ToldError
from benchmarks.recurrent_supernet import ARCHITECTURE, WEIGHTS, Form
from cnn_nas.fast.model import FastForm
from nas.core import optimizers
from nas.core.optimizers import has_fused_sgd
from nas.trial import capture
from randomNAS_files import averaged_sgd
from randomNAS_files.fast import averaged_sgd as fast_averaged_sgd
from randomNAS_files.fast.precision import HALF
from randomNAS_files.genotypes import ASHA

STEPS = 3  # as it is, recorded and replayed, replayed


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes of a moment; torch's own optimisers would import its compiler, for seconds."""
    for name in ("SGD", "Adam"):
        monkeypatch.setattr(torch.optim, name, getattr(optimizers, name))
    for name, value in {"WORDS": 20, "COLUMNS": 3, "LENGTH": 4, "SIZE": 8}.items():
        monkeypatch.setattr(recurrent, name, value)
    monkeypatch.setattr(recurrent, "CONFIG", dataclasses.replace(recurrent.CONFIG, emsize=8, nhid=8, nhidlast=8))
    config = dataclasses.replace(cnn_step.CONFIG, init_channels=4, layers=3)
    for name, value in {"CHANNELS": 4, "CELLS": 3, "CONFIG": config, "_batch": lambda device: 2}.items():
        monkeypatch.setattr(cnn_step, name, value)
    monkeypatch.setitem(supernet_step.SETTINGS, "cifar", supernet_step.Setting(4, 1, 2, 3, 8))
    monkeypatch.setattr(recurrent_supernet, "COLUMNS", 3)
    monkeypatch.setattr(recurrent_supernet, "LENGTH", 4)
    monkeypatch.setitem(recurrent_supernet.SIZES, "64", (8, 20))


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With graphs, and optimisers read no number from the device."""
    emulate(monkeypatch)
    for module in (recurrent, image_search, recurrent_supernet):
        monkeypatch.setattr(module, "captures", lambda _: True)
    for module in (averaged_sgd, fast_averaged_sgd):
        monkeypatch.setattr(module, "number", lambda value: value)
    monkeypatch.setattr(fast_averaged_sgd, "float", lambda value: value, raising=False)
    monkeypatch.setattr(
        sys.modules["torch.optim.adam"], "_get_capturable_supported_devices", lambda *_, **__: ["cpu"], raising=False
    )


def trained(
    make: Callable[[], tuple[object, Callable[[], object]]], monkeypatch: pytest.MonkeyPatch
) -> list[torch.Tensor]:
    """Weights, buffers, and what the optimiser trains, after some steps of ours."""
    made: list[tuple[torch.nn.Module, torch.optim.Optimizer]] = []

    class Known(capture.CapturedStep):
        def __init__(self, work: Any, net: torch.nn.Module, optimizer: torch.optim.Optimizer, device: Any) -> None:
            super().__init__(work, net, optimizer, device)
            made.append((net, optimizer))

    for module in (recurrent, cnn_step, image_search, recurrent_supernet):
        monkeypatch.setattr(module, "CapturedStep", Known)
    torch.manual_seed(1)
    step = make()[1]
    for _ in range(STEPS):
        step()
    net, optimizer = made[-1]
    assert all(parameter.grad is None for parameter in net.parameters())  # a step begins without gradients
    return [*net.parameters(), *net.buffers(), *(each for group in optimizer.param_groups for each in group["params"])]


@pytest.mark.skipif(not has_fused_sgd("cpu"), reason="without the fused operation the rate cannot be a tensor")
@pytest.mark.parametrize(
    "make",
    [
        partial(recurrent.steps, ASHA, "cpu", graphs=True),
        partial(recurrent.steps, ASHA, "cpu", lambda net: net.use_precision(HALF), graphs=True),
        partial(
            cnn_step.steps,
            "DARTS_V2",
            "bfloat16",
            "float32",
            "cpu",
            FastForm(casts_once=True, padded=True),
            graphs=True,
        ),
        *(partial(supernet_step.steps, "cifar", kind, "cpu", graphs=True) for kind in ("weights", "second order")),
        *(partial(recurrent_supernet.steps, kind, "64", "cpu", Form(graphs=True)) for kind in (WEIGHTS, ARCHITECTURE)),
    ],
)
def test_a_captured_step_trains_as_one_that_runs_as_it_is(
    small: None, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_on_a_gpu(monkeypatch)
    with pytest.MonkeyPatch.context() as never:
        never.setattr(capture.CapturedStep, "_capture", lambda *_: None)
        as_it_is = trained(make, monkeypatch)
    replayed = trained(make, monkeypatch)
    assert sum(graph.replays for graph in Graph.made) >= STEPS - 1
    assert all(map(torch.equal, replayed, as_it_is))


def test_a_step_that_cannot_be_captured_is_not_measured(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch, fails=RuntimeError("it draws"))
    ours = works._recurrent("ASHA").steps("float32", "cuda_graphs=true", "cpu")[1]
    ours()
    with pytest.raises(ToldError, match=r"no CUDA graphs: a step could not be captured \("):
        ours()


def test_settings_that_cannot_be_used_are_skipped(small: None) -> None:
    with pytest.raises(SkippedError, match=r"hyperparameters\.kernels must be eager on cpu, got triton"):
        works._recurrent("ASHA").steps("float32", "cuda_graphs=true kernels=triton", "cpu")
    with pytest.raises(SkippedError, match=r"^hyperparameters\.colour is read by nothing$"):
        works._cnn("DARTS_V2", "cpu").steps("float32", "colour=red", "cpu")


def test_plain_steps_have_the_convolutions_of_their_authors() -> None:
    def flags() -> tuple[bool, bool]:
        return torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark

    seen: list[tuple[bool, bool]] = []
    before = flags()
    works.in_2019(lambda: seen.append(flags()), "float32", "cpu")()
    works.measured_kernels(lambda: seen.append(flags()), True)()
    works.measured_kernels(lambda: seen.append(flags()), False)()
    assert seen == [(False, True), (True, True), before] and flags() == before
