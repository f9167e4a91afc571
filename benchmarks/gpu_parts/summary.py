"""Tables of what was measured: a page for readers, and rows for docs/benchmarks.md. Both are written anew after each item."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.gpu_parts.records import DONE, Record, Records, latest, since_anew, state_of
from nas.core.files import write_atomically

MANY = 12
"""Items that all say the same are counted from so many on."""


def publish(records: Records) -> None:
    """Write both. Raises OSError."""
    known = records.all()
    write_atomically(records.path.with_suffix(".md"), page(known).encode())
    for name, content in row_files(known).items():
        write_atomically(records.folder / name, (json.dumps(content, indent=1) + "\n").encode())


def page(records: Sequence[Record]) -> str:
    """A table of the parts, and one of each part's items."""
    parts = list(dict.fromkeys(record.part for record in records))
    if not parts:
        return "Nothing was measured yet.\n"
    about = records[-1].about
    where = ", ".join(f"{name} {about[name]}" for name in ("torch", "cuda", "driver") if name in about)
    lines = [
        f"# {about['gpu'] or 'CPU'}",
        "",
        where,
        "",
        *_table(("part", "state", "items", "seconds"), _parts(records)),
    ]
    for part in parts:
        lines += ["", f"## {part}", "", *_table(("item", "result", "measured"), _items(records, part))]
    return "\n".join(lines) + "\n"


def _parts(records: Sequence[Record]) -> list[list[str]]:
    found = []
    for part in dict.fromkeys(record.part for record in records):
        said = since_anew(records, part)
        states = Counter(record.state for record in latest(said))
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        seconds = max(sum(record.seconds for record in said if bool(record.item) == items) for items in (True, False))
        found.append([part, state_of(records, part) or "cut", counts, f"{seconds:.0f}"])
    return found


def _items(records: Sequence[Record], part: str) -> list[list[str]]:
    items = [record for record in latest(records) if record.part == part]
    texts = Counter(record.text for record in items if record.state == DONE)
    common, count = max(texts.items(), key=lambda each: each[1], default=("", 0))
    lines = []
    if count >= MANY:  # such as tests that passed
        items = [record for record in items if (record.state, record.text) != (DONE, common)]
        lines.append([f"{count} items", common, ""])
    for record in items:
        text = record.text if record.state == DONE else f"**{record.state}**: {record.text.strip().splitlines()[0]}"
        lines.append([record.item, text, f"{record.about['date'][:16]}, {record.about['commit']}"])
    return lines


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *lines]
    return [f"| {' | '.join(cell.replace('|', '/').replace(chr(10), '<br>') for cell in row)} |" for row in rows]


def row_files(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """What `benchmarks.table` reads: a file a call, whose rows take the place of the same ones of earlier calls."""
    files: dict[str, dict[str, Any]] = {}
    for record in latest(records):
        for row in record.result.get("rows", []):
            about, time = record.about, record.about["date"][11:16].replace(":", "")
            name = f"{about['date'][:10]}-gpu-{time}-{about['device']}.json"
            heading = {"date": about["date"][:10], "benchmark": "gpu", "only": time, "command": about["command"]}
            where = {"commit": about["commit"], "device": about["device"], "machine": record.result["machine"]}
            files.setdefault(name, {**heading, **where, "rows": []})["rows"].append(row)
    return files
