"""Which experiments are replicates of one another: those whose configs differ in nothing but the seed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from nas.core.errors import ConfigError
from nas.core.files import read_json
from nas.core.identity import Identity
from nas.results.experiment import ExperimentResult
from nas.results.source import read

_SECTIONS = ("entrypoint", "searcher", "hyperparameters", "data")
"""What decides a result; a change of logging or checkpoints does not make another search."""
_NUMBERING = re.compile(r"([-_. ]+(seed)?[-_. ]*|seed)\d+$")
_DRAWN_BY = ("arch_seed", "random_seed")  # hyperparameters by which a trial draws its own architecture


@dataclass(frozen=True)
class Group:
    """Replicates of one search.

    Attributes:
        name: as the user calls it, or that of its config.
        experiments: that differ in their seeds only, unless the user grouped them.
    """

    name: str
    experiments: list[ExperimentResult]

    @property
    def is_random(self) -> bool:
        """Whether its architectures are drawn at random and nothing learns from results: the baseline of all searches."""
        return self.name.lower().startswith("random") or all(map(_draws_at_random, self.experiments))


def gather(arguments: Sequence[str]) -> list[Group]:
    """Read what a user names: experiments, grouped by their configs, and `NAME=folder,folder,...`.

    Raises:
        ConfigError: something cannot be read, is there twice, or there is only one experiment.
    """
    named: list[Group] = []
    loose: list[ExperimentResult] = []
    problems: list[str] = []
    for argument in arguments:
        name, equals, folders = argument.partition("=")
        explicit = bool(equals) and not Path(argument).is_dir()
        references = _expanded(folders) if explicit else [argument]
        if explicit and (not name or not references):
            problems.append(f"a group must read NAME=folder,folder,... with folders that are there, got {argument!r}")
        found = []
        for reference in references:
            try:
                found.append(read(reference))
            except ConfigError as error:
                problems += error.problems
        if explicit:
            named.append(Group(name, found))
        else:
            loose += found
    groups = [*named, *_by_config(loose)]
    members = [each for group in groups for each in group.experiments]
    problems += _twice("experiment", [_where(each) for each in members]) + _twice(
        "group", [each.name for each in named]
    )
    if not problems and len(members) < 2:
        problems.append("there must be at least two experiments to compare; nas show shows a single one")
    if problems:
        raise ConfigError(problems)
    return groups


def seed_of(experiment: ExperimentResult) -> int | None:
    """Of a search its `experiment_seed`; of a run of one trial the trial's own."""
    if not experiment.storage and experiment.trials:
        return experiment.trials[0].seed
    seed: int | None = (experiment.config.get("reproducibility") or {}).get("experiment_seed")
    return seed


def check_comparable(groups: Sequence[Group], metric: str | None) -> None:
    """Raises ConfigError with everything that keeps the experiments from being compared."""
    members = [each for group in groups for each in group.experiments]
    problems = []
    if metric is None:
        problems += differ(
            members, "look at different metrics", lambda each: each.metric, "; name one that all have: --metric"
        )
        says = {True: "smaller is better", False: "larger is better"}
        problems += differ(members, "differ in direction", lambda each: says[each.smaller_is_better])
    known = [(each, data) for each in members if (data := _data_of(each)).data]
    for other, data in known[1:]:
        if changed := known[0][1].data_changes(data, ("in the first", "in the second")):
            both = f"{known[0][0].reference} and {other.reference}"
            problems.append(f"{both} were not scored on the same data: {'; '.join(changed)}")
            break
    if problems:
        raise ConfigError(problems)


def notes_on(groups: Sequence[Group]) -> list[str]:
    """What a reader must know of the experiments before they believe a number."""
    notes = []
    for group in groups:
        seeds = [seed_of(each) for each in group.experiments]
        if len({_settings(each) for each in group.experiments}) == 1 and len(set(seeds)) < len(seeds):
            notes.append(
                f"{group.name}: some of its experiments have the same seed, so they are no independent replicates"
            )
        for each in group.experiments:
            if each.status not in ("completed", ""):
                notes.append(f"{each.reference} is {each.status}: what it has so far counts")
    commits = {each.versions.get("commit") for group in groups for each in group.experiments} - {None}
    if len(commits) > 1:
        notes.append(f"not all ran the same code: commits {', '.join(sorted(map(str, commits)))}")
    return notes


