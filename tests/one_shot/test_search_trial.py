"""A whole search of every method on both spaces: it ends with an architecture, repeats, and survives being stopped."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import Run, assert_equal_runs, regular, stopped_after
from support.search import CASES, KINDS, go_on, search, search_config

from cnn_nas.images.data import ImageData
from nas.config.load import load
from nas.core.space import load_space
from one_shot.images import ImageTask
from one_shot.retrain import retraining_template
from one_shot.similarity import NAMES
from one_shot.text import TextTask

SPACES = {"images": load_space("cnn_nas"), "text": load_space("randomNAS_files")}


def data_of(space: str, corpus: Path, pictures: Path) -> Path:
    return pictures if space == "images" else corpus


@pytest.fixture
def places(corpus: Path, pictures: Path) -> dict[str, Path]:
    return {"images": pictures, "text": corpus}


@pytest.mark.parametrize(("space", "method"), CASES, ids=lambda value: str(value))
def test_every_method_ends_with_an_architecture_and_a_stop_changes_nothing(
    space: str, method: str, places: dict[str, Path], tmp_path: Path
) -> None:
    config = search_config(space, method, places[space])
    straight = search(tmp_path / "straight", config)
    assert straight.code == 0, straight.err + straight.out
    genotype = SPACES[space].from_json(straight.read("genotype.json"))
    assert SPACES[space].genotype_of(SPACES[space].paths_of(genotype)) == genotype
    check_metrics(straight, space, method)
    epoch = int(straight.values("validation", "batches")[0])
    run: Run | None = None
    for batches in (2, epoch + 1):  # in the first epoch and in the second
        with stopped_after(batches):
            run = search(tmp_path / "cut", config) if run is None else go_on(run)
        assert run.read("run.json")["status"] == "stopped"
    assert run is not None
    again = go_on(run)
    assert_equal_runs(again, straight)
    for name in ("genotype.json", "search.json", *(["front.json"] if method == "all budgets" else [])):
        assert again.read(name) == straight.read(name)


def check_metrics(run: Run, space: str, method: str) -> None:
    validations, trace = run.metrics("validation"), run.read("search.json")
    main = "top1_accuracy" if space == "images" else "perplexity"
    assert [record["epochs"] for record in validations] == [1, 2]
    assert all(math.isfinite(each[name]) for each in validations for name in ("loss", main, "derived_loss"))
    chosen_at_the_end = method in ("random", "DARTS-PT") or method.startswith(("ENAS", "all budgets"))
    assert [entry["epochs"] for entry in trace] == ([1, 2, 2] if chosen_at_the_end else [1, 2])
    assert trace[-1]["genotype"] == run.read("genotype.json")
    assert trace[-1]["parameters"] > 0
    if method == "random" or method.startswith("ENAS"):
        assert len(run.metrics("search")) == 1 and run.read("architectures.json")["summary"]["count"] == 6
        scores = [entry["loss"] for entry in run.read("architectures.json")["best"]]
        assert len(scores) == 3 and scores == sorted(scores)
        assert trace[-1]["scores"]["derived_loss"] == scores[0]
        entropies = run.values("validation", "arch_entropy") if method.startswith("ENAS") else [1, 0]
        assert entropies[0] != entropies[1], "the controller is trained"
        measured = [name in validations[-1] for name in NAMES[:4]]
        assert all(measured) if method == "ENAS, aligned" else not any(measured)
        if method.startswith("ENAS"):
            told = {"controller_loss", "reward", "baseline", "advantage_spread", "exploded_share"}
            assert all(told < set(record) for record in run.metrics("training"))
            assert all(
                0 < record["distinct_cells"] <= 1 and record["controller_norm"] > 0 and record["weights_norm"] > 0
                for record in validations
            )
    else:
        arch = run.values("training", "arch_loss") if method != "warm-up" else [0.0]
        assert all(math.isfinite(loss) for loss in arch)
        shapes = {name: torch.tensor(table).shape for name, table in trace[0]["weights"].items()}
        assert shapes == {
            name: (len(cell.edges), len(cell.operations)) for name, cell in SPACES[space].relaxation.items()
        }
        moved = trace[0]["weights"] != trace[1]["weights"]
        assert moved, "the architecture is trained"


@pytest.mark.parametrize("space", KINDS)
def test_the_architecture_rests_while_it_warms_up(space: str, places: dict[str, Path], tmp_path: Path) -> None:
    run = search(tmp_path / "run", search_config(space, "warm-up", places[space], train_epochs=3))
    first, second, third = (entry["weights"] for entry in run.read("search.json"))
    assert first != second != third
    records = [record for record in run.metrics("training") if record["epochs"] == 1]
    assert records and not any("arch_loss" in record for record in records)
    frozen = search(
        tmp_path / "frozen", search_config(space, "warm-up", places[space], arch_warmup_epochs=2, train_epochs=3)
    )
    one, two, three = (entry["weights"] for entry in frozen.read("search.json"))
    assert one == two != three


def test_the_winner_is_retrained_by_the_yaml_that_the_search_leaves(places: dict[str, Path], tmp_path: Path) -> None:
    config = search_config("images", "GDAS", places["images"], retrain="cnn_nas/folder.yaml", train_epochs=1)
    run = search(tmp_path / "run", config)
    left = load(run.path / "retrain.yaml")
    assert left["entrypoint"].endswith("cnn_nas.trial") and left["data"]["data_dir"] == str(places["images"])
    genotype = SPACES["images"].from_json(run.read("genotype.json"))
    assert SPACES["images"].from_hparams(left["hyperparameters"]) == genotype
    assert left["hyperparameters"]["evaluate_test"] is True and "arch_to_use" not in left["hyperparameters"]
    assert left["data"].get("validation_fraction") != 0.5, "how much validates is the retraining's own"


def test_a_template_that_searches_becomes_one_training_of_full_length() -> None:
    config = retraining_template("quickstart.yaml", TextTask)
    assert config["searcher"] == {"name": "single", "metric": "perplexity", "smaller_is_better": True}
    assert config["hyperparameters"]["train_epochs"] == 9 and "arch_seed" not in config["hyperparameters"]
    template = retraining_template("cnn_nas/digits.yaml", ImageTask)
    assert template["hyperparameters"]["train_epochs"] == 20 and template["searcher"]["name"] == "single"


def test_a_search_reads_no_test_split(places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Any) -> Any:
        raise AssertionError("the test split was asked for")

    monkeypatch.setattr(ImageData, "test", property(refuse))
    run = search(tmp_path / "run", search_config("images", "random", places["images"], train_epochs=1))
    assert run.code == 0 and run.metrics("test") == []


def test_a_rule_stops_a_search_that_collapses(places: dict[str, Path], tmp_path: Path) -> None:
    config = search_config("images", "DARTS, first order", places["images"], train_epochs=9, stop_skip_connections=1)
    runs = [search(tmp_path / name, config) for name in ("one", "two")]
    assert all(run.code == 0 and run.read("run.json")["status"] == "completed" for run in runs)
    assert len(runs[0].read("search.json")) < 9 and regular(runs[0]) == regular(runs[1])
    assert (
        "skip connections (stop_skip_connections), so the search stops here"
        in runs[0].path.joinpath("log.txt").read_text()
    )


def test_the_eigenvalue_is_reported_and_stops(places: dict[str, Path], tmp_path: Path) -> None:
    options: dict[str, Any] = {"eigenvalue_epochs": 1, "stop_eigenvalue_ratio": 0.99, "stop_eigenvalue_window": 1}
    config = search_config("text", "DARTS, first order", places["text"], train_epochs=12, **options)
    run = search(tmp_path / "run", config)
    values = run.values("validation", "eigenvalue")
    assert run.code == 0 and all(math.isfinite(value) for value in values)
    grown = next((k for k in range(1, len(values)) if values[k] > 0 and values[k - 1] / values[k] < 0.99), None)
    assert grown is not None and len(values) == grown + 1, "it stops at the first that has grown"
    trace = run.read("search.json")
    assert trace[-1]["genotype"] == trace[grown - 1]["genotype"] == run.read("genotype.json")
