"""An image run that was interrupted ends exactly like one that was not: weights, batch norm, momentum and curves."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from support.runs import (
    Laptop,
    Run,
    after_step,
    assert_equal_runs,
    metrics_of,
    regular,
    start,
    stopped_after,
    wait_until,
)

from nas.trial import Trial

EPOCHS = 3
EPOCH = 4  # batches: 68 images in batches of 16
# Everything that draws or has a state.
ALL: dict[str, Any] = {
    **{"train_epochs": EPOCHS, "learning_rate": 0.2, "drop_path_prob": 0.4, "cutout_length": 4, "crop_padding": 2},
    **{"flip": True, "auxiliary": True, "evaluate_test": True},
}


@pytest.fixture(scope="module")
def straight(module_darkroom: Laptop) -> Run:
    return module_darkroom.train(**ALL)


def test_the_straight_run_is_hard_enough(straight: Run) -> None:
    assert straight.code == 0, straight.err
    assert straight.values("validation", "batches") == [EPOCH, 2 * EPOCH, 3 * EPOCH]
    checkpoint = straight.checkpoint()
    names = {name.rpartition(".")[2] for name in checkpoint["models_state_dict"][0]}
    assert {"weight", "running_mean", "running_var", "num_batches_tracked"} <= names
    assert any(name.startswith("auxiliary") for name in checkpoint["models_state_dict"][0])
    momentum = [state["momentum_buffer"] for state in checkpoint["optimizers_state_dict"][0]["state"].values()]
    assert momentum and all(isinstance(value, torch.Tensor) for value in momentum)


@pytest.mark.parametrize(
    "cuts",
    [
        [EPOCH],  # at the end of an epoch
        [EPOCH + 2],  # within one
        [1],
        [2 * EPOCH - 1],
        [2, EPOCH, EPOCH + 1, 3 * EPOCH - 1],  # again and again
    ],
)
def test_a_stop_changes_nothing(darkroom: Laptop, straight: Run, cuts: list[int]) -> None:
    run: Run | None = None
    for batches in cuts:
        with stopped_after(batches):
            run = darkroom.train(**ALL) if run is None else darkroom.resume(run.path)
        assert run.code == 0 and run.read("run.json")["status"] == "stopped"
        assert run.read("run.json")["latest"]["batches"] == batches and run.metrics("test") == []
        assert f"after {batches} batches" in run.out
    assert run is not None
    assert_equal_runs(darkroom.resume(run.path), straight)


def test_a_stop_in_the_last_batch_skips_no_validation(darkroom: Laptop, straight: Run) -> None:
    with stopped_after(EPOCHS * EPOCH):
        run = darkroom.train(**ALL)
    if run.read("run.json")["status"] != "completed":
        assert run.metrics("test") == []
        run = darkroom.resume(run.path)
    assert regular(run) == regular(straight)


def test_a_crash_keeps_what_was_trained(darkroom: Laptop, straight: Run) -> None:
    def fail(_: Trial, index: int) -> None:
        assert index < EPOCH + 2 or 1 / 0

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        after_step(patch, fail)
        darkroom.train(**ALL)
    folder = darkroom.newest()
    assert folder is not None
    assert_equal_runs(darkroom.resume(folder), straight)


def test_a_run_without_validation_goes_on(darkroom: Laptop) -> None:
    whole = darkroom.train("data.validation_fraction=0", **ALL)
    with stopped_after(EPOCH + 3):
        run = darkroom.train("data.validation_fraction=0", **ALL)
    run = darkroom.resume(run.path)
    assert run.read("run.json")["status"] == "completed" and regular(run) == regular(whole)


def test_a_killed_process(darkroom: Laptop) -> None:
    options = {**ALL, "train_epochs": 12, "auxiliary": False}
    process = start(darkroom.arguments(**options), darkroom.kind)
    try:
        wait_until(lambda: [path for path in darkroom.left() if len(metrics_of(path, "validation")) > 1], process)
        (folder,) = darkroom.left()
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it should not have come to its end"
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    run = darkroom.resume(folder)
    assert run.code == 0, run.err
    assert_equal_runs(run, darkroom.train(**options))
