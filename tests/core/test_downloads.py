from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.full_disk import FullDisk
from support.http_server import FileServer, dead_url

from nas.core import downloads
from nas.core.downloads import DownloadError, MirrorError, extract_members, fetch, locked
from nas.core.files import sha256_of

BODY = bytes(range(256)) * 1000
DIGEST = hashlib.sha256(BODY).hexdigest()
OTHER = b"<html>log in to this network</html>"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "BACKOFF", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/good": BODY, "/bad": OTHER}) as running:
        yield running


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- fetch


def test_fetch_verifies_and_stores(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file"
    assert fetch([server.url + "/good"], target, sha256=DIGEST, label="file") == target
    assert target.read_bytes() == BODY
    assert names(target.parent) == ["file"]
    fetch([server.url + "/good"], target, sha256=DIGEST, label="file")
    assert server.count("/good") == 1  # the second time there is nothing to do


def test_fetch_without_a_digest_takes_an_existing_file_as_it_is(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "file"
    fetch([server.url + "/good"], target, sha256=None, label="file")
    assert target.read_bytes() == BODY
    target.write_bytes(b"mine")
    fetch([server.url + "/good"], target, sha256=None, label="file")
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_bar_only_on_a_terminal(
    server: FileServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    terminal: bool,
) -> None:
    caplog.set_level(logging.INFO)
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="the file")
    assert ("the file:" in stream.getvalue()) == terminal
    assert [record.getMessage() for record in caplog.records] == [f"downloading the file from {server.url}/good"]


def test_fetch_goes_on_to_the_next_mirror(server: FileServer, tmp_path: Path) -> None:
    urls = [dead_url() + "/good", server.url + "/none", server.url + "/bad", server.url + "/good"]
    fetch(urls, tmp_path / "file", sha256=DIGEST, label="file")
    assert sha256_of(tmp_path / "file") == DIGEST
    assert [path for path, _ in server.requests] == ["/none", "/bad", "/good"]  # a 404 is not asked again


def test_fetch_tries_a_busy_mirror_again(server: FileServer, tmp_path: Path) -> None:
    server.status["/good"] = [503, 429]
    fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file")
    assert server.count("/good") == 3
    server.status["/good"] = [500, 500, 500, 500]
    with pytest.raises(MirrorError, match="HTTP 500"):
        fetch([server.url + "/good"], tmp_path / "again", sha256=DIGEST, label="file", attempts=3)
    assert server.count("/good") == 6


@pytest.mark.parametrize("digest", [DIGEST, None])
def test_fetch_resumes_after_a_cut(server: FileServer, tmp_path: Path, digest: str | None) -> None:
    server.cut["/good"] = 65_536
    fetch([server.url + "/good"], tmp_path / "file", sha256=digest, label="file")
    assert server.requests == [("/good", None), ("/good", "bytes=65536-")]
    assert (tmp_path / "file").read_bytes() == BODY
    assert names(tmp_path) == ["file"]


def test_fetch_resumes_what_an_earlier_run_left(server: FileServer, tmp_path: Path) -> None:
    server.cut["/good"] = 100_000
    with pytest.raises(MirrorError, match=r"/good \(connection closed before the end\)"):
        fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file", attempts=1)
    left = (tmp_path / "file.part").read_bytes()  # whole blocks of what came; how much is up to the library
    assert left and BODY.startswith(left)
    assert not (tmp_path / "file").exists()
    fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file")
    assert server.requests[-1] == ("/good", f"bytes={len(left)}-")
    assert (tmp_path / "file").read_bytes() == BODY


def test_fetch_notices_a_cut_that_the_http_library_does_not(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = requests.Response.iter_content

    def lenient(response: requests.Response, size: int) -> Iterator[bytes]:
        with contextlib.suppress(requests.exceptions.ChunkedEncodingError):
            yield from real(response, size)

    monkeypatch.setattr(requests.Response, "iter_content", lenient)
    server.cut["/good"] = 65_536
    fetch([server.url + "/good"], tmp_path / "file", sha256=None, label="file")
    assert server.requests == [("/good", None), ("/good", "bytes=65536-")]
    assert (tmp_path / "file").read_bytes() == BODY


def test_fetch_of_unknown_digest_never_joins_pieces_of_two_runs(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"some other archive")
    fetch([server.url + "/good"], tmp_path / "file", sha256=None, label="file")
    assert server.requests == [("/good", None)]
    assert (tmp_path / "file").read_bytes() == BODY
    server.cut["/good"] = 10
    with pytest.raises(MirrorError):
        fetch([server.url + "/good"], tmp_path / "next", sha256=None, label="file", attempts=1)
    assert names(tmp_path) == ["file"]


def test_fetch_restarts_if_the_server_knows_no_ranges(server: FileServer, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "file.part").write_bytes(BODY[:1000])
    fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file")
    assert server.requests == [("/good", "bytes=1000-")]  # the answer was the whole file
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("left", [b"x" * 1000, BODY + b"x"], ids=["wrong bytes", "too long: 416"])
def test_fetch_restarts_once_if_the_part_does_not_fit(server: FileServer, tmp_path: Path, left: bytes) -> None:
    (tmp_path / "file.part").write_bytes(left)
    fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file")
    assert server.requests == [("/good", f"bytes={len(left)}-"), ("/good", None)]
    assert (tmp_path / "file").read_bytes() == BODY


def test_wrong_digest_names_both_and_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(MirrorError) as caught:
        fetch([server.url + "/bad"], tmp_path / "file", sha256=DIGEST, label="file")
    for needle in (DIGEST, hashlib.sha256(OTHER).hexdigest(), server.url + "/bad"):
        assert needle in str(caught.value)
    assert names(tmp_path) == []
    assert server.count("/bad") == 1  # other bytes are not cured by asking again


def test_offline_lists_the_mirrors_and_says_what_to_do(tmp_path: Path) -> None:
    urls = [dead_url() + "/a", dead_url() + "/b"]
    with pytest.raises(MirrorError) as caught:
        fetch(urls, tmp_path / "file", sha256=DIGEST, label="the file", hint="put it there yourself")
    message = str(caught.value)
    assert message.startswith("could not download the file: tried")
    assert all(f"{url} (Connection refused)" in message for url in urls)
    assert message.endswith("; put it there yourself")
    assert names(tmp_path) == []


def test_silent_server_times_out(server: FileServer, tmp_path: Path) -> None:
    server.delay = 1.0
    began = time.monotonic()
    with pytest.raises(MirrorError, match="no data in time"):
        fetch([server.url + "/good"], tmp_path / "f", sha256=DIGEST, label="f", timeout=(1.0, 0.05), attempts=2)
    assert time.monotonic() - began < 1.0
    assert server.count("/good") == 2


def test_another_file_in_the_users_folder_is_refused(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OTHER)
    with pytest.raises(DownloadError, match="another file than expected") as caught:
        fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file")
    for needle in (str(tmp_path / "file"), DIGEST, hashlib.sha256(OTHER).hexdigest()):
        assert needle in str(caught.value)
    assert (tmp_path / "file").read_bytes() == OTHER
    assert server.requests == []


def test_damaged_file_in_our_cache_is_replaced(
    server: FileServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(BODY[:-1])
    fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file", owned=True)
    assert (tmp_path / "file").read_bytes() == BODY
    assert "downloading it again" in caplog.text


def test_full_disk_while_downloading(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(monkeypatch)
    with pytest.raises(DownloadError) as caught:
        fetch([server.url + "/good", server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file")
    assert str(caught.value) == (
        f"disk full: no space left in {tmp_path}, 0.3 MB needed; free some or set data.download_dir to another folder"
    )
    assert not isinstance(caught.value, MirrorError)  # another mirror would not help
    assert server.count("/good") == 1
    assert names(tmp_path) == []


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("digest", [DIGEST, None])
def test_more_than_there_can_be_is_not_written(
    server: FileServer, tmp_path: Path, announced: bool, digest: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.lengths, server.files["/long"] = announced, BODY * 20
    written: list[int] = []
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        written.append(path.stat().st_size if path.exists() else 0)
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    urls = [server.url + "/long", server.url + "/good"]
    target = fetch(urls, tmp_path / "file", sha256=digest, label="file", size=len(BODY))
    assert target.read_bytes() == BODY and server.count("/long") == 1 and names(tmp_path) == ["file"]
    assert max(written, default=0) <= len(BODY)
    said = "announces 5,120,000 bytes of at most 256,000" if announced else "sends more than the 256,000 bytes"
    with pytest.raises(MirrorError, match=said):
        fetch(urls[:1], tmp_path / "other", sha256=digest, label="other", size=len(BODY))
    assert names(tmp_path) == ["file"]


def test_a_part_that_is_too_long_is_dropped(server: FileServer, tmp_path: Path) -> None:
    """What was left of a download of something else."""
    (tmp_path / "file.part").write_bytes(BODY * 2)
    fetch([server.url + "/good"], tmp_path / "file", sha256=DIGEST, label="file", size=len(BODY))
    assert (tmp_path / "file").read_bytes() == BODY


def test_unwritable_folder(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"a file is in the way")
    with pytest.raises(DownloadError, match=r"cannot use .*folder.*data\.download_dir"):
        fetch([server.url + "/good"], tmp_path / "folder" / "file", sha256=DIGEST, label="file")


# --- locked

FETCH_LOCKED = """
import logging, sys
from pathlib import Path
from nas.core.downloads import fetch, locked
logging.basicConfig(level=logging.INFO)
url, target, digest = sys.argv[1:]
with locked(Path(target), 20):
    fetch([url], Path(target), sha256=digest, label="file")
"""


def test_two_processes_download_once(server: FileServer, tmp_path: Path) -> None:
    server.delay = 0.5  # long enough for the second to find the first at work
    target = tmp_path / "file"
    environment = {**os.environ, "PYTHONPATH": str(Path(downloads.__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", FETCH_LOCKED, server.url + "/good", str(target), DIGEST]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    logs = [process.communicate(timeout=30)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], logs
    assert server.count("/good") == 1
    assert target.read_bytes() == BODY
    assert not (tmp_path / "file.part").exists()


def test_lock_waits_logs_and_gives_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    target = tmp_path / "deep" / "file"
    order: list[str] = []

    def second() -> None:
        with locked(target, 10):
            order.append("second")

    with locked(target, 1):
        with (
            pytest.raises(DownloadError, match=r"waited 0\.1 s .*deep/file; see whether it hangs"),
            locked(target, 0.1),
        ):
            pass
        caplog.clear()
        waiting = threading.Thread(target=second)
        waiting.start()
        while "waiting for another process" not in caplog.text:
            time.sleep(0.01)
        order.append("first")
    waiting.join(timeout=10)
    assert order == ["first", "second"]
    assert caplog.text.count(f"waiting for another process that is making {target}") == 1


def test_lock_is_released_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path / "file", 1):
        raise KeyError
    with locked(tmp_path / "file", 0.1):
        pass


def test_lock_in_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"cannot lock .*data\.download_dir"), locked(tmp_path / "folder" / "f", 1):
        pass


# --- archives


def make_tar(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return path


def test_extract_takes_only_what_is_named(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"./x/good.txt": BODY, "./x/more.txt": b"more", "./x/rest": b"rest"})
    members = {"./x/good.txt": ("good", DIGEST), "./x/more.txt": ("more", None)}
    extract_members(archive, members, tmp_path / "out")
    assert names(tmp_path / "out") == ["good", "more"]
    assert (tmp_path / "out" / "good").read_bytes() == BODY
    assert (tmp_path / "out" / "more").read_bytes() == b"more"


def test_malicious_archive_reaches_nothing_outside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    evil = {"../evil": b"evil", str(tmp_path / "absolute"): b"evil", "good": BODY}
    archive = make_tar(tmp_path / "a.tgz", evil, {"link": str(secret), "out": ".."})
    before = names(tmp_path)
    with pytest.raises(DownloadError, match="link is not a regular file"):
        extract_members(archive, {"good": ("good", DIGEST), "link": ("link", None)}, tmp_path / "out")
    assert names(tmp_path / "out") == []  # not even the good one
    extract_members(archive, {"../evil": ("tame", None)}, tmp_path / "out")  # asked for, it still stays inside
    assert names(tmp_path / "out") == ["tame"]
    assert names(tmp_path) == sorted([*before, "out"])


def test_extract_refuses_other_contents_and_missing_members(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"a": BODY, "b": OTHER})
    with pytest.raises(DownloadError, match=rf"a\.tgz: b has SHA-256 .*, expected {DIGEST}"):
        extract_members(archive, {"a": ("a", DIGEST), "b": ("b", DIGEST)}, tmp_path / "out")
    with pytest.raises(DownloadError, match=r"a\.tgz holds no c or is truncated; delete it"):
        extract_members(archive, {"a": ("a", DIGEST), "c": ("c", DIGEST)}, tmp_path / "out")
    assert names(tmp_path / "out") == []


@pytest.mark.parametrize("keep", [0, 40, 5000, -600])
def test_truncated_archive(tmp_path: Path, keep: int) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"pad": os.urandom(20_000), "a": BODY})
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(DownloadError, match=r"a\.tgz.* truncated.*; delete it and run again"):
        extract_members(archive, {"a": ("a", DIGEST)}, tmp_path / "out")
    assert names(tmp_path / "out") == []


def test_web_page_instead_of_an_archive(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(OTHER)
    with pytest.raises(DownloadError, match=r"a\.tgz is truncated or corrupt"):
        extract_members(tmp_path / "a.tgz", {"a": ("a", None)}, tmp_path / "out")


def test_full_disk_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"a": BODY})
    FullDisk(monkeypatch)
    with pytest.raises(DownloadError, match=r"disk full: no space left in .*out; free some"):
        extract_members(archive, {"a": ("a", DIGEST)}, tmp_path / "out")
    assert names(tmp_path / "out") == []
