"""Ratios against a plain implementation, measured in one process in alternation, and the dated files that keep them.

A benchmark makes rows and hands them to `finish`, which prints them and, with `--save`, writes
`benchmarks/results/DATE-NAME-DEVICE.json`, or `DATE-NAME-PART-DEVICE.json` with `--only PART`. `python -m benchmarks.table`
makes the table in docs/benchmarks.md of them.
Where there is nothing plain to compare with, a row is absolute.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nas.runs.run_folder import versions
from nas.trial.allocator import keep_freed_memory

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

Pair = tuple[float, float]
"""A round: what the plain implementation took, and what ours took right after it."""


@dataclass(frozen=True)
class Row:
    """One line of a result.

    Attributes:
        work: what was done, in words; the table has it.
        unit: of `plain` and `ours`, which are medians.
        plain: None in an absolute row.
        ratio: median over the rounds: how many times faster ours is (a time or a rate), or the share of the plain
            implementation's memory that ours takes (unit "MB"); None in an absolute row.
        low, high: the middle half of the ratio, in an absolute row of ours.
        must, ambition: what the ratio should reach, in an absolute row ours; None where nothing was promised.
    """

    work: str
    unit: str
    plain: float | None
    ours: float
    ratio: float | None
    low: float
    high: float
    rounds: int
    must: float | None = None
    ambition: float | None = None
    note: str = ""

    @property
    def smaller_is_better(self) -> bool:
        """For the number that was promised: a share of memory, or an absolute time."""
        return self.unit == "MB" or (self.ratio is None and self.unit == "s")

    @property
    def reached(self) -> str:
        """`ambition`, `must`, `not reached`, or nothing where nothing was promised."""
        value = self.ours if self.ratio is None else self.ratio

        def holds(goal: float | None) -> bool:
            return goal is not None and (value <= goal if self.smaller_is_better else value >= goal)

        if self.must is None and self.ambition is None:
            return ""
        return "ambition" if holds(self.ambition) else "must" if holds(self.must) else "not reached"

    @property
    def result(self) -> str:
        """The ratio with its spread; in an absolute row ours with its spread."""
        value, unit = (self.ours, f" {self.unit}") if self.ratio is None else (self.ratio, "x")
        return f"{number(value)}{unit} ({number(self.low)} to {number(self.high)})"

    @property
    def goal(self) -> str:
        """What was promised, and how far it was reached; empty where nothing was promised."""
        goals = dict.fromkeys(goal for goal in (self.must, self.ambition) if goal is not None)
        if not goals:
            return ""
        words = " / ".join(f"{number(goal)}x" if self.ratio is not None else number(goal) for goal in goals)
        if self.ratio is None:
            words = f"{'under' if self.smaller_is_better else 'at least'} {words} {self.unit}"
        return f"{words}: {self.reached if self.reached == 'not reached' or len(goals) > 1 else 'reached'}"


def number(value: float) -> str:
    """Three digits, or all of a large number."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def arguments(description: str, rounds: int, *, parts: Sequence[str] = (), **more: Any) -> argparse.Namespace:
    """The command line that all benchmarks share.

    Args:
        parts: rows that can be measured alone: `--only PART`.
        more: defaults of further options of the same type.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="pairs that are measured (default: %(default)s)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")
    parser.add_argument("--save", action="store_true", help="write a dated file to benchmarks/results")
    if parts:
        parser.add_argument(
            "--only", choices=parts, help="measure these rows alone; the table takes others from older files"
        )
    for name, default in more.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(default), default=default, help="(default: %(default)s)"
        )
    chosen = parser.parse_args()
    if chosen.rounds < 2:
        parser.error(f"--rounds must be at least 2, got {chosen.rounds}")
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device here: nothing measured")
        sys.exit(0)
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    if chosen.device == "cpu":
        keep_freed_memory()  # as a trial does; the plain implementation gains from it too
    return chosen


def seconds(run: Callable[[], object], device: str = "cpu") -> float:
    """What one call takes, the device's work included."""
    wait = torch.cuda.synchronize if device == "cuda" else int
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def interleaved(
    plain: Callable[[], object], ours: Callable[[], object], rounds: int, device: str = "cpu", warm_up: int = 2
) -> list[Pair]:
    """Seconds of both, in turns, so that what else the machine does hits both."""
    for _ in range(warm_up):
        plain(), ours()
    return [(seconds(plain, device), seconds(ours, device)) for _ in range(rounds)]


