"""The command line of the project.

nas run quickstart.yaml                   run an experiment on this machine
nas check constrained_adaptive.yaml       can it run, what does its search space hold, will it fit in memory?
nas list                                  what ran here, and how it ended
nas show experiments/quickstart-1         what a search came to, and how to go on
nas report experiments/quickstart-1       a page with figures, and the same as Markdown, CSV and JSON
nas compare A B C                         whether one search is better than another
nas draw experiments/quickstart-1         the best architecture as a drawing
nas export experiments/quickstart-1       the same as a constant for genotypes.py, or with its trained network
nas evaluate experiments/quickstart-1     what its trained network scores
nas analyze experiments/enas-1            what the controller of a search has learned of its cells
nas ablate experiments/SEARCH-1           what each part of a cell that it found is worth

`python3 -m nas ...` is the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from nas import __version__
from nas.cli import ablate, analyze, check, compare, draw, evaluate, export, listing, report, run, show
from nas.cli.run import INTERRUPTED
from nas.core.errors import ConfigError, DataError
from nas.core.host import refuse_windows
from nas.core.terminal import print_anything


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status (2: a config or an argument that cannot work)."""
    print_anything()
    arguments = build_parser().parse_args(argv)
    try:
        refuse_windows()
        status: int = arguments.run(arguments)
    except ConfigError as error:
        print(*(f"error: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("error: this machine has not enough memory free for it", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # a search that has begun handles it, see `Engine.run`
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return status


def version() -> str:
    """Of the installation; of the source where nothing is installed."""
    try:
        return metadata.version("nas-experiments")
    except metadata.PackageNotFoundError:
        return __version__


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="nas", description="Neural architecture search experiments.")
    parser.add_argument("--version", action="version", version=f"nas {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (run, check, listing, show, report, compare, draw, export, evaluate, analyze, ablate):
        command.add_parser(commands)
    return parser
