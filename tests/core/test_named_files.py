"""Files that users name: what is no small text is told in a sentence and never waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.core.errors import ConfigError, DataError
from nas.core.named_files import NotThereError, expanded, path_problem, read_text


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (os.mkfifo, "it is a pipe, not a file"),
        (os.mkdir, "it is a folder, not a file"),
        (lambda path: os.symlink("/dev/zero", path), "it is a device, not a file"),
        (lambda path: os.symlink(path, path), "Too many levels of symbolic links"),
        (lambda path: Path(path).write_bytes(b"a\nb\xff"), "is not UTF-8: byte 0xff in line 2"),
        (lambda path: Path(path).write_bytes(bytes(10_000_001)), "too large to be a config"),
    ],
)
def test_what_is_no_small_text_is_told(tmp_path: Path, make: Callable[[str], object], says: str) -> None:
    make(str(tmp_path / "odd"))
    with pytest.raises(DataError, match=says) as caught:
        read_text(tmp_path / "odd")
    assert str(caught.value).startswith(str(tmp_path / "odd")) and not isinstance(caught.value, NotThereError)


@pytest.mark.parametrize("name", ["nothing", "deeper/nothing"])
def test_what_is_not_there_is_told_apart(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotThereError, match="No such file or directory"):
        read_text(tmp_path / name)


def test_a_name_beyond_all_lengths_is_cut_short(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="File name too long") as caught:
        read_text("a" * 5000)
    assert len(str(caught.value)) < 300


def test_a_byte_order_mark_is_no_part_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbfname: x\n")
    assert read_text(tmp_path / "x") == "name: x\n"


def test_a_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/data", "data_dir") == Path("/home/me/data") and path_problem("~/data") is None
    with pytest.raises(ConfigError, match="data_dir begins with the home of a user that is not here, ~nosuchuser"):
        expanded("~nosuchuser/data", "data_dir")
    assert "there is no user nosuchuser here" in (path_problem("~nosuchuser/data") or "")