def faster(
    work: str, pairs: Sequence[Pair], must: float | None = None, ambition: float | None = None, note: str = ""
) -> Row:
    """A row of times: how many times faster ours is."""
    return _row(work, "s", pairs, [plain / ours for plain, ours in pairs], must, ambition, note)


def smaller(
    work: str, pairs: Sequence[Pair], must: float | None = None, ambition: float | None = None, note: str = ""
) -> Row:
    """A row of peak memories in megabytes: the share that ours takes."""
    return _row(work, "MB", pairs, [ours / plain for plain, ours in pairs], must, ambition, note)


def quicker(
    work: str,
    unit: str,
    pairs: Sequence[Pair],
    must: float | None = None,
    ambition: float | None = None,
    note: str = "",
) -> Row:
    """A row of rates such as images a second: how many times higher ours is."""
    return _row(work, unit, pairs, [ours / plain for plain, ours in pairs], must, ambition, note)


def absolute(
    work: str,
    unit: str,
    values: Sequence[float],
    must: float | None = None,
    ambition: float | None = None,
    note: str = "",
) -> Row:
    """A row without anything plain: seconds ("s", fewer are better) or a rate (any other unit, more is better)."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Row(work, unit, None, middle, None, low, high, len(values), must, ambition, note)


def _row(
    work: str,
    unit: str,
    pairs: Sequence[Pair],
    ratios: list[float],
    must: float | None,
    ambition: float | None,
    note: str,
) -> Row:
    plain, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Row(work, unit, plain, ours, ratio, low, high, len(pairs), must, ambition, note)


def finish(benchmark: str, measured: Iterable[Row], chosen: argparse.Namespace) -> None:
    """Print each row as soon as it is measured, and save them all if the command line says so."""
    here = machine(chosen.device)
    print(f"{here}\n", flush=True)
    rows = []
    for row in measured:
        rows.append(row)
        both = "" if row.plain is None else f"plain {row.plain:.4g} {row.unit}, ours {row.ours:.4g} {row.unit}: "
        goal = f"   goal {row.goal}" if row.goal else ""
        print(f"{row.work}: {both}{row.result}, middle half of {row.rounds} rounds{goal}", flush=True)
    if chosen.save:
        print(f"\nsaved {_save(benchmark, rows, chosen.device, here, getattr(chosen, 'only', None))}")


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on; `gflops` is the rate of a product of large matrices on the CPU, in 10^9 a second."""
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 if hasattr(os, "sysconf") else 0
    found: dict[str, Any] = {"cpu": _cpu(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    found["memory_gib"] = round(gib)
    found["simd"] = torch.backends.cpu.get_cpu_capability()
    found["gflops"] = round(_product_rate() / 1e9)
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found | {name: version for name, version in versions().items() if name in ("python", "torch", "numpy")}


def _product_rate(size: int = 1500) -> float:
    """Floating-point operations a second of a product in float32 on the CPU, the median of some."""
    x = torch.ones(size, size)
    return 2 * size**3 / statistics.median(seconds(lambda: x @ x) for _ in range(7))


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _save(benchmark: str, rows: Sequence[Row], device: str, here: dict[str, Any], only: str | None) -> Path:
    """Write what was measured; a whole result takes the place of the parts of that day."""
    today = datetime.date.today().isoformat()
    name = f"{benchmark}-{only}" if only else benchmark
    content = {
        "date": today,
        "benchmark": benchmark,
        **({"only": only} if only else {}),
        "command": command(benchmark, sys.argv[1:]),
        "commit": commit(),
        "device": device,
        "machine": here,
        "rows": [asdict(row) | {"reached": row.reached} for row in rows],
    }
    RESULTS.mkdir(exist_ok=True)
    for part in [] if only else RESULTS.glob(f"{today}-{benchmark}-*-{device}.json"):
        part.unlink()
    path = RESULTS / f"{today}-{name}-{device}.json"
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def command(benchmark: str, words: Sequence[str]) -> str:
    """What was typed, without the folders of one machine."""
    return " ".join(
        ["python -m", f"benchmarks.{benchmark}", *(re.sub(r"(?<![^=])[/~.].*", "DIR", each) for each in words)]
    )


def commit() -> str:
    """The commit of the code that was measured; `+` if files that git tracks had changed since.

    Where git does not know it, on a machine with a copy of the files alone, what $COMMIT says, or "unknown".
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!docs/benchmarks.md"
        )
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("COMMIT") or "unknown"
