"""Every config of the repository: it loads, it makes sense, and it trains."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.kirigami import sheets, strain
from support.runs import IMAGES, RECURRENT, ROOT, TINY, Kind, Laptop, read_config
from support.search import SEARCH_IMAGES, SEARCH_TEXT

from cnn_nas.images import kirigami
from nas.config import load as configs
from nas.config.search_space import trial_sampler
from nas.core.errors import CANNOT_WORK

YAMLS = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (ROOT, ROOT / "cnn_nas", ROOT / "one_shot")
    for path in folder.glob("*.yaml")
)
KINDS = {"model_def.py": RECURRENT, "cnn_nas.trial": IMAGES}  # by what an entrypoint runs
SEARCHES = {"convolutional": SEARCH_IMAGES, "recurrent": SEARCH_TEXT}  # by space
# One cell, with batches of 4, whatever the config asks for; the constraints about size are for its own network.
SHRUNK_IMAGES: dict[str, Any] = {
    **{"init_channels": 2, "layers": 2, "global_batch_size": 4, "eval_batch_size": 500},
    "channels_last": False,  # see `TINY_IMAGES`
}
SHRUNK_SEARCH = {"score_archs": 2, "rescore": 1, "epoch_archs": 1, "select_batches": 1, "score_batches": 1}
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
SEARCHERS = {"single": "training", "random": "random search", "grid": "grid search", "adaptive_asha": "ASHA"}
DATA = {
    **{"ptb": "Penn Treebank", "pydoc": "Python reference text", "folder": "folder of images", "digits": "digits"},
    **{
        "mnist": "MNIST",
        "fashion_mnist": "Fashion-MNIST",
        "cifar10": "CIFAR-10",
        "kirigami": "kirigami",
        "graphene": "kirigami",
    },
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
    assert config["name"] in (Path(name).stem, f"cnn_{Path(name).stem}", f"one_shot_{Path(name).stem}")
    allowed = {"name", "metric", "smaller_is_better", "source_trial_id", "source_checkpoint_uuid"}
    assert set(searcher) <= allowed | SEARCHER_KEYS[searcher["name"]]
    assert {"name", "metric"} <= set(searcher)
    assert ("max_time" in searcher) == ("time_metric" in searcher) == (searcher["name"] == "adaptive_asha")


@pytest.mark.parametrize("name", YAMLS)
def test_the_web_ui_says_how_it_was_made(name: str) -> None:
    config = read_config(name)
    labels, search = config["labels"], config["searcher"]["name"]
    assert 10 < len(config["description"]) <= 100 and len(set(labels)) == len(labels)
    recurrent = "model_def.py" in config["entrypoint"] or config["hyperparameters"].get("space") == "recurrent"
    assert labels[0] == ("recurrent cells" if recurrent else "convolutional cells")
    assert labels[1] == DATA[config["data"].get("corpus") or config["data"]["dataset"]]
    assert labels[2] == ("weight sharing" if name.startswith("one_shot/") else SEARCHERS[search])


def test_names_are_unique() -> None:
    names = [read_config(name)["name"] for name in YAMLS]
    assert len(set(names)) == len(names)


def kind_of(name: str) -> Kind:
    """The trial that a config's entrypoint runs."""
    config = read_config(name)
    words = shlex.split(config["entrypoint"].removeprefix(LAUNCHER))
    return SEARCHES[config["hyperparameters"]["space"]] if words[-1] == "one_shot.trial" else KINDS[words[-1]]


@pytest.mark.parametrize("name", YAMLS)
def test_a_run_that_cannot_work_is_not_started_again(name: str) -> None:
    """A master searches each line of the log; one of them holds the config as JSON, and with it the pattern."""
    config = read_config(name)
    (policy,) = config["log_policies"]
    assert set(policy) == {"name", "pattern", "action"} and policy["action"] == "cancel_retries"
    for line in ("/data/ptb cannot be read", "hyperparameters.emsize must be 8"):
        assert re.search(policy["pattern"], f"[rank=0] ERROR: [7] nas.trial.user_errors: {CANNOT_WORK}{line}")
    others = [json.dumps(config), *Path(ROOT, name).read_text().splitlines(), "Traceback (most recent call last):"]
    others += ["RuntimeError: it does not work", "this run failed: could not download x; a restart may help"]
    assert not [line for line in others if re.search(policy["pattern"], line)]
    assert config["max_restarts"] > 0  # for everything else


@pytest.mark.parametrize("name", YAMLS)
def test_the_entrypoint_serves_every_slot_count(name: str) -> None:
    entrypoint = read_config(name)["entrypoint"]
    assert entrypoint.startswith(f"{LAUNCHER} python3 ")
    _, *script = shlex.split(entrypoint.removeprefix(LAUNCHER))
    if script[0] == "-m":
        assert len(script) == 2 and importlib.util.find_spec(script[1]) is not None
    else:
        assert len(script) == 1 and (ROOT / script[0]).is_file()


