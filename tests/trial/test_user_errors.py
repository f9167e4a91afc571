"""What a user can mend is said on a cluster in one sentence, at the end of the log, and is not tried again."""

from __future__ import annotations

import errno
import logging
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.container import run_container
from support.runs import IMAGES, RECURRENT, Kind, Laptop, assert_cannot_work, master_of
from support.stub_master import StubMaster

import model_def
from nas import trial as training
from nas.core.downloads import DownloadError, MirrorError
from nas.core.errors import CANNOT_WORK, ConfigError, DataError
from nas.trial import user_errors

RANDOM = {"name": "random", "metric": "loss", "max_trials": 2}
WRONG = "/no/such/folder"


def pattern_of(master: StubMaster) -> str:
    (policy,) = master.config["log_policies"]
    return str(policy["pattern"])


def hopeless(master: StubMaster, lines: list[str]) -> list[str]:
    """The lines for which the master would cancel the retries."""
    return [line for line in lines if re.search(pattern_of(master), line)]


# Whole containers


@pytest.mark.parametrize("kind", [RECURRENT, IMAGES], ids=["text", "images"])
def test_a_wrong_path_is_one_line_in_the_log(tmp_path: Path, kind: Kind) -> None:
    master = master_of(Path(WRONG), tmp_path, kind=kind)
    done = run_container(master, kind, launch=False)
    (line,) = done.stdout.splitlines()
    assert done.returncode == 2 and WRONG in line and hopeless(master, [line])
    assert master.reports == [] and master.early_exits == []


@pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this PyTorch has no gloo")
@pytest.mark.parametrize("slots", [1, 2])
def test_under_the_launcher_one_process_says_it(tmp_path: Path, slots: int) -> None:
    """The launcher of PyTorch adds a traceback of its own, whose last line is the sentence again."""
    master = master_of(Path(WRONG), tmp_path)
    done = run_container(master, slots=slots)
    assert done.returncode not in (0, None)
    lines = done.stdout.splitlines()
    (ours,) = [line for line in lines if line.startswith("[rank=")]
    assert ours.startswith("[rank=0]") and WRONG in ours and hopeless(master, [ours])
    words = [line for line in lines if set(line) - {"="}]
    assert CANNOT_WORK in words[-1] and WRONG in words[-1]


def test_other_errors_keep_their_traceback_and_are_tried_again(corpus: Path, tmp_path: Path) -> None:
    master = master_of(corpus, tmp_path)
    master.config["checkpoint_storage"] = {"type": "directory", "container_path": "/proc/nothing"}
    done = run_container(master, launch=False)
    assert done.returncode == 1 and "Traceback (most recent call last)" in done.stdout
    assert hopeless(master, done.stdout.splitlines()) == []


# Which errors these are


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda folder: (folder / "train.txt").unlink(), "train"),
        (lambda folder: (folder / "valid.txt").write_text(""), "valid.txt is empty"),
        (lambda folder: (folder / "valid.txt").write_text("\n"), "valid"),
        (lambda folder: (folder / "test.txt").write_bytes(b"\xff\xfe\xff"), "test.txt"),
    ],
)
def test_files_that_are_missing_empty_or_unreadable(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, prepare: Any, expected: str
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        (folder / f"{split}.txt").write_text(f"{split} a b c\n" * 99)
    prepare(folder)
    master = master_of(folder, tmp_path)
    assert_cannot_work(master)
    assert [expected in line for line in hopeless(master, caplog.messages)] == [True]
    assert caplog.messages[-1].startswith(CANNOT_WORK)


def test_images_without_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "train").mkdir()
    master = master_of(tmp_path, tmp_path / "storage", kind=IMAGES)
    assert_cannot_work(master, IMAGES)
    assert len(hopeless(master, caplog.messages)) == 1


