"""The architecture that a user means: the one that a run or a search found, or one that is written out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError, DataError
from nas.core.files import read_json
from nas.core.named_files import read_text
from nas.core.program import importing_from
from nas.core.space import Space, known_spaces, load_space
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.leaderboard import leaderboard, trial_of
from nas.results.source import is_experiment, read

CHECKPOINT = "identity.json"
"""The file by which a folder is known as that of a checkpoint."""


@dataclass(frozen=True)
class Found:
    """An architecture, and where it is from.

    Attributes:
        package: of its search space.
        origin: in words.
        experiment, trial: that found it, if one did.
        config: that trains it, where it is not what the trial left; {}: none is known.
    """

    space: Space[Any]
    package: str
    genotype: Any
    origin: str
    experiment: ExperimentResult | None = None
    trial: TrialResult | None = None
    config: dict[str, Any] | None = None


def find(source: str, *, rank: int = 1, trial: int | None = None, space: str | None = None) -> Found:
    """The architecture of an experiment, run, checkpoint or file, or the one that `source` itself is.

    Args:
        source: a folder, the id of an experiment on a cluster, a file that holds a genotype in any form, a name, the text
            `Genotype(...)`, or JSON.
        rank: of the trial in the experiment's leaderboard, from 1.
        trial: its number instead.
        space: package of the search space; needed only for a name that several have.

    Raises:
        ConfigError: there is no such thing, or it holds no architecture of a search space.
    """
    if not os.path.exists(source) and not is_experiment(source):  # unlike Path, at ease with a name that is too long
        return _written(source, source, known_spaces() if space is None else [space])
    path = Path(source)
    if (path / CHECKPOINT).is_file() and not (path / "run.json").is_file():
        return _of_checkpoint(path)
    if is_experiment(source):
        experiment = read(source)
        return of_trial(experiment, chosen_trial(experiment, rank, trial))
    if path.is_dir():
        raise ConfigError([f"{path} is a folder, but not that of an experiment, a run or a checkpoint"])
    try:
        text = read_text(path).strip()
    except DataError as error:
        raise ConfigError([str(error)]) from error
    return _written(text, source, known_spaces() if space is None else [space])


def chosen_trial(experiment: ExperimentResult, rank: int = 1, number: int | None = None) -> TrialResult:
    """A trial by its rank, or by its number. Raises ConfigError if there is none."""
    where = experiment.reference
    if number is not None:
        return trial_of(experiment, number)
    leaders = leaderboard(experiment)
    if not leaders and len(experiment.trials) == 1 and experiment.trials[0].genotype:
        leaders = experiment.trials  # nothing was held out
    if not leaders:
        raise ConfigError([f"{where} has no trial with a result yet"])
    if not 1 <= rank <= len(leaders):
        raise ConfigError([f"--rank must be 1..{len(leaders)}, the trials of {where} with a result, got {rank}"])
    return leaders[rank - 1]


def of_trial(experiment: ExperimentResult, trial: TrialResult) -> Found:
    """What a trial trained or found. Raises ConfigError if that is no architecture of a search space."""
    if trial.space is None or trial.genotype is None:
        raise ConfigError(
            [
                f"trial {trial.number} of {experiment.reference} holds no architecture of a search space (no genotype yet)"
            ]
        )
    with importing_from(experiment.program_folder):
        space = load_space(trial.space)
        genotype = space.from_json(trial.genotype)
    single = experiment.storage == "" and experiment.source == "local"
    origin = experiment.reference if single else f"{experiment.reference}, trial {trial.number}"
    return Found(space, trial.space, genotype, origin, experiment, trial)


def _of_checkpoint(path: Path) -> Found:
    try:
        package = read_json(path / CHECKPOINT)["space"]
        genotype = read_json(path / "genotype.json")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError([f"{path} holds no architecture of a search space ({error})"]) from error
    space = load_space(str(package))
    return Found(space, str(package), space.from_json(genotype), str(path))


def _written(text: str, source: str, packages: Sequence[str]) -> Found:
    """One that is spelt out or named, in whichever space it is one of."""
    found, problems, spelt = [], [], []
    for package in packages:
        space = load_space(package)
        try:
            found.append(Found(space, package, space.read(text), source if len(source) < 60 else "text"))
        except ConfigError as error:
            said = [f"{package}: {problem}" for problem in error.problems]
            problems += said
            spelt += said if space.spells(text) else []
    if len(found) == 1:
        return found[0]
    if found:
        names = " or ".join(f"--space {each.package}" for each in found)
        raise ConfigError([f"{source} is an architecture of several spaces; say {names}"])
    if spelt:  # of the space whose fields it has, if there is one
        fitting = [each for each in spelt if "no field of a genotype" not in each and "is missing" not in each]
        raise ConfigError((fitting or spelt)[:1] if text == source else [f"{source}: {(fitting or spelt)[0]}"])
    what = f"{source if len(source) < 60 else source[:57] + '...'} is no folder, no file and no architecture"
    raise ConfigError([what, *problems])
