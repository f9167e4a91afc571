"""Two processes search what one searches: batches are halved, architecture weights stay equal, and a stop changes nothing."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from support.forked import Two
from support.runs import DEADLINE, Run, assert_same, metrics_of, regular, wait_until
from support.search import KINDS, SEARCH_IMAGES, search, search_config

from nas.config.yaml_text import dump

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")


def double(folder: Path, config: dict[str, Any], kill_after_validation: bool = False) -> Run:
    """A search by two processes; perhaps stopped by a signal after its first validation and resumed."""
    path = folder / "config.yaml"
    path.write_text(dump(config))
    arguments = ["--config", str(path), "--experiments", str(folder / "runs"), "--seed", "3"]
    for attempt in range(2):
        process = Two(arguments, SEARCH_IMAGES)
        place = folder / "runs" / f"{config['name']}-1"
        if kill_after_validation and not attempt:
            wait_until(lambda: metrics_of(place, "validation") if place.exists() else [], process)  # noqa: B023
            os.killpg(process.pid, signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=DEADLINE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, out + err
        run = Run(process.returncode, out, err, place)
        if run.read("run.json")["status"] == "completed":
            return run
        arguments = ["--resume", str(place)]
    raise AssertionError("it was stopped twice")


@pytest.mark.parametrize("space", KINDS)
@pytest.mark.parametrize("method", ["DARTS, second order", "random"])
def test_two_processes_search_what_one_does(
    space: str, method: str, corpus: Path, pictures: Path, tmp_path: Path
) -> None:
    """On text to rounding: without batch norm a mean over halves is the mean. On images the halves are normalised apart."""
    config = search_config(space, method, pictures if space == "images" else corpus, train_epochs=2)
    if space == "text":
        config["hyperparameters"].update(state_norm=False, learning_rate=1.0)
    two, one = double(tmp_path, config), search(tmp_path / "one", config)
    if space == "text":
        for group in ("training", "validation"):
            names = [name for name in one.metrics(group)[0] if name not in ("group", "skip_connections")]
            for ours, theirs in zip(two.metrics(group), one.metrics(group), strict=True):
                assert {name: ours[name] for name in names} == pytest.approx(
                    {name: theirs[name] for name in names}, rel=1e-3
                )
    assert two.read("genotype.json")
    assert [entry["epochs"] for entry in two.read("search.json")] == [
        entry["epochs"] for entry in one.read("search.json")
    ]


def test_a_stop_of_two_processes_changes_nothing(pictures: Path, tmp_path: Path) -> None:
    config = search_config("images", "DARTS, first order", pictures, train_epochs=6)
    for name in ("cut", "straight"):
        (tmp_path / name).mkdir()
    cut = double(tmp_path / "cut", config, kill_after_validation=True)
    straight = double(tmp_path / "straight", config)
    assert regular(cut) == regular(straight)
    assert_same(cut.checkpoint()["models_state_dict"], straight.checkpoint()["models_state_dict"])
    shared = [run.checkpoint()["callbacks"]["bookkeeping"]["shared"]["trial"]["strategy"] for run in (cut, straight)]
    assert_same(*shared)
