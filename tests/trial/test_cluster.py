"""The script on a cluster, driven by a stub master: metrics, metadata, preemption, NaN, invalid hyperparameters."""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from determined.common.api.errors import APIException, ForbiddenException, MasterNotFoundException
from support.runs import (
    HARD,
    Laptop,
    after_step,
    assert_invalid,
    assert_same,
    averaged_steps,
    checkpoint_of,
    groups_of,
    master_of,
    reports_of,
    run_on,
    state_of,
)
from support.space_suite import leaves
from support.stub_master import StubMaster

import model_def
from randomNAS_files.architecture import Genotype, from_json, sample
from randomNAS_files.genotypes import ASHA

EPOCHS = int(HARD["train_epochs"])
CELL = Genotype((("sigmoid", 0), ("tanh", 1), ("tanh", 0)))
LONG_EPOCHS: dict[str, Any] = {"global_batch_size": 1, "bptt": 5, "max_seq_length_delta": 0, "train_epochs": 2}
ASHA_SEARCHER: dict[str, Any] = {
    **{"name": "adaptive_asha", "metric": "loss", "smaller_is_better": True},
    **{"max_trials": 4, "max_time": 3, "time_metric": "epochs"},
}


def assert_taken_by_a_master(metadata: dict[str, Any]) -> None:
    for path, value in leaves(metadata):
        assert all(0 < len(key) <= 50 and not re.search(r"[$.\[\]]", key) for key in path)
        assert isinstance(value, int | float) or (isinstance(value, str) and len(value) <= 5000)


@pytest.fixture(scope="module")
def whole(module_laptop: Laptop, tmp_path_factory: pytest.TempPathFactory) -> StubMaster:
    """A trial that nobody disturbs."""
    master = master_of(module_laptop.data, tmp_path_factory.mktemp("storage"), **HARD)
    run_on(master)
    return master


def test_metrics_have_the_names_that_were_promised(whole: StubMaster) -> None:
    names = {group: {frozenset(r.metrics) for r in whole.reports if r.group == group} for group in groups_of(whole)}
    assert names == {
        "training": {frozenset({"loss", "perplexity", "lr", "epochs", "batches"})},
        "validation": {frozenset({"loss", "perplexity", "parameters", "macs", "epochs", "batches"})},
        "test": {frozenset({"test_loss", "test_perplexity"})},
    }


def test_epochs_are_exact(whole: StubMaster) -> None:
    batches = whole.validation("batches")
    assert whole.validation("epochs") == list(range(1, EPOCHS + 1))
    assert batches == [batches[0] * epoch for epoch in range(1, EPOCHS + 1)]
    ends = [r.metrics["epochs"] for r in whole.reports if r.group == "training" and r.steps_completed in batches]
    assert ends == list(range(1, EPOCHS + 1)) and all(type(value) is int for value in ends)
    assert whole.progress[-1] == 1.0 and whole.early_exits == []


def test_perplexity_is_the_exponential_of_the_loss(whole: StubMaster) -> None:
    for group, prefix in (("training", ""), ("validation", ""), ("test", "test_")):
        pairs = zip(whole.values(group, f"{prefix}loss"), whole.values(group, f"{prefix}perplexity"), strict=True)
        assert all(perplexity == pytest.approx(math.exp(loss)) for loss, perplexity in pairs)


def test_the_test_split_is_scored_once_and_last(whole: StubMaster) -> None:
    assert groups_of(whole).count("test") == 1 and groups_of(whole)[-1] == "test"
    assert whole.reports[-1].steps_completed == whole.checkpoints[-1]["steps_completed"]


def test_metadata_describes_the_architecture_within_the_limits(whole: StubMaster) -> None:
    metadata = whole.run_metadata
    nodes = {"node 1": "sigmoid(0)", "node 2": "tanh(1)", "node 3": "tanh(0)", "output": "mean of 1-3"}
    assert metadata["architecture"] == nodes and metadata[max(metadata)] == CELL.to_text()
    assert metadata["corpus"] == "text" and metadata["space"] == "randomNAS_files"
    assert_taken_by_a_master(metadata)


