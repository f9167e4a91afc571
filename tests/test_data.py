from __future__ import annotations

import dataclasses
import hashlib
import io
import logging
import os
import platform
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.http_server import FileServer, dead_url

import data
from data import SPLITS, Corpus, CorpusError, DataConfig, load_corpus
from nas.core import downloads
from nas.core.downloads import DownloadError, MirrorError
from randomNAS_files import tokens
from randomNAS_files.tokens import EOS, UNK


@pytest.fixture(autouse=True)
def own_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the user's cache nor the user's data takes part, unless a test asks for it."""
    monkeypatch.delenv("NAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(downloads, "BACKOFF", 0.0)


TINY: dict[str, str | bytes] = {"train": "the cat sat\n\nthe dog\n", "valid": "the bird sat\n", "test": "cat dog\n"}


def write(folder: Path, texts: Mapping[str, str | bytes], form: str = "{}.txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in texts.items():
        body = text.encode() if isinstance(text, str) else text
        (folder / form.format(split)).write_bytes(body)
    return folder


def text_config(folder: Path, **options: Any) -> DataConfig:
    return DataConfig(corpus="text", data_dir=str(folder), **options)


def ids(corpus: Corpus) -> dict[str, list[int]]:
    return {split: getattr(corpus, split).tolist() for split in SPLITS}


def words(corpus: Corpus, split: str) -> list[str]:
    return [corpus.vocabulary[i] for i in getattr(corpus, split).tolist()]


def same(one: Corpus, other: Corpus) -> bool:
    return one.name == other.name and one.vocabulary == other.vocabulary and ids(one) == ids(other)


# --- DataConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"corpus": "ptv"}, "corpus must be one of ptb, text, pydoc, got 'ptv'; did you mean ptb?"),
        ({"corpus": "Pydocs"}, "corpus must be one of ptb, text, pydoc, got 'Pydocs'; did you mean pydoc?"),
        ({"corpus": "imagenet"}, "corpus must be one of ptb, text, pydoc, got 'imagenet'; choose one of them"),
        ({"corpus": "text"}, "data_dir is required for corpus text; set it to the folder"),
        ({"corpus": "text", "data_dir": ""}, "data_dir is required for corpus text"),
        ({"corpus": "pydoc", "data_dir": "/d"}, "data_dir is not allowed for corpus pydoc, got '/d'; leave it out"),
        ({"vocabulary_size": 5000}, "vocabulary_size is fixed at 10000 for corpus ptb, got 5000; leave it out"),
        ({"corpus": "pydoc", "vocabulary_size": 2}, "vocabulary_size must be at least 3"),
        ({"corpus": "text", "data_dir": "/d", "vocabulary_size": 0}, "got 0; raise it"),
    ],
)
def test_config_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        DataConfig(**options)
    assert message in str(caught.value)


def test_config_defaults_and_good_combinations() -> None:
    assert dataclasses.astuple(DataConfig()) == ("ptb", None, None, None)
    DataConfig(data_dir="/d", download_dir="/c")
    DataConfig(corpus="text", data_dir="/d", vocabulary_size=3)
    DataConfig(corpus="pydoc", vocabulary_size=500)


# --- text


def test_tiny_corpus_by_hand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    corpus = load_corpus(text_config(write(tmp_path / "d", TINY)))
    # The blank line is an <eos> of its own; "bird" is not in the training text, so <unk> joins at the end.
    assert corpus.vocabulary == ("the", "cat", "sat", "<eos>", "dog", "<unk>")
    assert ids(corpus) == {"train": [0, 1, 2, 3, 3, 0, 4, 3], "valid": [0, 5, 2, 3], "test": [1, 4, 3]}
    assert {getattr(corpus, split).dtype for split in SPLITS} == {torch.int64}
    assert corpus.name == "text"
    assert "25.00% of valid, 0.00% of test" in caplog.text


def test_unknown_words_share_the_unk_of_the_training_text(tmp_path: Path) -> None:
    texts = {"train": "a <unk> b\n", "valid": "new b\n", "test": "<unk> a\n"}
    corpus = load_corpus(text_config(write(tmp_path / "d", texts)))
    assert corpus.vocabulary == ("a", "<unk>", "b", "<eos>")
    assert ids(corpus) == {"train": [0, 1, 2, 3], "valid": [1, 2, 3], "test": [1, 0, 3]}


def test_no_unk_without_unknown_words(tmp_path: Path) -> None:
    corpus = load_corpus(text_config(write(tmp_path / "d", {"train": "a b\n", "valid": "b\n", "test": "a\n"})))
    assert corpus.vocabulary == ("a", "b", "<eos>")


def test_vocabulary_cap_keeps_the_most_frequent(tmp_path: Path) -> None:
    texts = {"train": "d c b a\na b c\nb a\n", "valid": "d a\n", "test": "x\n"}
    corpus = load_corpus(text_config(write(tmp_path / "d", texts), vocabulary_size=4))
    # a and b occur three times, c twice, d once; the order stays that of first appearance, a late <unk> comes last.
    assert corpus.vocabulary == ("b", "a", "<eos>", "<unk>")
    assert " ".join(words(corpus, "train")) == "<unk> <unk> b a <eos> a b <unk> <eos> b a <eos>"
    assert words(corpus, "valid") == ["<unk>", "a", "<eos>"]
    assert words(corpus, "test") == ["<unk>", "<eos>"]
    # Five words and the <unk> that x needs make six: too many for a cap of five, so d, the rarest, goes.
    assert load_corpus(text_config(tmp_path / "d", vocabulary_size=6)).vocabulary == (
        "d",
        "c",
        "b",
        "a",
        "<eos>",
        "<unk>",
    )
    assert load_corpus(text_config(tmp_path / "d", vocabulary_size=5)).vocabulary == ("c", "b", "a", "<eos>", "<unk>")


@pytest.mark.parametrize("form", ["{}.txt", "ptb.{}.txt", "wiki.{}.tokens", "my-corpus_{}.txt"])
def test_file_names(tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "d", TINY, form)
    (folder / "latest.txt").write_text("not the test text\n")
    (folder / "train.txt.bak").write_text("not the training text\n")
    assert len(load_corpus(text_config(folder)).train) == 8


def test_line_ends_byte_order_mark_and_missing_last_newline(tmp_path: Path) -> None:
    plain = load_corpus(text_config(write(tmp_path / "a", TINY)))
    odd = {"train": b"\xef\xbb\xbf the cat  sat\r\n\r\nthe\tdog", "valid": b"the bird sat\r", "test": b"cat dog"}
    assert same(load_corpus(text_config(write(tmp_path / "b", odd))), plain)


# --- errors of the text reader


def test_missing_folder(tmp_path: Path) -> None:
    for config in (text_config(tmp_path / "none"), DataConfig(data_dir=str(tmp_path / "none"))):
        with pytest.raises(CorpusError, match=r"none cannot be read \(No such file or directory\); check the path"):
            load_corpus(config)


def test_data_dir_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with pytest.raises(CorpusError, match=r"file cannot be read \(Not a directory\)"):
        load_corpus(text_config(tmp_path / "file"))


def test_missing_and_ambiguous_files_list_the_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"train": "a\n", "valid": "a\n"})
    (folder / "notes").write_text("")
    with pytest.raises(CorpusError) as caught:
        load_corpus(text_config(folder))
    assert "like test.txt, ptb.test.txt, wiki.test.tokens or .raw, found [] in ['notes', 'train.txt'" in str(
        caught.value
    )
    write(folder, TINY, "wiki.{}.tokens")
    with pytest.raises(CorpusError, match=r"found \['train.txt', 'wiki.train.tokens'\]"):
        load_corpus(text_config(folder))


@pytest.mark.parametrize("form", ["{}.txt", "wiki.{}.raw", "my-{}.tokens"])
@pytest.mark.parametrize("valid", ["val", "dev", "validation", "valid"])
def test_a_validation_text_may_be_called_as_other_corpora_call_it(tmp_path: Path, form: str, valid: str) -> None:
    texts = {valid if split == "valid" else split: text for split, text in TINY.items()}
    folder = write(tmp_path / "d", texts, form)
    write(folder, TINY, ".{}.txt")  # hidden, as an editor leaves them
    write(folder, TINY, "._{}.txt")
    assert ids(load_corpus(text_config(folder))) == ids(load_corpus(text_config(write(tmp_path / "plain", TINY))))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_a_byte_order_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    mark = "\ufeff" if encoding.endswith("e") else ""
    folder = write(tmp_path / "d", {split: f"{mark}{text}".encode(encoding) for split, text in TINY.items()})
    assert ids(load_corpus(text_config(folder))) == ids(load_corpus(text_config(write(tmp_path / "plain", TINY))))


@pytest.mark.parametrize("body", [b"", b" \n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_empty_file(tmp_path: Path, body: bytes) -> None:
    with pytest.raises(CorpusError, match=r"valid\.txt is empty"):
        load_corpus(text_config(write(tmp_path / "d", {**TINY, "valid": body})))


def test_latin1_file_names_line_and_byte(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {**TINY, "train": "eins\nzwei\ncaf\u00e9 dr\u00fcben\n".encode("latin-1")})
    with pytest.raises(CorpusError, match=r"train\.txt is not UTF-8: byte 0xe9 in line 3; .*iconv -f latin1 -t utf8"):
        load_corpus(text_config(folder))
    assert not (tmp_path / "user-cache").exists()


def deny(monkeypatch: pytest.MonkeyPatch, method: str, name: str) -> None:
    """Make a Path method fail for one file name; tests may run as root, whom no mode keeps out."""
    real = getattr(Path, method)

    def denied(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, method, denied)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "d", TINY)
    with monkeypatch.context() as patch:
        deny(patch, "read_bytes", "valid.txt")
        with pytest.raises(
            CorpusError, match=r"d/valid\.txt cannot be read \(Permission denied\); check the path, perm"
        ):
            load_corpus(text_config(folder))
    deny(monkeypatch, "iterdir", "d")
    with pytest.raises(CorpusError, match=r"/d cannot be read \(Permission denied\)"):
        load_corpus(text_config(folder))


# --- pydoc


@pytest.fixture(scope="module")
def pydoc(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(DataConfig(corpus="pydoc", download_dir=str(tmp_path_factory.mktemp("pydoc"))))


def test_pydoc_is_a_corpus(pydoc: Corpus) -> None:
    assert pydoc.name == f"pydoc ({platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]})"
    assert len(pydoc.vocabulary) == len(set(pydoc.vocabulary)) == data.PYDOC_WORDS
    assert {EOS, UNK, "N", "the", "python"} <= set(pydoc.vocabulary)
    assert not any(word.isdigit() or (word != "N" and word != word.lower()) for word in pydoc.vocabulary)
    total = sum(len(getattr(pydoc, split)) for split in SPLITS)
    assert total > 30_000
    for split, share in zip(SPLITS, (0.8, 0.1, 0.1), strict=True):
        part = getattr(pydoc, split)
        assert abs(len(part) / total - share) < 0.03
        assert len(part.unique()) > 500
        assert words(pydoc, split)[-1] == EOS
        assert (part == pydoc.vocabulary.index(UNK)).float().mean() < 0.12


def test_pydoc_is_deterministic(pydoc: Corpus, tmp_path: Path) -> None:
    assert same(load_corpus(DataConfig(corpus="pydoc", download_dir=str(tmp_path))), pydoc)


def test_pydoc_cap(tmp_path: Path) -> None:
    corpus = load_corpus(DataConfig(corpus="pydoc", vocabulary_size=100, download_dir=str(tmp_path)))
    assert len(corpus.vocabulary) == 100 and int(corpus.train.max()) == 99


def set_topics(monkeypatch: pytest.MonkeyPatch, topics: dict[str, str]) -> None:
    module = type(sys)("pydoc_data.topics")
    module.__dict__["topics"] = topics
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", module)


def test_pydoc_by_hand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    paragraphs = [f'w{i} Is Here,\nin {i}.{i} "lines". Yes\n' for i in range(20)]
    # Sorted by name, topic b comes second; it quotes a paragraph of a, which must not count again.
    set_topics(monkeypatch, {"b": "\n\n".join([paragraphs[3], *paragraphs[12:]]), "a": "\n\n".join(paragraphs[:12])})
    corpus = load_corpus(DataConfig(corpus="pydoc", download_dir=str(tmp_path)))
    line = 'w{} is here , in N " lines ". <eos> yes <eos>'
    assert " ".join(words(corpus, "train")) == " ".join(line.format(i) for i in range(20) if i % 10 < 8)
    # w8 and the like are not in the training text.
    assert (
        " ".join(words(corpus, "valid")) == " ".join([line.replace("w{}", UNK)] * 2) == " ".join(words(corpus, "test"))
    )


def test_pydoc_shares_no_paragraph_between_splits() -> None:
    texts = {split: body.decode() for split, (_, body) in data._read_pydoc(DataConfig(corpus="pydoc")).items()}
    # Long sentences only: a short one such as "changed in version N ." may well occur in several paragraphs.
    long = {split: {line for line in text.splitlines() if len(line.split()) > 25} for split, text in texts.items()}
    assert len(long["test"]) > 20 and len(long["valid"]) > 20
    assert len(long["test"] & long["train"]) <= 0.05 * len(long["test"])
    assert len(long["valid"] & long["train"]) <= 0.05 * len(long["valid"])


def test_pydoc_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(CorpusError, match=r"this Python lacks pydoc_data\.topics.*use another"):
        load_corpus(DataConfig(corpus="pydoc"))


# --- the token cache


def no_tokeniser(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(text: str) -> Iterator[str]:
        raise AssertionError("tokenised again")

    monkeypatch.setattr(tokens, "tokenise", fail)


def test_cache_is_used_and_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "d", {**TINY, "valid": "caf\u00e9 \u732b\n", "train": "\u732b caf\u00e9 <unk>\n"})
    config = text_config(folder, download_dir=str(tmp_path / "c"))
    first = load_corpus(config)
    assert [path.suffix for path in (tmp_path / "c" / "tokens").iterdir()] == [".npz"]
    assert sorted(path.name for path in folder.iterdir()) == ["test.txt", "train.txt", "valid.txt"]
    no_tokeniser(monkeypatch)
    second = load_corpus(config)
    assert same(first, second) and second.train.dtype == torch.int64


def test_cache_follows_the_text_the_cap_and_the_tokeniser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = text_config(write(tmp_path / "d", TINY))
    load_corpus(config)
    capped = dataclasses.replace(config, vocabulary_size=3)
    assert len(load_corpus(capped).vocabulary) == 3
    write(tmp_path / "d", {**TINY, "test": "dog dog\n"})
    assert ids(load_corpus(config))["test"] == [4, 4, 3]
    monkeypatch.setattr(data, "TOKENISER_VERSION", 999)
    no_tokeniser(monkeypatch)
    with pytest.raises(AssertionError, match="tokenised again"):
        load_corpus(config)


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


ROW = np.zeros(3, np.int32)
VOCABULARY = np.frombuffer(b"a", np.uint8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: b"not a zip file",
        lambda good: good[: len(good) // 2],
        lambda good: good.replace(b"the\ncat", b"the\ndog"),  # the archive's own checksum notices
        lambda good: npz(train=ROW, valid=ROW, test=ROW),
        lambda good: npz(train=ROW + 9, valid=ROW, test=ROW, vocabulary=VOCABULARY),
        lambda good: npz(train=ROW - 1, valid=ROW, test=ROW, vocabulary=VOCABULARY),
        lambda good: npz(train=ROW[:0], valid=ROW, test=ROW, vocabulary=VOCABULARY),
        lambda good: npz(train=np.array([0, 0], object), valid=ROW, test=ROW, vocabulary=VOCABULARY),
    ],
    ids=["empty", "garbage", "cut", "flipped", "lacking", "too large", "negative", "no tokens", "pickled objects"],
)
def test_corrupt_cache_is_rebuilt(tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    config = text_config(write(tmp_path / "d", TINY), download_dir=str(tmp_path / "c"))
    first = load_corpus(config)
    (cache,) = (tmp_path / "c" / "tokens").iterdir()
    good = cache.read_bytes()
    cache.write_bytes(damage(good))
    assert same(load_corpus(config), first)
    assert cache.read_bytes() == good
    assert "building the token cache" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


def test_unwritable_cache_only_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "c").write_text("a file is in the way")
    config = text_config(write(tmp_path / "d", TINY), download_dir=str(tmp_path / "c"))
    assert len(load_corpus(config).train) == 8
    (warning,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "cannot keep the tokens in" in warning.getMessage()


def test_full_disk_leaves_no_half_of_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    config = text_config(write(tmp_path / "d", TINY), download_dir=str(tmp_path / "c"))
    assert len(load_corpus(config).train) == 8
    assert "No space left" in caplog.text
    assert list((tmp_path / "c" / "tokens").iterdir()) == []


# --- Penn Treebank, with a tiny text in its place

FAKE = {"train": " a <unk> N\n b a\n", "valid": " b\n", "test": " a b\n"}


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A mirror that serves FAKE, which the module takes for the genuine Penn Treebank."""
    counts = {"train": 7, "valid": 2, "test": 3}
    digests = {split: hashlib.sha256(text.encode()).hexdigest() for split, text in FAKE.items()}
    with FileServer({f"/m/ptb.{split}.txt": text.encode() for split, text in FAKE.items()}) as server:
        monkeypatch.setattr(data, "PTB_MIRRORS", (dead_url() + "/", server.url + "/m/"))
        monkeypatch.setattr(data, "PTB_ARCHIVE", server.url + "/simple-examples.tgz")
        monkeypatch.setattr(data, "PTB_SHA256", digests)
        monkeypatch.setattr(data, "PTB_TOKENS", counts)
        monkeypatch.setattr(data, "PTB_WORDS", 5)
        yield server


