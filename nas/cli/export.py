"""`nas export`: an architecture as a line for `genotypes.py`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "print the architecture of a run, of a search's best trial, or of a checkpoint"
    parser = commands.add_parser("export", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="of a run, of an experiment, or of a checkpoint (det checkpoint download)",
    )
    parser.add_argument("--name", metavar="NAME", default="MINE", help="of the constant (default: MINE)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.results.export import export

    print(*export(arguments.folder, arguments.name), sep="\n")
    return 0
