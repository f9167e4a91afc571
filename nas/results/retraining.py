"""Experiments that train what a search found: the best architecture once more, or the best K of them N times each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.config.load import file_name
from nas.config.retraining import about_retraining
from nas.config.search_space import search_space
from nas.config.yaml_text import parse
from nas.core.contenders import CELLS, DRAWN_BY, PAIR, read_contenders
from nas.core.errors import ConfigError
from nas.core.program import importing_from
from nas.core.space import load_space
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.leaderboard import best_metric, leaderboard
from nas.results.same import canonical_forms
from nas.runs.run_folder import RunFolder

LEFT = "retrain.yaml"
"""What a trial leaves whose result is to be trained by another one."""
REPEAT = "repeat"
"""The hyperparameter that numbers trainings of the same setting."""
MOST = 10_000
"""Trainings that one experiment may ask for."""
_SPELLS = ("arch_to_use", "arch_seed", "distinct_predecessors", CELLS, DRAWN_BY, PAIR)
"""Hyperparameters that say which architecture, beside those that spell it out."""


def retraining(experiment: ExperimentResult, trial: TrialResult) -> dict[str, Any] | None:
    """The config that trains what was found, and scores it on the test split.

    What the trial itself left, or its own settings after a search; None for a run that searched nothing.
    """
    left = _left(trial)
    if left is None and not _searched(experiment):
        return None
    return {**(left or once_more(experiment, trial)), "description": description(experiment, [trial])}


def once_more(experiment: ExperimentResult, trial: TrialResult) -> dict[str, Any]:
    """A config that trains the trial's setting once more at full length, and scores it on the test split.

    A program that does not follow the contract of trials may not know `evaluate_test`; it is not asked for it.
    """
    section = experiment.config["searcher"]
    searcher = {name: value for name, value in section.items() if name in ("metric", "smaller_is_better")}
    hparams = {**_of_its_own(trial.hyperparameters), "train_epochs": _epochs(experiment, trial)}
    if experiment.trial is not None:
        hparams["evaluate_test"] = True
    about = about_retraining(experiment.config, file_name(experiment.config, "search"))
    return {**experiment.config, **about, "searcher": {"name": "single", **searcher}, "hyperparameters": hparams}


def _of_its_own(hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Without the cells that one was compared with, whose pair has the seed of every training; see `nas.core.contenders`."""
    if hparams.get(CELLS) is None:
        return dict(hparams)
    text = read_contenders(hparams[CELLS]).cell(hparams[DRAWN_BY], hparams[PAIR])
    kept = {name: value for name, value in hparams.items() if name not in (CELLS, DRAWN_BY, PAIR)}
    return {**kept, "arch_to_use": text}


def best_again(experiment: ExperimentResult, count: int, seeds: int, settled: Collection[str] = ()) -> dict[str, Any]:
    """One ordinary experiment that trains each of the best architectures several times, with seeds of their own.

    Args:
        count: of the architectures, from the best on; of equal ones (see `Space.canonical`) the best counts.
        seeds: trainings of each.
        settled: hyperparameters that will be overridden, so that trials may differ in them.

    Raises:
        ConfigError: there are not so many, or they were trained with other settings besides the architecture.
    """
    chosen = list(_distinct(experiment, leaderboard(experiment)))
    if not 1 <= count <= len(chosen):
        what = f"the different architectures of {experiment.reference} with a result"
        raise ConfigError([f"--best must be 1..{len(chosen)}, {what}, got {count}"])
    if not 1 <= seeds <= MOST // count:
        raise ConfigError([f"--seeds must be 1..{MOST // count} for {count} architectures, got {seeds}"])
    chosen = chosen[:count]
    config = retraining(experiment, chosen[0]) or once_more(experiment, chosen[0])
    hparams = dict(config["hyperparameters"])
    if count > 1:
        hparams = _choosing(experiment, chosen, hparams, settled)
    if seeds > 1:
        hparams[REPEAT] = {"type": "int", "minval": 0, "maxval": seeds - 1, "count": seeds}
    grid = {"name": "grid"} if search_space(hparams) else {}
    named = {"name": f"{config['name']}-{count}x{seeds}", "description": description(experiment, chosen)}
    return {**config, **named, "searcher": {**config["searcher"], **grid}, "hyperparameters": hparams}


