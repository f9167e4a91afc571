"""`nas run`: choose the experiment, check it, run it, and say what came out."""

from __future__ import annotations

import argparse
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.cli.arguments import add_device, add_overrides, positive
from nas.cli.arguments import console as terminal
from nas.core.errors import ConfigError, ErrorCollector
from nas.core.host import thread_count

if TYPE_CHECKING:
    from rich.console import Console

    from nas.config.entrypoint import Entrypoint
    from nas.engine.experiments import Request
    from nas.engine.preflight import Findings
    from nas.engine.study_store import StudyStore
    from nas.runs.run_folder import RunFolder

INTERRUPTED = 130
"""Exit status of a search that was stopped before its end."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    summary = "run an experiment on this machine as a Determined master would, or go on with one"
    parser = commands.add_parser("run", help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument(
        "config", metavar="CONFIG", nargs="?", type=Path, help="experiment config (YAML), as for det experiment create"
    )
    add_overrides(parser, "--config searcher.max_trials=4")
    parser.add_argument(
        "--resume", metavar="FOLDER", nargs="?", const="", help="go on with this experiment, or the newest"
    )
    parser.add_argument(
        "--new", action="store_true", help="start a new experiment even if the last one is not finished"
    )
    parser.add_argument("--workers", metavar="N", type=positive, help="trials at once (default: one a device)")
    parser.add_argument(
        "--threads",
        metavar="N",
        type=thread_count,
        help="CPU threads of a trial (default: an even share, or fewer if as fast)",
    )
    add_device(parser)
    parser.add_argument(
        "--experiments", metavar="FOLDER", type=Path, default="experiments", help="where new experiments go"
    )
    parser.add_argument("--storage", metavar="URL", help="Optuna storage (default: SQLite in the experiment's folder)")
    parser.add_argument(
        "--sampler",
        metavar="NAME",
        help="tpe, gp, cmaes or qmc instead of the master's draws, see docs/local_engine.md",
    )
    again = parser.add_argument_group("train what a search found")
    again.add_argument(
        "--retrain", metavar="EXPERIMENT", help="train its best architectures, and score them on the test split"
    )
    again.add_argument("--best", metavar="K", type=positive, help="how many of them (default: 1)")
    again.add_argument("--seeds", metavar="N", type=positive, help="trainings of each (default: 1)")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from nas.engine.experiments import Request  # takes half a second to import, unlike the help

    if arguments.retrain is not None:
        arguments.config = _retraining(arguments)
    elif arguments.best or arguments.seeds:
        raise ConfigError(["--best and --seeds say how to --retrain an experiment; name it"])
    names = ("config", "resume", "new", "experiments", "storage", "sampler")
    chosen = {name: getattr(arguments, name) for name in names}
    return run(
        Request(**chosen, overrides=tuple(arguments.set)), arguments.workers, arguments.threads, arguments.device
    )


def _retraining(arguments: argparse.Namespace) -> Path:
    """Write the config that trains what an experiment found, in its folder; returns its path."""
    from nas.config.yaml_text import dump
    from nas.core.files import write_atomically
    from nas.results.retraining import best_again
    from nas.results.source import read

    if arguments.config is not None or arguments.resume is not None:
        raise ConfigError(["--retrain makes the config itself; leave out CONFIG and --resume"])
    experiment, count, seeds = read(arguments.retrain), arguments.best or 1, arguments.seeds or 1
    prefix = "hyperparameters."
    settled = {pair.partition("=")[0].removeprefix(prefix) for pair in arguments.set if pair.startswith(prefix)}
    config = best_again(experiment, count, seeds, settled)
    name = f"best-{count}x{seeds}.yaml" if experiment.folder else f"{config['name']}.yaml"
    path = Path(experiment.folder, name)
    write_atomically(path, dump(config).encode())
    print(f"config       {path}")
    return path


def run(request: Request, workers: int | None, threads: int | None, device: str) -> int:
    """Run an experiment or go on with one. Raises ConfigError for what cannot work, before anything starts."""
    from nas.config.rules import refusals
    from nas.engine import experiments, preflight
    from nas.engine.placement import check_workers

    check_workers(workers)
    console = terminal()
    config, folder = experiments.choose(request)
    problems = ErrorCollector()
    problems.found += refusals(config)
    problems.catch(experiments.check_sampler, config, request.sampler)
    program = problems.catch(experiments.find_program, config, request.config, folder)
    if problems.found:  # the trial may have more to say
        likely = program or experiments.likely_program(config)
        with suppress(ConfigError):
            problems.found += preflight.inspect(config, likely, device, refused=True).problems if likely else []
    problems.raise_any()
    with ExitStack() as stack:
        store = None
        if folder is not None:
            stack.enter_context(folder.held())
            store = _open_store(console, request, config, folder)
            if folder.run.get("status") == "completed":
                console.print(f"{folder.path} is complete; --new starts another one", highlight=False, markup=False)
                return _summarise(console, folder)
        else:
            experiments.check_storage(request)
        findings = _preflight(console, config, program, device, folder)
        if folder is None:
            folder = _new_folder(request, config)
            stack.enter_context(folder.held())
        if store is None:
            store = _open_store(console, request, config, folder)
        complete = _search(console, config, folder, store, program, findings, workers, threads)
        status = _summarise(console, folder)
        if not complete:
            console.print(
                f"{'go on':<12} nas run --resume {folder.path}", highlight=False, markup=False, soft_wrap=True
            )
        return status if complete else INTERRUPTED


def _open_store(console: Console, request: Request, config: dict[str, Any], folder: RunFolder) -> StudyStore:
    """The experiment's study. Raises ConfigError if it cannot be used; a new experiment then leaves no folder."""
    from nas.engine import experiments

    try:
        store, rebuilt = experiments.open_store(config, folder, request.storage)
    except ConfigError:
        if folder.run.get("status") == "new":
            folder.discard()
        raise
    if rebuilt:
        trials = "1 trial was" if rebuilt == 1 else f"{rebuilt} trials were"
        what = f"{store.url} knew no trial of it; {trials} rebuilt from the folders in {folder.path / 'trials'}"
        console.print(what, highlight=False, markup=False, soft_wrap=True)
    return store


