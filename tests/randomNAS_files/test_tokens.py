"""Tokens against a plain reference: line by line, word by word, one dictionary for each purpose."""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import DataConfig, load_corpus
from randomNAS_files import tokens
from randomNAS_files.tokens import EOS, UNK, encode, tokenise

SPLITS = ("train", "valid", "test")
# All that some rule takes for white space or for the end of a line, and what only looks like it (the last five).
ODD = ["\n", "\r", "\r\n", "\n\r", " ", "  ", "\t", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0"]
ODD += ["\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u200b", "\ufeff", "\x00", "\x1a", "\u180e"]
WORDS = ["a", "b", "B", "c", "the", "caf\u00e9", "\u732b", "\U0001f408", EOS, UNK, "<", "eos>", "\u0301"]
texts = st.lists(st.sampled_from(ODD + 2 * WORDS) | st.text(max_size=3), max_size=40).map("".join)
texts = texts.filter(lambda text: not any("\ud800" <= letter <= "\udfff" for letter in text))


def plain_words(text: str) -> Iterator[str]:
    """As Python reads a text file in text mode, each line split on white space."""
    for line in io.StringIO(text, newline=None):
        yield from line.split()
        yield EOS


def plain_ids(parts: dict[str, str], cap: int | None) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """Ids and vocabulary by the rules of data.py, with one look-up a word and a pass for each question."""
    counts = Counter(plain_words(parts["train"]))
    unseen = {s: sum(word not in counts for word in plain_words(parts[s])) for s in SPLITS}
    vocabulary = list(counts)
    if any(unseen.values()) and UNK not in counts:
        vocabulary.append(UNK)
    if cap is not None and len(vocabulary) > cap:
        ranked = sorted(counts, key=lambda word: (-counts[word], vocabulary.index(word)))
        common = [word for word in ranked if word not in (EOS, UNK)]
        kept = [EOS, UNK, *common[: cap - 2]]
        vocabulary = [word for word in vocabulary if word in kept]
        if UNK not in vocabulary:
            vocabulary.append(UNK)
    ids = {}
    for split in SPLITS:
        found = [word if word in vocabulary else UNK for word in plain_words(parts[split])]
        ids[split] = [vocabulary.index(word) for word in found]
    return ids, tuple(vocabulary)


@pytest.fixture(autouse=True, params=[1, 16_384])
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of a line each, and all in one."""
    monkeypatch.setattr(tokens, "PIECE", request.param)


@given(texts)
def test_words_are_those_of_the_lines(text: str) -> None:
    assert list(tokenise(text)) == list(plain_words(text))


@given(texts, texts, texts, st.none() | st.integers(3, 12))
def test_ids_equal_the_plain_ones(train: str, valid: str, test: str, cap: int | None) -> None:
    parts = dict(zip(SPLITS, (train, valid, test), strict=True))
    result = encode(parts, cap)
    ids, vocabulary = plain_ids(parts, cap)
    assert result.vocabulary == vocabulary
    assert {split: found.tolist() for split, found in result.ids.items()} == ids
    assert {str(found.dtype) for found in result.ids.values()} == {"int64"}


def test_only_line_ends_are_line_ends() -> None:
    assert list(tokenise("a\x0cb\u2028c\n")) == ["a", "b", "c", EOS]  # str.splitlines would count three lines
    assert list(tokenise("")) == []
    assert list(tokenise("\r\n\r\r\n\n")) == [EOS] * 4
    assert list(tokenise("a\n\nb")) == ["a", EOS, EOS, "b", EOS]


def test_pieces_of_every_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"{'x' * (i % 7)} w{i % 5}\n" + "\r" * (i % 2) for i in range(60))
    for size in range(1, 50):
        monkeypatch.setattr(tokens, "PIECE", size)
        assert list(tokenise(text)) == list(plain_words(text))


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["no mark", "byte order mark"])
@pytest.mark.parametrize("cap", [None, 4])
def test_a_corpus_equals_the_plain_one(
    tmp_path: Path, mark: bytes, cap: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    parts = {"train": "a\x85b\r\rc a\r\n\u2028\n<unk>\x1cd a b", "valid": "d\xa0e\n\n", "test": "\ufeffa b\r"}
    for split, text in parts.items():
        (tmp_path / f"{split}.txt").write_bytes(mark + text.encode())
    caplog.set_level(logging.INFO)
    config = DataConfig("text", str(tmp_path), str(tmp_path / "cache"), cap)
    built, cached = load_corpus(config), load_corpus(config)
    if not mark:  # without one of its own, the file loses the first of the text's
        parts["test"] = "a b\r"
    ids, vocabulary = plain_ids(parts, cap)
    for corpus in (built, cached):
        assert corpus.vocabulary == vocabulary
        assert {split: getattr(corpus, split).tolist() for split in SPLITS} == ids
    unk = vocabulary.index(UNK)
    shares = ", ".join(f"{ids[s].count(unk) / len(ids[s]):.2%} of {s}" for s in SPLITS)
    line = f"text: {len(vocabulary)} words; <unk> is {shares}"
    assert [record.getMessage() for record in caplog.records if record.name == "data"] == [line, line]
