"""Arguments that several commands have."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120
"""Of what is printed where there is no terminal."""


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


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device`: where to compute."""
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not _digits(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def add_which(parser: argparse.ArgumentParser) -> None:
    """`--rank` or `--trial`: which trial of an experiment; and `--space`."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--rank", metavar="N", type=positive, default=1, help="of an experiment's trials (default: 1, the best)"
    )
    which.add_argument("--trial", metavar="N", type=whole, help="the experiment's trial of this number")
    parser.add_argument("--space", metavar="PACKAGE", help="search space of a name that several have, such as cnn_nas")


def whole(text: str) -> int:
    """A whole number of at least 0."""
    if not _digits(text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, got {text!r}")
    return int(text)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18


def console() -> Console:
    """Where tables are printed: as wide as the terminal, or 120 columns where there is none."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH)
