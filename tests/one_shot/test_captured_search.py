"""Searches whose steps are CUDA graphs search as those whose steps are not, through validations, a stop and a failure.

On a CPU, with the emulation of graphs. A graph that kept its first batch, its first learning rate or the architecture's first
weights would train something else.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from support.graph_emulator import Graph, emulate
from support.runs import Run, assert_equal_runs, assert_same, regular, stopped_after
from support.search import go_on, search, search_config

from nas.core.errors import ConfigError
from nas.core.optimizers import has_fused_sgd
from nas.trial.capture import CapturedStep
from one_shot import trial
from one_shot.trial import SearchTrial

pytestmark = pytest.mark.skipif(
    not has_fused_sgd("cpu"), reason="without the fused operation the rate cannot be a tensor"
)
WORDS: dict[str, Any] = {
    **{"bptt": 5, "max_seq_length_delta": 1, "global_batch_size": 15, "learning_rate": 1, "nodes": 2},
    **{"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25, "cuda_graphs": True},
}
PIXELS: dict[str, Any] = {
    **{"op_drop": 0.4, "flip": True, "cutout_length": 4, "layers": 1, "learning_rate_end": 0.001, "cuda_graphs": True},
}
BUDGET = {
    "levels_per_step": 2,
    "random_cells": 0,
    "projections": 0,
    "bilevel": "first",
    "train_epochs": 1,
    **dict.fromkeys(("mixing", "temperature", "temperature_end", "temperature_schedule")),
}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "text": ("text", "DrNAS", {"max_state_norm": 1.0, "learning_rate_decay": 0.5}),
    "text, unrolled": ("text", "SNAS", {"alpha": 1.0, "beta": 0.5}),
    "images": ("images", "GAEA", {"partial": 2, "init_channels": 4, "arch_warmup_epochs": 1}),
    "images, unrolled": ("images", "SmoothDARTS", {"bilevel": "unrolled", "perturb_steps": 1, "train_epochs": 1}),
    "images, exact": ("images", "DARTS, exact", {"op_drop": 0, "global_batch_size": 12, "train_epochs": 1}),
    "images, all budgets": ("images", "all budgets", BUDGET),
}
STOPPED = ("text, unrolled", "images")
Config = dict[str, Any]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def config(case: str, corpus: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(trial, "check_fits", lambda *_: None)  # which takes longer than such a search
    space, method, changes = CASES[case]
    common, data = (WORDS, corpus) if space == "text" else (PIXELS, pictures)
    return search_config(space, method, data, **{**common, **changes})


@pytest.fixture
def straight(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """With the operations of a GPU, of which no graph is made."""
    emulate(monkeypatch)
    with pytest.MonkeyPatch.context() as never:
        never.setattr(CapturedStep, "_capture", lambda *_: None)
        return searched(tmp_path / "straight", config)


def searched(path: Path, config: Config) -> Run:
    run = search(path, config)
    assert run.code == 0, run.err
    return run


def test_replayed_steps_search_the_same_through_validations_and_a_stop(
    case: str, config: Config, straight: Run, tmp_path: Path
) -> None:
    run = searched(tmp_path / "run", config)
    steps = run.read("run.json")["latest"]["batches"]
    assert sum(graph.replays for graph in Graph.made) > steps / 2 and len({graph.pool for graph in Graph.made}) == 1
    assert_equal_runs(run, straight)
    assert run.read("search.json") == straight.read("search.json")
    if case in STOPPED:
        with stopped_after(steps // 2 + 1):  # in the middle of an epoch
            stopped = searched(tmp_path / "stopped", config)
        before = len(Graph.made)
        assert stopped.read("run.json")["status"] == "stopped"
        assert_equal_runs(go_on(stopped), straight)
        assert len(Graph.made) > before


@pytest.mark.parametrize("case", ["text, unrolled"], indirect=True)
def test_a_capture_that_fails_is_told_once_and_the_search_goes_on(
    config: Config,
    straight: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    emulate(monkeypatch, fails=RuntimeError("CUDA error: operation not permitted when stream is capturing"))
    caplog.clear()
    assert_equal_runs(searched(tmp_path / "run", config), straight)
    assert len([m for m in caplog.messages if "no CUDA graphs: a step could not be captured (CUDA error" in m]) == 1


@pytest.mark.parametrize("case", ["text", "images, unrolled"], indirect=True)
def test_where_there_are_none_nothing_changes(config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    config["hyperparameters"]["train_epochs"] = 1
    captured = searched(tmp_path / "with", config)
    told = [message for message in caplog.messages if "cuda_graphs true changes nothing on cpu" in message]
    config["hyperparameters"]["cuda_graphs"] = False
    plain = searched(tmp_path / "without", config)
    for name in ("models_state_dict", "optimizers_state_dict"):
        assert_same(captured.checkpoint()[name], plain.checkpoint()[name])
    assert regular(captured) == regular(plain) and captured.read("search.json") == plain.read("search.json")
    assert len(told) == 1


REFUSED: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("text", "GDAS", {}, 1, "with sampler gumbel_st, which trains another path in each step, while a graph repeats"),
    ("text", "random", {}, 1, "with strategy random, which trains another path in each step"),
    ("text", "ENAS", {}, 1, "with strategy enas, which trains another path in each step"),
    ("images", "all budgets", {}, 1, "with mixing straight_through, which trains another path in each step"),
    ("images", "DARTS-", {}, 1, "with auxiliary_weight above 0, which falls from step to step"),
    ("text", "DARTS, exact", {}, 1, "with bilevel exact in the recurrent space, which needs the plain form"),
    ("text", "GAEA", {}, 2, "with several processes, whose gradients meet in the middle of a step"),
]


@pytest.mark.parametrize(("space", "method", "changes", "processes", "says"), REFUSED, ids=str)
def test_what_has_no_graphs_is_refused(
    space: str, method: str, changes: dict[str, Any], processes: int, says: str
) -> None:
    config = search_config(space, method, Path("nowhere"), cuda_graphs=True, **changes)
    with pytest.raises(ConfigError) as caught:
        SearchTrial.check(config["hyperparameters"], config["data"], processes)
    (problem,) = [each for each in caught.value.problems if "cuda_graphs" in each]
    assert problem.startswith(f"hyperparameters.cuda_graphs must be false {says}") and "leave it out" in problem


def test_the_plain_form_has_no_graphs() -> None:
    config = search_config("images", "GAEA", Path("nowhere"), cuda_graphs=True, fast=False)
    with pytest.raises(ConfigError, match="cuda_graphs true needs the fast form, got fast false"):
        SearchTrial.check(config["hyperparameters"], config["data"], 1)
