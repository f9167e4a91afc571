from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.full_disk import FullDisk

from nas.core.errors import DataError
from nas.core.files import cache_folder, damaged_name, free_bytes, read_json, sha256_of, sync, write_atomically

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


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, b"\0" * 9, b'["\\ud800"]', b'["\\uDFFF"]', b"1" * 5000]
)
def test_what_is_no_json_is_a_value_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "file")


def test_json_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"a": ["\\ud83d\\ude00", "\\\\ud800", 1e3]}')
    assert read_json(tmp_path / "file") == {"a": ["\U0001f600", "\\ud800", 1000.0]}
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "other")


def test_damaged_files_get_names_that_are_free(tmp_path: Path) -> None:
    assert damaged_name(tmp_path / "a.json").name == "a.json.damaged-1"
    (tmp_path / "a.json.damaged-1").mkdir()
    (tmp_path / "a.json.damaged-2").write_text("")
    assert damaged_name(tmp_path / "a.json") == tmp_path / "a.json.damaged-3"


def test_files_and_folders_are_synced_and_a_missing_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    sync(tmp_path / "file")
    sync(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync(tmp_path / "other")


def test_free_space_of_a_folder_that_is_gone(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") > 0
