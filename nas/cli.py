"""The command line of the project.

nas run quickstart.yaml                   run an experiment on this machine
nas check constrained_adaptive.yaml       can it run, what does its search space hold, will it fit in memory?

`python3 -m nas ...` is the same.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nas.core.fields import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status (2: a config or an argument that cannot work)."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.run(arguments)
    except ConfigError as error:
        print(*(f"error: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nas", description="Neural architecture search experiments.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    _add_check(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "run an experiment on this machine as a Determined master would, or go on with one"
    parser = commands.add_parser("run", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "config", metavar="CONFIG", nargs="?", help="experiment config (YAML), as for det experiment create"
    )
    _add_overrides(parser, "--config searcher.max_trials=4")
    parser.add_argument(
        "--resume", metavar="FOLDER", nargs="?", const="", help="go on with this experiment, or the newest"
    )
    parser.add_argument(
        "--new", action="store_true", help="start a new experiment even if the last one is not finished"
    )
    parser.add_argument("--workers", metavar="N", type=_positive, help="trials at once (default: one a device)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    parser.add_argument("--experiments", metavar="FOLDER", default="experiments", help="where new experiments go")
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: SQLite in the experiment's folder)")
    parser.add_argument(
        "--sampler", metavar="NAME", help="an Optuna sampler instead of the master's draws, such as tpe"
    )
    parser.set_defaults(run=_run)


def _add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "--config",
        "--set",
        dest="set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"override, e.g. {example}",
    )


def _run(arguments: argparse.Namespace) -> int:
    from nas.engine.run_command import run  # takes half a second to import, unlike the help

    return run(arguments)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    summary = "can a config run, what does its search space hold, will it fit in memory? Reads no data"
    parser = commands.add_parser("check", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("config", metavar="CONFIG", type=Path, help="experiment config (YAML)")
    _add_overrides(parser, "--config hyperparameters.layers=8")
    parser.add_argument("--samples", type=_positive, default=2000, help="random architectures to draw (default 2000)")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, default=Path(), help="where the picture goes (default: here)"
    )
    parser.add_argument("--batch-memory", action="store_true", help="estimate the memory for other batch sizes as well")
    parser.set_defaults(run=_check)


def _check(arguments: argparse.Namespace) -> int:
    from nas.check import check  # takes seconds to import, unlike the help

    for line in check(arguments.config, arguments.set, arguments.samples, arguments.output, arguments.batch_memory):
        print(line, flush=True)
    return 0


def _positive(text: str) -> int:
    """A number of samples."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
