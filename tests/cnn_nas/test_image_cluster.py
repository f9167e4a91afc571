"""The image trial on a cluster, driven by a stub master."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.runs import (
    IMAGES,
    Laptop,
    assert_same,
    checkpoint_of,
    groups_of,
    reports_of,
    state_of,
)
from support.runs import assert_invalid as assert_invalid_of
from support.runs import master_of as master_of_any
from support.runs import run_on as run_on_any
from support.space_suite import leaves
from support.stub_master import StubMaster

import cnn_nas.trial
from cnn_nas.architecture import from_json
from cnn_nas.genotypes import DARTS_V2

EPOCHS, EPOCH = 3, 4
OPTIONS: dict[str, Any] = {"train_epochs": EPOCHS, "learning_rate": 0.1, "evaluate_test": True, "drop_path_prob": 0.3}
ASHA: dict[str, Any] = {
    **{"name": "adaptive_asha", "metric": "top1_accuracy", "smaller_is_better": False},
    **{"max_trials": 4, "max_time": 3, "time_metric": "epochs"},
}
RULES: dict[str, Any] = {
    **{"operations": ["max_pool_3x3", "skip_connect", "sep_conv_3x3"], "reduce": {"skip_connect": [1, 2]}},
    **{"normal": {"skip_connect": [1, 2], "sep_conv_3x3": [3, None]}, "parameters": [None, 1200]},
}
master_of = partial(master_of_any, kind=IMAGES)
run_on = partial(run_on_any, kind=IMAGES)
assert_invalid = partial(assert_invalid_of, kind=IMAGES)


@pytest.fixture(scope="module")
def whole(of_the_module: None, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """A trial that nobody disturbs."""
    master = master_of(pictures, tmp_path_factory.mktemp("storage"), **OPTIONS)
    run_on(master)
    return master


def test_metrics_have_the_names_that_were_promised(whole: StubMaster) -> None:
    names = {group: {frozenset(r.metrics) for r in whole.reports if r.group == group} for group in groups_of(whole)}
    assert names == {
        "training": {frozenset({"loss", "top1_accuracy", "lr", "epochs", "batches"})},
        "validation": {
            frozenset({"loss", "top1_accuracy", "top5_accuracy", "parameters", "macs", "epochs", "batches"})
        },
        "test": {frozenset({"test_loss", "test_top1_accuracy", "test_top5_accuracy"})},
    }
    assert groups_of(whole).count("test") == 1 and groups_of(whole)[-1] == "test"
    assert whole.validation("epochs") == [1, 2, 3] and whole.validation("batches") == [EPOCH, 2 * EPOCH, 3 * EPOCH]
    assert whole.progress[-1] == 1.0 and whole.early_exits == []


def test_metadata_describes_the_architecture_within_the_limits(whole: StubMaster) -> None:
    metadata = whole.run_metadata
    assert metadata[max(metadata)] == DARTS_V2.to_text() and metadata["dataset"] == "folder"
    assert list(metadata["architecture"]) == ["normal", "reduce"]
    assert metadata["architecture"]["normal"]["node 2"] == "sep_conv_3x3(0) + sep_conv_3x3(1)"
    for path, value in leaves(metadata):
        assert all(len(key) <= 50 and not re.search(r"[$.\[\]]", key) for key in path)
        assert type(value) in (int, float) or (isinstance(value, str) and len(value) <= 5000)


def test_each_checkpoint_holds_the_architecture(whole: StubMaster) -> None:
    for checkpoint in whole.checkpoints:
        written = json.loads((whole.storage / checkpoint["uuid"] / "genotype.json").read_text())
        assert from_json(written) == DARTS_V2


def test_the_same_trial_here_and_there(whole: StubMaster, darkroom: Laptop) -> None:
    here = darkroom.train(f"reproducibility.experiment_seed={whole.trial_seed}", **OPTIONS)
    assert_same(state_of(checkpoint_of(whole))["models_state_dict"], here.checkpoint()["models_state_dict"])
    for name in ("loss", "top1_accuracy", "top5_accuracy"):
        assert whole.validation(name) == here.values("validation", name)
        assert whole.values("test", f"test_{name}") == here.values("test", f"test_{name}")


@pytest.mark.parametrize("epoch", [1, 2])
def test_preempted_between_epochs(pictures: Path, tmp_path: Path, whole: StubMaster, epoch: int) -> None:
    first = master_of(pictures, tmp_path, **OPTIONS)
    first.preempt_after = epoch * EPOCH
    run_on(first)
    assert first.preemption_acknowledged and first.checkpoints[-1]["steps_completed"] == epoch * EPOCH
    assert "test" not in groups_of(first)
    assert_goes_on(first, whole)


def test_preempted_within_an_epoch(pictures: Path, tmp_path: Path) -> None:
    """An epoch has 34 batches, and metrics are reported after 100."""
    options = {**OPTIONS, "global_batch_size": 2, "train_epochs": 4, "auxiliary": False}
    undisturbed, first = (master_of(pictures, tmp_path / name, **options) for name in ("a", "b"))
    run_on(undisturbed)
    first.preempt_after = 100
    run_on(first)
    assert first.checkpoints[-1]["steps_completed"] == 100 and len(first.validation("loss")) == 2
    assert_goes_on(first, undisturbed)


def assert_goes_on(first: StubMaster, whole: StubMaster) -> None:
    second = first.resume()
    run_on(second)
    assert_same(state_of(checkpoint_of(second)), state_of(checkpoint_of(whole)))
    assert {**reports_of(first), **reports_of(second)} == reports_of(whole)
    assert groups_of(second).count("test") == 1 and groups_of(second)[-1] == "test"
    assert second.run_metadata == whole.run_metadata


def test_without_validation_the_test_is_what_scores(pictures: Path, tmp_path: Path) -> None:
    """A master gets validation reports without the searcher's metric; it needs none, as no searcher looks at them."""
    master = master_of(pictures, tmp_path, **OPTIONS)
    master.config["data"]["validation_fraction"] = 0
    with master:
        assert cnn_nas.trial.main(IMAGES.trial) == 0
    assert master.unknown_requests == [] and master.early_exits == []
    assert all(set(report.metrics) <= {"epochs", "batches"} for report in master.validations())
    assert groups_of(master).count("test") == 1 and groups_of(master)[-1] == "test"
    assert master.checkpoints[-1]["steps_completed"] == EPOCHS * 5


