"""Trials whose steps are CUDA graphs train as those whose steps are not, through validations, averaging, stops and failures.

On a CPU, with the emulation of graphs, and with the optimiser computing as it does on a GPU.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from support.graph_emulator import Graph, emulate
from support.runs import (
    HARD,
    IMAGES,
    RECURRENT,
    Kind,
    Laptop,
    Run,
    assert_equal_runs,
    assert_same,
    averaged_steps,
    read_config,
    regular,
    stopped_after,
)

import model_def
from cnn_nas.trial import ImageTrial
from model_def import RecurrentTrial
from nas.core.errors import ConfigError
from nas.core.optimizers import has_fused_sgd
from nas.trial.capture import CapturedStep
from randomNAS_files import averaged_sgd
from randomNAS_files.fast import averaged_sgd as fast_averaged_sgd

DRAWING: dict[
    str, Any
] = {  # everything of an image trial that draws or has a state; drop path begins with the second epoch
    **{"train_epochs": 3, "learning_rate": 0.2, "drop_path_prob": 0.4, "cutout_length": 4, "crop_padding": 2},
    **{"flip": True, "auxiliary": True, "layers": 1},
}
WORDS: dict[str, Any] = HARD | {
    "bptt": 6,
    "max_seq_length_delta": 1,
    "global_batch_size": 6,
    "train_epochs": 4,
    "depth": 1,
}
CASES = {"recurrent": (RECURRENT, WORDS), "images": (IMAGES, DRAWING)}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, corpus: Path, pictures: Path) -> tuple[Laptop, dict[str, Any]]:
    kind, settings = CASES[request.param]
    if kind is IMAGES and not has_fused_sgd("cpu"):
        pytest.skip("without the fused operation the rate cannot be a tensor")
    return Laptop(tmp_path / "experiments", corpus if kind is RECURRENT else pictures, kind), settings


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch, fails: Exception | None = None) -> None:
    """With graphs, and nobody reads a number from the device."""
    emulate(monkeypatch, fails)
    monkeypatch.setattr(model_def, "captures", lambda _: True)
    for module in (averaged_sgd, fast_averaged_sgd):
        monkeypatch.setattr(module, "number", lambda value: value)
    monkeypatch.setattr(fast_averaged_sgd, "float", lambda value: value, raising=False)


def trained(laptop: Laptop, **settings: Any) -> Run:
    run = laptop.train(**settings)
    assert run.code == 0, run.err
    return run


def assert_trained_alike(run: Run, other: Run) -> None:
    """To the last bit, whatever their settings."""
    for name in ("models_state_dict", "optimizers_state_dict"):
        assert_same(run.checkpoint()[name], other.checkpoint()[name])
    assert regular(run) == regular(other)


def test_where_there_are_none_nothing_changes(case: tuple[Laptop, dict[str, Any]], caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    laptop, settings = case
    settings = settings | {"train_epochs": 2}
    runs = [trained(laptop, **settings, cuda_graphs=graphs) for graphs in (False, True)]
    assert_trained_alike(*runs)
    told = [message for message in caplog.messages if "cuda_graphs true changes nothing on cpu" in message]
    assert len(told) == 1


@pytest.fixture
def straight(case: tuple[Laptop, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with the operations of a GPU, of which no graph is made."""
    as_on_a_gpu(monkeypatch)
    with pytest.MonkeyPatch.context() as never:
        never.setattr(CapturedStep, "_capture", lambda *_: None)
        laptop, settings = case
        return trained(laptop, **settings, cuda_graphs=True)


def test_replayed_steps_train_the_same_through_validations_averaging_and_a_stop(
    case: tuple[Laptop, dict[str, Any]], straight: Run
) -> None:
    laptop, settings = case
    run = trained(laptop, **settings, cuda_graphs=True)
    steps = run.read("run.json")["latest"]["batches"]
    assert sum(graph.replays for graph in Graph.made) > steps / 2
    assert_equal_runs(run, straight)
    if laptop.kind is RECURRENT:
        assert averaged_steps(run.checkpoint()) > 2
    with stopped_after(steps // 2 + 3):  # in the middle of an epoch
        stopped = trained(laptop, **settings, cuda_graphs=True)
    assert stopped.read("run.json")["status"] == "stopped"
    before = len(Graph.made)
    assert_equal_runs(laptop.resume(stopped.path), straight)
    assert len(Graph.made) > before


def test_a_capture_that_fails_is_told_once_and_training_goes_on(
    case: tuple[Laptop, dict[str, Any]],
    straight: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    laptop, settings = case
    as_on_a_gpu(monkeypatch, fails=RuntimeError("CUDA error: operation not permitted when stream is capturing"))
    caplog.clear()
    assert_equal_runs(trained(laptop, **settings, cuda_graphs=True), straight)
    assert len([m for m in caplog.messages if "no CUDA graphs: a step could not be captured (CUDA error" in m]) == 1


def test_a_warm_start(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    """From averaged weights; the means become the weights."""
    as_on_a_gpu(monkeypatch)
    first = trained(laptop, **WORDS, cuda_graphs=True)
    assert averaged_steps(first.checkpoint()) > 2
    start = first.path / "checkpoints" / first.read("run.json")["latest"]["uuid"]
    arguments = [*laptop.arguments(**WORDS | {"train_epochs": 1}, cuda_graphs=True), "--warm-start", str(start)]
    captured = laptop.main(arguments)
    monkeypatch.setattr(CapturedStep, "_capture", lambda *_: None)
    assert_equal_runs(captured, laptop.main(arguments))


REFUSED: list[tuple[Kind, dict[str, Any], int, str]] = [
    (RECURRENT, {"fast": False}, 1, "cuda_graphs true needs the fast form, got fast false; leave one of them out"),
    (IMAGES, {"fast": False}, 1, "cuda_graphs true needs the fast form, got fast false; leave one of them out"),
    (RECURRENT, {}, 2, "hyperparameters.cuda_graphs must be false with several processes"),
    (IMAGES, {}, 2, "hyperparameters.cuda_graphs must be false with several processes"),
    (RECURRENT, {"cuda_graphs": 1}, 1, "hyperparameters.cuda_graphs must be true or false, got 1"),
]


@pytest.mark.parametrize(("kind", "changes", "processes", "says"), REFUSED, ids=str)
def test_what_has_no_graphs_is_refused(kind: Kind, changes: dict[str, Any], processes: int, says: str) -> None:
    trial = RecurrentTrial if kind is RECURRENT else ImageTrial
    hparams = read_config(kind.config)["hyperparameters"] | {"cuda_graphs": True} | changes
    with pytest.raises(ConfigError) as caught:
        trial.check(hparams, read_config(kind.config)["data"], processes)
    assert any(says in problem for problem in caught.value.problems), caught.value.problems