def check_fake(corpus: Corpus) -> None:
    assert corpus.name == "ptb"
    assert corpus.vocabulary == ("a", "<unk>", "N", "<eos>", "b")
    assert ids(corpus) == {"train": [0, 1, 2, 3, 4, 0, 3], "valid": [4, 3], "test": [0, 4, 3]}


def archive_of(texts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for split, text in texts.items():
            info = tarfile.TarInfo(f"./simple-examples/data/ptb.{split}.txt")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def test_ptb_is_fetched_once(mirror: FileServer, tmp_path: Path) -> None:
    config = DataConfig(download_dir=str(tmp_path / "c"))
    check_fake(load_corpus(config))
    check_fake(load_corpus(config))
    assert sorted(path for path, _ in mirror.requests) == ["/m/ptb.test.txt", "/m/ptb.train.txt", "/m/ptb.valid.txt"]
    assert sorted(path.name for path in (tmp_path / "c" / "ptb").iterdir()) == [f"ptb.{s}.txt" for s in sorted(SPLITS)]


def test_ptb_is_fetched_once_by_concurrent_trials(mirror: FileServer, tmp_path: Path) -> None:
    mirror.delay = 0.1
    found: list[Corpus] = []
    config = DataConfig(download_dir=str(tmp_path))
    trials = [threading.Thread(target=lambda: found.append(load_corpus(config))) for _ in range(3)]
    for trial in trials:
        trial.start()
    for trial in trials:
        trial.join(timeout=30)
    assert len(found) == 3 and len(mirror.requests) == 3
    for corpus in found:
        check_fake(corpus)


def test_ptb_damaged_download_is_fetched_again(mirror: FileServer, tmp_path: Path) -> None:
    config = DataConfig(download_dir=str(tmp_path))
    load_corpus(config)
    (tmp_path / "ptb" / "ptb.valid.txt").write_text(" b b\n")
    check_fake(load_corpus(config))
    assert mirror.count("/m/ptb.valid.txt") == 2 and mirror.count("/m/ptb.train.txt") == 1


def test_ptb_from_the_archive(mirror: FileServer, tmp_path: Path) -> None:
    mirror.files = {"/simple-examples.tgz": archive_of(FAKE)}
    check_fake(load_corpus(DataConfig(download_dir=str(tmp_path))))
    assert sorted(path.name for path in (tmp_path / "ptb").iterdir()) == [f"ptb.{s}.txt" for s in sorted(SPLITS)]


@pytest.mark.parametrize("archive", [b"<html>", archive_of({**FAKE, "test": "other\n"})], ids=["page", "other text"])
def test_ptb_from_a_bad_archive(mirror: FileServer, tmp_path: Path, archive: bytes) -> None:
    mirror.files = {"/simple-examples.tgz": archive}
    with pytest.raises(DownloadError, match=r"simple-examples\.tgz"):
        load_corpus(DataConfig(download_dir=str(tmp_path)))
    assert list((tmp_path / "ptb").iterdir()) == []  # nor is the archive kept, to fail again


def test_ptb_offline_says_what_to_do(mirror: FileServer, tmp_path: Path) -> None:
    mirror.files = {}
    with pytest.raises(MirrorError) as caught:
        load_corpus(DataConfig(download_dir=str(tmp_path)))
    message = str(caught.value)
    for needle in (*data.PTB_MIRRORS, data.PTB_ARCHIVE, "Connection refused", "HTTP 404"):
        assert needle in message
    assert message.endswith(
        "; put the files ptb.train.txt, ptb.valid.txt and ptb.test.txt in a folder and set data.data_dir to it"
    )


@pytest.mark.parametrize("form", ["ptb.{}.txt", "{}.txt"])
def test_ptb_from_data_dir(mirror: FileServer, tmp_path: Path, form: str) -> None:
    folder = write(tmp_path / "d", {split: text.replace("\n", "\r\n") for split, text in FAKE.items()}, form)
    (folder / "ptb.char.train.txt").write_text("a _ b\n")
    check_fake(load_corpus(DataConfig(data_dir=str(folder))))
    assert mirror.requests == []


@pytest.mark.parametrize("below", ["", "ptb"])
def test_ptb_from_nas_data(mirror: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str) -> None:
    folder = write(tmp_path / "shared" / below, FAKE, "ptb.{}.txt")
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "shared"))
    (tmp_path / "shared").chmod(0o555)
    check_fake(load_corpus(DataConfig()))
    (tmp_path / "shared").chmod(0o755)
    assert mirror.requests == []
    assert len(list(folder.iterdir())) == 3
    assert len(list((tmp_path / "user-cache" / "nas" / "tokens").iterdir())) == 1


