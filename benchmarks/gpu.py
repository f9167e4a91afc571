"""Use a few minutes of one GPU well: everything that only a GPU can tell, in order of worth. From the root:

    python -m benchmarks.gpu [--minutes 8]             all that is left; first each row of the goals' table once
    python -m benchmarks.gpu --part rows --part memory these, or these once more
    python -m benchmarks.gpu --train --split           what is left, then train_one_arch.yaml for as long as there is time
    python -m benchmarks.gpu --device cpu              try the script, at sizes that mean nothing

Each part runs in a process of its own with a limit of time. Every result is on the disk at once, a line in
FOLDER/DATE-gpu-DEVICE.jsonl, a table in the .md beside it, and rows for docs/benchmarks.md in DATE-gpu-TIME-DEVICE.json. A
call goes on where the last one ended, however that was.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import filelock

from benchmarks.gpu_parts import here
from benchmarks.gpu_parts.records import ANEW, DONE, FAILED, LEFT_OUT, Record, Records, state_of
from benchmarks.gpu_parts.running import run_part
from benchmarks.gpu_parts.summary import publish
from benchmarks.gpu_parts.task import Part, Task
from benchmarks.measuring import command, commit
from nas.core.errors import ConfigError, unknown
from nas.core.signals import handling_stops

LONGEST = 24 * 60
PLACE = "benchmarks.gpu_parts."
TABLE = (
    Part("rows", PLACE + "rows:items", 190, 20, "every step of the goals' table against the plain one, best settings"),
    Part("epochs", PLACE + "epochs:items", 90, 45, "three epochs of train_one_arch.yaml with the best settings"),
    Part("memory", PLACE + "memory:items", 90, 20, "peak memory of each step"),
    Part("compiled", PLACE + "compiled:items", 110, 60, "our steps against compiled plain ones"),
)
"""Every row of the goals' table once: they end within 8 minutes."""
PARTS = (
    *TABLE,
    Part("tests", PLACE + "tests:items", 240, 20, "the tests that need a GPU"),
    Part(
        "settings", PLACE + "settings:items", 300, 30, "whole steps of trials and searches with each setting for a GPU"
    ),
    Part("launches", PLACE + "launches:items", 90, 15, "kernels, busy and wall time of each step"),
    Part("more", PLACE + "rows:more", 180, 20, "the same with other settings, other cells, and plain ones in bfloat16"),
    Part("resume", PLACE + "resume:items", 200, 30, "a killed and resumed run equals a straight one"),
    Part("default", PLACE + "epochs:by_default", 120, 45, "three epochs of train_one_arch.yaml as it is"),
    Part("products", PLACE + "products:items", 60, 10, "matrix products at 850 and at padded sizes"),
    Part("depthwise", PLACE + "depthwise:items", 60, 10, "twelve depthwise convolutions"),
    Part("train", PLACE + "train:items", math.inf, 60, "train_one_arch.yaml, as long as there is time", asked=True),
)


def main(argv: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    """Measure what is left; returns the exit status (2: it cannot be measured as it was asked for)."""
    words = sys.argv[1:] if argv is None else list(argv)
    chosen = _parser(parts).parse_args(words)
    try:
        asked = _asked(chosen, parts)
        if chosen.device == "cuda" and (reason := here.why_none()):
            raise ConfigError([f"nothing was measured: {reason}; --device cpu tries the script"])
        folder, scratch = _writable(chosen.folder), _writable(chosen.scratch)
        with filelock.FileLock(folder / ".lock", timeout=0):
            return _measure(chosen, words, asked, folder, scratch)
    except ConfigError as error:
        print(*(f"error: {each}" for each in error.problems), sep="\n", file=sys.stderr)
    except filelock.Timeout:
        print(f"error: another call is at work in {chosen.folder}; wait for it", file=sys.stderr)
    except OSError as error:
        print(f"error: {error}; what was measured before is in {chosen.folder}", file=sys.stderr)
    return 2


def _parser(parts: Sequence[Part]) -> argparse.ArgumentParser:
    listed = "\n".join(f"  {part.name:<10} {part.about}" for part in parts)
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=f"{(__doc__ or '')}\nparts:\n{listed}", formatter_class=form)
    parser.add_argument("--minutes", type=_minutes, default=8.0, help="for everything together (default: 8)")
    parser.add_argument("--part", action="append", metavar="NAME", default=[], help="this one, also if it is done")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--train", action="store_true", help="train with the minutes that are left at the end")
    parser.add_argument("--split", action="store_true", help="write the trained checkpoint in files of 15 MB to FOLDER")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of epochs and train, as in model_def.py",
    )
    parser.add_argument("--folder", default="gpu-results", help="of the results (default: %(default)s)")
    parser.add_argument("--scratch", default="experiments/gpu", help="of runs and made-up data (default: %(default)s)")
    data = os.environ.get("NAS_DATA", "")
    parser.add_argument("--data-dir", default=data, help="has Penn Treebank, or ptb/ with it (default: $NAS_DATA)")
    return parser


