"""`nas show`: what an experiment, or one of its trials, came to."""

from __future__ import annotations

import argparse

from nas.cli.arguments import positive, whole


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "show an experiment, a run or a trial: its scores, its best architecture, and how to go on"
    parser = commands.add_parser("show", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", help="folder of an experiment or a run, or an id on a master"
    )
    parser.add_argument("--trial", metavar="N", type=whole, help="show this trial only")
    parser.add_argument("--top", metavar="K", type=positive, default=10, help="trials in the leaderboard (default 10)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.cli.arguments import console
    from nas.results.show import print_experiment, print_trial
    from nas.results.source import read

    experiment = read(arguments.experiment)
    if arguments.trial is None:
        print_experiment(console(), experiment, arguments.top)
    else:
        print_trial(console(), experiment, arguments.trial)
    return 0
