"""What a trial says of an experiment's config before anything runs, at several points of its search space.

Asked by `nas check` and, in a process of its own, by the local engine. No data is read.
"""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from nas.config import load as configs
from nas.config.entrypoint import Entrypoint, processes_of, resolve
from nas.config.old_words import likely_entrypoint, old_entrypoint
from nas.config.ranges import range_problems, range_warnings
from nas.config.rules import refusals
from nas.config.search_space import SampledTrial, TrialSampler, search_space, trial_sampler
from nas.core.errors import ConfigError, ErrorCollector
from nas.core.identity import Identity, check_resume
from nas.core.program import importing_from
from nas.core.survey import SpaceSurvey
from nas.trial.base import Trial

POINTS = 20
"""Points of the search space at which the trial checks the hyperparameters."""


@dataclass(frozen=True)
class Experiment:
    """A config that can run.

    Attributes:
        trial: the class that the entrypoint runs.
        points: the trial's settings at points of the search space, one if nothing is searched.
        searched: names of the hyperparameters that a searcher chooses.
        survey: samples of the space that is searched, if the trial can tell.
        drawn: the smallest and the largest value of each searched number, over all points.
        warnings: what can run and is hardly meant, a sentence each.
    """

    name: str
    config: dict[str, Any]
    entrypoint: Entrypoint
    trial: type[Trial]
    processes: int
    length: tuple[str, int]
    points: list[Any]
    searched: list[str]
    survey: SpaceSurvey | None
    drawn: dict[str, tuple[float, float]]
    warnings: list[str]


def read_experiment(path: Path, overrides: list[str], samples: int) -> Experiment:
    """Check everything that can be checked without data. Raises ConfigError with every problem found."""
    config = configs.override(configs.load(path), overrides)
    configs.check_sections(config)
    problems = refusals(config)
    named = {problem.split()[0] for problem in problems}
    try:
        experiment = inspect(config, path.stem, samples, config_path=path)
    except ConfigError as error:
        raise ConfigError([*problems, *(each for each in error.problems if each.split()[0] not in named)]) from error
    if problems:
        raise ConfigError(problems)
    return experiment


def inspect(
    config: dict[str, Any], name: str, samples: int, *, config_path: Path | None = None, folder: Path | None = None
) -> Experiment:
    """The same for a config that a master would take.

    Args:
        name: of the experiment, where the config has none.
        samples: architectures to draw.
        config_path, folder: where to look for the program, see `nas.config.entrypoint.resolve`.
    """
    problems = ErrorCollector()
    problems.found += range_problems(config["hyperparameters"])
    if old := old_entrypoint(config):
        problems.found.append(old)
    named = (config.get("entrypoint"), config_path, folder)
    entrypoint: Entrypoint | None = None if old else problems.catch(_entrypoint, *named)
    processes = problems.catch(processes_of, config, entrypoint) or 1
    seed = problems.catch(configs.experiment_seed, config) or 0
    drawn = problems.catch(_first_trials, config, seed)
    if entrypoint is None or drawn is None:
        problems.found += _what_else(config, entrypoint, problems.found)
        raise ConfigError(dict.fromkeys(problems.found))
    trial = load_trial(entrypoint)
    first, searched = drawn[0].hparams, list(drawn[0].chosen)
    survey = problems.catch(trial.survey, config, first, searched, processes, samples)
    if problems.found:
        problems.catch(configs.check_searcher, config, possible := trial.metric_directions(None), possible)
        problems.catch(configs.training_length, config, configs.plain_epochs(first))
    problems.raise_any()
    covered = survey.covers if survey else ()
    read = problems.catch(_check_points, trial, config, [point.hparams for point in drawn], processes, covered)
    problems.raise_any()
    points, length = read
    name = str(config.get("name") or name)
    warnings = range_warnings(config["hyperparameters"]) + _counted([trial.warnings(point) for point in points])
    spans = _spans(drawn)
    return Experiment(name, config, entrypoint, trial, processes, length, points, searched, survey, spans, warnings)


def memory_of(experiment: Experiment, points: int) -> list[int]:
    """Bytes that one process is estimated to need in training, at each of the first points of the search space."""
    found = [experiment.trial.memory(point, experiment.processes) for point in experiment.points[:points]]
    return [estimate.total for estimate in found if estimate is not None]


def check_begun(experiment: Experiment, begun: Iterable[Mapping[str, Any]]) -> list[str]:
    """Whether the hyperparameters of trials that have begun still mean the same architectures; returns what should be told.

    An edit of `genotypes.py` could change that, and the experiment would go on with results of both.

    Args:
        begun: see `nas.runs.run_folder.begun_trials`.

    Raises:
        ConfigError: an architecture has changed.
    """
    trial, data = experiment.trial, experiment.config.get("data") or {}
    problems: dict[str, list[int]] = {}  # with the trials that have it
    notes: dict[str, list[int]] = {}
    for each in begun:
        then = Identity(each["architecture"], versions=each.get("versions") or {}, space=trial.space)
        try:
            settings = trial.check(each["hyperparameters"], data, experiment.processes)
            now = Identity(trial.architecture(settings), versions=trial.versions(), space=trial.space)
            note = check_resume(then, Identity.from_json(now.to_json()), "the experiment")
            if note:
                notes.setdefault(note, []).append(each["number"])
        except ConfigError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(each["number"])
    if problems:
        raise ConfigError(f"trial {_numbers(trials)}: {problem} (--new)" for problem, trials in problems.items())
    return [f"trial {_numbers(trials)}: {note}" for note, trials in notes.items()]


