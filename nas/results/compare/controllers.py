"""Retrained cells of trained controllers and uniform ones, and all that keeps them from being compared."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from nas.config.search_space import search_space, substitute
from nas.core.contenders import CELLS, DRAWN_BY, GROUPS, PAIR, TRAINED, Contenders, read_contenders
from nas.core.errors import ConfigError, ErrorCollector
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.results.compare.groups import Group, check_comparable, differ, flat
from nas.results.experiment import UNREADABLE, ExperimentResult, TrialResult, device_seconds
from nas.results.source import read
from nas.runs.ranking import is_measurement

FEWEST = 2
"""Controllers that can be compared at all."""
_MANY = 5  # that should be
_NOT_TRAINING = (CELLS, DRAWN_BY, PAIR, "evaluate_test")  # hyperparameters that say nothing of how a cell is trained


@dataclass(frozen=True)
class Cell:
    """One cell that was trained.

    Attributes:
        value: the last validation; None of a training that diverged.
        seconds: for which its devices were at work.
        reference: of the experiment that trained it.
        form: what it computes, the same for equal cells; None where nobody can tell.
    """

    drawn_by: str
    pair: int
    trial: int
    value: float | None
    test: dict[str, float]
    seconds: float | None
    architecture: str | None
    reference: str
    form: Hashable


@dataclass(frozen=True)
class Controller:
    """One search's cells and the uniform ones trained beside them, as many of each.

    Attributes:
        reference: of the experiment that trained them.
        search_seconds: for which the search's devices were at work; None where the search was not named, or does not know.
    """

    reference: str
    about: Contenders
    cells: dict[str, list[Cell]]
    search_seconds: float | None


@dataclass(frozen=True)
class Contest:
    """Controllers that can be compared, and what was left out of them."""

    metric: str
    smaller_is_better: bool
    controllers: list[Controller]
    left_out: list[str]
    experiments: list[ExperimentResult]


def gather_controllers(references: Sequence[str], searches: Sequence[str] = ()) -> Contest:
    """Read experiments of `against_random.yaml`, one a controller.

    Args:
        references: folders or ids.
        searches: those that wrote the YAMLs, to count what they cost.

    Raises:
        ConfigError: with everything that keeps their cells from being compared.
    """
    problems = ErrorCollector()
    experiments = [problems.catch(read, each) for each in references]
    searched = [problems.catch(read, each) for each in searches]
    problems.raise_any()
    about = _contenders(experiments)
    check_alike(experiments, about)
    costs = _costs(experiments, about, searched)
    controllers, left_out = [], list[str]()
    for experiment, each, seconds in zip(experiments, about, costs, strict=True):
        cells, missing = _pairs(experiment, each)
        left_out += missing
        if cells[TRAINED]:
            controllers.append(Controller(experiment.reference, each, cells, seconds))
        else:
            left_out.append(f"{experiment.reference}: no pair is left, so this controller is left out")
    if len(controllers) < FEWEST:
        raise ConfigError([_too_few(len(controllers)), *left_out])
    metric, smaller = experiments[0].metric, experiments[0].smaller_is_better
    return Contest(metric, smaller, controllers, left_out, experiments)


def _contenders(experiments: Sequence[ExperimentResult]) -> list[Contenders]:
    problems, found = [], list[Contenders]()
    for each in experiments:
        cells = _values(each).get(CELLS)
        if cells is None:
            what = "trained no cells of a controller and of chance: its config has no hyperparameters.cells"
            problems.append(f"{each.reference} {what}; name runs of the against_random.yaml that a search leaves")
            continue
        try:
            found.append(read_contenders(cells))
        except ConfigError as error:
            problems += [f"{each.reference}: {problem}" for problem in error.problems]
    if not problems and len(found) < FEWEST:
        problems.append(_too_few(len(found)))
    if problems:
        raise ConfigError(problems)
    return found


def _too_few(count: int) -> str:
    why = "cells of one controller are no independent evidence of what training controllers does"
    do = f"search with other seeds and retrain what they leave, at best {_MANY} times or more"
    return f"there must be at least {FEWEST} controllers to compare, got {count}: {why}; {do}"


def check_alike(experiments: Sequence[ExperimentResult], about: Sequence[Contenders]) -> None:
    """Raises ConfigError unless all cells were trained and chosen alike, and searches differ in their seeds only."""
    problems = _same_controllers(experiments, about) + _searches(experiments, about)
    tested = [each for each in experiments if each.metric.startswith("test")]
    problems += [
        f"{each.reference} looks at {each.metric}: cells that are chosen by a test score are not compared; "
        "set searcher.metric to a validation metric and train them again"
        for each in tested
    ]
    problems += [
        f"{each.reference} searches {name} as well, so its cells were not trained alike; give it one value"
        for each in experiments
        for name in search_space(each.config.get("hyperparameters") or {})
        if name not in (DRAWN_BY, PAIR)
    ]
    settings = [_training(each) for each in experiments]
    for name in dict.fromkeys(name for each in settings for name in each):
        by = {each.reference: s.get(name, "not set") for each, s in zip(experiments, settings, strict=True)}
        problems += differ(
            experiments,
            f"did not train their cells alike, but with another {name}",
            partial(_told, by),
            "; retrain them with the same settings",
        )
    try:
        check_comparable([Group("", list(experiments))], None)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)


def _told(by_reference: Mapping[str, Any], experiment: ExperimentResult) -> str:
    return str(by_reference[experiment.reference])


def _same_controllers(experiments: Sequence[ExperimentResult], about: Sequence[Contenders]) -> list[str]:
    first, problems = dict[Any, str](), []
    for experiment, each in zip(experiments, about, strict=True):
        key = (each.settings, each.search_seed)
        if key in first:
            which = f"{first[key]} and {experiment.reference}"
            problems.append(
                f"{which} trained cells of the same controller ({each.search}, seed {each.search_seed}), which are no "
                "independent evidence; leave one out"
            )
        first.setdefault(key, experiment.reference)
    return problems


def _searches(experiments: Sequence[ExperimentResult], about: Sequence[Contenders]) -> list[str]:
    named = {each.reference: one for each, one in zip(experiments, about, strict=True)}
    return [
        *differ(
            experiments,
            "hold cells of different searches, not of one with several seeds",
            lambda each: f"{named[each.reference].search} {named[each.reference].settings}",
            "; compare them one by one",
        ),
        *differ(
            experiments,
            "name different confirmatory tests",
            lambda each: named[each.reference].test,
            "; it must have been one before anything was trained",
        ),
    ]


def _training(experiment: ExperimentResult) -> dict[str, Any]:
    """How its cells were trained: every setting by name, but where data lies."""
    config = experiment.config
    hparams = {name: value for name, value in _values(experiment).items() if name not in _NOT_TRAINING}
    data = {name: value for name, value in (config.get("data") or {}).items() if not name.endswith("_dir")}
    told = {"entrypoint": config.get("entrypoint"), "processes": experiment.processes, "length": experiment.length}
    return {**dict(flat({**hparams, "data": data})), **told}


def _values(experiment: ExperimentResult) -> dict[str, Any]:
    """The hyperparameters; "searched" in place of those that the searcher chooses."""
    hparams = experiment.config.get("hyperparameters") or {}
    return substitute(hparams, dict.fromkeys(search_space(hparams), "searched"))


def _pairs(experiment: ExperimentResult, about: Contenders) -> tuple[dict[str, list[Cell]], list[str]]:
    """The cells of each group whose pair is whole, and a sentence for every pair that is not."""
    trials = {(each.hyperparameters.get(DRAWN_BY), each.hyperparameters.get(PAIR)): each for each in experiment.trials}
    genotypes = _genotypes(experiment, about)
    cells: dict[str, list[Cell]] = {group: [] for group in GROUPS}
    missing = []
    for pair in range(len(about.trained)):
        both = {group: trials.get((group, pair)) for group in GROUPS}
        wrong = [f"its {group} cell {why}" for group, each in both.items() if (why := _unfit(experiment, each))]
        if wrong:
            missing.append(f"{experiment.reference}: pair {pair} is left out, as {' and '.join(wrong)}")
            continue
        for group, trial in both.items():
            assert trial is not None
            cells[group].append(_cell(experiment, trial, group, pair, genotypes.get((group, pair))))
    return cells, missing


def _unfit(experiment: ExperimentResult, trial: TrialResult | None) -> str:
    """Why a training does not count; "" if it does. One that diverged does: as the worst."""
    if trial is None:
        return "was never trained"
    if trial.outcome == "diverged":
        return ""
    if trial.outcome != "completed":
        return f"(trial {trial.number}) {f'ended with {trial.outcome}' if trial.outcome else 'has not ended'}"
    trained = trial.validations[-1][0] if trial.validations else 0
    if not trial.validations or (experiment.length and abs(trained - experiment.length) > 1e-6):
        return f"(trial {trial.number}) trained {trained:g} of {experiment.length} {experiment.time_metric}"
    return ""


def _genotypes(experiment: ExperimentResult, about: Contenders) -> dict[tuple[str, int], tuple[str, Hashable]]:
    """In words, and in canonical form; from the config, as a master tells the architecture of few trials."""
    package = next((trial.space for trial in experiment.trials if trial.space), None)
    if package is None:
        return {}
    found: dict[tuple[str, int], tuple[str, Hashable]] = {}
    with importing_from(experiment.program_folder):
        try:
            space = load_space(package)
            for group in GROUPS:
                for pair in range(len(about.trained)):
                    genotype = space.read(about.cell(group, pair))
                    found[group, pair] = str(genotype), space.canonical(genotype)
        except UNREADABLE:  # of a space that is not here, or that reads no such cells any more
            return {}
    return found


def _cell(
    experiment: ExperimentResult, trial: TrialResult, group: str, pair: int, known: tuple[str, Hashable] | None
) -> Cell:
    words, form = known or (trial.architecture, None)
    last = trial.validations[-1][1] if trial.validations else None
    value = last if trial.outcome == "completed" and is_measurement(last) else None
    seconds = device_seconds(experiment, trial)
    return Cell(group, pair, trial.number, value, dict(trial.test), seconds, words, experiment.reference, form)


def _costs(
    experiments: Sequence[ExperimentResult], about: Sequence[Contenders], searches: Sequence[ExperimentResult]
) -> list[float | None]:
    """Seconds of each controller's search: that of its name and seed."""
    if not searches:
        return [None] * len(about)
    known = {(each.name, trial.seed): device_seconds(each, trial) for each in searches for trial in each.trials}
    missing = [
        f"--searches names no search {each.search} of seed {each.search_seed}, whose cells {experiment.reference} trained"
        for experiment, each in zip(experiments, about, strict=True)
        if (each.search, each.search_seed) not in known
    ]
    if missing:
        raise ConfigError(missing)
    return [known[each.search, each.search_seed] for each in about]
