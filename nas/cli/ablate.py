"""`nas ablate`: what each part of a cell is worth, by shared weights or by training every variant."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.arguments import add_device, add_overrides, add_which, positive, whole
from nas.core.errors import ConfigError
from nas.core.variants import KINDS

if TYPE_CHECKING:
    from nas.results.ablation import Ablation
    from nas.results.architecture import Found
    from nas.results.experiment import ExperimentResult

SEEDS = 3


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "change a cell in one thing after another: what makes it good?"
    kinds = "; ".join(f"{name}: {words}" for name, words in KINDS.items())
    parser = commands.add_parser(
        "ablate",
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]} Of a one-shot search its cell and all variants are scored with the "
        "shared weights. --retrain writes an experiment that trains each of them with the same seeds, and nas ablate of that "
        "experiment compares them. Validation data decide; no test split is read.",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a run of a one-shot search, an experiment that --retrain made; with --retrain also a genotype or its name",
    )
    add_which(parser)
    parser.add_argument("--genotype", metavar="TEXT|NAME", help="another cell of the search's space")
    parser.add_argument("--changes", nargs="+", metavar="KIND", choices=list(KINDS), help=f"only these ({kinds})")
    parser.add_argument("--nodes", nargs="+", metavar="N", type=whole, help="only changes of these nodes")
    parser.add_argument("--retrain", action="store_true", help="write the experiment that trains all variants")
    parser.add_argument(
        "--seeds", metavar="N", type=positive, help=f"with --retrain: trainings of each (default: {SEEDS})"
    )
    parser.add_argument(
        "--template",
        metavar="YAML",
        type=Path,
        help="with --retrain: how each is trained (default: as the search retrains its winner, else quickstart.yaml)",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=Path("ablation"), help="(default: ablation)")
    add_device(parser)
    add_overrides(parser, "--config data.data_dir=elsewhere")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.results.ablation_config import ablates
    from nas.results.source import is_experiment, read

    if not arguments.retrain and (arguments.seeds or arguments.template):
        raise ConfigError(["--seeds and --template say how to --retrain the variants; add --retrain"])
    if arguments.retrain:
        return _retrain(arguments)
    if is_experiment(arguments.source) and ablates(experiment := read(arguments.source)):
        return _tell(arguments, _retrained(arguments, experiment))
    return _tell(arguments, _by_shared_weights(arguments))


def _found(arguments: argparse.Namespace) -> tuple[Found, Any]:
    """What is ablated: where it is from, and the cell."""
    from dataclasses import replace

    from nas.results.architecture import find

    found = find(arguments.source, rank=arguments.rank, trial=arguments.trial, space=arguments.space)
    if arguments.genotype is None:
        return found, found.genotype
    genotype = found.space.read(arguments.genotype)
    return replace(found, genotype=genotype, origin=f"{arguments.genotype[:60]}, with {found.origin}"), genotype


def _by_shared_weights(arguments: argparse.Namespace) -> Ablation:
    from nas.results.ablation import select
    from nas.results.ablation_shared import by_shared_weights

    found, genotype = _found(arguments)
    variants = select(found.space, genotype, arguments.changes, arguments.nodes)
    if found.experiment is None and not Path(arguments.source).is_dir():
        raise ConfigError(
            [f"{found.origin} is a cell without weights; add --retrain, or name the run of a search and --genotype"]
        )
    if found.trial is not None and not found.trial.search:
        raise ConfigError(
            [f"{found.origin} is no one-shot search: its weights are of one cell; --retrain trains the variants"]
        )
    path = _checkpoint(found, arguments.source)
    from nas.trial.exporting import load  # imports torch

    folder = found.experiment.program_folder if found.experiment else None
    trial = load(path, arguments.set, arguments.device, folder)
    shared = trial.score_others([genotype, *(each.in_place for each in variants)])
    print(f"{'checkpoint':<12} {path}, {trial.batches_trained} batches")
    return by_shared_weights(found, variants, shared)


def _checkpoint(found: Found, source: str) -> Path:
    """The newest whole one of a run on this machine: the shared weights that the search ended with."""
    from nas.results.export import checkpoint_of
    from nas.runs.checkpoint_files import newest_whole

    if found.trial is None or not found.trial.folder:
        return Path(source) if found.trial is None else checkpoint_of(found)
    newest = newest_whole(Path(found.trial.folder))
    if newest is None:
        raise ConfigError(
            [
                f"{found.origin} has no whole checkpoint, so its shared weights are gone; run the search again, or --retrain"
            ]
        )
    return newest


def _retrained(arguments: argparse.Namespace, experiment: ExperimentResult) -> Ablation:
    from dataclasses import replace

    from nas.results.ablation import select
    from nas.results.ablation_config import cells_of
    from nas.results.ablation_retrained import of_experiment

    if arguments.genotype is not None:
        raise ConfigError([f"{arguments.source} trained the variants of its own cell; leave out --genotype"])
    base = cells_of(experiment)[0]
    chosen = {each.text for each in select(base.space, base.genotype, arguments.changes, arguments.nodes)}
    found = of_experiment(experiment)
    return replace(found, rows=[row for row in found.rows if row.change in chosen])


def _tell(arguments: argparse.Namespace, found: Ablation) -> int:
    """Print and write everything."""
    from nas.cli.arguments import console
    from nas.core.files import write_atomically
    from nas.results.ablation_text import csv_text, json_text, markdown, print_ablation
    from nas.results.figures.ablation import draw

    print_ablation(console(), found)
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    files = {f"ablation.{kind}": picture for kind, picture in draw(found).items()}
    texts = {"md": markdown(found, "ablation.svg"), "csv": csv_text(found), "json": json_text(found)}
    files |= {f"ablation.{kind}": text.encode() for kind, text in texts.items()}
    for name, content in files.items():
        write_atomically(out / name, content)
    print(f"written      {out}: {', '.join(files)}")
    return 0


def _retrain(arguments: argparse.Namespace) -> int:
    """Check and write the experiment."""
    import shlex

    from nas.config import load
    from nas.config.entrypoint import resolve
    from nas.config.yaml_text import dump
    from nas.core.files import write_atomically
    from nas.core.program import importing_from
    from nas.core.wording import plural
    from nas.results.ablation import select
    from nas.results.ablation_config import ablation_config, template_of

    found, genotype = _found(arguments)
    variants = select(found.space, genotype, arguments.changes, arguments.nodes)
    template, origin = template_of(found, arguments.template)
    seeds = arguments.seeds or SEEDS
    config = load.override(ablation_config(found, genotype, variants, template, seeds), arguments.set)
    from nas.trial.inspection import inspect, load_trial  # imports torch

    program = Path(folder) if found.experiment and (folder := found.experiment.program_folder) else None
    with importing_from(None if program is None else str(program)):
        where = resolve(config.get("entrypoint"), arguments.template, program)
        space = load_trial(where).space if where.trial else ""
        if space != found.package:
            raise ConfigError([f"--template must train one architecture of {found.package}, {origin} does not"])
        seen = inspect(config, config["name"], 1, config_path=arguments.template, folder=program)
    path: Path = arguments.out / "ablation.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, dump(config).encode())
    cells = len(config["hyperparameters"]["arch_to_use"]["vals"])
    length = plural(seen.length[1], seen.length[0].removesuffix("s"))
    print(f"template     {origin}")
    print(f"config       {path}: {cells} cells x {seeds} seeds = {cells * seeds} trainings of {length}")
    print(f"train        nas run {shlex.quote(str(path))}, or det experiment create {shlex.quote(str(path))} .")
    print("then         nas ablate EXPERIMENT, with the folder or the id that it gets")
    return 0
