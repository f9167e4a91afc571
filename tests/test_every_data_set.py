"""Every data set, on made files of its form: a search, the export of what it found, its retraining and its test."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.kirigami import sheets, strain
from support.runs import IMAGES, ROOT, Kind, Laptop, Run
from support.search import SEARCH_IMAGES

from cnn_nas.images import datasets, kirigami
from cnn_nas.images.data import ImageData
from cnn_nas.space import SPACE
from nas.cli.main import main as nas

SMALL: dict[str, Any] = {
    **{"hyperparameters.init_channels": 2, "hyperparameters.layers": 1, "hyperparameters.global_batch_size": 8},
    **{"hyperparameters.eval_batch_size": 1000, "hyperparameters.channels_last": False},
    **{"hyperparameters.train_epochs": None, "searcher.max_time": 2, "searcher.time_metric": "batches"},
}
Patch = pytest.MonkeyPatch


def of_mnist(folder: Path, patch: Patch, name: str = "MNIST") -> None:
    """Four files that pass for those of MNIST or Fashion-MNIST here."""
    digests = {}
    for (images, labels), count in zip(datasets.SPLITS.values(), (60, 20), strict=True):
        pixels = np.random.RandomState(count).randint(0, 256, (count, 28, 28), np.uint8)
        for file, array in ((images, pixels), (labels, (np.arange(count) % 10).astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / file).write_bytes(header + array.tobytes())
            digests[file] = hashlib.sha256(header + array.tobytes()).hexdigest()
    patch.setattr(datasets, name, dataclasses.replace(getattr(datasets, name), unpacked=digests))


def of_fashion_mnist(folder: Path, patch: Patch) -> None:
    of_mnist(folder, patch, "FASHION_MNIST")


def of_cifar10(folder: Path, patch: Patch) -> None:
    digests = {}
    for seed, name in enumerate(datasets.CIFAR10_MD5):
        rows = np.random.RandomState(seed).randint(0, 256, (20, 3072), np.uint8)
        content = pickle.dumps({"data": rows, "labels": [i % 10 for i in range(20)]}, protocol=2)
        (folder / name).write_bytes(content)
        digests[name] = hashlib.md5(content).hexdigest()
    patch.setattr(datasets, "CIFAR10_MD5", digests)


def of_graphene(folder: Path, patch: Patch) -> None:
    """The true designs, all 29,791 of them, with a made strain."""
    cuts = np.random.RandomState(0).permutation(sheets())
    np.savetxt(folder / kirigami.TABLE, np.column_stack([cuts, strain(cuts)]), fmt="%.4g")


CASES: dict[str, tuple[str, Callable[[Path, Patch], None] | None, int]] = {  # with the number of test images
    "mnist": ("one_shot/cnn_mnist.yaml", of_mnist, 20),
    "fashion_mnist": ("one_shot/cnn_fashion_mnist.yaml", of_fashion_mnist, 20),
    "cifar10": ("one_shot/cnn_darts.yaml", of_cifar10, 20),
    "folder": ("one_shot/cnn_folder.yaml", None, 31),
    "folder with val": ("one_shot/cnn_folder.yaml", None, 31),
    "graphene": ("one_shot/cnn_kirigami.yaml", of_graphene, 0),
}
CHANGES: dict[str, dict[str, Any]] = {
    "graphene": {"data.dataset": "graphene", "data.validation_fraction": 100 / 23_835},
    "folder": {"data.image_size": 18},
    "folder with val": {"data.image_size": 18, "data.validation_folder": "val"},
}


def train(kind: Kind, config: Path, folder: Path, **values: Any) -> Run:
    sets = [part for name, value in values.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    run = Laptop(folder, folder, kind).main(["--config", str(config), "--experiments", str(folder), *sets])
    assert run.code == 0, run.err + run.out
    return run


@pytest.mark.parametrize("name", CASES)
def test_from_search_to_test(name: str, tmp_path: Path, pictures: Path, monkeypatch: Patch) -> None:
    config, make, tested = CASES[name]
    data = pictures if make is None else tmp_path / "data"
    if make is not None:
        data.mkdir()
        make(data, monkeypatch)
    if name == "folder with val":
        data = shutil.copytree(pictures, tmp_path / "pictures")
        for path in sorted((data / "train").glob("*/1*.png")):  # six of fifteen of each class
            (data / "val" / path.parent.name).mkdir(parents=True, exist_ok=True)
            path.rename(data / "val" / path.parent.name / path.name)
    where = {"data.data_dir": str(data), "data.download_dir": str(tmp_path / "cache"), **CHANGES.get(name, {})}
    with monkeypatch.context() as patch:  # no test image decides anything
        patch.setattr(ImageData, "test", property(lambda self: pytest.fail("the search has read the test split")))
        search = train(SEARCH_IMAGES, ROOT / config, tmp_path / "search", **SMALL, **where)
    assert not search.metrics("test") and len(search.read("search.json")) == 1

    assert nas(["export", str(search.path), "--out", str(tmp_path / "found")]) == 0
    found = SPACE.from_json(json.loads((tmp_path / "found" / "genotype.json").read_text()))
    trained = train(IMAGES, tmp_path / "found" / "retrain.yaml", tmp_path / "trained", **SMALL)
    assert SPACE.from_json(trained.read("genotype.json")) == SPACE.from_json(search.read("genotype.json")) == found
    assert trained.read("run.json")["status"] == "completed"
    (score,) = trained.metrics("test")
    assert all(math.isfinite(value) for key, value in score.items() if key.startswith("test_"))
    if name == "folder with val":
        for run in (search, trained):
            parts = run.read("run.json")["identity"]["data"]
            assert {part: found["count"] for part, found in parts.items()} == {"train": 54, "valid": 36}
    if tested:
        assert round(score["test_top1_accuracy"] * tested, 6).is_integer() and 0 <= score["test_top1_accuracy"] <= 1
    else:
        assert score["test_r2"] <= 1 and "test_r2_batches" not in score
