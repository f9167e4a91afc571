"""What only a GPU can show: there too one seed gives one run, and a stop changes nothing. `make test-gpu` runs these."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import HARD, IMAGES, RECURRENT, Kind, Laptop, Run, assert_equal_runs, regular, stopped_after
from support.search import SEARCH_IMAGES, search, search_config

pytestmark = pytest.mark.gpu

DRAWING: dict[str, Any] = {  # everything of an image trial that draws or has a state
    **{"train_epochs": 3, "learning_rate": 0.2, "drop_path_prob": 0.4, "cutout_length": 4, "crop_padding": 2},
    **{"flip": True, "auxiliary": True, "evaluate_test": True, "init_channels": 8, "channels_last": True},
}
CASES = {
    "recurrent, fast": (RECURRENT, HARD),
    "recurrent, graphs": (RECURRENT, {**HARD, "cuda_graphs": True}),
    "recurrent, plain": (RECURRENT, {**HARD, "fast": False}),
    "recurrent, bfloat16": (RECURRENT, {**HARD, "precision": "bf16"}),
    "images, bfloat16": (IMAGES, {**DRAWING, "mixed_precision": True}),
    "images, cast at once and widened": (
        IMAGES,
        {**DRAWING, "init_channels": 12, "mixed_precision": True, "weight_casts": "once", "pad_channels": True},
    ),
    "images, float32": (IMAGES, {**DRAWING, "mixed_precision": False}),
    "images, bfloat16, graphs": (IMAGES, {**DRAWING, "mixed_precision": True, "cuda_graphs": True}),
    "images, float32, graphs": (IMAGES, {**DRAWING, "mixed_precision": False, "cuda_graphs": True}),
    "images, plain": (IMAGES, {**DRAWING, "mixed_precision": False, "fast": False}),
}


CUDA_ONLY = {"recurrent, kernels": (RECURRENT, {**HARD, "kernels": "triton"})}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Kind, dict[str, Any]]:
    return (CASES | CUDA_ONLY)[request.param]


def on_the_gpu(laptop: Laptop, settings: dict[str, Any]) -> Run:
    """Train to the end, or until a signal."""
    run = laptop.main([*laptop.arguments(**settings), "--device", "cuda"])
    assert run.code == 0, run.err
    assert "device       cuda" in run.out
    return run


def laptop_of(kind: Kind, tmp_path: Path, corpus: Path, pictures: Path) -> Laptop:
    return Laptop(tmp_path / "experiments", corpus if kind is RECURRENT else pictures, kind)


@pytest.mark.parametrize("case", [*CASES, *CUDA_ONLY], indirect=True)
def test_one_seed_gives_one_run_and_a_stop_changes_nothing(
    case: tuple[Kind, dict[str, Any]], tmp_path: Path, corpus: Path, pictures: Path
) -> None:
    kind, settings = case
    laptop = laptop_of(kind, tmp_path, corpus, pictures)
    straight, again = on_the_gpu(laptop, settings), on_the_gpu(laptop, settings)
    assert regular(again) == regular(straight)
    assert_equal_runs(again, straight)
    whole = straight.read("run.json")["latest"]["batches"]
    for batches in (1, whole // 2, whole - 1):
        with stopped_after(batches):
            stopped = on_the_gpu(laptop, settings)
        assert stopped.read("run.json")["status"] == "stopped"
        resumed = replace(laptop.main(["--resume", str(stopped.path), "--device", "cuda"]), folder=stopped.path)
        assert_equal_runs(resumed, straight)


def test_a_checkpoint_of_a_gpu_goes_on_without_one(
    case: tuple[Kind, dict[str, Any]], tmp_path: Path, corpus: Path, pictures: Path
) -> None:
    kind, settings = case
    laptop = laptop_of(kind, tmp_path, corpus, pictures)
    with stopped_after(3):
        stopped = on_the_gpu(laptop, settings)
    resumed = replace(laptop.main(["--resume", str(stopped.path), "--device", "cpu"]), folder=stopped.path)
    assert resumed.code == 0, resumed.err
    assert resumed.read("run.json")["status"] == "completed"
    assert all(torch.isfinite(torch.tensor(resumed.values("validation", "loss"))))


HALF, GRAPHS = {"precision": "bf16"}, {"cuda_graphs": True}
SEARCHES: list[tuple[str, str, dict[str, Any]]] = [
    *(("images", method, {}) for method in ("DARTS, second order", "GDAS", "DrNAS", "random")),
    *(("text", method, {}) for method in ("DARTS, first order", "random")),
    *(("images", method, GRAPHS) for method in ("DARTS, second order", "DrNAS")),
    ("text", "DARTS, first order", GRAPHS),
    ("text", "DARTS, second order", {**GRAPHS, **HALF}),
    *(("text", method, HALF) for method in ("DARTS, second order", "random")),
]


@pytest.mark.parametrize(("space", "method", "settings"), SEARCHES, ids=str)
def test_a_search_repeats_and_a_stop_changes_nothing(
    space: str, method: str, settings: dict[str, Any], tmp_path: Path, corpus: Path, pictures: Path
) -> None:
    config = search_config(space, method, pictures if space == "images" else corpus, **settings)
    runs = [search(tmp_path / name, config, "--device", "cuda") for name in ("straight", "again")]
    assert all(run.code == 0 and "device       cuda" in run.out for run in runs), runs[0].err
    assert_equal_runs(runs[1], runs[0])
    with stopped_after(3):
        stopped = search(tmp_path / "cut", config, "--device", "cuda")
    laptop = Laptop(stopped.path.parent, stopped.path, SEARCH_IMAGES)
    resumed = replace(laptop.main(["--resume", str(stopped.path), "--device", "cuda"]), folder=stopped.path)
    assert_equal_runs(resumed, runs[0])
    assert resumed.read("genotype.json") == runs[0].read("genotype.json")
