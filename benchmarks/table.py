"""The table of what was measured, for the page on benchmarks. From the root:

    python -m benchmarks.table            print it
    python -m benchmarks.table --write    put it between the two comments in docs/benchmarks.md

It has the newest file of each benchmark on each device and kind of machine in `benchmarks/results/`, and of rows that were
measured alone since (`--only`) the newer ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import RESULTS, ROOT, Row, number

PAGE = ROOT / "docs" / "benchmarks.md"
OPEN, CLOSE = "<!-- benchmarks -->\n", "<!-- /benchmarks -->"
COLUMNS = ("work", "plain", "ours", "ratio (middle half)", "goal (must / ambition)", "run")


def main() -> None:
    """Print the table or write it."""
    parser = argparse.ArgumentParser(description="The table of the benchmarks' results.")
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    table = markdown(newest(RESULTS))
    if parser.parse_args().write:
        PAGE.write_text(inserted(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    else:
        print(table, end="")


def newest(folder: Path) -> list[dict[str, Any]]:
    """The newest result of each benchmark, device and kind of machine; benchmarks by name, the CPU first.

    One of some rows alone (`only`) follows that of all rows, which then lacks these.
    """
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):  # which begin with the date
        result = json.loads(path.read_text(encoding="utf-8"))
        key = (result["benchmark"], result["device"], *_kind(result["machine"]))
        older = found.get(key, []) if "only" in result else []
        found[key] = [*_without(older, result["rows"]), result]
    return [result for key in sorted(found) for result in found[key]]


def _without(results: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results without the rows of the same work; those of which nothing is left are dropped."""
    works = {row["work"] for row in rows}
    left = [{**result, "rows": [row for row in result["rows"] if row["work"] not in works]} for result in results]
    return [result for result in left if result["rows"]]


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """The table with a list of where its rows come from, empty without results."""
    lines = [
        _line(Row(**{key: value for key, value in row.items() if key != "reached"}), place)
        for place, result in enumerate(results, start=1)
        for row in result["rows"]
    ]
    table = [f"| {' | '.join(line)} |" for line in [COLUMNS, ["---"] * len(COLUMNS), *lines]]
    places = [f"{place}. {_where(result)}" for place, result in enumerate(results, start=1)]
    return "\n".join([*table, "", *places]) + "\n" if lines else ""


def inserted(page: str, table: str) -> str:
    """The text with the table in the place of what was between the comments. Raises ValueError if it lacks them."""
    before, opened, rest = page.partition(OPEN)
    _, closed, after = rest.partition(CLOSE)
    if not opened or not closed:
        raise ValueError(
            f"docs/benchmarks.md must hold {OPEN.strip()} and, on a line below it, {CLOSE}; put them there"
        )
    return before + opened + table + closed + after


def _line(row: Row, place: int) -> list[str]:
    if row.plain is None:
        cells = [row.work, "", f"{row.result.replace(' (', ' (middle half ')}", "", row.goal]
    else:
        cells = [row.work, f"{number(row.plain)} {row.unit}", f"{number(row.ours)} {row.unit}", row.result, row.goal]
    cells[0] += f"; {row.note}" if row.note else ""
    return [cell.replace("|", "\\|").replace("not reached", "**not reached**") for cell in [*cells, str(place)]]


def _kind(machine: dict[str, Any]) -> tuple[str, ...]:
    """What tells machines apart."""
    return tuple(str(machine.get(key, "")) for key in ("gpu", "cpu", "simd", "cores"))


def _where(result: dict[str, Any]) -> str:
    machine = result["machine"]
    threads = f", {machine['threads']} thread{'s' if machine['threads'] != 1 else ''}"
    cpu = f"{' '.join(filter(None, (machine['cpu'], machine.get('simd'))))}, {machine['cores']} cores{threads}"
    place = f"{machine['gpu']} ({cpu})" if "gpu" in machine else cpu
    return f"{place}; {result['date']}, {result['commit']}, `{result['command']}`"


if __name__ == "__main__":
    main()
