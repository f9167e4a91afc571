"""The arguments of a trial's own command line."""

from __future__ import annotations

import argparse

from nas.core.host import thread_count

_SEEDS = 2**32
"""NumPy's generators take seeds below it."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of a trial's own command line."""
    parser = argparse.ArgumentParser(description="Train one architecture on this machine.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", metavar="FILE", help="experiment config (YAML), as for det experiment create")
    source.add_argument(
        "--resume", metavar="FOLDER", help="go on with the run in this folder, or in a new run from this checkpoint"
    )
    source.add_argument(
        "--score", metavar="CHECKPOINT", help="validate a checkpoint, and test it if the config says so"
    )
    parser.add_argument(
        "--warm-start", metavar="CHECKPOINT", help="begin with the weights of this checkpoint, and anew in all else"
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="override, e.g. hyperparameters.emsize=64"
    )
    parser.add_argument("--seed", type=_seed, metavar="N", help="trial seed (default: a master's for the first trial)")
    parser.add_argument("--experiments", metavar="FOLDER", default="experiments", help="where new run folders go")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    parser.add_argument("--threads", type=thread_count, metavar="N", help="CPU threads (default: what is fastest)")
    parser.add_argument("--threads-at-most", type=thread_count, help=argparse.SUPPRESS)  # said by `nas run`
    parser.add_argument("--engine", metavar="ADDRESS", help=argparse.SUPPRESS)  # said by `nas run`
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= _SEEDS:
        raise argparse.ArgumentTypeError(f"must be a whole number of 0 to {_SEEDS - 1}, got {text!r}")
    return int(text)