def test_ptb_never_replaces_a_users_file_in_nas_data(
    mirror: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "shared" / "ptb", {"valid": "mine it is\n"}, "ptb.{}.txt")
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "shared"))
    with pytest.raises(DownloadError, match=r"ptb\.valid\.txt is another file than expected"):
        load_corpus(DataConfig())
    mirror.files = {"/simple-examples.tgz": archive_of(FAKE)}
    (folder / "ptb.train.txt").unlink()
    with pytest.raises(CorpusError, match="is not Mikolov's Penn Treebank"):
        load_corpus(DataConfig())
    assert (folder / "ptb.valid.txt").read_text() == "mine it is\n"


def test_ptb_data_dir_lacks_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"train": "a\n"}, "ptb.{}.txt")
    with pytest.raises(
        CorpusError, match=r"must hold ptb\.train\.txt, .*found \['ptb\.train\.txt'\]; leave data\.data_dir"
    ):
        load_corpus(DataConfig(data_dir=str(folder)))


@pytest.mark.parametrize(
    ("split", "text", "message"),
    [
        ("train", " a <unk> N\n a a\n", "train.txt is not Mikolov's Penn Treebank: 4 words, expected 5;"),
        ("valid", " b b\n", "valid.txt is not Mikolov's Penn Treebank: 3 tokens, expected 2;"),
        ("test", " a\n", "test.txt is not Mikolov's Penn Treebank: 2 tokens, expected 3;"),
    ],
)
def test_wrong_ptb(mirror: FileServer, tmp_path: Path, split: str, text: str, message: str) -> None:
    folder = write(tmp_path / "d", {**FAKE, split: text})
    config = DataConfig(data_dir=str(folder), download_dir=str(tmp_path / "c"))
    for _ in range(2):  # the second time too: what is wrong must not come from a cache
        with pytest.raises(CorpusError) as caught:
            load_corpus(config)
        assert message in str(caught.value)
        assert "use corpus: text for your own corpus" in str(caught.value)
    assert not (tmp_path / "c").exists()