def test_a_search_needs_something_held_out(pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """ASHA puts the experiment into ERROR where a validation lacks its metric."""
    master = master_of(pictures, tmp_path, ASHA, train_epochs=None)
    master.config["data"]["validation_fraction"] = 0
    assert_invalid(master)
    assert any("validation_fraction" in message for message in caplog.messages)


def test_a_warm_start_from_another_trial(pictures: Path, whole: StubMaster) -> None:
    """The weights are taken over, the progress is not."""
    still = {**OPTIONS, "learning_rate": 1e-12, "weight_decay": 0, "train_epochs": 1}
    changes = {"trial_id": 2, "latest_checkpoint": whole.checkpoints[-1]["uuid"], "steps_completed": 0}
    warm = replace(master_of(pictures, whole.storage, **still), **changes)
    run_on(warm)
    assert warm.validation("epochs") == [1] and groups_of(warm)[-1] == "test"
    before, after = (checkpoint_of(each)["models_state_dict"][0] for each in (whole, warm))
    for name, value in before.items():
        if "weight" in name and value.ndim == 4:
            assert (after[name] - value).abs().max() < 1e-6


def test_a_warm_start_has_its_own_momentum_and_decay(pictures: Path, whole: StubMaster) -> None:
    mine = {**OPTIONS, "momentum": 0.25, "weight_decay": 0.125, "train_epochs": 1}
    changes = {"trial_id": 2, "latest_checkpoint": whole.checkpoints[-1]["uuid"], "steps_completed": 0}
    warm = replace(master_of(pictures, whole.storage, **mine), **changes)
    run_on(warm)
    before, after = (checkpoint_of(each)["optimizers_state_dict"][0]["param_groups"][0] for each in (whole, warm))
    assert (after["momentum"], after["weight_decay"]) == (0.25, 0.125)
    assert before["momentum"] != 0.25 and before["weight_decay"] != 0.125


def test_asha_says_how_long_to_train_and_wants_accuracy(pictures: Path, tmp_path: Path) -> None:
    master = master_of(pictures, tmp_path, ASHA, train_epochs=None)
    run_on(master)
    assert master.validation("epochs") == [1, 2, 3]
    assert all(0 <= value <= 1 for value in master.validation("top1_accuracy"))
    last = master.values("training", "lr")[-1]
    assert last < 0.2 * master.values("training", "lr")[0], "the schedule lasts as long as the searcher says"


def test_asha_counts_batches(pictures: Path, tmp_path: Path) -> None:
    master = master_of(pictures, tmp_path, {**ASHA, "max_time": 6, "time_metric": "batches"}, train_epochs=None)
    run_on(master)
    assert master.validation("batches") == [4, 6]


@pytest.mark.parametrize("searcher", [None, ASHA])
def test_a_loss_that_is_not_finite(
    pictures: Path, tmp_path: Path, searcher: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The accuracy that the searcher wants large is no better than guessing."""
    master = master_of(pictures, tmp_path, searcher, learning_rate=1e30, train_epochs=None if searcher else 3)
    run_on(master)
    assert master.validation("epochs") == ([1, 2, 3] if searcher else [1])
    assert all(value > 1e9 and math.isfinite(value) for value in master.validation("loss"))
    assert all(value < 0.5 for value in master.validation("top1_accuracy"))
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("not finite" in warning and "learning_rate" in warning for warning in warnings)
    assert master.early_exits == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_draws_the_same_here_and_there(pictures: Path, tmp_path: Path, darkroom: Laptop, seed: int) -> None:
    hparams = {"arch_to_use": None, "arch_seed": seed, "constraints": RULES, "train_epochs": 1}
    master = master_of(pictures, tmp_path, **hparams)
    run_on(master)
    here = darkroom.train(**hparams)
    assert here.code == 0, here.err
    there = json.loads((master.storage / master.checkpoints[-1]["uuid"] / "genotype.json").read_text())
    assert there == here.read("genotype.json")
    here_and_there = [
        each | {"architecture": "", "genotype": "", "whole genotype": ""}
        for each in (master.run_metadata, here.read("run.json")["metadata"])
    ]
    there_only = {
        "device": "cpu",
        "seed": master.trial_seed,
        "versions": here_and_there[0]["versions"],
    }  # here: run.json
    assert here_and_there[0] == here_and_there[1] | there_only
    assert master.run_metadata["whole genotype"] == here.read("run.json")["metadata"]["genotype"]
    assert here.read("run.json")["metadata"]["parameters"] <= 1200


EDGES = DARTS_V2.to_hparams()


@pytest.mark.parametrize(
    ("hparams", "expected"),
    [
        ({"arch_to_use": "DARTS_V3"}, ["DARTS_V3", "DARTS_V2"]),
        ({"drop_path_prob": 2}, ["hyperparameters.drop_path_prob"]),
        ({"foo": 1}, ["hyperparameters.foo"]),
        ({"arch_to_use": None, **EDGES, "normal_node1_edge1": 4}, ["normal_node1_edge1 must be 0..1, got 4"]),
        ({"train_epochs": None}, ["train_epochs"]),
        ({"cutout_length": 8}, ["cutout_length must be below 8"]),
        ({"crop_padding": 8, "global_batch_size": 69}, ["crop_padding must be below 8", "must be at most 68"]),
        (
            {"arch_to_use": None, **EDGES, "constraints": RULES},
            ["constraints.operations: normal_node4_edge2_op is dil_conv_3x3", "constraints.reduce: skip_connect 3"],
        ),
        ({"arch_to_use": None, "arch_seed": 1, "constraints": {"macs": [None, 1]}}, ["constraints", "macs"]),
    ],
)
def test_invalid_hyperparameters_are_reported_before_data_is_read(
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hparams: dict[str, Any],
    expected: list[str],
) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("no data should be read")

    monkeypatch.setattr(cnn_nas.trial, "load", read)
    assert_invalid(master_of(pictures, tmp_path, **hparams))
    for text in expected:
        assert any(text in message for message in caplog.messages), caplog.messages


def test_images_that_are_only_known_once_read_are_asked_too(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without image_size nobody knows how large they are before."""
    master = master_of(pictures, tmp_path, cutout_length=16, crop_padding=8)
    del master.config["data"]["image_size"]
    assert_invalid(master)
    for says in ("cutout_length must be below 8", "crop_padding must be below 8"):
        assert any(says in message for message in caplog.messages)


def test_a_batch_larger_than_the_data_is_an_invalid_hyperparameter(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_invalid(master_of(pictures, tmp_path, global_batch_size=69))
    assert any("global_batch_size must be at most 68" in message for message in caplog.messages)


@pytest.mark.parametrize("metric", ["top1_accuracy", "top5_accuracy", "loss"])
def test_a_search_for_the_worst_is_refused(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, metric: str
) -> None:
    """A master fills in smaller_is_better: true where it was left out."""
    searcher = {key: value for key, value in ASHA.items() if key != "smaller_is_better"} | {"metric": metric}
    if metric == "loss":
        searcher["smaller_is_better"] = False
    assert_invalid(master_of(pictures, tmp_path, searcher, train_epochs=None))
    assert any(f"for metric {metric}, of which" in message for message in caplog.messages)


def test_a_metric_of_another_task_is_an_invalid_config(pictures: Path, tmp_path: Path) -> None:
    """Whoever changes the data set of a config from classes to a regression, or back, may forget the metric."""
    assert_invalid(master_of(pictures, tmp_path, {"name": "single", "metric": "r2", "smaller_is_better": False}))
