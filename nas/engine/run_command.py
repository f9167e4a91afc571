"""`nas run`: from arguments to an experiment's folder, and from there to a search that runs or goes on."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.config import load as configs
from nas.config.entrypoint import TRIALS, Entrypoint, find_program, processes_of
from nas.config.rules import refusals, warnings
from nas.core.fields import ConfigError, unknown
from nas.engine import preflight, workers
from nas.engine.console import ConsoleReporter
from nas.engine.engine import Engine
from nas.engine.preflight import Findings
from nas.engine.study_store import SAMPLERS, Record
from nas.engine.workers import WorkerPool
from nas.results import summary as closing
from nas.runs.run_folder import RunFolder, versions

ROOT = Path(__file__).resolve().parents[2]
WIDTH = 120  # of what is printed where there is no terminal

INTERRUPTED = 130
"""Exit status of a search that was stopped before its end."""


def run(arguments: argparse.Namespace) -> int:
    """Run an experiment or go on with one. Raises ConfigError for what cannot work, before anything starts."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    config, folder = _choose(arguments)
    if refused := refusals(config):
        raise ConfigError(refused)
    _check_sampler(config, arguments.sampler)
    entrypoint = _program(config)
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(folder.held())
            if folder.run.get("status") == "completed":
                console.print(f"{folder.path} is complete; --new starts another one", highlight=False)
                return _close(console, config, folder, _record(config, folder))
        workers.warm_up(entrypoint.module if entrypoint.module in TRIALS else None)
        findings = preflight.inspect(config, arguments.device)
        if findings.problems:
            raise ConfigError(findings.problems)
        for warning in warnings(config):
            console.print(f"warning: {warning}", highlight=False, markup=False, soft_wrap=True)
        if folder is None:
            about = {
                "status": "new",
                "sampler": arguments.sampler,
                "storage": arguments.storage,
                "versions": versions(),
            }
            folder = RunFolder.create(Path(arguments.experiments), str(config["name"]), config, about)
            stack.enter_context(folder.held())
        record = _record(config, folder)
        if record.all():
            ended = sum(trial.state.is_finished() for trial in record.all())
            console.print(f"going on with {folder.path}: {ended} of {record.searcher.trials} trials have ended")
        folder.save(status="running", versions=versions(), unit=findings.unit, length=findings.length)
        try:
            complete = _run(arguments, console, config, folder, record, entrypoint, findings)
        except ConfigError as error:
            raise ConfigError([*error.problems, f"nothing is lost; then nas run --resume {folder.path}"]) from error
        folder.save(status="completed" if complete else "stopped")
        status = _close(console, config, folder, record)
        if not complete:
            console.print(
                f"{'go on':<12} nas run --resume {folder.path}", highlight=False, markup=False, soft_wrap=True
            )
        return status if complete else INTERRUPTED


def _record(config: dict[str, Any], folder: RunFolder) -> Record:
    url = folder.run.get("storage") or f"sqlite:///{folder.path / 'study.db'}"
    return Record(url, _study(folder), config, configs.experiment_seed(config), folder.run.get("sampler"))


def _close(console: Console, config: dict[str, Any], folder: RunFolder, record: Record) -> int:
    closing.close(console, config, folder.path, record, folder.run["unit"], folder.run["length"])
    return 0 if any(trial.state.name != "FAIL" for trial in record.all()) else 1


def _run(
    arguments: argparse.Namespace,
    console: Console,
    config: dict[str, Any],
    folder: RunFolder,
    record: Record,
    entrypoint: Entrypoint,
    findings: Findings,
) -> bool:
    slots = processes_of(config, entrypoint)
    if findings.device == "cuda" and slots > len(findings.gpus):
        what = f"resources.slots_per_trial is {slots}, but this machine shows {len(findings.gpus)} GPUs"
        raise ConfigError([f"{what}; --config resources.slots_per_trial={len(findings.gpus)}, or --device cpu"])
    most = sum(bracket.initial for bracket in record.searcher.brackets)
    placements = workers.placements(findings.device, findings.gpus, slots, arguments.workers, most)
    screen = ConsoleReporter(console, folder.path / "log.txt", findings.unit, findings.length)
    threads = "1 thread" if placements[0].threads == 1 else f"{placements[0].threads} threads"
    screen.say(f"experiment   {folder.path}")
    screen.say(f"searcher     {record.searcher.name} on {record.metric}, {record.searcher.trials} trials")
    screen.say(
        f"at once      {len(placements)} on {findings.device}, {threads} each" + _memory(findings, len(placements))
    )
    crew = WorkerPool(entrypoint.program, slots)
    with screen:
        return Engine(config, folder.path, record, crew, placements, screen, folder.run["versions"]).run()