def test_validations_have_the_size_so_that_it_can_be_a_column(whole: StubMaster) -> None:
    for name in ("parameters", "macs"):
        assert set(whole.validation(name)) == {whole.run_metadata[name]}


def test_metadata_say_what_ran_it(whole: StubMaster) -> None:
    metadata = whole.run_metadata
    assert (metadata["seed"], metadata["device"]) == (whole.trial_seed, "cpu")
    assert metadata["versions"]["torch"] == version("torch")


def test_each_checkpoint_holds_the_architecture(whole: StubMaster) -> None:
    for checkpoint in whole.checkpoints:
        written = json.loads((whole.storage / checkpoint["uuid"] / "genotype.json").read_text())
        assert written == {"recurrent": [["sigmoid", 0], ["tanh", 1], ["tanh", 0]], "concat": [1, 2, 3]}


def test_the_architecture_is_logged(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    master = master_of(corpus, tmp_path, arch_to_use=None, arch_seed=5, train_epochs=1)
    run_on(master)
    cell = sample(5)
    summary = [
        message for message in caplog.messages if re.match(r"(architecture|genotype|corpus|parameters) ", message)
    ]
    assert len(summary) == 4 and f"architecture {cell}" in summary and f"genotype     {cell.to_text()}" in summary
    assert master.run_metadata["whole genotype"] == cell.to_text()
    assert len(master.run_metadata["architecture"]) == len(cell.recurrent) + 1


def test_metadata_beyond_the_limits_are_cut(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user's summary says, and a cell of more nodes than one can read."""
    odd = {"a.b$[c]": "x" * 6000, "k" * 60: math.inf, "width": 3, "share": 0.5, "cell": CELL, "nothing": None}
    monkeypatch.setattr(model_def.RecurrentTrial, "summary", lambda _: odd)
    nodes = {f"node{i}_{part}": ("tanh", 0)[part == "edge"] for i in range(1, 121) for part in ("op", "edge")}
    master = master_of(corpus, tmp_path, arch_to_use=None, train_epochs=1, **nodes)
    run_on(master)
    metadata = master.run_metadata
    assert_taken_by_a_master(metadata)
    assert metadata["a_b__c_"] == "x" * 4997 + "..." and metadata["k" * 50] == "inf" and metadata["nothing"] == "None"
    assert (metadata["width"], metadata["share"], metadata["cell"]) == (3, 0.5, str(CELL))
    assert sorted(metadata["architecture"])[8:10] == ["node 009", "node 010"]


class Refused(APIException):
    def __init__(self) -> None:
        self.message = "refused"


@pytest.mark.parametrize("error", [Refused(), ForbiddenException("no"), MasterNotFoundException("gone")], ids=repr)
def test_a_master_that_takes_no_metadata_stops_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr("determined.core.TrainContext.set_metadata", refuse)
    master = master_of(corpus, tmp_path, train_epochs=1)
    run_on(master)
    assert master.validation("epochs") == [1] and master.run_metadata == {}
    assert any("metadata" in record.getMessage() for record in caplog.records if record.levelname == "WARNING")


def test_the_same_trial_here_and_there(corpus: Path, tmp_path: Path, laptop: Laptop) -> None:
    master = master_of(corpus, tmp_path, train_epochs=1)
    run_on(master)
    here = laptop.train(f"reproducibility.experiment_seed={master.trial_seed}", train_epochs=1)
    assert_same(checkpoint_of(master)["models_state_dict"], here.checkpoint()["models_state_dict"])
    assert master.validation("loss") == here.values("validation", "loss")


@pytest.mark.parametrize("epoch", [1, 3])
def test_preempted_between_epochs(corpus: Path, tmp_path: Path, whole: StubMaster, epoch: int) -> None:
    first = master_of(corpus, tmp_path, **HARD)
    first.preempt_after = batches = whole.validation("batches")[epoch - 1]
    run_on(first)
    assert first.preemption_acknowledged and first.checkpoints[-1]["steps_completed"] == batches
    assert "test" not in groups_of(first)
    second = first.resume()
    run_on(second)
    assert_same(state_of(checkpoint_of(second)), state_of(checkpoint_of(whole)))
    assert {**reports_of(first), **reports_of(second)} == reports_of(whole)
    assert groups_of(second).count("test") == 1 and groups_of(second)[-1] == "test"
    assert second.run_metadata == whole.run_metadata


def test_preempted_within_an_epoch(corpus: Path, tmp_path: Path) -> None:
    """The epoch has 119 batches, and metrics are reported after 100."""
    nodes = {key: value for key, value in HARD.items() if key.startswith(("arch", "node"))} | {"nonmono": 5}
    whole = master_of(corpus, tmp_path, **nodes, **LONG_EPOCHS)
    run_on(whole)
    assert whole.validation("batches")[0] > 100
    first = master_of(corpus, tmp_path, **nodes, **LONG_EPOCHS)
    first.preempt_after = 100
    run_on(first)
    assert first.checkpoints[-1]["steps_completed"] == 100 and first.validation("loss") == []
    second = first.resume()
    run_on(second)
    assert_same(state_of(checkpoint_of(second)), state_of(checkpoint_of(whole)))
    assert {**reports_of(first), **reports_of(second)} == reports_of(whole)


def test_preempted_in_the_last_batch(corpus: Path, tmp_path: Path, whole: StubMaster) -> None:
    """Whether this allocation or the next one finishes the job: nothing is left out, nothing is done twice."""
    masters = [master_of(corpus, tmp_path, **HARD)]
    with pytest.MonkeyPatch.context() as monkeypatch:
        last = whole.checkpoints[-1]["steps_completed"]
        after_step(monkeypatch, lambda _, index: masters[0].preempt() if index + 1 == last else None)
        run_on(masters[0])
    if "test" not in groups_of(masters[0]):
        masters.append(masters[0].resume())
        run_on(masters[1])
    assert [epoch for master in masters for epoch in master.validation("epochs")] == [1, 2, 3, 4]
    assert [group for master in masters for group in groups_of(master)].count("test") == 1
    assert masters[-1].values("test", "test_loss") == whole.values("test", "test_loss")


def test_the_undisturbed_trial_averages_its_weights(whole: StubMaster) -> None:
    assert averaged_steps(checkpoint_of(whole)) > 0


def test_a_warm_start_from_another_trial(corpus: Path, tmp_path: Path, whole: StubMaster) -> None:
    """The weights that the other trial was evaluated with are taken over, the progress and the averaging are not."""
    still = {**HARD, "learning_rate": 1e-9, "wdecay": 0, "train_epochs": 1}
    changes = {"trial_id": 2, "latest_checkpoint": whole.checkpoints[-1]["uuid"], "steps_completed": 0}
    warm = replace(master_of(corpus, whole.storage, **still), **changes)
    run_on(warm)
    assert warm.validation("epochs") == [1] and groups_of(warm)[-1] == "test"
    means = checkpoint_of(whole)["optimizers_state_dict"][0]["state"]
    after = checkpoint_of(warm)
    for index, value in enumerate(after["models_state_dict"][0].values()):
        torch.testing.assert_close(value, means[index]["mean"], rtol=0, atol=1e-6)
    assert not after["optimizers_state_dict"][0]["param_groups"][0]["averaging"]


def test_random_cells_are_reported(corpus: Path, tmp_path: Path) -> None:
    master = master_of(corpus, tmp_path, train_epochs=1, eval_same_arch=False, num_archs_to_eval=3)
    run_on(master)
    losses = master.values("architectures", "loss")
    assert losses == sorted(losses) and len(losses) == 3
    folder = master.storage / master.checkpoints[-1]["uuid"]
    scores = json.loads((folder / "architectures.json").read_text())
    assert [score["loss"] for score in scores] == losses
    assert all(from_json(score["genotype"]) for score in scores)
    assert from_json(json.loads((folder / "genotype.json").read_text())) == ASHA


def test_asha_says_how_long_to_train(corpus: Path, tmp_path: Path) -> None:
    master = master_of(corpus, tmp_path, ASHA_SEARCHER, train_epochs=None)
    run_on(master)
    assert master.validation("epochs") == [1, 2, 3]


def test_asha_counts_batches(corpus: Path, tmp_path: Path) -> None:
    master = master_of(corpus, tmp_path, {**ASHA_SEARCHER, "max_time": 30, "time_metric": "batches"}, train_epochs=None)
    run_on(master)
    assert master.validation("batches") == [20, 30]


@pytest.mark.parametrize("searcher", [None, ASHA_SEARCHER])
def test_a_loss_that_is_not_finite(
    corpus: Path, tmp_path: Path, searcher: dict[str, Any] | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A single trial stops; ASHA stops its trials itself, and puts the experiment into ERROR for a NaN."""
    epochs = {"train_epochs": None if searcher else 3}
    master = master_of(corpus, tmp_path, searcher, learning_rate=1e30, **epochs)
    run_on(master)
    losses, perplexities = master.validation("loss"), master.validation("perplexity")
    assert all(isinstance(value, float) and 1e9 < value < 1e300 for value in losses + perplexities)
    assert master.validation("epochs") == ([1, 2, 3] if searcher else [1])
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert any("not finite" in warning and "learning_rate" in warning for warning in warnings)
    assert all(isinstance(value, float) for value in master.values("training", "loss"))
    assert master.early_exits == []


@pytest.mark.parametrize("searcher", [{"name": "single"}, ASHA_SEARCHER])
@pytest.mark.parametrize("metric", ["loss", "perplexity"])
def test_a_search_for_the_worst_is_refused_before_data_is_read(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    searcher: dict[str, Any],
    metric: str,
) -> None:
    forbid_reading(monkeypatch)
    wrong = {**searcher, "metric": metric, "smaller_is_better": False}
    assert_invalid(master_of(corpus, tmp_path, wrong, train_epochs=3 if searcher["name"] == "single" else None))
    assert any(f"smaller_is_better must be true for metric {metric}" in message for message in caplog.messages)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> None:
        raise AssertionError("no data should be read")

    monkeypatch.setattr(model_def, "load_corpus", read)


@pytest.mark.parametrize(
    ("hparams", "expected"),
    [
        ({"arch_to_use": "ASHAA"}, "ASHAA"),
        ({"dropout": 2}, "hyperparameters.dropout"),
        ({"emsize": 9}, "emsize"),
        ({"foo": 1}, "hyperparameters.foo"),
        ({"arch_to_use": None, "node1_op": "relu", "node1_edge": 4}, "node1_edge"),
        ({"train_epochs": None}, "train_epochs"),
        ({"global_batch_size": 5000}, "hyperparameters.global_batch_size must be at most"),
    ],
)
def test_invalid_hyperparameters_are_reported_before_data_is_read(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hparams: dict[str, Any],
    expected: str,
) -> None:
    forbid_reading(monkeypatch)
    assert_invalid(master_of(corpus, tmp_path, **hparams))
    assert any(expected in message for message in caplog.messages)


def test_bounds_that_were_meant_as_values_are_refused_by_the_trial_too(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A master draws from them without a word; the trial sees both the draw and the range."""
    forbid_reading(monkeypatch)
    master = master_of(corpus, tmp_path, learning_rate=1.1)
    master.config["hyperparameters"]["learning_rate"] = {"type": "log", "base": 10, "minval": 1e-4, "maxval": 1e-1}
    assert_invalid(master)
    assert any("draw 1.0002 .. 1.2589" in message for message in caplog.messages)


def test_a_batch_larger_than_the_corpus_is_an_invalid_hyperparameter(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_invalid(master_of(corpus, tmp_path, global_batch_size=700))
    assert any("global_batch_size" in message for message in caplog.messages)
