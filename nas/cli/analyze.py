"""`nas analyze`: what the controller of a search has learned of its cells."""

from __future__ import annotations

import argparse
from pathlib import Path

from nas.cli.arguments import add_device, add_overrides, add_which, positive, whole
from nas.core.errors import ConfigError

FOLDER = "analysis"
"""In that of the run, or here for a checkpoint that belongs to none."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "say what the controller of a search (ENAS) has learned of its cells, with tests and pictures"
    parser = commands.add_parser("analyze", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("source", metavar="SOURCE", help="a search with a controller, a run of one, or a checkpoint")
    add_which(parser)
    parser.add_argument(
        "--cells", metavar="N", type=whole, default=100, help="cells that are drawn and scored (default: 100)"
    )
    parser.add_argument(
        "--batches", metavar="N", type=positive, help="of validation data to score each by (default: all)"
    )
    add_device(parser)
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help=f"where to write (default: {FOLDER}/ in the run's folder)"
    )
    add_overrides(parser, "--config data.data_dir=elsewhere")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.cli.arguments import console
    from nas.results.analysis.findings import check_count, findings
    from nas.results.analysis.text import print_findings
    from nas.results.analysis.write import write_analysis
    from nas.trial.analyzing import analyze

    check_count(arguments.cells)
    path, folder = newest(arguments.source, arguments.rank, arguments.trial)
    trial, drawn = analyze(path, arguments.set, arguments.cells, arguments.batches, arguments.device, folder)
    result = findings(drawn)
    run = path.absolute().parent.parent
    out = arguments.out or ((run if (run / "run.json").is_file() else Path()) / FOLDER)
    names = write_analysis(result, out, f"The controller of {arguments.source} after {trial.batches_trained} batches")
    print(f"{'checkpoint':<12} {path}, {trial.batches_trained} batches")
    print_findings(console(), result)
    print(f"{'written':<12} {out}: {', '.join(names)}")
    return 0


def newest(source: str, rank: int = 1, number: int | None = None) -> tuple[Path, str | None]:
    """The newest checkpoint of a run here, the one that is fetched of a trial on a cluster, or the one that is named.

    Returns:
        Its folder, and that of the trial's program, where it is known.

    Raises:
        ConfigError: there is none.
    """
    from nas.results.architecture import chosen_trial, find
    from nas.results.determined_source import download
    from nas.results.export import checkpoint_of
    from nas.results.source import is_experiment, read
    from nas.runs.checkpoint_files import newest_whole

    if not is_experiment(source):
        return checkpoint_of(find(source)), None
    experiment = read(source)
    only = experiment.trials[0] if len(experiment.trials) == 1 and rank == 1 and number is None else None
    trial = only or chosen_trial(experiment, rank, number)  # the only one may have no validation yet
    if experiment.source == "determined":
        return download(experiment, trial, Path("checkpoints")), experiment.program_folder
    run = Path(trial.folder or source)
    found = newest_whole(run)
    if found is None:
        raise ConfigError([f"{run} has no checkpoint yet; a search writes one after each validation"])
    return found, experiment.program_folder
