"""`nas draw`: an architecture as lines of text, or as a picture."""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.arguments import add_which
from nas.core.errors import ConfigError

KINDS = (".svg", ".png", ".dot", ".txt")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "draw an architecture in the terminal, or into a file"
    parser = commands.add_parser("draw", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an experiment, a run or a checkpoint, a file that holds a genotype, a name, or Genotype(...)",
    )
    add_which(parser)
    parser.add_argument("--out", metavar="FILE", type=Path, help=f"a picture instead, {', '.join(KINDS)}")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.core.files import write_atomically
    from nas.results.architecture import find
    from nas.results.figures.cell import cell_picture

    found = find(arguments.source, rank=arguments.rank, trial=arguments.trial, space=arguments.space)
    out: Path | None = arguments.out
    if out is None:
        print(f"{found.space.title}: {found.origin}", *found.space.draw(found.genotype), sep="\n")
        return 0
    kind = out.suffix.lower()
    if kind not in KINDS:
        raise ConfigError([f"--out must end in one of {', '.join(KINDS)}, got {out.name!r}"])
    if kind == ".txt":
        data = "\n".join([*found.space.draw(found.genotype), ""]).encode()
    elif kind == ".dot":
        data = found.space.to_dot(found.genotype).encode()
    else:
        data = cell_picture(found.space.to_dot(found.genotype), kind[1:])
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, data)
    except OSError as error:
        raise ConfigError([f"--out {out} cannot be written: {error.strerror or error}"]) from error
    print(out)
    return 0
