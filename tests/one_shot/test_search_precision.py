"""The setting `precision` of a search on text: where it counts, and what it does not go with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from support.search import search, search_config

from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from one_shot import bilevel
from one_shot.settings import Settings, read_settings
from one_shot.strategy import Problem, WeightStep
from one_shot.task import Place
from one_shot.text import TextTask
from one_shot.timing import time_step
from randomNAS_files.fast.precision import FULL, HALF, TF32
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import ModelConfig
from randomNAS_files.relaxation import CELL
from randomNAS_files.supernet import SupernetConfig


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The precision of each forward pass, and whether a gradient may be asked for."""
    found, own = list[tuple[str, bool]](), FastSupernet.forward

    def noted(net: FastSupernet, *args: Any) -> Any:
        assert {cell.precision for cell in net.cells} == {net.precision}
        if net.embedding.device.type == "cpu":  # an estimate has no contents
            found.append((net.precision, torch.is_grad_enabled()))
        return own(net, *args)

    monkeypatch.setattr(FastSupernet, "forward", noted)
    return found


def settings(corpus: Path, method: str = "DARTS, first order", **hparams: Any) -> Settings:
    config = search_config("text", method, corpus, **hparams)
    return read_settings(config["hyperparameters"], config["data"], 1)


def test_the_difference_of_a_second_order_has_all_digits() -> None:
    """Its two sides alone: the step that is looked ahead is the one that training takes, with the digits of training.

    The difference is that of fp32; of bfloat16 it is mostly noise.
    """
    config = ModelConfig(16, 16, 16, 1, 0.0, 0.0, 0.0, 0.0, 0.0)
    net = FastSupernet(config, 30, torch.Generator().manual_seed(1), SupernetConfig(True))
    words = torch.randint(30, (2, 6, 8), generator=torch.Generator().manual_seed(4))
    weights = ArchWeights({CELL: torch.rand(36, 5, generator=torch.Generator().manual_seed(2)) * 0.3})
    parameters, seen = list(net.parameters()), list[str]()

    def loss(which: int) -> Any:
        def found(weights: ArchWeights) -> torch.Tensor:
            seen.append(net.precision)
            return net(words[which], net.initial_state(8), weights, None, words[which]).loss / words[0].numel()

        return found

    def gradient(precision: str, **more: Any) -> torch.Tensor:
        net.use_precision(precision)
        rates = WeightStep(1.0, 0.0, 0.0, 0.25, [None] * len(parameters))
        problem = Problem(loss(0), loss(1), parameters, rates, lambda _: None, **more)
        return bilevel.gradient(problem, weights, "unrolled")[0][0]

    exact, noisy = gradient(FULL), gradient(HALF)
    seen.clear()
    found = gradient(HALF, all_digits=net.all_digits)
    assert seen == [HALF, HALF, FULL, FULL] and net.precision == HALF
    errors = [float((each - exact).norm() / exact.norm()) for each in (found, noisy)]
    assert errors[0] < 0.02 and errors[1] > 4 * errors[0]


def test_a_search_of_the_second_order_and_its_scores(
    corpus: Path, tmp_path: Path, passes: list[tuple[str, bool]]
) -> None:
    """Of each step three passes in bfloat16, and two in fp32 for the difference; what is scored is in fp32 as ever."""
    run = search(tmp_path / "run", search_config("text", "DARTS, second order", corpus, precision=HALF, train_epochs=1))
    assert run.code == 0, run.err + run.out
    training = [precision for precision, gradient in passes if gradient]
    assert len(training) > 5 and training == len(training) // 5 * [HALF, HALF, FULL, FULL, HALF]
    assert {precision for precision, gradient in passes if not gradient} == {HALF}  # which counts in training only


def test_what_stands_for_scores_has_all_digits_too(corpus: Path, passes: list[tuple[str, bool]]) -> None:
    """As the difference of gradients does that measures the eigenvalue of a Hessian."""
    task = TextTask(settings(corpus, precision=HALF), Place(torch.device("cpu"), 1, 0, 1, True))
    words = torch.zeros(3, 4, dtype=torch.int64)
    loss = task.objective_on((words, words))(ArchWeights({CELL: torch.ones(36, 5).requires_grad_()}))
    assert passes == [(FULL, True)] and loss.requires_grad and cast(FastSupernet, task.net).precision == HALF


def test_the_estimates_of_a_search_know_of_it(corpus: Path, passes: list[tuple[str, bool]]) -> None:
    time_step(settings(corpus, precision=HALF), 4, torch.device("cpu"))
    assert {precision for precision, _ in passes} == {HALF}
    full, half = (TextTask.memory(settings(corpus, precision=name), 8, "meta") for name in (FULL, HALF))
    assert full != half


ENAS_HADAMARD = {"hadamard": True, "output": "loose_ends", "state_norm": False}


@pytest.mark.parametrize(
    ("method", "changes", "why"),
    [
        ("DARTS, first order", {"fast": False}, "got fast false; leave one of them out"),
        (
            "DARTS, exact",
            {},
            "got bilevel exact, which needs second derivatives and so the plain form; leave one of them out",
        ),
        ("ENAS", ENAS_HADAMARD, "which hadamard has not; leave it out"),
    ],
)
def test_what_is_plain_refuses_other_precisions(method: str, changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    for name in (HALF, TF32):
        with pytest.raises(ConfigError) as caught:
            settings(tmp_path, method, precision=name, **changes)
        assert f"hyperparameters.precision {name} needs the fast form, {why}" in caught.value.problems
    settings(tmp_path, method, precision=FULL, **changes)


def test_bfloat16_with_batch_norm_of_states_is_warned_of(tmp_path: Path) -> None:
    said = {
        (name, norm): [
            w for w in TextTask.warnings(settings(tmp_path, precision=name, state_norm=norm)) if "precision" in w
        ]
        for name in (FULL, TF32, HALF)
        for norm in (True, False)
    }
    assert [len(warnings) for warnings in said.values()] == [0, 0, 0, 0, 1, 0]
    assert "tf32" in said[HALF, True][0]


def test_a_device_without_such_products_refuses_them_before_data_is_read(tmp_path: Path) -> None:
    place = Place(torch.device("mps"), 1, 0, 1, False)
    with pytest.raises(ConfigError, match="precision must be fp32 or left out on mps"):
        TextTask(settings(tmp_path, precision=HALF), place)
