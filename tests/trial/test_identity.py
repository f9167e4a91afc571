"""A run goes on with the network, data and seed that it began with, or says what differs and changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import Laptop, Run, stopped_after

from randomNAS_files import genotypes
from randomNAS_files.architecture import Genotype, from_json

MINE = Genotype((("relu", 0), ("relu", 1), ("tanh", 2)))
OTHER = Genotype((("relu", 0), ("sigmoid", 0), ("tanh", 2)))
EARLY = 3
"""Batches after which a run is stopped, within its first epoch."""


def stopped(laptop: Laptop, *overrides: str, after: int = EARLY, **hparams: Any) -> Run:
    with stopped_after(after):
        run = laptop.train(*overrides, **hparams)
    assert run.code == 0 and run.read("run.json")["status"] == "stopped", run.err
    return run


def content(folder: Path) -> dict[str, bytes]:
    """All files of a run but its log and its lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("log.txt", ".lock"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(laptop: Laptop, run: Run) -> list[str]:
    """The errors of going on with a run, which leave the folder as it is."""
    before = content(run.path)
    again = laptop.resume(run.path)
    assert again.code == 2 and content(run.path) == before
    lines = again.err.splitlines()
    assert all(line.startswith("error: ") for line in lines)
    return lines


@pytest.fixture
def copied(laptop: Laptop, tmp_path: Path) -> Laptop:
    """Its data may be changed."""
    return Laptop(laptop.experiments, Path(shutil.copytree(laptop.data, tmp_path / "corpus")))


@pytest.fixture
def my_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    name_mine(monkeypatch, MINE)


def name_mine(monkeypatch: pytest.MonkeyPatch, cell: Genotype) -> None:
    """What an edit of genotypes.py does: the name stands for another cell."""
    monkeypatch.setattr(genotypes, "MINE", cell, raising=False)


def test_a_name_that_now_stands_for_another_cell(
    laptop: Laptop, my_cell: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stopped(laptop, arch_to_use="MINE")
    name_mine(monkeypatch, OTHER)
    (line,) = refused(laptop, run)
    assert "node2_op: relu then, sigmoid now; node2_edge: 1 then, 0 now;" in line and "node1" not in line.split(";")[0]
    assert MINE.to_text() in line and str(run.path) in line
    assert from_json(run.read("genotype.json")) == MINE
    name_mine(monkeypatch, MINE)
    assert laptop.resume(run.path).read("run.json")["status"] == "completed"


def test_a_cell_that_averages_other_nodes(laptop: Laptop, my_cell: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hyperparameter spells it out, so the places in its JSON do."""
    run = stopped(laptop, arch_to_use="MINE")
    name_mine(monkeypatch, Genotype(MINE.recurrent, (2, 3)))
    (line,) = refused(laptop, run)
    assert "concat[0]: 1 then, 2 now" in line and "concat[2]: 3 then, nothing now" in line


def test_before_the_first_checkpoint_too(laptop: Laptop, my_cell: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run = stopped(laptop, arch_to_use="MINE")
    forget_checkpoint(run)
    name_mine(monkeypatch, OTHER)
    (line,) = refused(laptop, run)
    assert "node2_op" in line


def forget_checkpoint(run: Run) -> None:
    content = run.read("run.json")
    (run.path / "run.json").write_text(json.dumps({**content, "latest": None, "best": None, "checkpoints": []}))
    shutil.rmtree(run.path / "checkpoints")


@pytest.mark.parametrize("split", ["train", "valid"])
def test_another_text(copied: Laptop, split: str) -> None:
    run = stopped(copied)
    file = copied.data / f"{split}.txt"
    original = file.read_text()
    file.write_text(original.replace("w3 ", "w4 ", 1))
    (line,) = refused(copied, run)
    tokens = len(original.split()) + len(original.splitlines())
    assert f"{split} ({file}): {tokens} tokens, SHA-256" in line and f"{tokens} tokens" in line.partition(" then, ")[2]
    file.write_text(original)
    assert copied.resume(run.path).read("run.json")["status"] == "completed"


def test_a_shorter_text(copied: Laptop) -> None:
    run = stopped(copied)
    file = copied.data / "train.txt"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-2]))
    (line,) = refused(copied, run)
    assert "600 tokens" in line and "580 tokens" in line and str(file) in line


def test_other_line_ends_are_the_same_data(copied: Laptop) -> None:
    run = stopped(copied)
    file = copied.data / "train.txt"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert copied.resume(run.path).read("run.json")["status"] == "completed"


def test_the_test_split_counts_where_it_is_scored(copied: Laptop) -> None:
    plain, tested = stopped(copied), stopped(copied, evaluate_test=True)
    file = copied.data / "test.txt"
    file.write_text(file.read_text().replace("w3 ", "w4 ", 1))
    (line,) = refused(copied, tested)
    assert f"test ({file})" in line and "train (" not in line
    assert copied.resume(plain.path).read("run.json")["status"] == "completed"


def test_what_a_run_belongs_to_can_be_read(laptop: Laptop) -> None:
    """In run.json and beside the weights; the digest is that of the token ids as 32-bit numbers, computed here anew."""
    run = stopped(laptop, arch_to_use="ENAS")
    words: dict[str, int] = {}
    text = (laptop.data / "train.txt").read_text()
    tokens = [word for line in text.splitlines() for word in [*line.split(), "<eos>"]]
    ids = [words.setdefault(word, len(words)) for word in tokens]
    digest = hashlib.sha256(b"".join(number.to_bytes(4, "little") for number in ids)).hexdigest()
    expected = {"digest": digest, "count": 600, "unit": "tokens", "source": str(laptop.data / "train.txt")}
    beside = run.path / "checkpoints" / run.read("run.json")["latest"]["uuid"] / "identity.json"
    for identity in (run.read("run.json")["identity"], json.loads(beside.read_text())):
        assert identity["data"]["train"] == expected
        assert identity["architecture"] == run.read("genotype.json") and identity["space"] == "randomNAS_files"
    assert identity["hyperparameters"]["arch_to_use"] == "ENAS" and identity["seed"] == run.read("run.json")["seed"]


def swap_checkpoint(run: Run, other: Run) -> None:
    """The checkpoint of another run in the place of this one's."""
    ours, theirs = (each.path / "checkpoints" / each.read("run.json")["latest"]["uuid"] for each in (run, other))
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)


@pytest.mark.parametrize(
    ("hparams", "seed", "expected"),
    [
        ({"arch_seed": 2}, "1", "the checkpoint is of another architecture: node"),
        ({"arch_seed": 1}, "2", "the checkpoint is of another trial: its seed is 2, that of this one 1"),
    ],
)
def test_the_checkpoint_of_another_trial(laptop: Laptop, hparams: dict[str, Any], seed: str, expected: str) -> None:
    run = stopped(laptop, "reproducibility.experiment_seed=1", arch_to_use=None, arch_seed=1)
    other = stopped(laptop, f"reproducibility.experiment_seed={seed}", arch_to_use=None, **hparams)
    swap_checkpoint(run, other)
    again = laptop.resume(run.path)
    assert again.code == 2 and expected in again.err and "Traceback" not in again.err
    assert json.loads((run.path / "genotype.json").read_text()) == run.read("run.json")["identity"]["architecture"]


def test_other_hyperparameters_and_versions_are_told(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = stopped(laptop)
    swap_checkpoint(run, stopped(laptop, learning_rate=2))
    monkeypatch.setattr(torch, "__version__", "9.8.7")
    caplog.clear()
    again = laptop.resume(run.path)
    assert again.code == 0 and again.read("run.json")["status"] == "completed"
    (line,) = [message for message in caplog.messages if "with other settings" in message]
    assert "torch: " in line and "9.8.7 now" in line and "hyperparameters.learning_rate: 2 then, " in line
    assert "code" not in line and "numpy" not in line


def test_a_run_like_before_is_told_nothing(laptop: Laptop, caplog: pytest.LogCaptureFixture) -> None:
    run = stopped(laptop)
    caplog.clear()
    assert laptop.resume(run.path).code == 0
    assert not [message for message in caplog.messages if " then, " in message]


def test_a_checkpoint_that_does_not_say_what_it_is_of(laptop: Laptop) -> None:
    run = stopped(laptop)
    path = run.path / "checkpoints" / run.read("run.json")["latest"]["uuid"] / "state_dict.pth"
    state = torch.load(path, weights_only=True)
    del state["callbacks"]["bookkeeping"]["identity"]
    torch.save(state, path)
    (path.parent / "digests.json").unlink()  # as in checkpoints from before
    again = laptop.resume(run.path)
    assert again.code == 2 and "does not say what architecture and data it is of" in again.err


def backwards(file: Path) -> str:
    """Its lines with their words in reverse order: another text of the same words."""
    return "".join(" ".join(reversed(line.split())) + "\n" for line in file.read_text().splitlines())


def test_a_metric_after_the_checkpoint_survives_a_refusal(copied: Laptop) -> None:
    """It is forgotten only when the run does go on."""
    run = stopped(copied)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"group": "training", "step": 99, "loss": 1.0}\n')
    (copied.data / "valid.txt").write_text(backwards(copied.data / "valid.txt"))
    (line,) = refused(copied, run)
    assert "valid" in line
    assert run.metrics("training")[-1]["step"] == 99


def test_data_that_a_search_expects(laptop: Laptop) -> None:
    """`nas run` tells a new trial which data the trials before it had."""
    run = stopped(laptop)
    data = run.read("run.json")["identity"]["data"]
    forget_checkpoint(run)
    data["valid"]["digest"] = "0" * 64
    (run.path / "run.json").write_text(json.dumps({**run.read("run.json"), "identity": {"data": data}}))
    (line,) = refused(laptop, run)
    assert "valid (" in line and "SHA-256 000000000000 then" in line and "train (" not in line
