"""On a cluster: which checkpoints a trial goes on from, and which weights another one may begin with."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from determined import core
from support.runs import assert_invalid, checkpoint_of, master_of, run_on
from support.stub_master import StubMaster

from nas.core.identity import DataPart, Identity, MismatchError, check_processes
from randomNAS_files import genotypes
from randomNAS_files.architecture import Genotype

MINE = Genotype((("relu", 0), ("relu", 1), ("tanh", 2)))
OTHER = Genotype((("relu", 0), ("sigmoid", 0), ("tanh", 2)))


@pytest.fixture
def text(corpus: Path, tmp_path: Path) -> Path:
    """A corpus that may be changed."""
    return Path(shutil.copytree(corpus, tmp_path / "text"))


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genotypes, "MINE", MINE, raising=False)


@pytest.fixture
def first(text: Path, tmp_path: Path) -> StubMaster:
    """A trial that was paused after its first epoch."""
    master = master_of(text, tmp_path / "storage", arch_to_use="MINE")
    master.preempt_after = 10
    run_on(master)
    assert master.checkpoints and master.validation("epochs") == [1]
    return master


def another(first: StubMaster, **changes: Any) -> StubMaster:
    """Another trial that begins with the weights of this one, as by `searcher.source_checkpoint_uuid`."""
    same = {"trial_id": 2, "latest_checkpoint": first.checkpoints[-1]["uuid"], "steps_completed": 0}
    return replace(first, **{"preempt_after": None, **same, **changes})


def change(text: Path) -> None:
    """Another order of lines: no word is new, and none but the first words appear in another order."""
    file = text / "train.txt"
    *lines, one, two = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines, two, one]))


def test_a_trial_whose_data_has_changed_is_refused(
    first: StubMaster, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change(text)
    assert_invalid(first.resume())
    (line,) = [message for message in caplog.messages if message.startswith("refused: ")]
    assert f"the checkpoint is of other data: train ({text / 'train.txt'}): 600 tokens, SHA-256" in line


def test_a_trial_whose_architecture_has_changed_is_refused(
    first: StubMaster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(genotypes, "MINE", OTHER)
    assert_invalid(first.resume())
    assert any("node2_op: relu then, sigmoid now; node2_edge: 1 then, 0 now" in line for line in caplog.messages)


def test_a_trial_that_is_continued_with_another_architecture_is_refused(
    first: StubMaster, caplog: pytest.LogCaptureFixture
) -> None:
    """`det e continue ID --config hyperparameters.arch_to_use=ASHA`"""
    assert_invalid(first.resume(hparams={**first.hparams, "arch_to_use": "ASHA"}))
    assert any("the checkpoint is of another architecture" in message for message in caplog.messages)


def test_a_trial_may_be_continued_for_longer(first: StubMaster, caplog: pytest.LogCaptureFixture) -> None:
    """`det e continue ID --config hyperparameters.train_epochs=3`"""
    second = first.resume(hparams={**first.hparams, "train_epochs": 3})
    caplog.clear()
    run_on(second)
    assert second.validation("epochs") == [2, 3]
    told = [message for message in caplog.messages if " then, " in message]
    assert told == ["the checkpoint was written with other settings: hyperparameters.train_epochs: 2 then, 3 now"]


def test_a_warm_start_may_have_other_data(first: StubMaster, text: Path, caplog: pytest.LogCaptureFixture) -> None:
    change(text)
    warm = another(first, trial_seed=77)
    caplog.clear()
    run_on(warm)
    assert warm.validation("epochs") == [1, 2]
    (told,) = [message for message in caplog.messages if " then, " in message]
    assert "vocabulary" not in told and "valid" not in told
    assert told.startswith(f"the checkpoint was trained with other data or versions: data train ({text / 'train.txt'})")


def test_a_warm_start_needs_the_same_architecture(first: StubMaster, caplog: pytest.LogCaptureFixture) -> None:
    """Also one of the same shape, which would load without a word."""
    spelt = {**first.hparams, **OTHER.to_hparams()}
    del spelt["arch_to_use"]
    assert_invalid(another(first, hparams=spelt))
    (line,) = [message for message in caplog.messages if message.startswith("refused: ")]
    assert "node2_op: relu then, sigmoid now" in line and "start without its weights" in line


@pytest.mark.parametrize("trial_id", [1, 2], ids=["continued", "warm"])
def test_the_hyperparameters_are_the_new_ones(first: StubMaster, trial_id: int) -> None:
    """Also those that an optimiser keeps in its state, such as the weight decay."""
    assert checkpoint_of(first)["optimizers_state_dict"][0]["param_groups"][0]["weight_decay"] != 0.125
    second = another(first, trial_id=trial_id, hparams={**first.hparams, "wdecay": 0.125})
    run_on(second)
    assert checkpoint_of(second)["optimizers_state_dict"][0]["param_groups"][0]["weight_decay"] == 0.125


@pytest.mark.parametrize("how", ["width", "words"])
def test_a_warm_start_needs_the_same_shapes(
    first: StubMaster, text: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    widths = {"emsize": 6, "nhid": 6, "nhidlast": 6} if how == "width" else {}
    if how == "words":
        with (text / "train.txt").open("a") as file:
            file.write("three new words\n")
    assert_invalid(another(first, hparams={**first.hparams, **widths}))
    (line,) = [message for message in caplog.messages if message.startswith("refused: ")]
    assert f"embedding: (41, 8) then, {'(41, 6)' if widths else '(44, 8)'} now" in line


def test_the_same_architecture_by_another_name_is_the_same(first: StubMaster) -> None:
    spelt = {**first.hparams, **MINE.to_hparams()}
    del spelt["arch_to_use"]
    warm = another(first, hparams=spelt)
    run_on(warm)
    assert warm.validation("epochs") == [1, 2]


def test_processes_that_read_other_data_are_refused(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other process of the trial, on another host, answers with another digest."""
    original = core.DistributedContext.allgather

    def allgather(context: Any, stuff: Any) -> list[Any]:
        own = original(context, stuff)
        if not (isinstance(stuff, dict) and "architecture" in stuff):
            return own
        train = {**stuff["data"]["train"], "digest": "0" * 64, "count": 7}
        return [*own, {**stuff, "data": {**stuff["data"], "train": train}}]

    monkeypatch.setattr(core.DistributedContext, "allgather", allgather)
    assert_invalid(master_of(text, tmp_path))
    (line,) = [message for message in caplog.messages if message.startswith("refused: ")]
    assert "7 tokens, SHA-256 000000000000 in process 1" in line and "600 tokens" in line and "in process 0" in line


def test_every_process_is_compared() -> None:
    def identity(name: str, digest: str) -> Identity:
        return Identity(name, {"train": DataPart(digest, 3, "words")})

    check_processes([identity("a", "1")] * 3)
    with pytest.raises(MismatchError) as error:
        check_processes([identity("a", "1"), identity("a", "1"), identity("a", "2"), identity("b", "1")])
    two, three = error.value.problems
    assert "in process 2" in two and "train" in two
    assert '"a" in process 0, "b" in process 3' in three
