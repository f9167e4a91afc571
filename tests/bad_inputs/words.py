"""Texts that are no corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from .acts import Act, rnn_trial
from .case import Case

LINES = "".join(f"the {i} cats of {i * 7} houses sat on {i * 3} mats\n" for i in range(50))
OTHERS = {"valid": "a cat sat\nthe dogs\n" * 9, "test": "cats and mats\nthe 3 of\n" * 8}


def put(folder: Path, **texts: str | bytes | None) -> None:
    """A corpus in `texts/`, with some of the splits other than they should be; None leaves one out."""
    (folder / "texts").mkdir()
    for split, text in {"train": LINES, **OTHERS, **texts}.items():
        if text is not None:
            data = text if isinstance(text, bytes) else text.encode()
            (folder / "texts" / f"{split}.txt").write_bytes(data)


def load(corpus: str = "text", data_dir: str = "texts", **more: object) -> Act:
    """Read the corpus in `texts/`."""

    def act(folder: Path) -> int:
        from data import DataConfig, load_corpus

        load_corpus(DataConfig(corpus, str(folder / data_dir), **more))  # type: ignore[arg-type]
        return 0

    return act


def _replace(split: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        put(folder, **{split: None})
        make(folder / "texts" / f"{split}.txt")

    return prepare


PREPARED: list[tuple[str, Callable[[Path], object], tuple[str, ...]]] = [
    ("no folder", lambda folder: None, ("texts",)),
    ("a file for a folder", lambda folder: (folder / "texts").write_text("x"), ("texts",)),
    ("an empty folder", lambda folder: (folder / "texts").mkdir(), ("train.txt",)),
    ("no training text", lambda folder: put(folder, train=None), ("train.txt",)),
    ("no validation text", lambda folder: put(folder, valid=None), ("valid.txt",)),
    ("no test text", lambda folder: put(folder, test=None), ("test.txt",)),
    (
        "two training texts",
        lambda folder: (put(folder), (folder / "texts" / "my.train.txt").write_text("x")),
        ("exactly one",),
    ),
    ("an empty text", lambda folder: put(folder, valid=""), ("valid.txt is empty",)),
    ("a blank text", lambda folder: put(folder, train=" \n\n \t\n"), ("train.txt is empty",)),
    ("Latin-1", lambda folder: put(folder, valid="caf\xe9 au lait\n".encode("latin1")), ("is not UTF-8", "line 1")),
    ("bytes", lambda folder: put(folder, train=bytes(range(256)) * 9), ("train.txt",)),
    ("UTF-16 cut in the middle", lambda folder: put(folder, train=LINES.encode("utf-16")[:-1]), ("UTF-16",)),
    ("UTF-16 without a mark", lambda folder: put(folder, train=LINES.encode("utf-16-le")), ("UTF-16",)),
    ("gzip", lambda folder: put(folder, train=b"\x1f\x8b\x08\0" + b"\xff" * 99), ("train.txt",)),
    ("a text that is also the test", lambda folder: put(folder, test=LINES), ("test", "train")),
    ("a folder called train.txt", _replace("train", Path.mkdir), ("train.txt",)),
    ("a pipe called valid.txt", _replace("valid", os.mkfifo), ("valid.txt",)),
    ("a link to nothing", _replace("test", lambda path: path.symlink_to("nothing")), ("test.txt",)),
    ("a link to /dev/zero", _replace("test", lambda path: path.symlink_to("/dev/zero")), ("test.txt",)),
]


def cases() -> Iterator[Case]:
    """All of them."""
    for name, prepare, says in PREPARED:
        yield Case("texts", name, _prepared(prepare, load()), says)
    yield Case(
        "texts", "another corpus as ptb", _prepared(lambda folder: _as_ptb(folder), load("ptb")), ("Penn Treebank",)
    )
    yield Case("texts", "a folder without ptb", _prepared(put, load("ptb", ".")), ("ptb.train.txt",))
    yield Case("texts", "no such user", load(data_dir="/~nosuchuser"), ("nosuchuser",))
    words = ("data.corpus=text", "data.data_dir=texts")
    for setting, says in (
        ("hyperparameters.global_batch_size=100000", "global_batch_size must be at most"),
        ("hyperparameters.bptt=500", "bptt must be at most"),
        ("hyperparameters.eval_batch_size=100000", "eval_batch_size must be at most"),
        ("data.data_dir=nowhere", "nowhere"),
    ):
        act = _prepared(put, rnn_trial(*words, setting))
        yield Case("trial's command line", f"a small text, {setting}", act, (says,))
    yield Case(
        "trial's command line",
        "a text of one word",
        _prepared(lambda folder: put(folder, valid="x"), rnn_trial(*words)),
        ("eval_batch_size",),
    )


def _prepared(prepare: Callable[[Path], object], act: Act) -> Act:
    def both(folder: Path) -> int:
        prepare(folder)
        return act(folder)

    return both


def _as_ptb(folder: Path) -> None:
    put(folder)
    for path in list((folder / "texts").iterdir()):
        path.rename(path.with_name(f"ptb.{path.name}"))
