"""An experiment's YAML, read as a Determined master reads it: YAML 1.2, where 8e-07 is a number."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hparams import ConfigError
from seeds import numpy_generator


def load(path: Path) -> dict[str, Any]:
    """The config in a file. Raises ConfigError if there is none, or it is not YAML, or not an experiment's config."""
    try:
        text = path.read_text(encoding="utf-8")
        config = YAML(typ="safe", pure=True).load(text)
    except OSError as error:
        raise ConfigError([f"config {path} cannot be read: {error.strerror}"]) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError([f"config {path} is not valid YAML: {' '.join(str(error).split())}"]) from error
    if not isinstance(config, dict) or not isinstance(config.get("hyperparameters"), dict):
        raise ConfigError([f"config {path} must be an experiment config with a section hyperparameters"])
    return config


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
    except YAMLError as error:
        raise ConfigError([f"override {assignment!r}: the value is not valid YAML"]) from error


def draw(hyperparameters: Mapping[str, Any], seed: int) -> tuple[dict[str, Any], list[str]]:
    """Hyperparameters for one trial, and the names of those that had to be drawn because the config searches over them.

    The draw depends on the seed and the name. Raises ConfigError for a search space that a master would refuse as well.
    """
    values: dict[str, Any] = {}
    drawn: list[str] = []
    for name, spec in hyperparameters.items():
        if isinstance(spec, Mapping) and "type" in spec:
            values[name] = _draw_one(f"hyperparameters.{name}", spec, numpy_generator(seed, "hyperparameter", name))
            drawn += [] if spec["type"] == "const" else [name]
        elif isinstance(spec, Mapping):
            values[name], inner = draw(spec, seed)
            drawn += [f"{name}.{key}" for key in inner]
        else:
            values[name] = spec
    return values, drawn


def _draw_one(name: str, spec: Mapping[str, Any], generator: Any) -> Any:
    kind = spec["type"]
    try:
        if kind == "const":
            return spec["val"]
        if kind == "categorical":
            return spec["vals"][generator.randint(len(spec["vals"]))]
        low, high = spec["minval"], spec["maxval"]
        if kind == "int":
            return int(low + math.floor(generator.random_sample() * (high - low)))
        value = low + generator.random_sample() * (high - low)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            [f"{name}: {dict(spec)} is not a search space Determined knows ({error!r} is wrong)"]
        ) from error
    if kind == "log":
        return float(spec.get("base", 10.0)) ** value
    if kind == "double":
        return value
    raise ConfigError([f"{name}.type must be const, int, double, log or categorical, got {kind!r}"])


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
    return str(unit), int(most)