def _preflight(
    console: Console, config: dict[str, Any], program: Entrypoint, device: str, folder: RunFolder | None
) -> Findings:
    """What torch has to say. Raises ConfigError with the problems it finds."""
    from nas.config.rules import warnings
    from nas.engine import preflight
    from nas.engine.forking import warm_up
    from nas.runs.run_folder import begun_trials

    if refused := preflight.refusals(program):
        raise ConfigError(refused)
    console.print(f"{'checking':<12} {config['name']}", highlight=False, markup=False, soft_wrap=True)
    warm_up(program.folder, program.preload)  # it imports while the preflight does
    begun = list(begun_trials(folder.path / "trials")) if folder is not None else []
    findings = preflight.inspect(config, program, device, begun)
    if findings.problems:
        raise ConfigError(findings.problems)
    for warning in [*warnings(config), *findings.warnings]:
        console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
    return findings


def _new_folder(request: Request, config: dict[str, Any]) -> RunFolder:
    from nas.core.secrets import without_password
    from nas.engine.storage import absolute
    from nas.runs.run_folder import RunFolder, versions

    storage = None if request.storage is None else without_password(absolute(request.storage))
    about = {"status": "new", "sampler": request.sampler, "storage": storage, "versions": versions()}
    return RunFolder.create(request.experiments, str(config["name"]), config, about)


def _search(
    console: Console,
    config: dict[str, Any],
    folder: RunFolder,
    store: StudyStore,
    program: Entrypoint,
    findings: Findings,
    workers: int | None,
    threads: int | None,
) -> bool:
    """Run the engine; returns whether all trials have ended."""
    from nas.core.wording import plural
    from nas.engine.session import run_session
    from nas.runs.run_folder import versions
    from nas.runs.study_schema import SUMMARY

    if trials := store.trials():
        ended = sum(trial.state.is_finished() for trial in trials)
        of_all = f"{ended} of {plural(store.searcher.trials, 'trial')}"
        console.print(f"going on with {folder.path}: {of_all} ended", markup=False, soft_wrap=True)
    found = {"unit": findings.unit, "length": findings.length, "rungs": store.searcher.rungs}
    found |= {"trial": program.trial, "program_folder": str(program.folder), SUMMARY: None}
    folder.save(status="running", versions=versions(), **found)
    try:
        complete = run_session(config, folder, store, program, findings, workers, threads, console)
    except ConfigError as error:
        raise ConfigError([*error.problems, f"nothing is lost; then nas run --resume {folder.path}"]) from error
    folder.save(status="completed" if complete else "stopped")
    return complete


def _summarise(console: Console, folder: RunFolder) -> int:
    """Print the results, and leave them in `run.json` for `nas list`; returns the exit status: 1 if all trials failed."""
    from nas.results.listing import summary_of
    from nas.results.local import read_local
    from nas.results.summary import print_summary
    from nas.runs.study_schema import FAILURES, SUMMARY

    experiment = read_local(folder.path)
    folder.save(**{SUMMARY: summary_of(experiment)})
    print_summary(console, experiment)
    return 0 if any(trial.outcome not in FAILURES for trial in experiment.trials) else 1
