"""Which text corpora there are, and what is known of them before any text is read.

Penn Treebank, any folder of three text files, or Python's own help text; `data.py` reads them.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from nas.core.named_files import path_problem
from randomNAS_files.pydoc_text import pydoc_tokens
from randomNAS_files.text_files import CorpusError

CORPORA = ("ptb", "text", "pydoc")
SPLITS = ("train", "valid", "test")

PTB_WORDS = 10_000
PTB_TOKENS = {"train": 929_589, "valid": 73_760, "test": 82_430}  # with one <eos> a line
PYDOC_WORDS = 2_000
ASSUMED_WORDS = 10_000  # of a corpus that is not read

_NAMES = {"train": "train", "valid": "(?:valid|val|validation|dev)", "test": "test"}  # as other corpora call them


@dataclass(frozen=True)
class DataConfig:
    """The `data:` section of an experiment config; raises ValueError for fields that do not go together.

    Attributes:
        corpus: "ptb" (Penn Treebank), "text" (three text files in data_dir) or "pydoc" (the help text inside CPython;
            its perplexities compare only within one release of Python, and so do its token counts).
        data_dir: folder with the text files, only read; optional for ptb, required for text, not allowed for pydoc.
        download_dir: where fetched files and token caches go; default: see `nas.core.files.cache_folder`.
        vocabulary_size: how many words to keep, <eos> and <unk> included; default: all, for pydoc 2000.
    """

    corpus: str = "ptb"
    data_dir: str | None = None
    download_dir: str | None = None
    vocabulary_size: int | None = None

    def __post_init__(self) -> None:
        corpus, size = self.corpus, self.vocabulary_size
        for name in ("data_dir", "download_dir"):
            if wrong := path_problem(getattr(self, name)):
                raise ValueError(f"{name} {wrong}")
        if corpus not in CORPORA:
            near = difflib.get_close_matches(str(corpus).lower(), CORPORA, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "choose one of them"
            raise ValueError(f"corpus must be one of {', '.join(CORPORA)}, got {corpus!r}; {hint}")
        if corpus == "text" and not self.data_dir:
            raise ValueError("data_dir is required for corpus text; set it to the folder with your three text files")
        if corpus == "pydoc" and self.data_dir:
            raise ValueError(f"data_dir is not allowed for corpus pydoc, got {self.data_dir!r}; leave it out")
        if corpus == "ptb" and size is not None:
            raise ValueError(f"vocabulary_size is fixed at {PTB_WORDS} for corpus ptb, got {size}; leave it out")
        if size is not None and size < 3:
            raise ValueError(f"vocabulary_size must be at least 3 (<eos>, <unk> and a word), got {size}; raise it")


def known_vocabulary(config: DataConfig) -> tuple[int, str]:
    """How many words a corpus has, and how that is known without reading it."""
    if config.corpus == "ptb":
        return config.vocabulary_size or PTB_WORDS, "words of Penn Treebank"
    if config.corpus == "pydoc":
        return config.vocabulary_size or PYDOC_WORDS, "words, at most"
    if config.vocabulary_size:
        return config.vocabulary_size, "words, at most (data.vocabulary_size)"
    return ASSUMED_WORDS, "words assumed: the corpus is not read, and data.vocabulary_size sets no limit"


def most_tokens(config: DataConfig) -> dict[str, int]:
    """At most so many tokens each split has, without reading your files; nothing of files that are not there or empty."""
    if config.corpus == "ptb":
        return PTB_TOKENS
    if config.corpus == "pydoc":
        return dict(zip(SPLITS, pydoc_tokens(), strict=False))
    try:
        sizes = {split: file.stat().st_size for split, file in text_files(config).items()}
    except (CorpusError, OSError):  # which the trial tells
        return {}
    return {split: size + 1 for split, size in sizes.items() if size}  # a byte a word, or a line


def text_files(config: DataConfig) -> dict[str, Path]:
    """The file of each split of corpus text. Raises CorpusError or OSError."""
    folder = Path(config.data_dir or "").expanduser()
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    files = {}
    for split in SPLITS:
        # What precedes the name must not be a letter: latest.txt is no test.txt.
        matches = [name for name in names if re.fullmatch(rf"(.*[^A-Za-z0-9])?{_NAMES[split]}\.(txt|tokens|raw)", name)]
        if len(matches) != 1:
            also = ", val.txt, dev.txt" if split == "valid" else ""
            rule = f"exactly one file named like {split}.txt{also}, ptb.{split}.txt, wiki.{split}.tokens or .raw"
            raise CorpusError(f"{folder} must hold {rule}, found {matches} in {names[:20]}; rename or move files")
        files[split] = folder / matches[0]
    return files