def test_every_problem_of_a_config_has_a_line(corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    master = master_of(corpus, tmp_path, dropout=2, alpha=-1)
    assert_cannot_work(master)
    lines = hopeless(master, caplog.messages)
    assert len(lines) >= 2 and any("dropout" in line for line in lines) and any("alpha" in line for line in lines)


@pytest.mark.parametrize("policies", [None, [], [{"name": "mine", "pattern": "x", "action": "cancel_retries"}]])
def test_without_a_policy_a_bad_config_is_still_not_started_again(corpus: Path, tmp_path: Path, policies: Any) -> None:
    """As invalid hyperparameters, which are never tried again."""
    master = master_of(corpus, tmp_path, dropout=2)
    master.config["log_policies"] = policies
    with pytest.raises(SystemExit) as error, master:
        training.main(RECURRENT.trial)
    assert error.value.code == 0 and master.early_exits == ["INVALID_HP"]


def caused_by(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


PASSING = [
    MirrorError("could not download ptb.train.txt: tried a, b"),
    caused_by(DataError("x cannot be read"), OSError(errno.EIO, "Input/output error", "x")),
    caused_by(DataError("x cannot be read"), OSError(errno.ESTALE, "Stale file handle", "x")),
    caused_by(DownloadError("no space"), OSError(errno.ENOSPC, "No space left on device", "x")),
    caused_by(DownloadError("x is locked"), TimeoutError()),
]
LASTING = [
    DataError("x is damaged"),
    DownloadError("x has SHA-256 1, expected 2"),
    caused_by(DataError("x cannot be read"), FileNotFoundError(errno.ENOENT, "No such file", "x")),
    caused_by(DataError("x cannot be read"), PermissionError(errno.EACCES, "Permission denied", "x")),
    caused_by(DataError("x is truncated"), EOFError()),
    caused_by(DataError("x is no image"), OSError("cannot identify image file")),
    ConfigError(["a", "b"]),
]


def fails_with(
    error: BaseException, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[StubMaster, int]:
    def load(*_: Any) -> None:
        raise error

    monkeypatch.setattr(model_def, "load_corpus", load)
    with master_of(corpus, tmp_path, RANDOM if isinstance(error, ConfigError) else None) as master:
        return master, training.main(RECURRENT.trial)


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_may_pass_is_said_and_tried_again(
    corpus: Path, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    master, code = fails_with(error, corpus, tmp_path, monkeypatch)
    assert code == 2 and str(error) in caplog.messages[-1] and "restart" in caplog.messages[-1]
    assert hopeless(master, caplog.messages) == []


@pytest.mark.parametrize("error", [error for error in LASTING if not isinstance(error, ConfigError)], ids=str)
def test_what_lasts_is_said_and_not_tried_again(
    corpus: Path, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    master, code = fails_with(error, corpus, tmp_path, monkeypatch)
    assert code == 2 and hopeless(master, caplog.messages) == [CANNOT_WORK + str(error)] == caplog.messages[-1:]


def not_there(folder: Path) -> OSError:
    return FileNotFoundError(errno.ENOENT, "No such file or directory", str(folder / "part.txt"))


def test_a_file_of_the_data_that_is_missing_later(
    corpus: Path, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    master, code = fails_with(not_there(corpus), corpus, tmp_path, monkeypatch)
    assert code == 2 and len(hopeless(master, caplog.messages)) == 1 and "part.txt" in caplog.messages[-1]


@pytest.mark.parametrize(
    "error",
    [
        *(
            ValueError("x"),
            RuntimeError("CUDA error: an illegal memory access"),
            OSError(errno.EIO, "Input/output error", "x"),
        ),
        *(FileNotFoundError("no name"), not_there(Path("/elsewhere")), ConnectionResetError()),
    ],
    ids=repr,
)
def test_other_errors_stay_what_they_are(
    corpus: Path, tmp_path: Path, monkeypatch: Any, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    with pytest.raises(type(error)) as caught:
        fails_with(error, corpus, tmp_path, monkeypatch)
    assert caught.value is error and not [line for line in caplog.messages if CANNOT_WORK in line]


# Which process speaks


def test_another_process_speaks_only_if_the_first_one_has_not_ended_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its data may be missing on its machine only."""
    waited: list[float] = []
    monkeypatch.setattr(user_errors.time, "sleep", lambda seconds: waited.append(seconds) or said.append(caplog.text))
    said: list[str] = []
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("RANK", "0")
    assert user_errors.fail(["first"]) == 2 and waited == []
    monkeypatch.setenv("RANK", "1")
    assert user_errors.fail(["second"]) == 2 and waited == [user_errors.GRACE]
    assert said == [caplog.text.replace(caplog.text.splitlines()[1] + "\n", "")] and "second" in caplog.text


def test_a_sentence_is_one_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    user_errors.fail([f"{CANNOT_WORK}a\nb"])
    assert caplog.messages == [f"{CANNOT_WORK}a b"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            torch.cuda.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 9 GiB"
            ),
            "the GPU has not enough memory free (one tensor asked for 2.00 GiB)",
        ),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000 bytes."
            ),
            "this machine has not enough memory free (one tensor asked for 4000000 bytes)",
        ),
        (MemoryError(), "this machine has not enough memory free; lower hyperparameters.global_batch_size"),
        (RuntimeError("MPS backend out of memory"), "the GPU has not enough memory free"),
    ],
)
def test_a_full_memory_is_a_sentence_with_what_to_lower(error: BaseException, says: str) -> None:
    def train_step(batch: Any, epoch: int, index: int) -> dict[str, float]:
        raise error

    with pytest.raises(ConfigError) as caught:
        training.Trial.train_batch(SimpleNamespace(train_step=train_step), None, 0, 0)  # type: ignore[arg-type]
    (problem,) = caught.value.problems
    assert problem.startswith(says) and "hyperparameters.global_batch_size" in problem
    assert user_errors.sentences(error, {}) == [f"{CANNOT_WORK}{problem}"]


def test_another_error_of_a_step_stays_what_it_is() -> None:
    assert user_errors.out_of_memory(RuntimeError("shape mismatch")) is None


def test_full_memory_is_a_sentence_here_wherever_it_fills(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000000000 bytes.")

    monkeypatch.setattr(model_def.RecurrentTrial, "build_validation_data_loader", fill)
    run = laptop.train()
    assert run.code == 2 and run.err.startswith("error: this machine has not enough memory free")
    assert "Traceback" not in run.err and laptop.left() == []
