"""Which experiment `nas run` means: a new one, the newest of that name, or the one of a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.config import load as configs
from nas.config.entrypoint import Entrypoint, processes_of, resolve
from nas.config.old_words import likely_entrypoint, old_entrypoint
from nas.core.errors import ConfigError, ErrorCollector
from nas.core.secrets import without_password
from nas.engine import samplers
from nas.engine.rebuilding import known_trials, rebuild
from nas.engine.storage import absolute, open_storage, sqlite_file
from nas.engine.study_store import StudyStore
from nas.runs.run_folder import RunFolder
from nas.runs.study_schema import storage_url

FOR_READERS = ("description", "labels")
"""Of a config: what changes nothing that is computed."""


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes:
        config: path of a YAML; None to go on with the experiment in `resume`.
        overrides: such as `searcher.max_trials=4`.
        resume: folder of an experiment to go on with; "" for the newest of the config's name; None if it is up to us.
        new: start a new experiment even if there is an unfinished one.
        experiments: folder of the experiments.
        storage: an Optuna storage; None for SQLite in the experiment's folder.
        sampler: one of `samplers.SAMPLERS`; None for the master's own draws.
    """

    config: Path | None = None
    overrides: tuple[str, ...] = ()
    resume: str | None = None
    new: bool = False
    experiments: Path = Path("experiments")
    storage: str | None = None
    sampler: str | None = None


def choose(request: Request) -> tuple[dict[str, Any], RunFolder | None]:
    """The config, and the experiment to go on with; None to start a new one.

    Raises:
        ConfigError: if there is no such experiment, or it was begun with another config, sampler or storage.
    """
    if request.config is None:
        return _of_folder(request)
    config = configs.override(configs.load(request.config), list(request.overrides))
    configs.check_sections(config)
    config["name"] = configs.file_name(config, request.config.stem)
    config = configs.with_absolute_folders(config)
    if request.resume is not None:
        return config, _to_resume(request, config)
    newest = None if request.new else newest_experiment(request.experiments, config["name"])
    if newest is not None:
        folder, begun = RunFolder.open(newest)
        same = not differences(begun, config) and folder.run.get("sampler") == request.sampler
        same = same and (request.storage is None or _is_storage_of(folder, request.storage))
        if same and folder.run.get("status") != "completed":
            return config, folder
    return config, None


def _of_folder(request: Request) -> tuple[dict[str, Any], RunFolder]:
    if not request.resume:
        raise ConfigError(
            ["which experiment? nas run CONFIG.yaml starts one, nas run --resume FOLDER goes on with one"]
        )
    if request.overrides:
        raise ConfigError(["--config changes a new experiment; one that is resumed keeps what it began with"])
    folder, config = _begun(Path(request.resume), request)
    return config, folder


def _to_resume(request: Request, config: dict[str, Any]) -> RunFolder:
    path = Path(request.resume) if request.resume else newest_experiment(request.experiments, config["name"])
    if path is None:
        raise ConfigError([f"there is no experiment {config['name']} in {request.experiments} to go on with"])
    folder, begun = _begun(path, request)
    if differing := differences(begun, config):
        what = f"{path} was begun with another config"
        raise ConfigError([f"{what} ({'; '.join(differing)}); leave out --resume to start a new one"])
    return folder


