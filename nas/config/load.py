"""An experiment's config: read from its YAML, overridden, and asked for what several parts need to know."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.config.old_words import old_length
from nas.config.ranges import range_problems
from nas.config.yaml_text import parse
from nas.core.errors import ConfigError, DataError, ErrorCollector, unknown
from nas.core.named_files import read_text

LONGEST = 10**12
"""Units of training, of which nobody has so many."""


def load(path: Path) -> dict[str, Any]:
    """The config in a file. Raises ConfigError if there is none, or it is not YAML, or not an experiment's config."""
    try:
        config = parse(read_text(path))
    except DataError as error:
        raise ConfigError([f"config {error}"]) from error
    except ConfigError as error:
        raise ConfigError([f"config {path}: {problem}" for problem in error.problems]) from error
    if not isinstance(config, dict) or not isinstance(config.get("hyperparameters"), dict):
        raise ConfigError([f"config {path} must be an experiment config with a section hyperparameters"])
    return config


def file_name(config: Mapping[str, Any], otherwise: str) -> str:
    """The experiment's name, or another if it has none, with what may not stand in a file's name replaced."""
    name = str(config.get("name") or otherwise)
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in name)


def check_sections(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for a section that is read here and is not a mapping."""
    names = ("hyperparameters", "searcher", "data", "reproducibility")
    wrong = [name for name in names if not isinstance(config.get(name) or {}, Mapping)]
    if wrong:
        raise ConfigError([f"{name} must be a section of names and values, got {config[name]!r}" for name in wrong])


def experiment_seed(config: Mapping[str, Any]) -> int:
    """`reproducibility.experiment_seed`, 0 if there is none."""
    seed = (config.get("reproducibility") or {}).get("experiment_seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ConfigError(
            [f"reproducibility.experiment_seed must be a whole number from 0 to {2**32 - 1}, got {seed!r}"]
        )
    return seed


def smaller_is_better(config: Mapping[str, Any]) -> bool:
    """Whether the searcher takes small values of its metric for good; left out or null is the master's default, true."""
    return (config.get("searcher") or {}).get("smaller_is_better") is not False


def check_searcher(config: Mapping[str, Any], directions: Mapping[str, str], possible: Mapping[str, str]) -> None:
    """Raises ConfigError if the searcher looks at what validation does not report, or takes its worst value for the best.

    Args:
        config: the experiment's; a master has filled `smaller_is_better` in, or it may be left out.
        directions: what validation reports with these settings, and whether to "minimize" or "maximize" it.
        possible: the same for all that the trial may ever report. Where nothing is held out, only this can be compared:
            the metric then decides nothing but must still be one.
    """
    searcher = config.get("searcher") or {}
    metric, name = searcher.get("metric"), searcher.get("name")
    if not directions and name not in (None, "single"):
        what = f"searcher {name} compares validations, but data.validation_fraction 0 holds nothing out"
        raise ConfigError([f"{what}; set it above 0"])
    known = directions or possible
    if metric is None or not known:
        return
    if not isinstance(metric, str):
        raise ConfigError([f"searcher.metric must be the name of a validation metric, got {metric!r}"])
    if metric not in known:
        raise ConfigError([unknown(f"searcher.metric {metric!r}", metric, known, "is not reported by this trial")])
    wanted = known[metric] == "minimize"
    if smaller_is_better(config) != wanted:
        given = searcher.get("smaller_is_better")
        got = (
            "nothing, which means true"
            if given is None
            else str(given).lower()
            if isinstance(given, bool)
            else repr(given)
        )
        why = f"for metric {metric}, of which {'less' if wanted else 'more'} is better"
        raise ConfigError(
            [f"searcher.smaller_is_better must be {str(wanted).lower()} {why}, got {got}: the worst would win"]
        )


def override(config: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """A copy of the config with `section.key=value` assignments applied; values are YAML."""
    changed = copy.deepcopy(dict(config))
    for assignment in assignments:
        dotted, equals, value = assignment.partition("=")
        *parents, last = dotted.split(".")
        if not equals or not all((*parents, last)):
            raise ConfigError([f"an override must look like hyperparameters.emsize=64, got {assignment!r}"])
        place: Any = changed
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError([f"override {assignment!r}: {parent} is not a section of the config"])
        try:
            place[last] = parse(value, dotted)
        except ConfigError as error:
            raise ConfigError([f"override {assignment!r}: {problem}" for problem in error.problems]) from error
    return changed


def with_absolute_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which the folders of the data section are absolute: whoever resumes may stand elsewhere."""
    data = {
        key: _absolute(value) if key.endswith("_dir") and isinstance(value, str) else value
        for key, value in (config.get("data") or {}).items()
    }
    return {**config, **({"data": data} if data else {})}


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError:  # of a user that is not here, which whoever reads the field says
        return path


def plain_epochs(hparams: Any) -> int | None:
    """The hyperparameter `train_epochs` where it is a number of epochs; 1 where it is anything else, which its reader says."""
    given = hparams.get("train_epochs") if isinstance(hparams, Mapping) else 1
    if given is None:
        return None
    return int(given) if isinstance(given, int | float) and given == given // 1 >= 1 else 1


def training_length(config: Mapping[str, Any], train_epochs: int | None) -> tuple[str, int]:
    """How long to train: ("epochs", 300) or ("batches", 10000).

    The searcher says it (`max_time` of ASHA) or the hyperparameter `train_epochs`; they must not contradict each other.
    """
    searcher = config.get("searcher") or {}
    unit, most = searcher.get("time_metric"), searcher.get("max_time")
    if most is None and train_epochs is None and (old := old_length(config)[0]):
        raise ConfigError([old])
    if most is None and train_epochs is None:
        raise ConfigError(
            ["hyperparameters.train_epochs is missing; the searcher does not say how long to train (max_time)"]
        )
    if most is None:
        if (train_epochs or 0) > LONGEST:
            raise ConfigError([f"hyperparameters.train_epochs must be at most {LONGEST:,}, got {train_epochs}"])
        return "epochs", int(train_epochs or 0)
    if unit not in ("epochs", "batches"):
        raise ConfigError([f"searcher.time_metric must be epochs or batches, got {unit!r}"])
    if train_epochs is not None and (unit, most) != ("epochs", train_epochs):
        raise ConfigError(
            [f"hyperparameters.train_epochs is {train_epochs} but searcher.max_time is {most} {unit}; leave one out"]
        )
    whole = not isinstance(most, bool) and isinstance(most, int | float) and 1 <= most <= LONGEST and most == int(most)
    if not whole:
        rule = f"a whole number of {unit}, at least 1 and at most {LONGEST:,}"
        raise ConfigError([f"searcher.max_time must be {rule}, got {most!r}"])
    return str(unit), int(most)


def check(trial_class: Any, config: dict[str, Any], hparams: dict[str, Any], processes: int) -> tuple[str, int]:
    """Check everything that can be checked without data, and say how long to train. Raises ConfigError."""
    check_sections(config)
    problems = ErrorCollector()
    problems.found += range_problems(config.get("hyperparameters") or {})
    settings = problems.catch(trial_class.check, hparams, config.get("data") or {}, processes)
    possible = trial_class.metric_directions(None)
    problems.catch(check_searcher, config, trial_class.metric_directions(settings) if settings else possible, possible)
    length = problems.catch(training_length, config, plain_epochs(hparams))
    problems.raise_any()
    assert length is not None
    return str(length[0]), int(length[1])
