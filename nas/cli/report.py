"""`nas report`: a page, Markdown, CSV and JSON of what came out of an experiment."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "write a page of what an experiment found, with figures, as HTML, Markdown, CSV and JSON"
    parser = commands.add_parser("report", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", help="folder of an experiment or a run, or an id on the Determined master"
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        help="where to write (default: the experiment's folder; report-<id> for one on a master)",
    )
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.results.report import write_report
    from nas.results.source import read

    names = ("page", "Markdown", "trials", "all of it")
    for name, path in zip(names, write_report(read(arguments.experiment), arguments.out), strict=True):
        print(f"{name:<12} {path}")
    return 0
