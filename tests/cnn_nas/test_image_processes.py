"""Two processes of one `torchrun` train an image trial.

Batch norm normalises by the images that a process has, so the weights are not those that one process would train; all
else is compared: who sees which images, and that the scores are those of the network in the checkpoint.
"""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from support.convolutional import network_of, outputs_of, plain_scores
from support.forked import Two
from support.runs import CLASSES, DEADLINE, IMAGES, Laptop, Run, metrics_of, torchrun, wait_until

from cnn_nas.architecture import Genotype, from_json
from cnn_nas.genotypes import DARTS_V2
from cnn_nas.images.data import DataConfig, load

COMMON: dict[str, Any] = {"train_epochs": 2, "learning_rate": 0.1, "evaluate_test": True}
# Edges without parameters, nodes and cells on which nothing depends.
IDLE = Genotype(
    normal=(("none", 0), ("sep_conv_3x3", 0), *(("none", 2), ("skip_connect", 0)) * 3),
    reduce=(("sep_conv_3x3", 0), ("none", 1), *(("dil_conv_3x3", 0), ("none", 2)) * 3),
)

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")


@pytest.fixture(scope="module")
def doubles(module_darkroom: Laptop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Laptop, Run]]:
    """Three runs with two processes each; the one whose message is torchrun's is started by it."""
    jobs: dict[str, dict[str, Any]] = {
        "plain": COMMON,
        "idle": {**COMMON, "arch_to_use": None, **IDLE.to_hparams(), "auxiliary": False, "train_epochs": 8},
        "odd": {"global_batch_size": 15},
    }

    def run(name: str) -> tuple[Laptop, Run]:
        laptop = Laptop(tmp_path_factory.mktemp(name), module_darkroom.data, IMAGES)
        start = torchrun if name == "odd" else Two
        process = start(laptop.arguments(**jobs[name]), IMAGES)
        if name == "idle":
            wait_until(lambda: [path for path in laptop.left() if metrics_of(path, "validation")], process)
            os.killpg(process.pid, signal.SIGTERM)
        try:
            out, err = process.communicate(timeout=DEADLINE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return laptop, Run(process.returncode, out, err, laptop.newest())

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(jobs, pool.map(run, jobs), strict=True))


def test_two_processes_leave_one_folder(doubles: dict[str, tuple[Laptop, Run]]) -> None:
    laptop, run = doubles["plain"]
    assert run.code == 0, run.err
    assert len(laptop.left()) == 1 and run.read("run.json")["status"] == "completed"
    assert from_json(run.read("genotype.json")) == DARTS_V2
    assert len([line for line in run.out.splitlines() if line.startswith("epoch")]) == COMMON["train_epochs"]
    assert run.values("training", "batches") == run.values("validation", "batches") == [4, 8]
    assert len(run.metrics("test")) == 1


def test_scores_are_those_of_the_network_in_the_checkpoint(doubles: dict[str, tuple[Laptop, Run]]) -> None:
    """Every image held out counts once, and both processes score the same network."""
    laptop, run = doubles["plain"]
    net = network_of(run, CLASSES, (3, 8, 8))
    data = load(DataConfig(**{**IMAGES.data, "data_dir": str(laptop.data)}))
    assert data.valid is not None
    (test,) = run.metrics("test")
    for images, metrics, prefix in ((data.test, test, "test_"), (data.valid, run.metrics("validation")[-1], "")):
        expected = plain_scores(outputs_of(net, images, data.train), images.targets.numpy())
        assert {name: metrics[prefix + name] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_the_share_of_correct_images_counts_each_once(doubles: dict[str, tuple[Laptop, Run]]) -> None:
    """22 images validate, so accuracies are multiples of 1/22; 64 of 68 train in an epoch."""
    _, run = doubles["plain"]
    for group, count in (("validation", 22), ("training", 64), ("test", 31)):
        name = "test_top1_accuracy" if group == "test" else "top1_accuracy"
        for value in run.values(group, name):
            assert value * count == pytest.approx(round(value * count), abs=1e-9)


def test_parts_that_nothing_depends_on_do_no_harm(doubles: dict[str, tuple[Laptop, Run]]) -> None:
    _, run = doubles["idle"]
    assert run.code == 0, run.err
    assert run.read("run.json")["status"] == "stopped", run.err
    assert run.metrics("validation") and from_json(run.read("genotype.json")) == IDLE
    assert network_of(run, CLASSES, (3, 8, 8), IDLE).unused_parameters()


def test_a_batch_that_cannot_be_shared_out_is_refused(doubles: dict[str, tuple[Laptop, Run]]) -> None:
    laptop, run = doubles["odd"]
    assert run.code != 0 and "exitcode  : 2" in run.err  # torchrun's own status is always 1
    assert "hyperparameters.global_batch_size must be a multiple of the 2 processes" in run.err
    assert "ConfigError" not in run.err and laptop.left() == []


def test_one_process_goes_on_where_two_stopped(doubles: dict[str, tuple[Laptop, Run]], darkroom: Laptop) -> None:
    _, run = doubles["idle"]
    assert run.read("run.json")["status"] == "stopped" and run.metrics("test") == []
    assert run.read("run.json")["latest"]["epochs"] < 8
    again = darkroom.resume(run.path)
    assert again.code == 0 and again.read("run.json")["status"] == "completed"
    assert again.values("validation", "epochs") == list(range(1, 9)) and len(again.metrics("test")) == 1
    for value in again.values("training", "top1_accuracy"):  # the sums of both processes were taken over
        assert value * 64 == pytest.approx(round(value * 64), abs=1e-9)
