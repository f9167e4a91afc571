"""Texts that hold one another, and what is said of the words that a vocabulary cuts off."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from data import SPLITS, DataConfig, load_corpus
from nas.core.errors import DataError
from randomNAS_files.leaks import LONG, leaks

Parts = dict[str, list[str]]


@pytest.fixture
def parts() -> Parts:
    """Lines of twelve random words: none is in two parts."""
    generator = random.Random(0)
    line = lambda: " ".join(f"w{generator.randrange(500)}" for _ in range(12))  # noqa: E731
    return {split: [line() for _ in range(count)] for split, count in (("train", 100), ("valid", 20), ("test", 20))}


def write(folder: Path, parts: Parts, end: str = "\n") -> DataConfig:
    for split, lines in parts.items():
        (folder / f"{split}.txt").write_bytes((end.join(lines) + end).encode())
    return DataConfig("text", data_dir=str(folder), download_dir=str(folder / "cache"))


def same(first: str, second: str) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        parts[first] = parts[second]

    return change


def part_of(first: str, second: str, start: int, stop: int) -> Callable[[Parts], None]:
    def change(parts: Parts) -> None:
        parts[first] = parts[second][start:stop]

    return change


def mixed(count: int) -> Callable[[Parts], None]:
    """So many of twenty validation lines come from the training text."""

    def change(parts: Parts) -> None:
        parts["valid"][: 2 * count : 2] = parts["train"][7 : 7 + count]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (same("valid", "train"), "(valid) and"),
        (same("test", "train"), "hold the same text"),
        (same("test", "valid"), "test.txt (test) and"),
        (part_of("valid", "train", 30, 50), "holds the whole other text"),
        (part_of("test", "train", 0, 10), "holds the whole other text"),
        (part_of("train", "valid", 5, 20), "holds the whole other text"),
        (mixed(10), "50% of the words of"),
    ],
)
def test_parts_that_hold_one_another_are_refused(
    change: Callable[[Parts], None], says: str, parts: Parts, tmp_path: Path
) -> None:
    load_corpus(write(tmp_path, parts))
    change(parts)
    for _ in range(2):  # also where the tokens are in the cache
        with pytest.raises(DataError) as caught:
            load_corpus(write(tmp_path, parts))
        assert says in str(caught.value) and "scores would be those of text that was trained on" in str(caught.value)


def test_a_link_is_the_same_text(parts: Parts, tmp_path: Path) -> None:
    config = write(tmp_path, parts)
    (tmp_path / "valid.txt").unlink()
    (tmp_path / "valid.txt").symlink_to(tmp_path / "train.txt")
    with pytest.raises(DataError, match="hold the same text"):
        load_corpus(config)


def test_line_ends_do_not_hide_a_part(parts: Parts) -> None:
    windows = {
        split: (split, ("\r\n" if split == "valid" else "\n").join(lines).encode()) for split, lines in parts.items()
    }
    windows["valid"] = ("valid", "\r\n".join(parts["train"][:60]).encode())
    refused, _ = leaks(windows)
    assert len(refused) == 1 and "100% of the words of valid (valid)" in refused[0]


@pytest.mark.parametrize(("count", "told"), [(1, False), (2, True), (9, True)])
def test_a_share_of_known_lines_is_told(
    count: int, told: bool, parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mixed(count)(parts)
    load_corpus(write(tmp_path, parts))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [f"{count / 20:.0%} of the words of" in warning for warning in warnings] == [True] * told


def test_short_lines_and_short_texts_say_nothing(parts: Parts) -> None:
    heading = " ".join(["= History ="] * 2)
    assert len(heading.split()) < LONG
    common = {split: (split, "\n".join([heading] * 50 + lines).encode()) for split, lines in parts.items()}
    assert leaks(common) == ([], [])
    assert leaks({split: (split, b"a b c\n") for split in SPLITS}) == ([], [])


def test_hidden_files_are_no_parts(parts: Parts, tmp_path: Path) -> None:
    config = write(tmp_path, parts)
    for name in (".train.txt", "._valid.txt"):
        (tmp_path / name).write_text("what an editor or macOS leaves")
    assert len(load_corpus(config).train) == 1300


def test_what_the_vocabulary_cuts_off_is_told_for_all_parts(
    parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the tokens as they are trained on; a smaller vocabulary makes more <unk>, in training too."""
    caplog.set_level(logging.INFO)
    write(tmp_path, parts)
    counts = Counter(word for line in parts["train"] for word in line.split())
    said = []
    for size in (None, 300, 20):
        config = DataConfig("text", data_dir=str(tmp_path), download_dir=str(tmp_path / "cache"), vocabulary_size=size)
        words = [word for word, _ in counts.most_common()]
        known = {*(words if size is None else words[: size - 2])}
        for _ in range(2):
            caplog.clear()
            load_corpus(config)
            (line,) = [each.getMessage() for each in caplog.records if "<unk> is" in each.getMessage()]
            for split in SPLITS:
                tokens = [word for line in parts[split] for word in [*line.split(), "<eos>"]]
                unknown = sum(word not in known and word != "<eos>" for word in tokens)
                assert f"{unknown / len(tokens):.2%} of {split}" in line
        said.append(line)
    assert len(set(said)) == 3


def test_a_vocabulary_that_cuts_nothing_off_is_told(
    parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, parts)
    load_corpus(DataConfig("text", data_dir=str(tmp_path), download_dir=str(tmp_path / "c"), vocabulary_size=5000))
    assert "vocabulary_size 5000 cuts nothing off: the texts have" in caplog.text
