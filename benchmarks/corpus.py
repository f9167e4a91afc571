"""Penn Treebank from its text files to tensors, and from the cache, against the plain way of 2019. From the root:

    python -m benchmarks.corpus [--data-dir DIR] [--save]

DIR (or $NAS_DATA, or ptb in it) holds ptb.train.txt, ptb.valid.txt and ptb.test.txt. Without them a made-up text takes their
place: as many words in as many lines, out of 10,000 words whose frequencies follow Zipf's law. Ours includes all that
`load_corpus` does: it reads and hashes the files, and writes the cache where there is none.
"""

from __future__ import annotations

import logging
import os
import tempfile
from itertools import count
from pathlib import Path

import numpy as np
import torch

from benchmarks.measuring import arguments, faster, finish, interleaved
from benchmarks.plain_corpus import PlainCorpus
from data import PTB_WORDS, SPLITS, Corpus, DataConfig, load_corpus

LINES = {"train": 42_068, "valid": 3_370, "test": 3_761}
PTB = "PTB text to tensors", "PTB from the cache"
MADE_UP = "made-up text of PTB's size to tensors", "made-up text from the cache"
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))


def main() -> None:
    """Measure and report."""
    chosen = arguments("Text to tensors.", rounds=7, data_dir=os.environ.get("NAS_DATA", ""))
    logging.disable()  # the log is part of what is measured, the terminal is not
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder, kind = find_or_make(chosen.data_dir, place / "text")
        works, form = (PTB, "ptb.{}.txt") if kind == "ptb" else (MADE_UP, "{}.txt")
        caches = (str(place / f"cache-{i}") for i in count())
        cached = str(place / "cached")

        def plain() -> PlainCorpus:
            return PlainCorpus(folder, form)

        def ours(cache: str) -> Corpus:
            return load_corpus(DataConfig(kind, str(folder), cache))

        reference = plain()
        check(reference, ours(cached))  # which writes the cache
        check(reference, ours(cached))  # which reads it
        built = interleaved(plain, lambda: ours(next(caches)), chosen.rounds, warm_up=1)
        read = interleaved(plain, lambda: ours(cached), chosen.rounds, warm_up=1)
    finish("corpus", [faster(works[0], built, 8, 8), faster(works[1], read, 50, 50)], chosen)


def find_or_make(data_dir: str, place: Path) -> tuple[Path, str]:
    """Where the three texts are, and which corpus they are: ptb, or text for one that is made up in `place`."""
    for folder in (Path(data_dir), Path(data_dir, "ptb")) if data_dir else ():
        if (folder / "ptb.train.txt").is_file():
            return folder, "ptb"
    write_synthetic(place)
    return place, "text"


def write_synthetic(place: Path) -> None:
    """Texts of the size of Penn Treebank; every word occurs in the training text."""
    random = np.random.RandomState(0)
    lengths = 2 + 0.6 * np.log2(1 + np.arange(PTB_WORDS))  # frequent words are short
    found = dict.fromkeys("".join(random.choice(LETTERS, int(length))) for length in lengths)
    words = np.array(
        [*found, *(f"w{i}" for i in range(PTB_WORDS - 1 - len(found)))][: PTB_WORDS - 1]
    )  # <eos> is one more
    shares = 1 / (2.7 + np.arange(len(words)))  # Mandelbrot's form of Zipf's law
    place.mkdir(parents=True)
    for split, lines in LINES.items():
        text = random.choice(words, 21 * lines, p=shares / shares.sum())
        if split == "train":
            text[: len(words)] = words
        body = "".join(" " + " ".join(line) + " \n" for line in np.split(text, lines))
        (place / f"{split}.txt").write_text(body, encoding="utf-8")


def check(plain: PlainCorpus, ours: Corpus) -> None:
    """Raise AssertionError unless both are the same to the last token."""
    assert tuple(plain.dictionary.words) == ours.vocabulary
    assert all(torch.equal(getattr(plain, split), getattr(ours, split)) for split in SPLITS)


if __name__ == "__main__":
    main()
