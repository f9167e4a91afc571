"""The summary of a search, and the config that trains its best architecture once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.engine import (
    ASHA,
    LENGTH,
    RANDOM,
    Search,
)

from nas.config import load as configs
from nas.config.rules import refusals
from nas.config.search_space import search_space
from nas.results import curves
from nas.results.local import read_local
from nas.results.summary import print_summary
from nas.runs.run_folder import RunFolder


@pytest.mark.parametrize(
    ("entrypoint", "asks_for_test"), [("python3 model_def.py", True), ("python3 train.py --fast", False)]
)
@pytest.mark.parametrize("searcher", [ASHA, {**RANDOM, "smaller_is_better": False}], ids=["asha", "random"])
def test_the_best_architecture_can_be_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searcher: dict[str, Any], entrypoint: str, asks_for_test: bool
) -> None:
    monkeypatch.setattr(curves, "draw", lambda *_, **__: True)
    more = {
        "name": "tiny",
        "entrypoint": entrypoint,
        "max_restarts": 2,
        "data": {"corpus": "text"},
        "labels": ["cells"],
    }
    search = Search(tmp_path, searcher, placements=2, storage=f"sqlite:///{tmp_path / 'study.db'}", **more)
    assert search.run() is True
    trial = "model_def:RecurrentTrial" if asks_for_test else None
    RunFolder.fill(tmp_path, search.config, {"study": "study", "unit": "epochs", "length": LENGTH, "trial": trial})
    print_summary(search.console, read_local(tmp_path))
    config = configs.load(tmp_path / "best.yaml")
    assert refusals(config) == [] and search_space(config["hyperparameters"]) == {}
    smaller = searcher.get("smaller_is_better", True)
    best = (min if smaller else max)(
        (value, trial.number) for trial in search.trials for value in trial.intermediate_values.values()
    )[1]
    expected = {**search.drawn[best][0], "train_epochs": LENGTH, **({"evaluate_test": True} if asks_for_test else {})}
    assert config["hyperparameters"] == expected
    same = {"metric": "loss", **({} if smaller else {"smaller_is_better": False})}
    assert config["searcher"] == {"name": "single", **same}
    assert config["name"] == "tiny-best" and config["description"].startswith(f"Retrains trial {best} of ")
    assert config["labels"] == ["cells", "retraining"]
    assert all(config[name] == more[name] for name in ("entrypoint", "max_restarts", "data"))
    again = Search(tmp_path / "again", config["searcher"], space=config["hyperparameters"])
    assert again.run() is True and again.ends == ["completed"]
    words = " ".join(search.output.split())
    assert f"nas run {tmp_path / 'best.yaml'}" in words
    for how, word in (("completed", "completed"), ("pruned", "stopped early")):
        count = search.ends.count(how)
        assert (f"{count} {word}" in words) == (count > 0)
