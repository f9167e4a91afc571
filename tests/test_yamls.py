"""Every config in the root: it loads, it makes sense, and it trains."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pathspec
import pytest
from conftest import ROOT, Laptop, read_config

from model_def import RecurrentTrial
from training import config as configs

YAMLS = sorted(path.name for path in ROOT.glob("*.yaml"))
LAUNCHER = "python3 -m determined.launch.torch_distributed"
# What a master of Determined 0.38.1 takes at the top level, without what is deprecated or does nothing.
KEYS = {
    *(
        "bind_mounts",
        "checkpoint_storage",
        "data",
        "debug",
        "description",
        "entrypoint",
        "environment",
        "hyperparameters",
        "integrations",
        "labels",
    ),
    *(
        "log_policies",
        "max_restarts",
        "name",
        "pbs",
        "preemption_timeout",
        "project",
        "reproducibility",
        "resources",
        "retention_policy",
        "searcher",
    ),
    *("security", "slurm", "tensorboard_storage", "workspace"),
}
SEARCHER_KEYS = {
    "single": set(),
    "random": {"max_trials", "max_concurrent_trials"},
    "grid": {"max_concurrent_trials"},
    "adaptive_asha": {
        *("max_trials", "max_time", "time_metric", "mode", "divisor", "max_rungs"),
        *("max_concurrent_trials", "bracket_rungs"),
    },
}


@pytest.mark.parametrize("name", YAMLS)
def test_a_master_knows_every_key(name: str) -> None:
    config = read_config(name)
    searcher = config["searcher"]
    assert set(config) <= KEYS
    assert isinstance(config["name"], str) and config["name"] == Path(name).stem
    allowed = {"name", "metric", "smaller_is_better", "source_trial_id", "source_checkpoint_uuid"}
    assert set(searcher) <= allowed | SEARCHER_KEYS[searcher["name"]]
    assert {"name", "metric"} <= set(searcher)
    assert ("max_time" in searcher) == ("time_metric" in searcher) == (searcher["name"] == "adaptive_asha")


@pytest.mark.parametrize("name", YAMLS)
def test_the_entrypoint_serves_every_slot_count(name: str) -> None:
    entrypoint = read_config(name)["entrypoint"]
    assert entrypoint.startswith(f"{LAUNCHER} python3 ")
    script = shlex.split(entrypoint.removeprefix(LAUNCHER))[1]
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("name", YAMLS)
def test_hyperparameters_make_sense_however_they_are_drawn(name: str) -> None:
    config = read_config(name)
    for seed in range(5):
        hparams, _ = configs.draw(config["hyperparameters"], seed)
        settings = RecurrentTrial.check(hparams, config["data"], 1)
        unit, count = configs.training_length(config, settings.run.train_epochs)
        assert unit in ("epochs", "batches") and count > 0


@pytest.mark.parametrize("name", YAMLS)
def test_one_batch_trains_and_validates(name: str, laptop: Laptop) -> None:
    shrunk = {"train_epochs": None}
    if "num_archs_to_eval" in read_config(name)["hyperparameters"]:
        shrunk |= {"num_archs_to_eval": 2}
    run = laptop.train("searcher.max_time=1", "searcher.time_metric=batches", config=name, **shrunk)
    assert run.code == 0, run.err
    assert [run.values(group, "batches") for group in ("training", "validation")] == [[1], [1]]
    assert run.read("run.json")["status"] == "completed"
    assert read_config(name)["searcher"]["metric"] in run.metrics("validation")[0]


def test_a_grid_names_as_many_points_as_it_says() -> None:
    for name in YAMLS:
        config = read_config(name)
        if config["searcher"]["name"] == "grid":
            searched = [spec for spec in config["hyperparameters"].values() if isinstance(spec, dict)]
            assert searched and all(grid_points(spec) for spec in searched)


def grid_points(spec: dict[str, Any]) -> list[int]:
    """An integer axis has `count` different values, both ends included."""
    low, high, count = spec["minval"], spec["maxval"], spec["count"]
    points = [round(low + i * (high - low) / (count - 1)) for i in range(count)]
    return points if len(set(points)) == count else []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_context_is_small() -> None:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no clone, or no git")
    ignored = pathspec.PathSpec.from_lines("gitwildmatch", (ROOT / ".detignore").read_text().splitlines())
    names = [name for name in listed.stdout.split("\0") if name and not ignored.match_file(name)]
    sizes = {name: (ROOT / name).stat().st_size for name in names if (ROOT / name).is_file()}
    assert sum(sizes.values()) < 1_000_000, sorted(sizes.items(), key=lambda item: -item[1])[:5]
    assert {"model_def.py", "startup-hook.sh", "training/entry.py", *YAMLS} <= set(sizes)
    assert not any(name.startswith("tests/") for name in sizes)
