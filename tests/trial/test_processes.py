"""Two processes of one `torchrun` train what one process trains."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import torch
from support.runs import Laptop, Run, averaged_steps, metrics_of, torchrun, wait_until, weights_of

from randomNAS_files.architecture import from_json
from randomNAS_files.genotypes import ASHA

COMMON: dict[str, Any] = {
    **{"arch_to_use": "ASHA", "dropoute": 0.1, "alpha": 0.1, "beta": 0.1},
    **{"train_epochs": 4, "nonmono": 0, "learning_rate": 20, "evaluate_test": True},
    **{"eval_same_arch": False, "num_archs_to_eval": 3},
}
CLOSE: dict[str, float] = {"rel": 1e-4}

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")


def assert_close(run: Run, single: Run) -> None:
    for group, name in (
        ("training", "loss"),
        ("validation", "loss"),
        ("validation", "perplexity"),
        ("test", "test_loss"),
    ):
        assert run.values(group, name) == [pytest.approx(value, **CLOSE) for value in single.values(group, name)]
    for group in ("training", "validation"):
        assert run.values(group, "epochs") == single.values(group, "epochs")
        assert run.values(group, "batches") == single.values(group, "batches")
    ours, theirs = weights_of(run.checkpoint()), weights_of(single.checkpoint())
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def single(module_laptop: Laptop) -> Run:
    return module_laptop.train(**COMMON)


@pytest.fixture(scope="module")
def double(module_laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Laptop, Run]:
    laptop = Laptop(tmp_path_factory.mktemp("two"), module_laptop.data)
    process = torchrun(laptop.arguments(**COMMON))
    out, err = process.communicate(timeout=120)
    return laptop, Run(process.returncode, out, err, laptop.newest())


def test_two_processes_train_what_one_trains(double: tuple[Laptop, Run], single: Run) -> None:
    _, run = double
    assert run.code == 0, run.err
    assert averaged_steps(run.checkpoint()) > 0
    assert_close(run, single)


def test_two_processes_leave_one_folder(double: tuple[Laptop, Run], single: Run) -> None:
    laptop, run = double
    assert len(laptop.left()) == 1 and run.read("run.json")["status"] == "completed"
    assert {path.name for path in run.path.iterdir()} - {".lock"} == {path.name for path in single.path.iterdir()} - {
        ".lock"
    }
    assert from_json(run.read("genotype.json")) == ASHA
    assert len([line for line in run.out.splitlines() if line.startswith("epoch")]) == COMMON["train_epochs"]


def test_two_processes_score_the_same_random_cells(double: tuple[Laptop, Run], single: Run) -> None:
    _, run = double
    ours, theirs = ({score["sample"]: score for score in each.read("architectures.json")} for each in (run, single))
    assert ours.keys() == theirs.keys()
    for sample, score in ours.items():
        assert score["genotype"] == theirs[sample]["genotype"]
        assert score["loss"] == pytest.approx(theirs[sample]["loss"], **CLOSE)


def test_one_process_goes_on_where_two_stopped(laptop: Laptop, single: Run) -> None:
    apart = Laptop(laptop.experiments.parent / "two", laptop.data)
    process = torchrun(apart.arguments(**COMMON))
    try:
        wait_until(lambda: [path for path in apart.left() if metrics_of(path, "validation")], process)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    (folder,) = apart.left()
    stopped = Run(0, "", "", folder)
    assert stopped.read("run.json")["status"] == "stopped" and stopped.metrics("test") == []
    assert stopped.read("run.json")["latest"]["epochs"] < COMMON["train_epochs"]
    run = laptop.resume(folder)
    assert run.code == 0, run.err
    assert_close(run, single)


def test_a_batch_that_cannot_be_shared_out_is_refused(laptop: Laptop) -> None:
    process = torchrun(laptop.arguments(global_batch_size=3))
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0 and "exitcode  : 2" in err  # torchrun's own status is always 1
    assert "hyperparameters.global_batch_size" in err and "multiple of the 2 processes" in err
    assert "ConfigError" not in err
    assert laptop.left() == []
