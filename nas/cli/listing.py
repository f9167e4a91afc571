"""`nas list`: what ran, how it ended, and what came of it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.results.listing import Listed


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "list experiments and runs with their status and best value, the newest first"
    parser = commands.add_parser("list", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "folders",
        metavar="FOLDER",
        nargs="*",
        type=Path,
        help="where to look, folders in it too (default: experiments)",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of a table")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from nas.results.listing import list_runs

    folders = arguments.folders or [Path("experiments")]
    listed = list_runs(folders)
    if arguments.json:
        print(json.dumps([asdict(each) for each in listed], indent=1))
    elif listed:
        _print(listed)
    else:
        print(f"no experiments in {', '.join(map(str, folders))} yet; nas run quickstart.yaml makes one")
    return 0


def _print(listed: Sequence[Listed]) -> None:
    import time

    from rich.table import Table
    from rich.text import Text

    from nas.cli.arguments import console
    from nas.results.quantities import age

    shown = Table()
    for name in ("experiment", "status", "best", "trials", "age"):
        shown.add_column(name, overflow="fold", no_wrap=name in ("status", "age"))
    now = time.time()
    for each in listed:
        how_old = age(None if each.created is None else now - each.created)
        if each.problem is not None:
            shown.add_row(*map(Text, (each.folder, each.status, each.problem, "", how_old)))
            continue
        best = each.metric or "" if each.best is None else f"{each.metric} {each.best:.6g}"
        if each.best is not None and each.kind == "experiment":
            best += f" (trial {each.best_trial})"
        if each.best is None:
            best = f"no {each.metric} yet"
        trials = "" if each.trials is None else f"{each.ended} of {each.trials}" if each.kind == "experiment" else "run"
        shown.add_row(*map(Text, (each.folder, each.status, best, trials, how_old)))
    console().print(shown)