def _distinct(experiment: ExperimentResult, trials: list[TrialResult]) -> Iterator[TrialResult]:
    forms, seen = canonical_forms(experiment, trials), set[Any]()
    for trial in trials:
        form = forms.get(trial.number, trial.number)
        if form not in seen:
            seen.add(form)
            yield trial


def with_genotype(trial: TrialResult, old: Any, new: Any) -> dict[str, Any] | None:
    """What a search left to train its architecture, with another one; None if it left nothing."""
    config = _left(trial)
    if config is None:
        return None
    spelt = set(_SPELLS)
    with suppress(ConfigError):
        spelt |= set(old.to_hparams())
    hparams = {name: value for name, value in config["hyperparameters"].items() if name not in spelt}
    return {**config, "hyperparameters": {**new.to_hparams(), **hparams}}


def description(experiment: ExperimentResult, trials: list[TrialResult]) -> str:
    """Of an experiment that retrains: from where, chosen by what, at which commit."""
    best = best_metric(experiment, trials[0])
    which = f"trial {trials[0].number}" if len(trials) == 1 else f"the best {len(trials)} trials"
    score = "" if best is None else f" ({'' if len(trials) == 1 else 'best '}validation {experiment.metric} {best:.6g})"
    commit = trials[0].versions.get("commit") or experiment.versions.get("commit")
    where = Path(experiment.folder).name if experiment.folder else f"experiment {experiment.reference}"
    return f"Retrains {which} of {where}{score}" + (f", searched at commit {commit}" if commit else "")


def _searched(experiment: ExperimentResult) -> bool:
    return experiment.config["searcher"]["name"] != "single" and bool(
        experiment.storage or experiment.source != "local"
    )


def _left(trial: TrialResult) -> dict[str, Any] | None:
    path = Path(trial.folder or "/nowhere", LEFT)
    try:
        config = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(config) if isinstance(config, Mapping) else None


def _choosing(
    experiment: ExperimentResult, trials: list[TrialResult], hparams: Mapping[str, Any], settled: Collection[str]
) -> dict[str, Any]:
    """Hyperparameters of which the grid chooses the architecture."""
    searched, where = list(trials[0].chosen), experiment.reference
    if len(searched) == 1 and searched != [DRAWN_BY] and _left(trials[0]) is None:
        values = [trial.chosen[searched[0]] for trial in trials]
        return _replaced(hparams, searched[0], {"type": "categorical", "vals": values})
    if any(trial.genotype is None or trial.space is None for trial in trials):
        advice = f"they differ in {', '.join(searched)}; retrain them one by one, with --best 1"
        raise ConfigError(
            [f"--best {len(trials)}: trials of {where} name no architecture of a search space, and {advice}"]
        )
    with importing_from(experiment.program_folder):
        genotypes = [load_space(str(trial.space)).from_json(trial.genotype or {}) for trial in trials]
    spelt = spelling(*genotypes)
    differing = [name for name in searched if name not in spelt and name not in settled]
    differing = [name for name in differing if len({repr(trial.chosen[name]) for trial in trials}) > 1]
    if differing:
        advice = f"--config hyperparameters.{differing[0]}=VALUE sets one for all"
        raise ConfigError(
            [f"--best {len(trials)}: the trials of {where} differ in {', '.join(differing)} too; {advice}"]
        )
    kept = {name: value for name, value in hparams.items() if name not in spelt}
    return {**kept, "arch_to_use": {"type": "categorical", "vals": [genotype.to_text() for genotype in genotypes]}}


def _replaced(hparams: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """With another value for the one of this full name, such as `head.width`."""
    section, _, rest = name.partition(".")
    return {**hparams, section: _replaced(hparams[section], rest, value) if rest else value}


def spelling(*genotypes: Any) -> set[str]:
    """The hyperparameters that say which architecture, for these and others like them."""
    found = set(_SPELLS)
    for genotype in genotypes:
        with suppress(ConfigError):  # its concat cannot be spelt
            found |= set(genotype.to_hparams())
    return found


def _epochs(experiment: ExperimentResult, trial: TrialResult) -> int:
    """The length of a full training; one in batches is rounded to whole epochs."""
    if experiment.time_metric == "epochs":
        return experiment.length
    latest = (RunFolder.open(Path(trial.folder))[0].run if trial.folder else {}).get("latest")
    latest = latest or {"epochs": 1, "batches": 1}
    return max(1, round(float(experiment.length * latest["epochs"] / latest["batches"])))
