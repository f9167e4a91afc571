"""A search on a cluster, driven by a stub master: what it reports, leaves in checkpoints, and how it goes on after a pause."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.runs import ROOT, after_step, assert_same, checkpoint_of, groups_of, reports_of, run_on, state_of
from support.search import KINDS, SEARCH_IMAGES, search_config
from support.stub_master import StubMaster

from nas.config.load import load
from nas.core.space import load_space
from nas.trial import determined_private

SPACES = {"images": "cnn_nas", "text": "randomNAS_files"}


class Writer:
    """In place of TensorBoard's, which is not installed everywhere."""

    def __init__(self) -> None:
        self.figures: list[tuple[str, Any, int]] = []
        self.texts: list[tuple[str, str, int]] = []

    def add_figure(self, name: str, figure: Any, step: int) -> None:
        self.figures.append((name, figure, step))

    def add_text(self, name: str, text: str, step: int) -> None:
        self.texts.append((name, text, step))


def master_of(space: str, method: str, data: Path, storage: Path, **hparams: Any) -> StubMaster:
    config = search_config(space, method, data, **hparams)
    return StubMaster(config, config["hyperparameters"], storage=storage, trial_seed=300)


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    found = Writer()
    monkeypatch.setattr(determined_private, "tensorboard_writer", lambda context: found)
    return found


@pytest.mark.parametrize("space", KINDS)
def test_a_whole_search(space: str, corpus: Path, pictures: Path, tmp_path: Path, writer: Writer) -> None:
    retrain = {"images": "cnn_nas/folder.yaml", "text": "train_small.yaml"}[space]
    data = pictures if space == "images" else corpus
    master = master_of(space, "DARTS, second order", data, tmp_path, retrain=retrain)
    run_on(master, SEARCH_IMAGES)
    assert set(groups_of(master)) == {"training", "validation"}
    (names,) = {frozenset(report.metrics) for report in master.reports if report.group == "validation"}
    main = {"images": {"top1_accuracy", "top5_accuracy"}, "text": {"perplexity"}}[space]
    own = {"arch_entropy", "largest_probability", "skip_connections", "loss", "derived_loss", "epochs", "batches"}
    own |= {"parameters", "macs"}
    assert names == own | main | {f"derived_{name}" for name in main - {"top5_accuracy"}}
    checkpoint = master.storage / master.checkpoints[-1]["uuid"]
    package = load_space(SPACES[space])
    genotype = package.from_json(json.loads((checkpoint / "genotype.json").read_text()))
    assert master.run_metadata[max(master.run_metadata)] == genotype.to_text(), "metadata are those of the last epoch"
    retraining, whole = load(checkpoint / "retrain.yaml"), load(ROOT / retrain)
    assert package.from_hparams(retraining["hyperparameters"]) == genotype
    assert retraining["description"] == f"Retrains the best of {master.config['name']}"
    assert retraining["labels"] == [*whole["labels"], "retraining"]
    trace = json.loads((checkpoint / "search.json").read_text())
    for name in ("parameters", "macs"):
        assert master.validation(name) == [entry[name] for entry in trace], "of the derived architecture"
    tables = [(figure, step) for name, figure, step in writer.figures if name == "architecture"]
    assert [step for _, step in tables] == master.validation("batches")
    assert len(tables[0][0].axes) == 2 * len(package.relaxation)  # each with its colour bar
    texts = [text for name, text, _ in writer.texts if name == "cell"]
    assert len(texts) == len({json.dumps(entry["genotype"]) for entry in trace})
    assert texts[-1].endswith(f"    {genotype.to_text()}")


@pytest.mark.parametrize("method", ["GAEA", "random"])
def test_a_pause_changes_nothing(method: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = master_of("images", method, pictures, tmp_path / "whole")
    run_on(whole, SEARCH_IMAGES)
    master = master_of("images", method, pictures, tmp_path / "paused")
    with monkeypatch.context() as patch:
        after_step(patch, lambda trial, index: master.preempt() if index == 2 else None)
        run_on(master, SEARCH_IMAGES)
    assert len(master.validation("batches")) < 2
    again = master.resume()
    run_on(again, SEARCH_IMAGES)
    assert_same(state_of(checkpoint_of(again)), state_of(checkpoint_of(whole)))
    reports = {**reports_of(master), **reports_of(again)}
    mine, theirs = ({k: v for k, v in each.items() if k[0] != "training"} for each in (reports, reports_of(whole)))
    assert mine == theirs
