"""The command line: `main.py`, and a file for each command."""

from nas.cli.main import main

__all__ = ["main"]
