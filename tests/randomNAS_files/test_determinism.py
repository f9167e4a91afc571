"""Training computes the same bits whenever it is run, on a GPU too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from support.recurrent import CELLS, build_model, config, generator, masks_of
from support.torch_version import OLD_COUNTERS
from torch.utils._python_dispatch import TorchDispatchMode

from randomNAS_files.averaged_sgd import AveragedSGD
from randomNAS_files.fast.averaged_sgd import FastAveragedSGD
from randomNAS_files.model import LanguageModel, activation_penalty

TIME, COLUMNS, WORDS = 35, 16, 50  # each word many times in a slice
RATES = {"dropout": 0.5, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]

# What adds to places that may coincide, in an order that a GPU decides: the operations in the documentation of
# torch.use_deterministic_algorithms that a language model could meet.
IN_ANY_ORDER = {
    *("index_add", "index_reduce", "index_put", "_index_put_impl", "put", "scatter_add", "scatter_reduce"),
    *("bincount", "histc", "cumsum", "cumprod", "_embedding_bag", "_ctc_loss", "nll_loss2d_forward", "kthvalue"),
}


def train(device: str, fast: bool, steps: int, hidden: int = 40) -> list[torch.Tensor]:
    """Losses, weights, means and the last state of some steps, the last half of which are averaged."""
    net = build_model(config(hidden, 2, **RATES), CELLS["DARTS_V2"], WORDS, fast=fast).to(device)
    sgd = (FastAveragedSGD if fast else AveragedSGD)(net.parameters(), 5.0, 1e-3, max_norm=0.25)
    state, losses = net.initial_state(COLUMNS), []
    for step in range(steps):
        if step == steps // 2:
            sgd.start_averaging()
        words, targets = torch.randint(WORDS, (2, TIME, COLUMNS), generator=generator(step)).to(device)
        losses.append(one_step(net, sgd, words, targets, state, step))
    return [*losses, *net.parameters(), *(sgd.state[p]["mean"] for p in net.parameters()), *state]


def one_step(
    net: LanguageModel,
    sgd: AveragedSGD,
    words: torch.Tensor,
    targets: torch.Tensor,
    state: list[torch.Tensor],
    step: int,
) -> torch.Tensor:
    sgd.zero_grad()
    output = net(words, state, masks_of(net, step, COLUMNS), targets=targets)
    (output.loss / targets.numel() + activation_penalty(output, 2.0, 1.0)).backward()
    sgd.step()
    state[:] = [h.detach() for h in output.hidden]
    loss: torch.Tensor = output.loss.detach()
    return loss


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch refuses what it knows to vary from run to run."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def assert_same_bits(first: list[torch.Tensor], second: list[torch.Tensor]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert torch.isfinite(a).all() and torch.equal(a, b)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_training_twice_gives_the_same_bits(device: str, fast: bool) -> None:
    assert_same_bits(*(train(device, fast, steps=6) for _ in range(2)))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("device", DEVICES)
def test_torch_knows_of_nothing_that_varies_from_run_to_run(device: str, fast: bool, deterministic: None) -> None:
    assert_same_bits(*(train(device, fast, steps=3) for _ in range(2)))


@pytest.mark.gpu
@pytest.mark.parametrize("fast", [True, False])
def test_a_wide_model_trains_to_the_same_bits_on_a_gpu(fast: bool) -> None:
    assert_same_bits(*(train("cuda", fast, steps=8, hidden=850) for _ in range(2)))


class Operations(TorchDispatchMode):
    """The names of all operations that run, without the underscore of those in place."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.names.add(func.overloadpacket.__name__.rstrip("_"))
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(OLD_COUNTERS, reason="its meta device adds embeddings by index_put")
@pytest.mark.parametrize("fast", [True, False])
def test_nothing_is_added_in_any_order_where_there_is_no_cpu(fast: bool) -> None:
    """On a device without contents, where the code takes the ways that it takes on a GPU."""
    with Operations() as ran:
        train("meta", fast, steps=2)
    gradient_of_rows = "segment_reduce" if fast else "embedding_dense_backward"
    assert {"mm", "tanh", gradient_of_rows} <= {name.removeprefix("_") for name in ran.names}
    assert not ran.names & IN_ANY_ORDER
