"""Steps as CUDA graphs: on a CPU by an emulation of graphs that is as strict as they are."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.graph_emulator import Graph, emulate
from torch import nn

from nas.core.optimizers import SGD
from nas.trial import capture
from nas.trial.capture import CapturedStep

CPU = torch.device("cpu")


class Training:
    """A layer, SGD with momentum, and a step that is given a batch, a mask or none, a carried state and the rate."""

    def __init__(self, most: int = 64) -> None:
        generator = torch.Generator().manual_seed(0)
        self.layer = nn.Linear(3, 3)
        for parameter in self.layer.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.sgd = SGD(self.layer.parameters(), 0.1, momentum=0.9)
        self.calls: list[tuple[Any, ...]] = []
        self.step = CapturedStep(self.work, self.layer, self.sgd, CPU, most)
        self.carried = torch.zeros(3)

    def state(self) -> list[torch.Tensor]:
        momenta = [value for each in self.sgd.state.values() for value in each.values()]
        return [*self.layer.parameters(), *momenta]

    def work(self, x: torch.Tensor, mask: torch.Tensor | None, carried: torch.Tensor, rate: Any) -> Any:
        self.calls.append((x, mask, carried, rate))
        y = torch.tanh(self.layer(x if mask is None else x * mask) + carried)
        loss = y.square().mean()
        loss.backward()
        with torch.no_grad():  # by hand, as the rate is a tensor
            for parameter in self.layer.parameters():
                assert parameter.grad is not None
                parameter.grad.mul_(rate)
        self.sgd.step()
        self.sgd.zero_grad()
        return loss.detach(), y.detach().mean(0)

    def train(
        self, masked: Callable[[int], bool] = lambda k: True, first: int = 0, end: int | None = None
    ) -> list[float]:
        losses = []
        for k in range(len(LENGTHS))[first:end]:
            generator = torch.Generator().manual_seed(k)
            x, mask = torch.randn(LENGTHS[k], 3, generator=generator), torch.rand(3, generator=generator)
            loss, self.carried = self.step(x, mask if masked(k) else None, self.carried, 0.5 + k / 10)
            losses.append(loss.item())
        return losses


def alone(work: Any) -> CapturedStep:
    """A step without weights."""
    return CapturedStep(work, nn.Module(), SGD([nn.Parameter(torch.ones(1))], 1.0), CPU)


LENGTHS = [4, 2, 4, 4, 2, 3, 2, 4, 3, 3, 4]


def straight(*arguments: Any) -> tuple[list[float], list[torch.Tensor]]:
    """Losses and weights without graphs."""
    training = Training()
    return training.train(*arguments), training.state()


def assert_trains(training: Training, expected: tuple[list[float], list[torch.Tensor]], *arguments: Any) -> None:
    """To the last bit."""
    assert training.train(*arguments) == expected[0]
    assert all(map(torch.equal, training.state(), expected[1]))


def test_where_there_are_no_graphs_the_step_gets_what_it_is_given(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    training = Training()
    training.train(end=3)
    assert training.calls[-1][3] == 0.7
    assert len(training.calls) == 3 and [r.levelname for r in caplog.records] == ["INFO"]
    assert "cuda_graphs true changes nothing on cpu" in caplog.text


def test_each_shape_runs_once_then_is_recorded_and_replayed_and_trains_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = straight()
    emulate(monkeypatch)
    training = Training()
    assert_trains(training, expected)
    assert len(training.calls) == 2 * 3  # as it is and in a capture, for each length
    assert [graph.replays for graph in Graph.made] == [4, 2, 2]
    assert len({graph.pool for graph in Graph.made}) == 1
    assert all(parameter.grad is None for parameter in training.layer.parameters())


def test_what_is_none_decides_as_a_shape_does(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = straight(lambda k: k < 5)
    emulate(monkeypatch)
    assert_trains(Training(), expected, lambda k: k < 5)
    assert len(Graph.made) == 4  # 4 and 2 with a mask, 3 and 4 without; 2 comes once without


def test_memory_layout_decides_as_a_shape_does(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    step = alone(lambda x: (x * 2,))
    x = torch.randn(2, 3, 4, 4)
    for _ in range(3):
        for value in (x, x.to(memory_format=torch.channels_last), x.double()):
            (y,) = step(value)
            assert torch.equal(y, 2 * value) and y.stride() == value.stride() and y.dtype == value.dtype
    assert len(Graph.made) == 3


def test_inputs_of_one_shape_share_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    training = Training()
    training.train()
    for place, distinct in ((0, 3), (1, 1), (2, 1), (3, 1)):  # of the batch one a length
        assert len({call[place].data_ptr() for call in training.calls}) == distinct


def test_results_are_left_alone_by_later_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    emulate(monkeypatch)
    step = alone(lambda x: (x + 1,))
    found = [step(torch.full((2,), float(k)))[0] for k in range(5)]
    assert [y.tolist() for y in found] == [[k + 1.0] * 2 for k in range(5)]


def test_the_least_used_graph_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = straight()
    emulate(monkeypatch)
    assert_trains(Training(most=2), expected)
    assert len(Graph.made) == 3  # when 3 came, 2 went, and not 4
    emulate(monkeypatch)
    assert_trains(Training(most=1), expected)
    assert len(Graph.made) > 3  # made anew, after it went
    assert len({graph.pool for graph in Graph.made}) == 1


@pytest.mark.parametrize("moved", ["weights", "state"])
def test_graphs_are_made_anew_when_something_has_moved(monkeypatch: pytest.MonkeyPatch, moved: str) -> None:
    def move(training: Training) -> None:
        if moved == "weights":
            training.layer.weight.data = training.layer.weight.data.clone()
        else:
            training.sgd.load_state_dict(training.sgd.state_dict())
            for each in training.sgd.state.values():
                each["momentum_buffer"] = each["momentum_buffer"].clone()

    expected = straight()
    emulate(monkeypatch)
    training = Training()
    losses = training.train(end=4)
    assert len(Graph.made) == 1
    move(training)
    assert losses + training.train(first=4) == expected[0]
    assert all(map(torch.equal, training.state(), expected[1]))
    assert len({graph.pool for graph in Graph.made}) == 2  # the first pool went with its graphs


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("CUDA error: operation not permitted\nwhen stream is capturing"), "not permitted when stream is"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "the GPU has not enough memory free (one"),
        (ValueError(), "ValueError"),
    ],
    ids=["driver", "memory", "silent"],
)
def test_a_capture_that_fails_changes_nothing_and_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception, says: str
) -> None:
    expected = straight()
    device = emulate(monkeypatch, fails=error)
    training = Training()
    stream = device.stream
    caplog.clear()
    assert_trains(training, expected)
    assert len(Graph.made) == 1 and device.stream is stream
    assert len(caplog.records) == 1 and says in caplog.text and "training goes on as without" in caplog.text


def test_a_step_that_waits_for_the_device_cannot_be_captured(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    emulate(monkeypatch)
    step = alone(lambda x: (x * x.sum().item(),))
    for k in range(3):
        assert step(torch.full((2,), float(k)))[0].tolist() == [2.0 * k * k] * 2
    assert "not permitted when stream is capturing: _local_scalar_dense" in caplog.text


def test_the_emulation_sees_what_a_graph_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the tests with it would show nothing."""
    emulate(monkeypatch)
    count, kept = [0], list[torch.Tensor]()

    def counts(x: torch.Tensor) -> tuple[torch.Tensor]:
        count[0] += 1
        return (x * count[0],)

    def keeps(x: torch.Tensor) -> tuple[torch.Tensor]:
        kept.append(x + 0 if len(kept) < 2 else kept[-1] + x)
        return (kept[-1],)

    for work in (counts, keeps):
        step = alone(work)
        right = [step(torch.ones(size))[0].sum().item() for size in (1, 1, 1, 2, 2, 1)]
        assert right != [1, 2, 3, 4, 5, 6]
    generator = torch.Generator()
    step = alone(lambda x: (x * torch.rand((), generator=generator),))
    assert [step(torch.ones(1)) for _ in range(2)] and step.failed


def test_graphs_are_for_cuda_alone() -> None:
    assert [capture.captures(torch.device(kind)) for kind in ("cuda", "cpu", "mps")] == [True, False, False]
