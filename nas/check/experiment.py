"""An experiment's config, read as a master and its trial read it, at several points of the search space."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cnn_nas.architecture import edge_hparams
from cnn_nas.constraints import Constraints
from cnn_nas.images.data import expected
from cnn_nas.trial import ImageTrial, network_size
from nas.check import space as spaces
from nas.check.space import Space
from nas.config import load as configs
from nas.config.entrypoint import Entrypoint, processes_of, read_entrypoint
from nas.config.rules import refusals
from nas.config.search_space import SampledTrial, trials
from nas.config.search_space import searched as searched_names
from nas.core.fields import ConfigError, ErrorCollector
from nas.trial import Trial

POINTS = 20
"""Points of the search space at which the trial checks the hyperparameters."""

_ANYTHING = {"arch_to_use": "DARTS_V2"}


@dataclass(frozen=True)
class Experiment:
    """A config that can run."""

    name: str
    config: dict[str, Any]
    entrypoint: Entrypoint
    processes: int
    length: tuple[str, int]
    points: list[Any]  # the trial's settings at points of the search space, one if nothing is searched
    searched: list[str]  # names of the hyperparameters that a searcher chooses
    space: Space | None  # where a searcher chooses convolutional architectures


def read_experiment(path: Path, overrides: list[str], samples: int) -> Experiment:
    """Check everything that can be checked without data. Raises ConfigError with every problem found."""
    config = configs.override(configs.load(path), overrides)
    configs.check_sections(config)
    problems = refusals(config)
    named = {problem.split()[0] for problem in problems}
    try:
        experiment = inspect(config, path.stem, samples)
    except ConfigError as error:
        raise ConfigError([*problems, *(each for each in error.problems if each.split()[0] not in named)]) from error
    if problems:
        raise ConfigError(problems)
    return experiment


def inspect(config: dict[str, Any], name: str, samples: int) -> Experiment:
    """The same for a config that a master would take."""
    problems = ErrorCollector()
    entrypoint = problems.catch(read_entrypoint, config.get("entrypoint"))
    processes = problems.catch(processes_of, config, entrypoint) or 1
    seed = problems.catch(configs.experiment_seed, config) or 0
    drawn = problems.catch(_draw, config, seed)
    if entrypoint is None or drawn is None:
        problems.raise_any()
    trial = _trial(entrypoint)
    first, searched = drawn[0].hparams, list(drawn[0].chosen)
    space = None
    if trial is ImageTrial:
        space = problems.catch(_image_space, config, first, searched, processes, samples)
        problems.raise_any()
    spelt = bool(space) and "arch_seed" not in searched  # points that break the constraints are the space's matter
    read = problems.catch(_check_points, trial, config, [point.hparams for point in drawn], processes, spelt)
    problems.raise_any()
    points, length = read
    return Experiment(str(config.get("name") or name), config, entrypoint, processes, length, points, searched, space)


def _trial(entrypoint: Entrypoint) -> type[Trial]:
    module, _, name = entrypoint.trial.partition(":")
    trial: type[Trial] = getattr(importlib.import_module(module), name)
    return trial


def _draw(config: Mapping[str, Any], seed: int) -> list[SampledTrial]:
    """The first trials of the experiment."""
    return list(islice(trials(config, seed), POINTS if searched_names(config["hyperparameters"]) else 1))


def _image_space(
    config: Mapping[str, Any], first: Mapping[str, Any], searched: list[str], processes: int, samples: int
) -> Space | None:
    """The convolutional space that is searched, if one is. All but the architecture must make sense before."""
    own = edge_hparams(first)
    data, section = config.get("data") or {}, first.get("constraints")
    rest = {name: value for name, value in first.items() if name not in (*own, "arch_seed", "constraints")}
    problems = ErrorCollector()
    settings = problems.catch(ImageTrial.check, {**rest, **_ANYTHING}, data, processes)
    rules = problems.catch(Constraints.from_mapping, section) if section is not None else Constraints()
    problems.catch(configs.check_searcher, config, ImageTrial.metrics_for(settings))
    problems.raise_any()
    shape = expected(settings.data)
    size = network_size(settings.model, *shape)
    if "arch_seed" in searched:
        distinct = first.get("distinct_predecessors", True)
        space = spaces.of_seeds(rules, size, samples, distinct)
        spaces.refuse_if_empty(space, size, distinct)
        return space
    if not {*own, "arch_to_use", *spaces.SIZES} & {*searched} or not (own or first.get("arch_to_use")):
        return None
    sizes = {name: getattr(settings.model, name) for name in spaces.SIZES}
    return spaces.of_points(config["hyperparameters"], rules, sizes, shape, samples)


def _check_points(
    trial: type[Trial], config: Mapping[str, Any], points: list[dict[str, Any]], processes: int, spelt: bool
) -> tuple[list[Any], tuple[str, int]]:
    """The trial's settings at each point, and how long it trains."""
    found: Counter[str] = Counter()
    settings, length = [], ("epochs", 0)
    for point in points:
        hparams = {name: value for name, value in point.items() if not (spelt and name == "constraints")}
        problems = ErrorCollector()
        read = problems.catch(trial.check, hparams, config.get("data") or {}, processes)
        problems.catch(configs.check_searcher, config, trial.metrics_for(read))
        if read:
            length = problems.catch(configs.training_length, config, read.run.train_epochs) or length
        found.update(set(problems.found))
        settings.append(read)
    if found:
        raise ConfigError(
            problem if times == len(points) else f"{problem} (at {times} of {len(points)} points drawn)"
            for problem, times in found.items()
        )
    return settings, length