def differ(
    members: Sequence[ExperimentResult], what: str, value: Callable[[ExperimentResult], str], do: str = ""
) -> list[str]:
    """The problem with experiments that should have the same value, naming one experiment for each; none if they have."""
    by_value: dict[str, list[str]] = {}
    for each in members:
        by_value.setdefault(value(each), []).append(each.reference)
    if len(by_value) < 2:
        return []
    parts = [f"{text} ({each[0]}{f' and {len(each) - 1} more' if each[1:] else ''})" for text, each in by_value.items()]
    return [f"the experiments {what}: {', '.join(parts)}{do}"]


def _expanded(folders: str) -> list[str]:
    """With `*` in a folder's name resolved, which a shell does not do behind `NAME=`; files beside folders do not count."""
    found: list[str] = []
    for each in filter(None, folders.split(",")):
        pattern = "*" in each and not Path(each).is_dir()
        found += sorted(path for path in glob(each) if Path(path).is_dir()) if pattern else [each]
    return found


def _by_config(experiments: Sequence[ExperimentResult]) -> list[Group]:
    by_settings: dict[str, list[ExperimentResult]] = {}
    for each in experiments:
        by_settings.setdefault(_settings(each), []).append(each)
    members = list(by_settings.values())
    return [Group(name, each) for name, each in zip(_names(members), members, strict=True)]


def _settings(experiment: ExperimentResult) -> str:
    config = experiment.config
    about = {name: config.get(name) for name in _SECTIONS}
    about |= {"sampler": experiment.sampler, "processes": experiment.processes, "name": _plain_name(experiment)}
    return json.dumps(about, sort_keys=True, default=str)


def _plain_name(experiment: ExperimentResult) -> str:
    return _NUMBERING.sub("", experiment.name) or experiment.name


def _names(members: Sequence[Sequence[ExperimentResult]]) -> list[str]:
    """The configs' names; where several have the same one, with the settings that tell them apart."""
    plain = [_plain_name(each[0]) for each in members]
    told = [dict(flat({name: each[0].config.get(name) for name in _SECTIONS[1:]})) for each in members]
    found = []
    for i, name in enumerate(plain):
        rivals = [j for j, other in enumerate(plain) if other == name]
        if len(rivals) == 1:
            found.append(name)
            continue
        keys = dict.fromkeys(key for j in rivals for key in told[j])
        telling = [key for key in keys if len({repr(told[j].get(key)) for j in rivals}) > 1]
        says = ", ".join(f"{key.rpartition('.')[2]} {told[i].get(key, 'none')}" for key in telling[:2])
        found.append(f"{name} ({says})" if says else name)
    return [name if found.count(name) == 1 else f"{name} #{i}" for i, name in enumerate(found, start=1)]


def flat(values: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    """Full names such as `head.width`, with their values."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{section}{name}.")
        else:
            yield f"{section}{name}", value


def _draws_at_random(experiment: ExperimentResult) -> bool:
    searcher, hparams = experiment.config.get("searcher") or {}, experiment.config.get("hyperparameters") or {}
    if searcher.get("name") == "random":
        return experiment.sampler is None
    if searcher.get("name") != "single":
        return False
    return hparams.get("strategy") == "random" or any(hparams.get(name) is not None for name in _DRAWN_BY)


def _data_of(experiment: ExperimentResult) -> Identity:
    """What is known of the data on which it was trained and scored: from the first trial that read them."""
    for trial in experiment.trials:
        if not trial.folder:
            continue
        try:
            run = read_json(Path(trial.folder) / "run.json")
            identity = Identity.from_json({"data": (run.get("identity") or {}).get("data")})
        except (OSError, ValueError, TypeError, AttributeError):
            continue
        if identity.data:
            return identity
    return Identity()


def _where(experiment: ExperimentResult) -> str:
    return str(Path(experiment.folder).resolve()) if experiment.folder else experiment.reference


def _twice(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what} {name} is named twice" for name in dict.fromkeys(names) if names.count(name) > 1]
