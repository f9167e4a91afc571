"""`nas check`: can a config run, what does its search space hold, will it fit in memory?"""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.arguments import add_overrides, positive

MOST_SAMPLES = 1_000_000


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "can a config run, what does its search space hold, will it fit in memory? Reads no data"
    parser = commands.add_parser("check", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("config", metavar="CONFIG", type=Path, help="experiment config (YAML)")
    add_overrides(parser, "--config hyperparameters.layers=8")
    parser.add_argument("--samples", type=_samples, default=2000, help="random architectures to draw (default 2000)")
    parser.add_argument(
        "--output", metavar="FOLDER", type=Path, default=Path(), help="where the picture goes (default: here)"
    )
    parser.add_argument("--batch-memory", action="store_true", help="estimate the memory for other batch sizes as well")
    parser.add_argument(
        "--time", action="store_true", help="run training steps here on random data, to see how long they take"
    )
    parser.set_defaults(run=_run)


def _samples(text: str) -> int:
    if (count := positive(text)) > MOST_SAMPLES:
        raise argparse.ArgumentTypeError(f"must be at most {MOST_SAMPLES:,}, got {text}")
    return count


def _run(arguments: argparse.Namespace) -> int:
    from nas.check import check  # takes seconds to import, unlike the help

    config, options = arguments.config, (arguments.batch_memory, arguments.time)
    for line in check(config, arguments.set, arguments.samples, arguments.output, *options):
        print(line, flush=True)
    return 0
