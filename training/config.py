"""An experiment's YAML, read as a Determined master reads it: YAML 1.2, where 8e-07 is a number."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hparams import ConfigError, Problems, unknown
from seeds import numpy_generator

_BOUNDS = ["minval", "maxval"]


def load(path: Path) -> dict[str, Any]:
    """The config in a file. Raises ConfigError if there is none, or it is not YAML, or not an experiment's config."""
    try:
        text = path.read_text(encoding="utf-8")
        config = YAML(typ="safe", pure=True).load(text)
    except OSError as error:
        raise ConfigError([f"config {path} cannot be read: {error.strerror}"]) from error
    except (YAMLError, ValueError) as error:
        raise ConfigError([f"config {path} is not valid YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(config, dict) or not isinstance(config.get("hyperparameters"), dict):
        raise ConfigError([f"config {path} must be an experiment config with a section hyperparameters"])
    return config


def check_sections(config: Mapping[str, Any]) -> None:
    """Raises ConfigError for a section that is read here and is not a mapping."""
    names = ("hyperparameters", "searcher", "data", "reproducibility")
    wrong = [name for name in names if not isinstance(config.get(name) or {}, Mapping)]
    if wrong:
        raise ConfigError([f"{name} must be a section of names and values, got {config[name]!r}" for name in wrong])


def experiment_seed(config: Mapping[str, Any]) -> int:
    """`reproducibility.experiment_seed`, 0 if there is none."""
    seed = (config.get("reproducibility") or {}).get("experiment_seed", 0)
    if type(seed) is not int or seed < 0:
        raise ConfigError([f"reproducibility.experiment_seed must be a whole number from 0, got {seed!r}"])
    return seed


def check_searcher(config: Mapping[str, Any], metrics: Sequence[str]) -> None:
    """Raises ConfigError if the searcher looks at something that the trial's validation does not report."""
    searcher = config.get("searcher") or {}
    metric, name = searcher.get("metric"), searcher.get("name")
    if not metrics and name not in (None, "single"):
        what = f"searcher {name} compares validations, but data.validation_fraction 0 holds nothing out"
        raise ConfigError([f"{what}; set it above 0"])
    if metrics and metric is not None and metric not in metrics:
        raise ConfigError(
            [unknown(f"searcher.metric {metric!r}", str(metric), metrics, "is not reported by this trial")]
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
        place[last] = _parse(assignment, value)
    return changed


def _parse(assignment: str, value: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(value)
    except (YAMLError, ValueError) as error:
        raise ConfigError([f"override {assignment!r}: the value is not valid YAML"]) from error


def draw(hyperparameters: Mapping[str, Any], seed: int, section: str = "") -> tuple[dict[str, Any], list[str]]:
    """Hyperparameters for one trial, and the names of those that had to be drawn because the config searches over them.

    The draw depends on the seed and the full name, such as `head.width`. Raises ConfigError for a search space that a
    master would refuse as well.
    """
    values: dict[str, Any] = {}
    drawn: list[str] = []
    for key, spec in hyperparameters.items():
        name = f"{section}{key}"
        if isinstance(spec, Mapping) and "type" in spec:
            values[key] = _draw_one(f"hyperparameters.{name}", spec, numpy_generator(seed, "hyperparameter", name))
            drawn += [] if spec["type"] == "const" else [name]
        elif isinstance(spec, Mapping):
            values[key], inner = draw(spec, seed, f"{name}.")
            drawn += inner
        else:
            values[key] = spec
    return values, drawn


def _draw_one(name: str, spec: Mapping[str, Any], generator: np.random.RandomState) -> Any:
    kind = spec["type"]
    needed = {"const": ["val"], "categorical": ["vals"], "int": _BOUNDS, "double": _BOUNDS, "log": _BOUNDS}.get(kind)
    if needed is None:
        raise ConfigError([f"{name}.type must be const, int, double, log or categorical, got {kind!r}"])
    if missing := [key for key in needed if key not in spec]:
        raise ConfigError([f"{name}.{missing[0]} is missing; type {kind} needs it"])
    if kind == "const":
        return spec["val"]
    if kind == "categorical":
        if not isinstance(spec["vals"], list) or not spec["vals"]:
            raise ConfigError([f"{name}.vals must be a list with at least one value, got {spec['vals']!r}"])
        return spec["vals"][generator.randint(len(spec["vals"]))]
    low, high, base = spec["minval"], spec["maxval"], spec.get("base", 10.0)
    if not all(isinstance(value, int | float) for value in (low, high, base)) or low > high or base <= 0:
        raise ConfigError([f"{name} must have numbers with minval <= maxval, got {dict(spec)}"])
    value = low + generator.random_sample() * (high - low)
    return math.floor(value) if kind == "int" else float(base) ** value if kind == "log" else value


def training_length(config: Mapping[str, Any], train_epochs: int | None) -> tuple[str, int]:
    """How long to train: ("epochs", 300) or ("batches", 10000).

    The searcher says it (`max_time` of ASHA) or the hyperparameter `train_epochs`; they must not contradict each other.
    """
    searcher = config.get("searcher") or {}
    unit, most = searcher.get("time_metric"), searcher.get("max_time")
    if most is None and train_epochs is None:
        raise ConfigError(
            ["hyperparameters.train_epochs is missing; the searcher does not say how long to train (max_time)"]
        )
    if most is None:
        return "epochs", int(train_epochs or 0)
    if unit not in ("epochs", "batches"):
        raise ConfigError([f"searcher.time_metric must be epochs or batches, got {unit!r}"])
    if train_epochs is not None and (unit, most) != ("epochs", train_epochs):
        raise ConfigError(
            [f"hyperparameters.train_epochs is {train_epochs} but searcher.max_time is {most} {unit}; leave one out"]
        )
    if isinstance(most, bool) or not isinstance(most, int | float) or most < 1 or most != int(most):
        raise ConfigError([f"searcher.max_time must be a whole number of {unit}, at least 1, got {most!r}"])
    return str(unit), int(most)


def check(trial_class: Any, config: dict[str, Any], hparams: dict[str, Any], processes: int) -> tuple[str, int]:
    """Check everything that can be checked without data, and say how long to train. Raises ConfigError."""
    check_sections(config)
    problems = Problems()
    settings = problems.of(trial_class.check, hparams, config.get("data") or {}, processes)
    problems.of(check_searcher, config, trial_class.metrics_for(settings))
    length = problems.of(training_length, config, settings.run.train_epochs) if settings else None
    problems.raise_any()
    assert length is not None
    return str(length[0]), int(length[1])