# --- the genuine Penn Treebank, where there is a copy


@pytest.fixture(scope="module")
def genuine() -> Path:
    shared = Path(os.environ.get("NAS_DATA", ""))
    for folder in (shared, shared / "ptb"):
        if os.environ.get("NAS_DATA") and (folder / "ptb.train.txt").is_file():
            return folder
    pytest.skip("set NAS_DATA to a folder that holds ptb.train.txt, or ptb/ptb.train.txt")


def test_genuine_ptb(genuine: Path, tmp_path: Path) -> None:
    corpus = load_corpus(DataConfig(data_dir=str(genuine), download_dir=str(tmp_path)))
    assert len(corpus.vocabulary) == 10_000
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [929_589, 73_760, 82_430]
    for split in SPLITS:
        body = (genuine / f"ptb.{split}.txt").read_bytes()
        assert hashlib.sha256(body).hexdigest() == data.PTB_SHA256[split]
        counted = Counter(body.decode().replace("\n", " <eos> ").split())
        assert Counter(words(corpus, split)) == counted
        assert words(corpus, split)[:50] == body.decode().replace("\n", " <eos> ").split()[:50]


def test_truncated_ptb(genuine: Path, tmp_path: Path) -> None:
    texts = {split: (genuine / f"ptb.{split}.txt").read_bytes() for split in SPLITS}
    folder = write(tmp_path / "d", {**texts, "train": texts["train"][:-100_000]})
    with pytest.raises(
        CorpusError, match=r"train\.txt is not Mikolov's Penn Treebank: [\d,]+ \w+, expected (10,000|929,589)"
    ):
        load_corpus(DataConfig(data_dir=str(folder)))