@pytest.mark.parametrize("name", YAMLS)
def test_hyperparameters_make_sense_however_they_are_drawn(name: str) -> None:
    config = read_config(name)
    module, _, trial = kind_of(name).trial.partition(":")
    slots = config.get("resources", {}).get("slots_per_trial", 1)
    for draw in itertools.islice(trial_sampler(config, configs.experiment_seed(config)), 5):
        trial_class = getattr(importlib.import_module(module), trial)
        settings = trial_class.check(draw.hparams, config["data"], slots)
        unit, count = configs.training_length(config, settings.run.train_epochs)
        assert unit in ("epochs", "batches") and count > 0
        configs.check_searcher(config, trial_class.metric_directions(settings), trial_class.metric_directions(None))


@pytest.fixture
def sheets_of_graphene(tmp_path: Path) -> Path:
    """A small table of kirigami."""
    cuts = np.random.RandomState(0).permutation(sheets(2))[:60]
    np.savetxt(tmp_path / kirigami.TABLE, np.column_stack([cuts, strain(cuts)]), fmt="%.6g")
    return tmp_path


@pytest.mark.parametrize("name", YAMLS)
def test_one_batch_trains_and_validates(name: str, laptop: Laptop, pictures: Path, sheets_of_graphene: Path) -> None:
    config, kind = read_config(name), kind_of(name)
    one_batch = ["searcher.max_time=1", "searcher.time_metric=batches", "hyperparameters.train_epochs=null"]
    if kind is RECURRENT:
        run = laptop.train(*one_batch, config=name, **candidates_of(config))
    else:
        shrunk = {f"hyperparameters.{key}": value for key, value in shrunk_hparams(config, kind).items()}
        shrunk |= {"hyperparameters.constraints.parameters": None} if "constraints" in config["hyperparameters"] else {}
        shrunk |= {f"data.{key}": value for key, value in data_of(config, pictures, sheets_of_graphene).items()}
        small = [f"{key}={json.dumps(value)}" for key, value in shrunk.items()]
        sets = [part for pair in (*one_batch, *small) for part in ("--set", pair)]
        images = replace(laptop, kind=kind)
        run = images.main(["--config", str(ROOT / name), "--experiments", str(images.experiments), *sets])
    assert run.code == 0, run.err
    validates = config["data"].get("validation_fraction") != 0
    assert [run.values(group, "batches") for group in ("training", "validation")] == [[1], [1]]
    assert run.read("run.json")["status"] == "completed"
    assert (config["searcher"]["metric"] in run.metrics("validation")[0]) == validates
    assert bool(run.metrics("test")) == config["hyperparameters"].get("evaluate_test", False)


def shrunk_hparams(config: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """Hyperparameters of a small image trial or search."""
    hparams = config["hyperparameters"]
    fewer = {name: value for name, value in SHRUNK_SEARCH.items() if name in hparams}
    if kind is SEARCH_TEXT:
        return {**TINY, **fewer, "eval_batch_size": 200, "train_epochs": None}  # the text that validates is long
    return {**SHRUNK_IMAGES, **fewer, "init_channels": 2 * hparams.get("partial", 1)}


def candidates_of(config: dict[str, Any]) -> dict[str, Any]:
    return {"num_archs_to_eval": 2} if "num_archs_to_eval" in config["hyperparameters"] else {}


def data_of(config: dict[str, Any], pictures: Path, graphene: Path) -> dict[str, Any]:
    """What to read instead of a download."""
    if "corpus" in config["data"]:
        return {"corpus": "pydoc"}
    if config["data"]["dataset"] in ("kirigami", "graphene"):
        return {"data_dir": str(graphene)}
    if config["data"]["dataset"] == "digits":
        pytest.importorskip("sklearn")
        return {}
    return {"dataset": "folder", "data_dir": str(pictures), "image_size": 18}


def test_a_grid_names_as_many_points_as_it_says() -> None:
    for name in YAMLS:
        config = read_config(name)
        if config["searcher"]["name"] == "grid":
            searched = [spec for spec in config["hyperparameters"].values() if isinstance(spec, dict)]
            assert searched and all(grid_points(spec) for spec in searched)


def grid_points(spec: dict[str, Any]) -> list[Any]:
    """The different values of an axis, if there are as many as it says; an integer one has `count`, both ends included."""
    if spec["type"] == "categorical":
        points, count = spec["vals"], len(spec["vals"])
    else:
        low, high, count = spec["minval"], spec["maxval"], spec["count"]
        points = [round(low + i * (high - low) / (count - 1)) for i in range(count)]
    return points if len(set(points)) == count else []