def _numbers(trials: list[int]) -> str:
    shown = ", ".join(map(str, trials[:5]))
    return f"{shown} and {len(trials) - 5} more" if len(trials) > 5 else shown


def load_trial(entrypoint: Entrypoint) -> type[Trial]:
    """The class that an entrypoint's program names, imported from the program's folder. Raises ConfigError."""
    assert entrypoint.trial is not None
    module, _, name = entrypoint.trial.partition(":")
    with importing_from(entrypoint.folder):
        try:
            trial = getattr(importlib.import_module(module), name, None)
        except ImportError as error:
            raise ConfigError([f"trial {entrypoint.trial} cannot be imported: {error}"]) from error
    if not (isinstance(trial, type) and issubclass(trial, Trial)):
        raise ConfigError([f"trial {entrypoint.trial} must be a subclass of nas.trial.Trial, got {trial!r}"])
    return trial


def _entrypoint(entrypoint: Any, config_path: Path | None, folder: Path | None) -> Entrypoint:
    found = resolve(entrypoint, config_path, folder)
    if found.trial is None:
        what = f"entrypoint {entrypoint!r}: {found.module} is no trial that can be asked"
        raise ConfigError(
            [f'{what}; its program must end in nas.trial.main("module:Class"), see docs/your_own_trial.md']
        )
    return found


def _what_else(config: Mapping[str, Any], entrypoint: Entrypoint | None, found: Sequence[str]) -> list[str]:
    """What else is wrong with a config without a usable entrypoint or search space: all of it is told at once.

    The trial is then the likely one, and searched hyperparameters with wrong bounds have one of them.
    """
    likely = likely_entrypoint(config)
    if entrypoint is None:
        entrypoint = ErrorCollector().catch(_entrypoint, likely, None, None) if likely else None
    if entrypoint is None:
        return []
    usable, wrong = _usable(config["hyperparameters"])
    trial, problems = load_trial(entrypoint), ErrorCollector()
    point = TrialSampler(usable, 0).next_trial().hparams
    problems.catch(_check_points, trial, config, [point], 1, ())
    named = {sentence.split()[0] for sentence in found}
    prefixes = tuple(f"hyperparameters.{name}" for name in wrong)
    return [
        each for each in problems.found if each.split()[0] not in named and not (prefixes and each.startswith(prefixes))
    ]


def _usable(hyperparameters: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The hyperparameters with a constant in the place of each that cannot be drawn, and the names of those."""
    values, wrong = dict(hyperparameters), []
    for name, spec in hyperparameters.items():
        try:
            search_space({name: spec})
        except ConfigError:
            wrong.append(name)
            values[name] = next((spec[key] for key in ("minval", "maxval", "val") if key in spec), None)
    return values, wrong


def _first_trials(config: Mapping[str, Any], seed: int) -> list[SampledTrial]:
    return list(islice(trial_sampler(config, seed), POINTS if search_space(config["hyperparameters"]) else 1))


def _check_points(
    trial: type[Trial],
    config: Mapping[str, Any],
    points: list[dict[str, Any]],
    processes: int,
    covered: tuple[str, ...],
) -> tuple[list[Any], tuple[str, int]]:
    """The trial's settings at each point, and how long it trains."""
    found, settings, length = [], [], ("epochs", 0)
    for point in points:
        hparams = {name: value for name, value in point.items() if name not in covered}
        problems = ErrorCollector()
        read = problems.catch(trial.check, hparams, config.get("data") or {}, processes)
        possible = trial.metric_directions(None)
        problems.catch(configs.check_searcher, config, trial.metric_directions(read) if read else possible, possible)
        length = problems.catch(configs.training_length, config, configs.plain_epochs(point)) or length
        found.append(problems.found)
        settings.append(read)
    if any(found):
        raise ConfigError(_counted(found))
    return settings, length


def _counted(found: Sequence[Sequence[str]]) -> list[str]:
    """What was found at each point, with the number of points if it does not hold for all of them.

    Each rule is told once, with the first value that breaks it.
    """
    first: dict[str, str] = {}
    times: Counter[str] = Counter()
    for sentences in found:
        rules = {_rule(sentence): sentence for sentence in reversed(sentences)}
        times.update(list(rules))
        for sentence in sentences:
            first.setdefault(_rule(sentence), rules[_rule(sentence)])
    return [
        sentence if times[rule] == len(found) else f"{sentence} (at {times[rule]} of {len(found)} points drawn)"
        for rule, sentence in first.items()
    ]


def _rule(sentence: str) -> str:
    return sentence.rpartition(", got ")[0] or sentence


def _spans(points: Sequence[SampledTrial]) -> dict[str, tuple[float, float]]:
    """The smallest and the largest value of each searched number."""
    spans = {}
    for name in points[0].chosen:
        values = [point.chosen[name] for point in points]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            spans[name] = (min(values), max(values))
    return spans
