"""`nas export`: an architecture as a constant, a config that retrains it, and its trained network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.arguments import add_overrides, add_which
from nas.core.errors import ConfigError

if TYPE_CHECKING:
    from nas.results.architecture import Found

FORMS = ("constant", "text", "json", "hparams", "dot")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "print an architecture, or write it with its config, model card and trained network"
    parser = commands.add_parser("export", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an experiment, a run or a checkpoint (its folder; an experiment's id on a cluster), a file that holds a"
        " genotype, a name, or Genotype(...)",
    )
    add_which(parser)
    parser.add_argument("--name", metavar="NAME", default="MINE", help="of the constant (default: MINE)")
    parser.add_argument("--form", choices=FORMS, default="constant", help="what is printed (default: constant)")
    parser.add_argument("--add", action="store_true", help="add the constant to the space's genotypes.py")
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="write genotype, constant, retrain.yaml and model card"
    )
    wishes = parser.add_argument_group("of a finished search with shared weights, another architecture")
    wishes.add_argument("--parameters", metavar="MOST", help="the best with at most so many, such as 3.3e6")
    wishes.add_argument(
        "--macs", metavar="MOST", help="the best with at most so many multiply-accumulates, such as 5e8"
    )
    wishes.add_argument("--range", metavar=("LOW", "HIGH"), nargs=2, help="the best with so many parameters")
    wishes.add_argument("--level", metavar="U", help="of strategy budget: the one of a level, 0 (free) to 1 (smallest)")
    parser.add_argument("--checkpoint", action="store_true", help="with --out: the trained network too")
    parser.add_argument("--onnx", action="store_true", help="with --checkpoint: as ONNX too")
    add_overrides(parser, "--config data.data_dir=elsewhere, where the data lie that the network was trained on")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.core.program import importing_from
    from nas.results.architecture import find
    from nas.results.constant import add_constant, check_name, genotypes_file
    from nas.results.export import export_folder, written
    from nas.results.within_budget import wish, within_budget

    if (arguments.checkpoint or arguments.onnx or arguments.set) and arguments.out is None:
        raise ConfigError(["--checkpoint writes files; say with --out FOLDER where"])
    if arguments.onnx and not arguments.checkpoint:
        raise ConfigError(["--onnx writes the trained network; ask for it with --checkpoint"])
    check_name(arguments.name)
    asked = wish(arguments.parameters, arguments.macs, arguments.level, arguments.range)
    if asked and arguments.checkpoint:
        raise ConfigError(["--checkpoint is of a trained network; an architecture for a budget is not trained yet"])
    found = find(arguments.source, rank=arguments.rank, trial=arguments.trial, space=arguments.space)
    if asked:
        found = within_budget(found, asked)
    if arguments.add:
        with importing_from(found.experiment.program_folder if found.experiment else None):
            path = genotypes_file(found.package)
        add_constant(path, arguments.name, found.genotype, f"From {found.origin}.")
        print(f"{arguments.name} added to {path}; use it as arch_to_use: {arguments.name}")
    if arguments.out is None:
        if not arguments.add:
            print(written(found, arguments.form, arguments.name))
        return 0
    if arguments.checkpoint:
        return _with_network(arguments, found)
    print(*export_folder(found, arguments.name, arguments.out), sep="\n")
    return 0


def _with_network(arguments: argparse.Namespace, found: Found) -> int:
    """All files, once the trained network is known to be there and to fit its data."""
    import json

    from nas.core.files import write_atomically
    from nas.results.card import model_card
    from nas.results.export import checkpoint_of, export_folder
    from nas.trial.exporting import evaluate, export_network

    path = checkpoint_of(found)
    folder = found.experiment.program_folder if found.experiment else None
    trial, scores = evaluate(path, arguments.set, "valid", program_folder=folder)
    out: Path = arguments.out
    files = export_folder(found, arguments.name, out)
    lines = export_network(trial, out, onnx=arguments.onnx, about={"checkpoint": path.name, "scores": scores})
    network = json.loads((out / "network.json").read_text(encoding="utf-8"))
    write_atomically(out / "README.md", model_card(found, arguments.name, network).encode())
    print(*files, out / "network.json", *lines, sep="\n")
    return 0
