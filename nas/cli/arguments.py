"""Arguments that several commands have."""

from __future__ import annotations

import argparse


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """`--config KEY=VALUE`, as of `det experiment create`."""
    parser.add_argument(
        "--config",
        "--set",
        dest="set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"override, e.g. {example}",
    )


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)
