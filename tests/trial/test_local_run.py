"""Runs on this machine: what they leave behind, what they report, and how they refuse what cannot work."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML
from support.runs import Laptop, Run, averaged_steps, read_config, weights_of

from randomNAS_files.architecture import Genotype, from_json, sample
from randomNAS_files.genotypes import ASHA
from randomNAS_files.model import LanguageModel, ModelConfig

EPOCHS = 3
CANDIDATES = 5


def words_of(folder: Path, split: str) -> list[str]:
    lines = (folder / f"{split}.txt").read_text().splitlines()
    return [word for line in lines for word in [*line.split(), "<eos>"]]


def plain_loss(run: Run, corpus: Path, split: str, columns: int, genotype: Genotype = ASHA) -> float:
    """Mean loss of the latest checkpoint, word by word, each column on its own."""
    vocabulary = list(dict.fromkeys(words_of(corpus, "train")))
    stream = [vocabulary.index(word) for word in words_of(corpus, split)]
    weights = weights_of(run.checkpoint())
    hparams = run.read("run.json")["hyperparameters"]
    size = hparams["nhid"]
    config = ModelConfig(size, size, size, hparams["depth"], 0.0, 0.0, 0.0, 0.0, 0.0)
    net = LanguageModel(config, genotype, len(vocabulary), torch.Generator())
    net.load_state_dict(weights)
    length = math.ceil((len(stream) - 1) / columns)
    losses: list[float] = []
    for first in range(0, len(stream) - 1, length):
        losses += word_losses(net, stream[first : first + length + 1])
    assert len(losses) == len(stream) - 1
    return math.fsum(losses) / len(losses)


@torch.no_grad()
def word_losses(net: LanguageModel, words: list[int]) -> list[float]:
    hidden, losses = net.initial_state(1), []
    for word, following in itertools.pairwise(words):
        output = net(torch.tensor([[word]]), hidden)
        hidden = output.hidden
        losses.append(-output.logits.double().log_softmax(-1)[0, 0, following].item())
    return losses


@pytest.fixture(scope="module")
def plain(module_laptop: Laptop) -> Run:
    """A run with plain SGD whose last epoch is not its best."""
    return module_laptop.train(train_epochs=EPOCHS, evaluate_test=True, eval_batch_size=5)


@pytest.fixture(scope="module")
def averaged(module_laptop: Laptop) -> Run:
    """A run that averages its weights at the end, and scores random cells with them."""
    candidates = {"eval_same_arch": False, "num_archs_to_eval": CANDIDATES, "evaluate_test": True}
    return module_laptop.train(train_epochs=6, nonmono=0, **candidates)


def test_a_run_leaves_its_folder(plain: Run) -> None:
    assert plain.code == 0 and plain.err == ""
    names = {path.name for path in plain.path.iterdir() if not path.name.startswith(".")}
    assert names == {"checkpoints", "config.yaml", "genotype.json", "log.txt", "metrics.jsonl", "run.json"}
    run = plain.read("run.json")
    assert run["status"] == "completed"
    assert plain.path.name == "train_small-1" and str(plain.path) in plain.out
    assert {path.name for path in (plain.path / "checkpoints").iterdir()} == {
        run["latest"]["uuid"],
        run["best"]["uuid"],
    }
    assert {"torch", "numpy", "determined", "python"} <= set(run["versions"])


def test_the_folder_holds_config_and_architecture(plain: Run) -> None:
    config = YAML(typ="safe", pure=True).load((plain.path / "config.yaml").read_text())
    original = read_config("train_small.yaml")
    assert config["hyperparameters"] == plain.read("run.json")["hyperparameters"]
    assert config["hyperparameters"]["train_epochs"] == EPOCHS
    assert {key: config[key] for key in ("name", "searcher", "entrypoint")} == {
        key: original[key] for key in ("name", "searcher", "entrypoint")
    }
    assert from_json(plain.read("genotype.json")) == ASHA
    for uuid in {plain.read("run.json")[which]["uuid"] for which in ("latest", "best")}:
        beside = plain.path / "checkpoints" / uuid / "genotype.json"
        assert from_json(json.loads(beside.read_text())) == ASHA
    metadata = plain.read("run.json")["metadata"]
    assert metadata["genotype"] == ASHA.to_text() and metadata["corpus"] == "text"


def test_epochs_are_exact(plain: Run) -> None:
    batches = plain.values("validation", "batches")
    for group in ("training", "validation"):
        assert plain.values(group, "epochs") == list(range(1, EPOCHS + 1))
        assert plain.values(group, "batches") == batches
        assert all(type(value) is int for value in plain.values(group, "epochs"))
    assert batches == [batches[0] * epoch for epoch in range(1, EPOCHS + 1)]


def test_perplexity_is_the_exponential_of_the_loss(plain: Run) -> None:
    for group in ("training", "validation"):
        for record in plain.metrics(group):
            assert record["perplexity"] == pytest.approx(math.exp(record["loss"]), rel=1e-12)
    (test,) = plain.metrics("test")
    assert test["test_perplexity"] == pytest.approx(math.exp(test["test_loss"]), rel=1e-12)


def test_the_best_checkpoint_is_that_of_the_lowest_loss(plain: Run, module_laptop: Laptop) -> None:
    losses = plain.values("validation", "loss")
    best, latest = (plain.read("run.json")[which] for which in ("best", "latest"))
    assert best["value"] == min(losses) and best["epochs"] == 1 + losses.index(min(losses))
    assert latest["value"] == losses[-1] and latest["epochs"] == EPOCHS


def test_losses_equal_a_plain_computation(plain: Run, corpus: Path) -> None:
    assert averaged_steps(plain.checkpoint()) == 0
    assert plain.values("validation", "loss")[-1] == pytest.approx(plain_loss(plain, corpus, "valid", 5), rel=1e-5)
    assert plain.values("test", "test_loss") == [pytest.approx(plain_loss(plain, corpus, "test", 5), rel=1e-5)]


def test_losses_of_averaged_weights_equal_a_plain_computation(averaged: Run, corpus: Path) -> None:
    checkpoint = averaged.checkpoint()
    assert averaged_steps(checkpoint) > 0
    raw = checkpoint["models_state_dict"][0]
    assert not all(torch.equal(value, raw[name]) for name, value in weights_of(checkpoint).items())
    loss = averaged.values("validation", "loss")[-1]
    assert loss == pytest.approx(plain_loss(averaged, corpus, "valid", 3), rel=1e-5)
    assert averaged.values("test", "test_loss") == [pytest.approx(plain_loss(averaged, corpus, "test", 3), rel=1e-5)]


def test_the_test_split_is_scored_once_and_last(plain: Run, laptop: Laptop) -> None:
    groups = [json.loads(line)["group"] for line in (plain.path / "metrics.jsonl").read_text().splitlines()]
    assert groups.count("test") == 1 and groups[-1] == "test"
    assert laptop.train(train_epochs=1).metrics("test") == []


def test_random_cells_are_ranked(averaged: Run, corpus: Path) -> None:
    scores = averaged.read("architectures.json")
    assert [score["loss"] for score in scores] == sorted(score["loss"] for score in scores)
    assert sorted(score["sample"] for score in scores) == list(range(CANDIDATES))
    cells = [from_json(score["genotype"]) for score in scores]  # raises for one that is not valid
    assert len(set(cells)) == CANDIDATES and scores[-1]["loss"] - scores[0]["loss"] > 0.01
    assert all(len(cell.recurrent) == 8 and "none" not in dict(cell.recurrent) for cell in cells)
    for score, cell in list(zip(scores, cells, strict=True))[:2]:
        assert score["loss"] == pytest.approx(plain_loss(averaged, corpus, "valid", 3, cell), rel=1e-5)
        assert score["perplexity"] == pytest.approx(math.exp(score["loss"]), rel=1e-12)


def test_scores_of_random_cells_are_reported_once_best_first(averaged: Run) -> None:
    scores = averaged.read("architectures.json")
    reported = averaged.metrics("architectures")
    assert [(r["sample"], r["loss"]) for r in reported] == [(s["sample"], s["loss"]) for s in scores]
    latest = averaged.read("run.json")["latest"]["uuid"]
    assert json.loads((averaged.path / "checkpoints" / latest / "architectures.json").read_text()) == scores


def test_a_seed_names_the_architecture(laptop: Laptop) -> None:
    run = laptop.train(arch_to_use=None, arch_seed=11, train_epochs=1)
    assert run.code == 0, run.err
    cell = sample(11)
    assert run.read("run.json")["hyperparameters"]["arch_seed"] == 11
    assert run.read("run.json")["metadata"]["genotype"] == cell.to_text()
    assert from_json(run.read("genotype.json")) == cell
    assert cell.to_text() in run.out


def test_an_architecture_can_be_spelled_out(laptop: Laptop) -> None:
    nodes = {"node1_op": "relu", "node1_edge": 0, "node2_op": "tanh", "node2_edge": 1}
    run = laptop.train(arch_to_use=None, train_epochs=1, **nodes)
    assert run.code == 0, run.err
    assert run.read("genotype.json") == {"recurrent": [["relu", 0], ["tanh", 1]], "concat": [1, 2]}


def test_what_a_config_searches_over_is_drawn(laptop: Laptop, caplog: pytest.LogCaptureFixture) -> None:
    space = "{type: double, minval: 0.1, maxval: 0.3}"
    override = f"hyperparameters.dropout={space}"
    runs = [laptop.train(override, config="random.yaml", train_epochs=1) for _ in range(2)]
    drawn = [run.read("run.json")["hyperparameters"] for run in runs]
    assert [run.code for run in runs] == [0, 0]
    assert drawn[0] == drawn[1]
    assert 0.1 <= drawn[0]["dropout"] < 0.3 and type(drawn[0]["arch_seed"]) is int
    said = [message for message in caplog.messages if "drawn" in message]
    assert any("dropout" in message and str(drawn[0]["dropout"]) in message for message in said)
    assert any("arch_seed" in message for message in said)


def test_the_log_is_kept(plain: Run, laptop: Laptop) -> None:
    run = laptop.train(train_epochs=1, evaluate_test=True)
    (record,) = run.metrics("test")
    assert f"test perplexity {record['test_perplexity']:.2f}" in (run.path / "log.txt").read_text()


def test_each_epoch_is_a_line(plain: Run) -> None:
    lines = [line for line in plain.out.splitlines() if line.startswith("epoch")]
    assert [int(line.split()[1]) for line in lines] == [1, 2, 3]
    assert f"{plain.values('validation', 'loss')[0]:.4f}" in lines[0]


def test_runs_are_numbered(laptop: Laptop) -> None:
    names = [laptop.train(train_epochs=1).path.name for _ in range(2)]
    assert names == ["train_small-1", "train_small-2"]


def test_the_same_config_gives_the_same_run(plain: Run, laptop: Laptop) -> None:
    again = laptop.train(train_epochs=EPOCHS, evaluate_test=True, eval_batch_size=5)
    assert again.metrics("validation") == plain.metrics("validation")
    assert again.metrics("test") == plain.metrics("test")


def test_the_seed_changes_the_run(plain: Run, laptop: Laptop) -> None:
    other = laptop.train("reproducibility.experiment_seed=301", train_epochs=1)
    assert other.values("training", "loss")[0] != plain.values("training", "loss")[0]


# Hyperparameters and overrides that cannot work, and what the error must say.
BAD: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "unknown genotype": (
        {"arch_to_use": "DARTS_V3"},
        [],
        ["arch_to_use|genotype", "DARTS_V3", "did you mean DARTS_V2"],
    ),
    "unread": ({"learning_rat": 1}, [], ["hyperparameters.learning_rat", "did you mean learning_rate?"]),
    "missing": ({"emsize": "__missing__"}, [], ["hyperparameters.emsize", "missing"]),
    "null": ({"bptt": None}, [], ["hyperparameters.bptt", "whole number", "null"]),
    "wrong type": ({"emsize": "big"}, [], ["hyperparameters.emsize", "whole number", "'big'"]),
    "text for a number": ({"wdecay": "8e-7"}, [], ["hyperparameters.wdecay", "number", "8e-7"]),
    "out of range": ({"dropout": 1.5}, [], ["hyperparameters.dropout", "below 1", "1.5"]),
    "seed of the wrong type": ({"arch_to_use": None, "arch_seed": "x"}, [], ["hyperparameters.arch_seed", "'x'"]),
    "predecessor": ({"arch_to_use": None, "node1_op": "relu", "node1_edge": 1}, [], ["node1_edge", "0..0", "got 1"]),
    "activation": ({"arch_to_use": None, "node1_op": "rel", "node1_edge": 0}, [], ["node1_op", "'rel'", "relu"]),
    "half a node": ({"arch_to_use": None, "node1_op": "relu"}, [], ["node1_edge", "missing"]),
    "sizes": ({"emsize": 9}, [], ["hyperparameters.emsize", "nhid", "9", "8"]),
    "large batch": ({"global_batch_size": 700}, [], ["hyperparameters.global_batch_size", "700", "at most 599"]),
    "a batch larger than the file": ({"global_batch_size": 5000}, [], ["hyperparameters.global_batch_size", "5000"]),
    "a slice longer than a column": ({"bptt": 150}, [], ["hyperparameters.bptt must be at most 149", "got 150"]),
    "bounds that are values": (
        {"learning_rate": {"type": "log", "base": 10, "minval": 1e-4, "maxval": 1e-1}},
        [],
        ["hyperparameters.learning_rate", "exponents of base 10", "draw 1.0002 .. 1.2589", "minval: -4 and maxval: -1"],
    ),
    "large eval batch": ({"eval_batch_size": 300}, [], ["hyperparameters.eval_batch_size", "300", "at most 119"]),
    "no architecture": ({"arch_to_use": None}, [], ["arch_to_use", "arch_seed", "node1_op", "none"]),
    "two architectures": ({"arch_seed": 3}, [], ["exactly one", "arch_to_use and arch_seed"]),
    "no candidates": ({"eval_same_arch": False}, [], ["num_archs_to_eval", "eval_same_arch"]),
    "no length": ({"train_epochs": None}, [], ["train_epochs", "max_time"]),
    "two lengths": (
        {},
        ["searcher.max_time=9", "searcher.time_metric=epochs"],
        ["train_epochs is 2", "max_time is 9", "leave one out"],
    ),
    "unknown corpus": ({}, ["data.corpus=tex"], ["corpus", "'tex'", "did you mean text?"]),
    "unread data": ({}, ["data.folder=x"], ["data.folder"]),
    "missing folder": ({}, ["data.data_dir=/no/such/folder"], ["/no/such/folder", "No such file", "check"]),
    "search space": ({}, ["hyperparameters.dropout={type: double, minval: 0}"], ["hyperparameters.dropout", "maxval"]),
    "override": ({}, ["emsize"], ["hyperparameters.emsize=64", "'emsize'"]),
    "seed": ({}, ["reproducibility.experiment_seed=abc"], ["experiment_seed", "abc"]),
    "a section that is none": ({}, ["searcher=single"], ["searcher"]),
    "nothing to train": (
        {"train_epochs": None},
        ["searcher.max_time=0", "searcher.time_metric=epochs"],
        ["searcher.max_time", "0"],
    ),
    "a fraction of an epoch": (
        {"train_epochs": None},
        ["searcher.max_time=1.5", "searcher.time_metric=epochs"],
        ["searcher.max_time", "1.5"],
    ),
    "a metric that nobody reports": ({}, ["searcher.metric=accuracy"], ["searcher.metric", "accuracy", "loss"]),
    "a search for the worst": (
        {},
        ["searcher.metric=perplexity", "searcher.smaller_is_better=false"],
        ["searcher.smaller_is_better must be true for metric perplexity, of which less is better, got false"],
    ),
    "device": ({}, ["--device", "mps" if torch.cuda.is_available() else "cuda"], ["--device|device"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_at_once(name: str, laptop: Laptop) -> None:
    hparams, overrides, expected = BAD[name]
    run, seconds = attempt(laptop, hparams, overrides)
    assert run.code == 2
    for text in expected:
        assert any(option in run.err for option in text.split("|")), run.err
    assert all(line.startswith("error: ") for line in run.err.splitlines())
    assert laptop.left() == []
    assert seconds < 3


def attempt(laptop: Laptop, hparams: dict[str, Any], overrides: list[str]) -> tuple[Run, float]:
    device = overrides if overrides[:1] == ["--device"] else []
    arguments = laptop.arguments(*([] if device else overrides), **hparams)
    if "__missing__" in hparams.values():
        lost = arguments.index('hyperparameters.emsize="__missing__"')
        del arguments[lost - 1 : lost + 1]
        arguments[1] = str(without(arguments[1], "emsize", laptop.experiments.parent))
    began = time.monotonic()
    return laptop.main([*arguments, *device]), time.monotonic() - began


def without(config: str, key: str, folder: Path) -> Path:
    """A copy of a config without one line."""
    lines = Path(config).read_text().splitlines()
    copy = folder / "lacking.yaml"
    copy.write_text("\n".join(line for line in lines if not line.strip().startswith(f"{key}:")))
    return copy


def test_all_problems_are_named_at_once(laptop: Laptop) -> None:
    wrong = {"arch_to_use": "DART", "foo": 1, "emsize": 9, "bptt": "x", "dropout": -1}
    run = laptop.train("data.corpus=tex", **wrong)
    assert run.code == 2 and laptop.left() == []
    for text in ("DART", "hyperparameters.foo", "emsize", "hyperparameters.bptt", "hyperparameters.dropout", "tex"):
        assert text in run.err


def test_a_corpus_that_is_not_utf8_is_refused(laptop: Laptop, corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "latin"
    shutil.copytree(corpus, folder)
    (folder / "valid.txt").write_bytes("un caf\u00e9\n".encode("latin-1") * 30)
    run = laptop.train(f"data.data_dir={folder}")
    assert run.code == 2 and laptop.left() == []
    assert "valid.txt" in run.err and "UTF-8" in run.err and "iconv" in run.err


def test_a_test_split_that_is_too_short_is_refused_before_training(laptop: Laptop) -> None:
    run = laptop.train(eval_batch_size=110, evaluate_test=True)  # 120 words to validate on, 100 to test on
    assert run.code == 2 and "hyperparameters.eval_batch_size" in run.err
    assert laptop.left() == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: }", "not valid YAML"),
        ("- a\n- b\n", "hyperparameters"),
        ("hyperparameters: 3\n", "hyperparameters"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_config_is_refused(laptop: Laptop, tmp_path: Path, text: str | None, expected: str) -> None:
    file = tmp_path / "broken.yaml"
    if text is not None:
        file.write_text(text)
    run = laptop.train(config=file)
    assert run.code == 2 and laptop.left() == []
    assert str(file) in run.err and expected in run.err


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"run.json": "{}", "config.yaml": "{}"},
        {"run.json": "{", "config.yaml": ""},
        {"run.json": "{}", "config.yaml": "a: ["},
    ],
)
def test_a_folder_that_is_no_run_cannot_be_resumed(laptop: Laptop, tmp_path: Path, files: dict[str, str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    run = laptop.resume(folder)
    assert run.code == 2 and str(folder) in run.err
    assert {path.name for path in folder.iterdir()} == set(files)


def test_a_folder_of_experiments_that_cannot_be_made_is_refused(laptop: Laptop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = laptop.main([*laptop.arguments(), "--experiments", str(tmp_path / "file")])
    assert run.code == 2 and "--experiments" in run.err


def test_overrides_of_a_resumed_run_are_refused(laptop: Laptop, plain: Run) -> None:
    """They would change nothing; better to say so."""
    try:
        run = laptop.main(["--resume", str(plain.path), "--set", "hyperparameters.train_epochs=9"])
    except SystemExit as error:  # argparse's way
        assert error.code == 2
    else:
        assert run.code == 2 and "--set" in run.err


def test_a_loss_that_is_not_finite_is_said(laptop: Laptop, caplog: pytest.LogCaptureFixture) -> None:
    run = laptop.train(learning_rate=1e30, train_epochs=3)
    assert run.code == 1 and "diverged" in run.out and "go on with" not in run.out
    assert run.read("run.json")["status"] == "diverged"
    values = run.values("training", "loss") + run.values("validation", "loss") + run.values("validation", "perplexity")
    assert values and all(math.isfinite(value) for value in values) and max(values) >= 1e9
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("not finite" in warning and "learning_rate" in warning for warning in warnings)
    assert run.values("validation", "epochs") == [1]  # nothing recovers from this


@pytest.mark.parametrize("given", ["true", "null"])
def test_the_best_checkpoint_is_that_of_the_smallest_loss_also_where_the_direction_is_null(
    given: str, laptop: Laptop
) -> None:
    """A master takes null for its default, true."""
    run = laptop.train(f"searcher.smaller_is_better={given}", learning_rate=60, train_epochs=4)
    losses = run.values("validation", "loss")
    assert len(set(losses)) > 1 and run.read("run.json")["best"]["value"] == min(losses)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 800.0])
def test_a_test_score_that_is_not_finite_makes_the_run_a_diverged_one(
    score: float, laptop: Laptop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """exp(800) is more than a float holds, and a validation of it would count as diverged as well."""
    monkeypatch.setattr("model_def.score_stream", lambda *_: score)
    run = laptop.train(evaluate_test=True, train_epochs=1)
    assert run.code == 1 and run.read("run.json")["status"] == "diverged"
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1 and "test_perplexity" in told[0] and "lower learning_rate" in told[0]
    assert not any(message.startswith("test perplexity") for message in caplog.messages)
    assert run.values("test", "test_perplexity") == [1e10]


def test_a_last_validation_that_is_not_finite_is_no_success(laptop: Laptop) -> None:
    """Also where it is the only one: all batches are trained then, and the run was called complete."""
    run = laptop.train(learning_rate=1e30, train_epochs=1)
    assert run.code == 1 and run.read("run.json")["status"] == "diverged"
    assert run.read("run.json")["best"] is None


def test_random_cells_whose_score_is_not_finite_come_last(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([2.0, float("nan"), 1.0, float("inf")])
    for module in ("randomNAS_files.scoring", "randomNAS_files.fast.scoring"):
        monkeypatch.setattr(f"{module}.score_cells", lambda net, columns, bptt, cells: [next(scores) for _ in cells])
    run = laptop.train(eval_same_arch=False, num_archs_to_eval=4, train_epochs=1)
    assert run.code == 0 and [each["loss"] for each in run.read("architectures.json")] == [1.0, 2.0, 1e10, 1e10]
    text = (run.path / "architectures.json").read_text() + (run.path / "metrics.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
