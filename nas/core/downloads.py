"""Fetch data files once, whole and verified: mirrors, resumed downloads, a lock between processes, safe unpacking.

Nothing here ever leaves a half-written file under its final name: bytes go to a file beside it, are checked against the
expected SHA-256, and only then take the name in one atomic rename.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import lzma
import os
import re
import shutil
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import filelock
import requests
from tqdm import tqdm

from nas.core.errors import DataError
from nas.core.files import sha256_of

log = logging.getLogger(__name__)

LARGEST = 4 << 30
"""Bytes of a file of which neither we nor the server know the length; more is refused."""
BACKOFF = 0.5  # seconds before the second attempt at a mirror; doubles with every further one


class DownloadError(DataError):
    """A file could not be fetched, verified, stored or unpacked; the message says which, why and what to do."""


class MirrorError(DownloadError):
    """No mirror delivered the file: the machine is offline, or every mirror is down or serves something else."""


def fetch(
    urls: Sequence[str],
    target: Path,
    *,
    sha256: str | None,
    label: str,
    size: int = LARGEST,
    timeout: tuple[float, float] = (10.0, 30.0),
    attempts: int = 3,
    hint: str = "",
    owned: bool = False,
) -> Path:
    """Download `target` from the first mirror that delivers it, or return at once if it is already there.

    A download that was cut off is kept as `<target>.part` and continued, also by a later call, as long as `sha256` can
    tell that the pieces fit. Concurrent callers must hold `locked(target, ...)`.

    Args:
        urls: mirrors of the same file, tried in this order.
        sha256: expected hex digest, or None if unknown; then an existing target is taken as it is.
        label: what is fetched, for the progress bar, log and errors.
        size: bytes that it has at most; a server that sends more is of no use, and does not fill the disk.
        timeout: seconds to wait for a connection, and for the next bytes.
        attempts: how often to try one mirror.
        hint: what the user can do without a network; ends the error message if no mirror works.
        owned: the target's folder is the program's own cache, so a target with another digest may be replaced.

    Raises:
        MirrorError: no mirror delivered the file; lists each with the reason.
        DownloadError: target is another file and not ours to replace, the disk is full, or the folder is not writable.
    """
    part = target.with_name(target.name + ".part")
    reasons = []
    with _file_system(target.parent):
        if _already_there(target, sha256, owned):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            if sha256 is None:
                part.unlink(missing_ok=True)  # nothing could tell whether two halves belong together
            try:
                _try(url, part, sha256, label, size, timeout, attempts)
            except MirrorError as error:
                log.warning("%s: %s is of no use: %s", label, url, error)
                reasons.append(f"{url} ({error})")
                continue
            part.replace(target)
            return target
        if sha256 is None:
            part.unlink(missing_ok=True)
    raise MirrorError(f"could not download {label}: tried {', '.join(reasons)}" + (f"; {hint}" if hint else ""))


@contextlib.contextmanager
def locked(path: Path, timeout: float) -> Iterator[None]:
    """Hold the right to create `path` among all processes of this host; look for `path` again once inside.

    Args:
        path: the file or folder to guard; the lock itself is `<path>.lock` beside it.
        timeout: seconds to wait for another holder.

    Raises:
        DownloadError: another process held the lock for all that time, or the lock file cannot be made.
    """
    name = path.with_name(path.name + ".lock")
    lock = filelock.FileLock(str(name))
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            log.info("waiting for another process that is making %s", path)
            lock.acquire(timeout=timeout)
    except filelock.Timeout as error:
        what = f"waited {timeout:g} s for another process that is making {path}"
        raise DownloadError(f"{what}; see whether it hangs, then run again") from error
    except (OSError, NotImplementedError) as error:
        raise DownloadError(f"cannot lock {name} ({error}); set data.download_dir to another folder") from error
    try:
        yield
    finally:
        lock.release()


def extract_members(archive: Path, members: Mapping[str, tuple[str, str | None]], folder: Path) -> None:
    """Take the named regular files, and nothing else, out of a tar archive (plain, gzip, bzip2 or xz).

    Member names only select: the files are written under the names given here, so links, absolute paths and `..` in the
    archive lead nowhere. All members are unpacked and verified before the first one appears in `folder`.

    Args:
        members: exact member name -> (file name in `folder`, expected SHA-256 or None).

    Raises:
        DownloadError: the archive is truncated, corrupt or lacks a member, a member is no regular file or has another
            digest, or the disk is full.
    """
    with _file_system(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as scratch:
            _unpack(archive, {member: Path(scratch) / name for member, (name, _) in members.items()})
            for member, (name, sha256) in members.items():
                actual = sha256_of(Path(scratch) / name) if sha256 else None
                if actual != sha256:
                    raise DownloadError(f"{archive}: {member} has SHA-256 {actual}, expected {sha256}; delete it")
            for name, _ in members.values():
                Path(scratch, name).replace(folder / name)


def _already_there(target: Path, sha256: str | None, owned: bool) -> bool:
    if not target.exists():
        return False
    actual = sha256_of(target) if sha256 else None
    if actual == sha256:
        return True
    wrong = f"{target} is another file than expected: its SHA-256 is {actual}, expected {sha256}"
    if not owned:
        raise DownloadError(f"{wrong}; move it away, then run again")
    log.warning("%s; downloading it again", wrong)
    return False


def _try(
    url: str, part: Path, sha256: str | None, label: str, size: int, timeout: tuple[float, float], attempts: int
) -> None:
    """Leave the whole, verified file in `part`, or raise MirrorError with the reason."""
    for attempt in range(1, attempts + 1):
        try:
            return _download(url, part, sha256, label, size, timeout)
        except requests.RequestException as error:
            reason = _reason(error)
            status = 0 if error.response is None else error.response.status_code
            refused = 400 <= status < 500 and status not in (408, 429)  # those two mean: busy, come again
            # A host that does not answer at all has cost its time-out already; the next mirror is the better bet.
            if refused or isinstance(error, requests.ConnectTimeout) or attempt == attempts:
                raise MirrorError(reason) from error
            log.info("%s: attempt %d of %d at %s failed: %s", label, attempt, attempts, url, reason)
            time.sleep(BACKOFF * 2 ** (attempt - 1))


def _download(url: str, part: Path, sha256: str | None, label: str, size: int, timeout: tuple[float, float]) -> None:
    for _ in range(2):  # the second round starts from zero, should the part found here not fit
        resumed = part.exists() and part.stat().st_size > 0
        fits = _transfer(url, part, label, size, timeout)
        actual = sha256_of(part) if fits and sha256 else None
        if fits and actual == sha256:
            return
        part.unlink(missing_ok=True)
        if not resumed:
            break
    raise MirrorError(f"SHA-256 is {actual}, expected {sha256}")


def _transfer(url: str, part: Path, label: str, size: int, timeout: tuple[float, float]) -> bool:
    """Get what `part` lacks; False if the server cannot continue it, so that it must be dropped."""
    offset = part.stat().st_size if part.exists() else 0
    span = {"Range": f"bytes={offset}-"} if offset else {}
    headers = {"Accept-Encoding": "identity", **span}  # digest, length and offset are those of the plain file
    with requests.get(url, headers=headers, timeout=timeout, stream=True) as response:
        if offset and response.status_code == 416:
            return False
        response.raise_for_status()
        if response.status_code != 206:
            offset = 0
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
            return False
        length = response.headers.get("Content-Length", "") if "Content-Encoding" not in response.headers else ""
        total = offset + int(length) if length.isdigit() else None
        if total is not None and total > size:
            raise MirrorError(f"it announces {total:,} bytes of at most {size:,}")
        log.info("downloading %s from %s", label, url)
        received = _save(response, part, offset, total, label, size)
    if total is not None and received != total:
        raise requests.exceptions.ChunkedEncodingError  # older urllib3 does not notice a body that ends early
    return True


def _save(response: requests.Response, part: Path, offset: int, total: int | None, label: str, size: int) -> int:
    """Append the body to `part` (or start it anew at offset 0) and return how long the file is now."""
    quiet = not sys.stderr.isatty()
    bar = tqdm(total=total, initial=offset, desc=label, unit="B", unit_scale=True, leave=False, disable=quiet)
    needed = f", {total / 1e6:.1f} MB needed" if total else ""
    try:
        with _file_system(part.parent, needed), bar, part.open("ab" if offset else "wb") as file:
            for chunk in response.iter_content(1 << 16):
                offset += len(chunk)
                if offset > size:
                    raise MirrorError(f"it sends more than the {size:,} bytes that there are at most")
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
            return offset
    except DownloadError:  # a full disk must not stay full on our account, nor what is too long be kept
        part.unlink(missing_ok=True)
        raise


def _unpack(archive: Path, targets: Mapping[str, Path]) -> None:
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member, target in targets.items():
                info = tar.getmember(member)
                source = tar.extractfile(info) if info.isreg() else None  # extractfile would follow a link
                if source is None:
                    raise DownloadError(f"{archive}: {member} is not a regular file; delete it")
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except KeyError as error:
        raise DownloadError(f"{archive} holds no {member} or is truncated; delete it and run again") from error
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the file system; decoders raise it without
            raise
        reason = str(error).partition(":\n")[0]  # what follows is a line for each kind of archive that it is not
        raise DownloadError(f"{archive} is truncated or corrupt ({reason}); delete it and run again") from error


@contextlib.contextmanager
def _file_system(folder: Path, needed: str = "") -> Iterator[None]:
    """Turn the file system's errors into one sentence."""
    try:
        yield
    except requests.RequestException:  # an OSError too, but one of the network
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            what = f"disk full: no space left in {folder}{needed}; free some"
        else:
            what = f"cannot use {folder} ({error}); check its permissions"
        raise DownloadError(f"{what} or set data.download_dir to another folder") from error


def _reason(error: requests.RequestException) -> str:
    """Why a request failed, in a few words: the library's own message nests five exceptions in one line."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no connection in time" if isinstance(error, requests.ConnectTimeout) else "no data in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "connection closed before the end"
    system = re.search(r"\[Errno -?\d+\] ([^'\")]+)", str(error))
    return system.group(1) if system else str(error)[:160]
