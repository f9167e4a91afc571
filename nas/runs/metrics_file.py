"""`metrics.jsonl`: one line a report, in order."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from nas.core.files import damaged_name, sync, write_atomically
from nas.runs.run_json import LARGEST, is_count


class MetricsFile:
    """What a run reported."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: dict[str, Any]) -> None:
        """Add a line. Raises OSError."""
        with self.path.open("ab") as file:
            file.write((json.dumps(record) + "\n").encode())

    def records(self) -> list[dict[str, Any]]:
        """What was recorded, in order; a line that is damaged, such as one cut short by a kill, is left out."""
        return [record for record in map(_record, self._lines()) if record is not None]

    def damaged_lines(self) -> int:
        """How many lines are not what was written; the last one may be cut short."""
        *lines, _ = self._lines() or [""]
        return sum(bool(line) and _record(line) is None for line in lines)

    def rewind(self, batches: int) -> None:
        """Forget what was recorded after so many batches, and the test. A copy of a damaged file is kept. Raises OSError."""
        if self.damaged_lines():
            shutil.copyfile(self.path, damaged_name(self.path))
        kept = [
            record
            for record in self.records()
            if record.get("batches", record["step"]) <= batches and record["group"] != "test"
        ]
        write_atomically(self.path, "".join(json.dumps(record) + "\n" for record in kept).encode())

    def sync(self) -> None:
        """Have the disk hold all of it. Raises OSError."""
        if self.path.exists():
            sync(self.path)

    def _lines(self) -> list[str]:
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return []


def _record(line: str) -> dict[str, Any] | None:
    """A line's content; None if it is not what was written."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("group"), str):
        return None
    times = (record.get("step"), *(record[name] for name in ("batches", "epochs") if name in record))
    too_large = any(isinstance(value, int) and abs(value) >= LARGEST for value in record.values())
    return record if all(is_count(time) for time in times) and not too_large else None
