"""`nas ablate` of a search that ran, and what it says of what cannot be ablated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.runs import RECURRENT, Laptop, Run
from support.search import search, search_config

from nas.cli import main
from nas.config.load import load
from nas.config.rules import refusals
from one_shot.trial import SearchTrial


@pytest.fixture(scope="module")
def searched(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = search_config("text", "random", corpus, retrain="quickstart.yaml", state_norm=False, train_epochs=1)
    run = search(tmp_path_factory.mktemp("searched") / "runs", config)
    assert run.code == 0, run.err
    return run


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["ablate", *words]) == 2
    return capsys.readouterr().err


def test_a_search_is_ablated_by_its_shared_weights(
    searched: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but these is scored."""
    monkeypatch.setattr(SearchTrial, "evaluate_batch", lambda self, batch, batch_idx: pytest.fail("validated"))
    assert main(["ablate", str(searched.path), "--changes", "remove", "add", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "ablation.json").read_text())
    chosen = searched.read("search.json")[-1]
    assert found["base"]["value"] == pytest.approx(chosen["scores"]["derived_loss"], rel=1e-5)
    rows = {kind: [row for row in found["rows"] if row["kind"] == kind] for kind in ("remove", "add")}
    assert len(rows["remove"]) == 8 and all(row["score"]["value"] for row in rows["remove"])
    assert len(rows["add"]) == 36 and all("node 9" in row["missing"] for row in rows["add"])
    assert "sharing node" in told and "36 of 44 changes are not scored" in told
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"ablation.{end}" for end in ["png", "svg", "md", "csv", "json"]
    }


def test_its_variants_are_trained_as_it_says(searched: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--retrain", "--seeds", "2", "--nodes", "3", "--changes", "remove", "activation", "--out", str(tmp_path)]
    assert main(["ablate", str(searched.path), *words]) == 0
    config = load(tmp_path / "ablation.yaml")
    assert refusals(config) == [] and config["data"] == load(searched.path / "retrain.yaml")["data"]
    cells = config["hyperparameters"]["arch_to_use"]["vals"]
    assert len(cells) == 5 and "5 cells x 2 seeds = 10 trainings of 9 epochs" in capsys.readouterr().out


def test_what_cannot_be_ablated(
    searched: Run, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "cells of 8 nodes, so that one of 11" in refused(capsys, str(searched.path), "--genotype", "ENAS")
    assert "NASNET" in refused(capsys, str(searched.path), "--genotype", "NASNET")
    gone = tmp_path / "gone"
    shutil.copytree(searched.path, gone)
    shutil.rmtree(gone / "checkpoints")
    assert "has no whole checkpoint" in refused(capsys, str(gone))
    trained = Laptop(tmp_path / "trained", corpus, RECURRENT).train(train_epochs=1)
    assert "is no one-shot search" in refused(capsys, str(trained.path))
    assert not (tmp_path / "ablation").exists()
