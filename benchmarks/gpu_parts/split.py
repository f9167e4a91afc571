"""A folder of a checkpoint in files of at most 15 MB, so that it can be carried between machines, and back.

`checkpoint.json` names the files with their SHA-256; it is written last.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from nas.core.errors import DataError
from nas.core.files import read_json, sha256_of, write_atomically

LIST = "checkpoint.json"
LARGEST = 15_000_000


def split(checkpoint: Path, folder: Path, largest: int = LARGEST, **about: Any) -> list[Path]:
    """Write the files of a checkpoint, and the list of them with what else is known; only then those of an older one go.

    Raises:
        OSError: they cannot be written, or the checkpoint went while it was read. What there was is there.
    """
    packed, files = folder / "checkpoint.zip", sorted(checkpoint.iterdir())
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:  # weights hardly shrink
        for path in files:
            archive.write(path, path.name)
    if sorted(checkpoint.iterdir()) != files:
        raise FileNotFoundError(f"{checkpoint} went while it was read")
    digest = sha256_of(packed)
    parts: list[dict[str, Any]] = []
    with packed.open("rb") as file:
        while data := file.read(largest):
            part = folder / f"checkpoint-{digest[:8]}.part-{len(parts) + 1:03d}"
            write_atomically(part, data)
            parts.append({"name": part.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    packed.unlink()
    content = {**about, "name": checkpoint.name, "sha256": digest, "parts": parts}
    write_atomically(folder / LIST, (json.dumps(content, indent=1) + "\n").encode())
    written = [folder / str(part["name"]) for part in parts]
    for old in folder.glob("checkpoint-*.part-*"):
        if old not in written:
            old.unlink()
    return [folder / LIST, *written]


def join(folder: Path, place: Path) -> Path:
    """The checkpoint that was split, in a folder of its name in `place`.

    Raises:
        DataError: a file is missing, or is not what was written.
    """
    try:
        known = read_json(folder / LIST)
        name, parts = str(known["name"]), [(str(each["name"]), str(each["sha256"])) for each in known["parts"]]
        if Path(name).name != name or any(Path(part).name != part for part, _ in parts):
            raise ValueError("it names files in other folders")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / LIST} is no list of a split checkpoint ({error}); carry it here again") from error
    packed = place / f"{name}.zip"
    place.mkdir(parents=True, exist_ok=True)
    with packed.open("wb") as file:
        for part, digest in parts:
            file.write(_checked(folder / part, digest))
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(place / name)
    packed.unlink()
    return place / name


def _checked(path: Path, digest: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}), a part of the checkpoint; carry it here") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise DataError(f"{path} is damaged: its SHA-256 is not that of {LIST}; carry it here again")
    return data