def _choose(arguments: argparse.Namespace) -> tuple[dict[str, Any], RunFolder | None]:
    """The config, and the experiment to go on with if there is one."""
    if arguments.config is None and arguments.resume in (None, ""):
        raise ConfigError(
            ["which experiment? nas run CONFIG.yaml starts one, nas run --resume FOLDER goes on with one"]
        )
    if arguments.config is None:
        if arguments.set:
            raise ConfigError(["--config changes a new experiment; one that is resumed keeps what it began with"])
        folder, config = _begun(Path(arguments.resume), arguments)
        return config, folder
    config = configs.override(configs.load(Path(arguments.config)), arguments.set)
    configs.check_sections(config)
    config["name"] = configs.file_name(config, Path(arguments.config).stem)
    config = configs.with_absolute_folders(config)
    if arguments.resume is not None:
        path = Path(arguments.resume) if arguments.resume else _newest(Path(arguments.experiments), config["name"])
        if path is None:
            raise ConfigError([f"there is no experiment {config['name']} in {arguments.experiments} to go on with"])
        folder, begun = _begun(path, arguments)
        if differing := differences(begun, config):
            what = f"{path} was begun with another config"
            raise ConfigError([f"{what} ({'; '.join(differing)}); leave out --resume to start a new one"])
        return config, folder
    newest = None if arguments.new else _newest(Path(arguments.experiments), config["name"])
    if newest is not None:
        folder, begun = RunFolder.open(newest)
        same = not differences(begun, config) and folder.run.get("sampler") == arguments.sampler
        if same and folder.run.get("status") != "completed":
            return config, folder
    return config, None


def differences(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What two configs say differently, such as `hyperparameters.emsize: 64 there, 128 here`."""
    there, here = _flat(begun), _flat(asked)
    missing = "nothing"
    return [
        f"{name}: {there.get(name, missing)} there, {here.get(name, missing)} here"
        for name in dict.fromkeys([*there, *here])
        if there.get(name, missing) != here.get(name, missing)
    ]


def _flat(config: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{section}{name}."))
        else:
            found[f"{section}{name}"] = value
    return found


def _newest(parent: Path, name: str) -> Path | None:
    """The experiment of that name with the highest number; runs of a single trial are numbered along."""
    numbers = {
        int(number): path
        for path in parent.glob(f"{name}-*")
        if (number := path.name.removeprefix(f"{name}-")).isdecimal() and _is_experiment(path)
    }
    return numbers[max(numbers)] if numbers else None


def _is_experiment(path: Path) -> bool:
    try:
        return "sampler" in RunFolder.open(path)[0].run
    except ConfigError:
        return False


def _begun(path: Path, arguments: argparse.Namespace) -> tuple[RunFolder, dict[str, Any]]:
    """An experiment to go on with. Raises ConfigError if it is none, or --sampler or --storage say something else."""
    folder, config = RunFolder.open(path)
    if "hyperparameters" in folder.run:
        raise ConfigError([f"{path} is the folder of one trial; go on with it by the trial's own --resume"])
    for name in ("sampler", "storage"):
        asked, begun = getattr(arguments, name), folder.run.get(name)
        if asked not in (None, begun):
            raise ConfigError([f"--{name} is {asked}, but {path} was begun with {begun or 'none'}; leave it out"])
    return folder, config


def _study(folder: RunFolder) -> str:
    """A name that is unique in a database that holds many."""
    if "study" not in folder.run:
        folder.save(
            study=f"{folder.path.name}-{os.urandom(4).hex()}" if folder.run.get("storage") else folder.path.name
        )
    return str(folder.run["study"])


def _check_sampler(config: Mapping[str, Any], sampler: str | None) -> None:
    name = config["searcher"]["name"]
    if sampler is not None and sampler not in SAMPLERS:
        raise ConfigError([unknown(f"--sampler {sampler!r}", sampler, SAMPLERS, "is no sampler")])
    if sampler is not None and name in ("single", "grid"):
        raise ConfigError([f"--sampler chooses hyperparameters for random and ASHA searchers; searcher.name is {name}"])


def _program(config: Mapping[str, Any]) -> Entrypoint:
    """The trial's program, with the path of its script. Raises ConfigError if there is no such file."""
    found = find_program(config["entrypoint"])
    processes_of(config, found)
    tried = [Path.cwd(), ROOT]
    name = found.program[-1]
    files = (
        [f"{name.replace('.', '/')}.py", f"{name.replace('.', '/')}/__main__.py"] if len(found.program) > 1 else [name]
    )
    there = [path for path in (place / file for place in tried for file in files) if path.is_file()]
    if not there:
        raise ConfigError(
            [f"entrypoint {config['entrypoint']!r}: there is no {files[0]} in {' or '.join(map(str, tried))}"]
        )
    return found if len(found.program) > 1 else Entrypoint(found.module, found.distributed, (str(there[0]),))


def _memory(findings: Findings, at_once: int) -> str:
    if findings.memory is None:
        return ""
    text = f", about {findings.memory * at_once / 1e6:,.0f} MB together for training"
    free = _free_memory()
    if findings.device == "cpu" and free is not None and findings.memory * at_once > free:
        text += f" (WARNING: {free / 1e6:,.0f} MB are free; fewer --workers or a smaller global_batch_size)"
    return text


def _free_memory() -> int | None:
    """Bytes that processes can still have, where the system says so."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