def differences(begun: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """What two configs say differently, such as `hyperparameters.emsize: 64 there, 128 here`; `FOR_READERS` does not count."""
    one, other = ({name: config[name] for name in config if name not in FOR_READERS} for config in (begun, asked))
    one, other = _flat(one), _flat(other)
    missing = "nothing"
    return [
        f"{name}: {one.get(name, missing)} there, {other.get(name, missing)} here"
        for name in dict.fromkeys([*one, *other])
        if one.get(name, missing) != other.get(name, missing)
    ]


def _flat(config: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found.update(_flat(value, f"{section}{name}."))
        else:
            found[f"{section}{name}"] = value
    return found


def newest_experiment(parent: Path, name: str) -> Path | None:
    """The experiment of that name with the highest number; runs of a single trial are numbered along."""
    numbers = {
        int(number): path
        for path in parent.glob(f"{name}-*")
        if (number := path.name.removeprefix(f"{name}-")).isdecimal() and _is_experiment(path)
    }
    return numbers[max(numbers)] if numbers else None


def _is_experiment(path: Path) -> bool:
    """Raises ConfigError for one that is damaged: a search must not begin anew beside what it has trained."""
    try:
        return "sampler" in RunFolder.open(path)[0].run
    except ConfigError as error:
        if (path / "trials").is_dir():
            raise ConfigError([f"{problem}; --new starts another experiment" for problem in error.problems]) from error
        return False


def _begun(path: Path, request: Request) -> tuple[RunFolder, dict[str, Any]]:
    """An experiment to go on with. Raises ConfigError if it is none, or --sampler or --storage say something else."""
    folder, config = RunFolder.open(path)
    if "hyperparameters" in folder.run:
        raise ConfigError([f"{path} is the folder of one trial; go on with it by the trial's own --resume"])
    for name, asked in (("sampler", request.sampler), ("storage", request.storage)):
        begun = folder.run.get(name)
        same = asked in (None, begun) or (name == "storage" and _is_storage_of(folder, str(asked)))
        if not same:
            asked = without_password(str(asked))
            raise ConfigError([f"--{name} is {asked}, but {path} was begun with {begun or 'none'}; leave it out"])
    return folder, config


def _is_storage_of(folder: RunFolder, url: str) -> bool:
    return absolute(storage_url(folder.path, folder.run)) == without_password(absolute(url))


def check_sampler(config: Mapping[str, Any], sampler: str | None) -> None:
    """Raises ConfigError if there is no such sampler, it lacks a package, or the searcher has no use for one."""
    if sampler is None:
        return
    samplers.check_sampler(sampler)
    name = config["searcher"]["name"]
    if name in ("single", "grid"):
        raise ConfigError([f"--sampler chooses hyperparameters for random and ASHA searchers; searcher.name is {name}"])


def find_program(config: Mapping[str, Any], config_path: Path | None, folder: RunFolder | None) -> Entrypoint:
    """What a trial of the experiment runs; an experiment that was begun keeps the program that it began with.

    Raises:
        ConfigError: if there is no such program, or it cannot have as many processes as the config wants.
    """
    if old := old_entrypoint(config):
        raise ConfigError([old])
    begun_in = folder.run.get("program_folder") if folder else None
    entrypoint = resolve(config["entrypoint"], config_path, Path(begun_in) if begun_in else None)
    processes_of(config, entrypoint)
    return entrypoint


def likely_program(config: Mapping[str, Any]) -> Entrypoint | None:
    """What a config without a usable entrypoint most likely means, for what else is wrong with it."""
    likely = likely_entrypoint(config)
    return ErrorCollector().catch(resolve, likely) if likely else None


def check_storage(request: Request) -> None:
    """Raises ConfigError if the storage of a new experiment cannot be opened: before it has a folder."""
    if request.storage is not None:
        open_storage(absolute(request.storage))


def open_store(config: dict[str, Any], folder: RunFolder, asked: str | None = None) -> tuple[StudyStore, int]:
    """The study of an experiment; made if it is not there.

    Args:
        config: the experiment's.
        folder: the experiment's.
        asked: the storage with a password, which the folder does not know.

    Returns:
        The study, and how many of its trials had to be rebuilt from their folders.

    Raises:
        ConfigError: for its storage, its sampler, or trials that are not this experiment's.
    """
    storage = str(folder.run.get("storage") or "")
    file = sqlite_file(storage)
    # As versions before wrote it: who knows in which folder it was begun.
    if file is not None and not file.is_absolute():
        folder.save(storage=absolute(storage) if file.is_file() else None)
    if "study" not in folder.run:
        name = folder.path.name
        # In a database that holds many studies the name must be unique.
        folder.save(study=f"{name}-{os.urandom(4).hex()}" if folder.run.get("storage") else name)
    url, seed = asked or storage_url(folder.path, folder.run), configs.experiment_seed(config)
    check_sampler(config, folder.run.get("sampler"))  # the machine that goes on may be another
    store = StudyStore(absolute(url), str(folder.run["study"]), config, seed, folder.run.get("sampler"))
    if store.trials():
        return store, 0
    return store, rebuild(store, known_trials(folder.path / "trials", store.metric, store.time_metric))
