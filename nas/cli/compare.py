"""`nas compare`: is one search really better than another?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError

PICTURE = "compare.svg"
WRITTEN = f"written      {{out}}: compare.md, compare.csv, compare.json, compare.png, {PICTURE}"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "compare searches at the same budget over several seeds: is one really better?"
    parser = commands.add_parser(
        "compare",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]} Experiments whose configs differ only in their seeds are one group.",
    )
    parser.add_argument(
        "experiments",
        metavar="EXPERIMENT",
        nargs="+",
        help="folder or id, or a group of your own as NAME=folder,folder,... (with * in a folder's name, in quotes)",
    )
    parser.add_argument("--metric", metavar="M", help="to compare by (default: that of the searchers)")
    parser.add_argument(
        "--smaller-is-better",
        metavar="true|false",
        choices=["true", "false"],
        help="direction of --metric, where its name does not tell",
    )
    parser.add_argument(
        "--budget",
        metavar="B",
        type=_budget,
        help="at which scores are read, in device hours, or in the epochs or batches that the output names (default: the "
        "largest that all have spent)",
    )
    parser.add_argument(
        "--retrained",
        metavar="FOLDER",
        nargs="+",
        default=[],
        help="runs that trained found architectures again: do search-time scores rank them right?",
    )
    parser.add_argument(
        "--groups",
        action="store_true",
        help="experiments are runs of against_random.yaml, one a controller: are its cells better than uniform ones?",
    )
    parser.add_argument(
        "--searches",
        metavar="FOLDER",
        nargs="+",
        default=[],
        help="with --groups, the searches that trained the controllers: counts what they cost",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=Path,
        default=Path("comparison"),
        help="for tables and picture (default: comparison)",
    )
    parser.set_defaults(run=_run)


def _budget(text: str) -> float:
    try:
        budget = float(text)
    except ValueError:
        budget = 0.0
    if not 0 < budget < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return budget


def _run(arguments: argparse.Namespace) -> int:
    if arguments.groups:
        return _run_groups(arguments)
    if arguments.searches:
        raise ConfigError(["--searches goes with --groups, which counts what they cost; leave it out"])
    import shlex

    from nas.cli.arguments import console
    from nas.config.yaml_text import dump
    from nas.core.files import write_atomically
    from nas.results.compare.comparison import compare
    from nas.results.compare.figure import draw
    from nas.results.compare.groups import gather
    from nas.results.compare.text import csv_text, markdown, print_comparison
    from nas.results.source import read

    direction = None if arguments.smaller_is_better is None else arguments.smaller_is_better == "true"
    comparison = compare(
        gather(arguments.experiments),
        metric=arguments.metric,
        smaller_is_better=direction,
        budget=arguments.budget,
        retrained=[read(each) for each in arguments.retrained],
    )
    print_comparison(console(), comparison)
    out: Path = arguments.out
    _write(out, markdown(comparison, PICTURE), csv_text(comparison), comparison.to_json())
    draw(comparison, [out / "compare.png", out / PICTURE])
    if comparison.baseline is not None:
        write_atomically(out / "random.yaml", dump(comparison.baseline).encode())
        seed = "--new --config reproducibility.experiment_seed=1"
        print(f"baseline     nas run {shlex.quote(str(out / 'random.yaml'))} {seed}, and so on for other seeds")
    print(WRITTEN.format(out=out))
    return 0


def _run_groups(arguments: argparse.Namespace) -> int:
    from nas.cli.arguments import console
    from nas.results.compare.contest import judge
    from nas.results.compare.contest_figure import draw_outcome
    from nas.results.compare.contest_text import csv_page, markdown_page, print_outcome
    from nas.results.compare.controllers import gather_controllers

    for option in ("metric", "smaller_is_better", "budget", "retrained"):
        if getattr(arguments, option):
            why = "what is compared was said in the experiments, before anything was trained"
            raise ConfigError([f"--{option.replace('_', '-')} does not go with --groups: {why}; leave it out"])
    outcome = judge(gather_controllers(arguments.experiments, arguments.searches))
    print_outcome(console(), outcome)
    out: Path = arguments.out
    _write(out, markdown_page(outcome, PICTURE), csv_page(outcome), outcome.to_json())
    draw_outcome(outcome, [out / "compare.png", out / PICTURE])
    print(WRITTEN.format(out=out))
    return 0


def _write(out: Path, page: str, table: str, data: dict[str, Any]) -> None:
    """All but the pictures."""
    import json

    from nas.core.files import write_atomically

    out.mkdir(parents=True, exist_ok=True)
    texts = {"md": page, "csv": table, "json": json.dumps(data, indent=1) + "\n"}
    for kind, text in texts.items():
        write_atomically(out / f"compare.{kind}", text.encode())
