"""A checkpoint's files: their digests, whether all are as they were written, and what is noted beside the weights. Torch-free.

`digests.json` is written last. A checkpoint from before there was one is known by the checksums inside its weights.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nas.core.errors import DataError
from nas.core.files import read_json, sha256_of, sync

WEIGHTS, PROGRESS, DIGESTS = "state_dict.pth", "trial_state.pkl", "digests.json"
LARGEST_PROGRESS = 1 << 16
"""Bytes of `PROGRESS`; there are about 150."""
COUNTS = ("trial_id", "last_ckpt", "step_id", "last_val", "batches_trained", "epochs_trained")
"""What `PROGRESS` holds; see Determined's `_TrialState`."""


class DamagedCheckpointError(DataError):
    """Files of a checkpoint are not what was written; the message names the checkpoint, the file and what to do."""


class _PlainUnpickler(pickle._Unpickler):
    """Reads numbers, text, lists and dicts, and runs nothing. The one in C would reserve what damaged bytes say."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds {module}.{name}, and only plain values are read")


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """What the Trainer notes of a trial beside its weights, in whole numbers.

    Raises:
        OSError, ValueError: it is not there, or not what Determined writes.
    """
    data = (checkpoint / PROGRESS).read_bytes()
    if len(data) > LARGEST_PROGRESS:
        raise ValueError(f"{PROGRESS} is not what Determined writes: it has {len(data):,} bytes")
    try:
        state = _PlainUnpickler(io.BytesIO(data)).load()
    except Exception as error:  # of damaged bytes: nearly every kind there is
        what = error if isinstance(error, pickle.UnpicklingError) else type(error).__name__
        raise ValueError(f"{PROGRESS} is not what Determined writes: {what}") from error
    known = isinstance(state, dict) and {"batches_trained", "epochs_trained"} <= state.keys() <= set(COUNTS)
    if not known or not all(type(value) is int and abs(value) < 1 << 53 for value in state.values()):
        raise ValueError(f"{PROGRESS} is not what Determined writes")
    return dict(state)


def write_digests(checkpoint: Path) -> None:
    """Note size and SHA-256 of each file of a checkpoint that is written."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in _files(checkpoint)}
    (checkpoint / DIGESTS).write_text(json.dumps({"files": files}, indent=1) + "\n", encoding="utf-8")


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, with the name of the file; None if it is as it was written."""
    if not checkpoint.is_dir():
        return "it is not there"
    try:
        known = read_json(checkpoint / DIGESTS)["files"]
        if not {WEIGHTS, PROGRESS} <= known.keys():
            raise ValueError
        expected = {str(name): (int(each["bytes"]), str(each["sha256"])) for name, each in known.items()}
    except FileNotFoundError:
        return _damage_without_digests(checkpoint)
    except OSError as error:
        return f"{DIGESTS} cannot be read ({error.strerror})"
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return f"{DIGESTS} is damaged"
    found = (_damage(checkpoint / Path(name).name, *about) for name, about in expected.items())
    return next((each for each in found if each), None) or _unreadable_progress(checkpoint)


def whole_ones(folder: Path) -> list[str]:
    """Names of the checkpoints in a folder that are not damaged, those with the most batches first."""
    there = (path for path in folder.iterdir() if (path / WEIGHTS).is_file() and damage(path) is None)
    found = [(read_progress(path)["batches_trained"], path.name) for path in there]
    return [name for _, name in sorted(found, reverse=True)]


def newest_whole(run: Path) -> Path | None:
    """The newest checkpoint of a run that is not damaged; None if there is none."""
    places = run / "checkpoints"
    whole = whole_ones(places) if places.is_dir() else []
    return places / whole[0] if whole else None


def check_whole(checkpoint: Path, instead: str = "") -> None:
    """Raises DamagedCheckpointError if a checkpoint is not as it was written, with what to do `instead`."""
    if what := damage(checkpoint):
        raise DamagedCheckpointError(f"checkpoint {checkpoint} is damaged: {what}; {instead or _instead(checkpoint)}")


def _instead(checkpoint: Path) -> str:
    whole = whole_ones(checkpoint.parent) if checkpoint.parent.is_dir() else []
    return f"{whole[0]} beside it is whole" if whole else "copy or download it again"


def sync_checkpoint(checkpoint: Path) -> None:
    """Have the disk hold all of a checkpoint. At the same time, for a file system then commits once instead of ten times."""
    paths = [*_files(checkpoint, but=()), checkpoint, checkpoint.parent]
    with ThreadPoolExecutor(len(paths)) as pool:
        list(pool.map(sync, paths))


def check_owner(*paths: Path) -> None:
    """Raises DataError if one of these files or folders belongs to another user, who could have put anything in it."""
    for path in paths:
        if path.exists() and _is_strange(path):
            raise DataError(
                f"{path} belongs to another user (id {_owner(path)}), who could change what is loaded from it;"
                " if you trust them, go on with a copy of your own (cp -r), or chown it"
            )


def _is_strange(path: Path) -> bool:
    if not hasattr(os, "getuid"):  # Windows
        return False
    owner = _owner(path)
    if owner in (0, os.getuid()):
        return False
    try:  # some network file systems and containers show all that we make as another user's
        with tempfile.TemporaryFile(dir=path if path.is_dir() else path.parent) as made:
            return os.fstat(made.fileno()).st_uid != owner
    except OSError:
        return True


def _owner(path: Path) -> int:
    return path.stat().st_uid


def close_to_others(folder: Path) -> None:
    """Make a folder, or take from one of ours the rights that the umask gives to nobody: Determined makes it 0777."""
    folder.mkdir(exist_ok=True)
    mask = os.umask(0o077)
    os.umask(mask)
    about = folder.stat()
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o022 & mask and about.st_uid == getattr(os, "getuid", lambda: -1)():
        folder.chmod(mode & ~(mask & 0o022))


def _files(checkpoint: Path, but: tuple[str, ...] = (DIGESTS,)) -> Iterator[Path]:
    """What a checkpoint holds; a copy of the code, which nobody loads, is left out."""
    for path in sorted(checkpoint.iterdir()):
        if path.is_file() and path.name not in but:
            yield path


def _damage(file: Path, size: int, digest: str) -> str | None:
    try:
        found = file.stat().st_size
        if not file.is_file():
            return f"{file.name} is no file"
        if found != size:
            return f"{file.name} has {found:,} bytes of {size:,}"
        return None if sha256_of(file) == digest else f"{file.name} is not what was written (its SHA-256 differs)"
    except FileNotFoundError:
        return f"{file.name} is missing"
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"


def _damage_without_digests(checkpoint: Path) -> str | None:
    name = WEIGHTS
    try:
        for path in sorted(checkpoint.glob("*.json")):
            name = path.name
            read_json(path)
        name = WEIGHTS
        with zipfile.ZipFile(checkpoint / WEIGHTS) as weights:
            if weights.testzip() is not None:
                return f"{WEIGHTS} is damaged (a checksum in it differs)"
    except FileNotFoundError:
        return f"{name} is missing"
    except OSError as error:
        return f"{name} cannot be read ({error.strerror})"
    except Exception as error:  # of damaged bytes: nearly every kind there is
        return f"{name} is damaged ({error or type(error).__name__})"
    return _unreadable_progress(checkpoint)


def _unreadable_progress(checkpoint: Path) -> str | None:
    try:
        read_progress(checkpoint)
    except FileNotFoundError:
        return f"{PROGRESS} is missing"
    except OSError as error:
        return f"{PROGRESS} cannot be read ({error.strerror})"
    except ValueError as error:
        return str(error)
    return None
