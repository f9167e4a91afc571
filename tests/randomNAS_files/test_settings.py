"""Batches and slices that a text is too short for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data import load_corpus
from randomNAS_files.corpora import DataConfig, most_tokens
from randomNAS_files.settings import OptimizerConfig, fits_text


def optimizer(**changes: Any) -> OptimizerConfig:
    plain: dict[str, Any] = {"global_batch_size": 10, "eval_batch_size": 5, "bptt": 7, "max_seq_length_delta": 0}
    rest = {"wdecay": 0.0, "clip_gradients_l2_norm": 1.0, "alpha": 0.0, "beta": 0.0, "nonmono": 5}
    return OptimizerConfig(learning_rate=1.0, **{**plain, **rest, **changes})


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ({"train": 71, "valid": 6, "test": 6}, []),
        ({"train": 70, "valid": 6}, ["bptt must be at most 6, as a column of 10 in train has no more words, got 7"]),
        ({"train": 10, "valid": 5}, ["global_batch_size must be at most 9", "eval_batch_size must be at most 4"]),
        ({"test": 5}, ["eval_batch_size must be at most 4, as test has no more words to predict, got 5"]),
        ({}, []),
    ],
)
def test_what_does_not_fit_is_told(tokens: dict[str, int], says: list[str]) -> None:
    found = fits_text(optimizer(), tokens, True, exact=True)
    assert len(found) == len(says) and all(each in problem for each, problem in zip(says, found, strict=True))
    assert not any("test" in problem for problem in fits_text(optimizer(), tokens, False, exact=True))
    assert not any("bptt" in problem for problem in fits_text(optimizer(), tokens, True, exact=False))


@pytest.mark.parametrize("text", ["a b\nc\n", "a", "\n\n\n", " a  b \r\n\r\n", "ü ö\n"])
def test_a_file_has_no_more_tokens_than_is_said_without_reading_it(text: str, tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_bytes((text if split != "valid" else text + "x\n").encode())
    config = DataConfig("text", data_dir=str(tmp_path), download_dir=str(tmp_path / "cache"))
    most = most_tokens(config)
    words = {split: len(content.split()) + len(content.splitlines()) for split, content in read(tmp_path).items()}
    assert all(most[split] >= words[split] for split in words) and most["train"] <= len(text.encode()) + 1
    assert most_tokens(DataConfig("text", data_dir=str(tmp_path / "no"))) == {}


def read(folder: Path) -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.txt")}


def test_of_pydoc_it_is_exact() -> None:
    config = DataConfig("pydoc")
    corpus = load_corpus(config)
    assert most_tokens(config) == {split: len(getattr(corpus, split)) for split in ("train", "valid", "test")}
