"""What was measured: one line a result in `DATE-gpu-DEVICE.jsonl`, on the disk at once, so that a run cut off loses nothing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nas.core.files import damaged_name, write_atomically

BEGUN, ANEW, DONE, FAILED, FULL, SLOW, SKIPPED = (
    "begun",
    "anew",
    "done",
    "failed",
    "out of memory",
    "too slow",
    "skipped",
)
CUT, UNFINISHED, LEFT_OUT = "cut", "unfinished", "left out"
FINAL = (DONE, FAILED, FULL, SLOW, SKIPPED)
"""States after which an item is not tried again, unless its part is named."""


@dataclass(frozen=True)
class Record:
    """One line.

    Attributes:
        item: empty for what is said of the part as a whole.
        text: what was found, in a few words, or why nothing was.
        about: date, commit, hardware, versions and command.
    """

    part: str
    item: str
    state: str
    text: str = ""
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)

    @property
    def gpu(self) -> str:
        """Results of another one are others."""
        return self.about.get("gpu", "")


class Records:
    """The results in a folder of one device and one GPU."""

    def __init__(self, folder: Path, device: str, gpu: str, date: str) -> None:
        self.folder, self.device, self.gpu = folder, device, gpu
        self.path = folder / f"{date}-gpu-{device}.jsonl"

    def append(self, record: Record) -> None:
        """Add a line, and have the disk hold it. Raises OSError."""
        line = json.dumps(asdict(record)).encode() + b"\n"
        with self.path.open("ab+") as file:
            if file.tell() and not _ends_a_line(file):
                line = b"\n" + line  # the last one was cut short
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def all(self) -> list[Record]:
        """What was found on this GPU, oldest first, from all files; damaged lines are left out."""
        found = [record for path in self.files() for record in map(_record, _lines(path)) if record is not None]
        return [record for record in found if record.gpu == self.gpu]

    def files(self) -> list[Path]:
        """Of all dates."""
        return sorted(self.folder.glob(f"*-gpu-{self.device}.jsonl"))

    def set_aside(self) -> list[str]:
        """Keep a copy of each damaged file, which then has its other lines; returns a sentence for each. Raises OSError."""
        told = []
        for path in self.files():
            lines = [line for line in _lines(path) if line.strip()]
            good = [line for line in lines if _record(line) is not None]
            if len(good) < len(lines):
                copy = damaged_name(path)
                shutil.copyfile(path, copy)
                write_atomically(path, "".join(f"{line}\n" for line in good).encode())
                bad = len(lines) - len(good)
                told.append(f"{path.name} is damaged: {bad} of its lines left out, a copy is kept as {copy.name}")
        return told


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").split("\n")


def _record(line: str) -> Record | None:
    """None if the line is not what was written."""
    try:
        record = Record(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    words = (record.part, record.item, record.state, record.text)
    good = all(isinstance(word, str) for word in words) and isinstance(record.seconds, int | float)
    return record if good and isinstance(record.result, dict) and isinstance(record.about, dict) else None


# What is done and what is left


def since_anew(records: Iterable[Record], part: str) -> list[Record]:
    """Of a part, since it was last begun anew."""
    found: list[Record] = []
    for record in records:
        if record.part == part:
            found = [] if record.state == ANEW else [*found, record]
    return found


def state_of(records: Iterable[Record], part: str) -> str:
    """What was last said of the part as a whole; empty if nothing was."""
    said = [record.state for record in since_anew(records, part) if not record.item and record.state != BEGUN]
    return said[-1] if said else ""


def finished_items(records: Iterable[Record], part: str) -> list[str]:
    """Items that are not tried again."""
    return [record.item for record in since_anew(records, part) if record.item and record.state in FINAL]


def open_item(records: Iterable[Record], part: str) -> Record | None:
    """The item that was begun last, if nothing was found of it yet."""
    found = since_anew(records, part)
    return found[-1] if found and found[-1].item and found[-1].state == BEGUN else None


def latest(records: Iterable[Record]) -> list[Record]:
    """The last result of each item, in the order in which they first came."""
    found: dict[tuple[str, str], Record] = {}
    for record in records:
        if record.item and record.state in FINAL:
            found[record.part, record.item] = record
    return list(found.values())
