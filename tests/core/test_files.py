from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.full_disk import FullDisk

from nas.core.errors import DataError
from nas.core.files import cache_folder, sha256_of, write_atomically

BODY = bytes(range(256)) * 1000


def test_write_atomically_keeps_the_old_file_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    FullDisk(monkeypatch)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"newer" * 100)
    monkeypatch.undo()
    assert path.read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_sha256_of_a_file_larger_than_a_block(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY * 10)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(BODY * 10).hexdigest()


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    assert cache_folder("/x/y") == Path("/x/y")
    assert cache_folder(None) == tmp_path / "user-cache" / "nas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert cache_folder(None) == Path("/home/me/.cache/nas")
    monkeypatch.setenv("NAS_DATA", str(tmp_path))
    assert cache_folder(None) == tmp_path
    tmp_path.chmod(0o555)  # not even root should write there
    assert cache_folder(None) == Path("/home/me/.cache/nas")
    tmp_path.chmod(0o755)


def test_a_shared_folder_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was passed over, and everything downloaded again."""
    monkeypatch.setenv("NAS_DATA", str(tmp_path / "typo"))
    with pytest.raises(
        DataError, match=r"NAS_DATA names a folder that is not there, .*typo; make it, or unset NAS_DATA"
    ):
        cache_folder(None)