def _minutes(text: str) -> float:
    rule = f"must be a number above 0 and at most {LONGEST}, got {text!r}"
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(rule) from None
    if not 0 < value <= LONGEST:
        raise argparse.ArgumentTypeError(rule)
    return value


def _asked(chosen: argparse.Namespace, parts: Sequence[Part]) -> list[Part]:
    """The parts that the command line means. Raises ConfigError for a name that is none."""
    names = [part.name for part in parts]
    if strange := [each for each in chosen.set if "=" not in each]:
        raise ConfigError([f"--set must be KEY=VALUE, got {each!r}" for each in strange])
    if wrong := [name for name in chosen.part if name not in names]:
        raise ConfigError([unknown("--part", name, names, f"has no {name!r}") for name in wrong])
    if chosen.part:
        return [part for part in parts if part.name in chosen.part or (part.asked and chosen.train)]
    return [part for part in parts if chosen.train or not part.asked]


def _writable(name: str) -> Path:
    """A folder, made if it is not there. Raises ConfigError if nothing can be written there."""
    folder = Path(name).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.tmp"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise ConfigError([f"nothing can be written to {name} ({error.strerror}); name another folder"]) from error
    return folder


def _measure(
    chosen: argparse.Namespace, words: Sequence[str], asked: Sequence[Part], folder: Path, scratch: Path
) -> int:
    end = time.monotonic() + 60 * chosen.minutes
    now = datetime.datetime.now().isoformat(timespec="seconds")
    about = {"date": now, "commit": commit(), "command": command("gpu", words), **here.about(chosen.device)}
    records = Records(folder, chosen.device, about["gpu"], now[:10])
    print(", ".join(f"{name} {value}" for name, value in about.items() if name != "command" and value), flush=True)
    for told in records.set_aside():
        print(told, flush=True)
    common: dict[str, Any] = {"device": chosen.device, "folder": str(folder), "scratch": str(scratch), "about": about}
    common |= {"data_dir": str(Path(chosen.data_dir).absolute()) if chosen.data_dir else "", "split": chosen.split}
    common["sets"] = chosen.set
    try:
        with handling_stops(_stop):
            states = [
                (
                    part,
                    _part(
                        part, Task(part.name, part.place, seconds=0, **common), records, end, part.name in chosen.part
                    ),
                )
                for part in asked
            ]
    except KeyboardInterrupt:
        print(f"\nstopped; call again to go on. What was measured is in {records.path}", flush=True)
        return 130
    publish(records)
    _say_end(records, states)
    return 0


def _stop(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _part(part: Part, task: Task, records: Records, end: float, named: bool) -> str:
    """Measure one part if there is something left of it, and time; returns its state."""
    state = state_of(records.all(), part.name)
    if state in (DONE, FAILED) and not named:
        print(f"\n{part.name}: {state} before; --part {part.name} measures it again", flush=True)
        return state
    left = end - time.monotonic()
    if left < part.least:
        print(f"\n{part.name}: left out: {max(left, 0):.0f} s are left, and it needs {part.least:.0f} s", flush=True)
        return LEFT_OUT
    if state in (DONE, FAILED):
        records.append(Record(part.name, "", ANEW, about=task.about))
    print(f"\n{part.name}: {part.about}", flush=True)
    state = run_part(part, task, records, left)
    publish(records)
    print(f"{part.name}: {state}", flush=True)
    return state


def _say_end(records: Records, states: Sequence[tuple[Part, str]]) -> None:
    """The table of the parts, and what is left."""
    page = records.path.with_suffix(".md")
    table = page.read_text(encoding="utf-8").split("\n## ")[0].strip()
    print(f"\n{table}\n\nall of it: {page}", flush=True)
    if left := [part.name for part, state in states if state not in (DONE, FAILED)]:
        print(f"left: {', '.join(left)}; call again to go on", flush=True)


if __name__ == "__main__":
    sys.exit(main())
