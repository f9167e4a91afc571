"""Searched hyperparameters as Optuna knows them, and their values there and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution


def distribution(spec: Mapping[str, Any]) -> BaseDistribution:
    """A searched hyperparameter as Optuna knows it."""
    if spec["type"] == "categorical":
        return CategoricalDistribution(_choices(spec))
    low, high = spec["minval"], spec["maxval"]
    if spec["type"] == "int":
        return IntDistribution(int(low), int(high))
    if spec["type"] == "log":
        base = float(spec.get("base", 10.0))
        first, last = sorted((base**low, base**high))
        return FloatDistribution(first, last, log=True)
    return FloatDistribution(float(low), float(high))


def encode(spec: Mapping[str, Any], value: Any) -> Any:
    """A value as Optuna takes it: no lists, and it holds 1 and true for the same, so choices that are mixed are JSON."""
    return value if spec["type"] != "categorical" or _plain(spec["vals"]) else json.dumps(value)


def decode(spec: Mapping[str, Any], value: Any) -> Any:
    """The inverse of `encode`."""
    return value if spec["type"] != "categorical" or _plain(spec["vals"]) else json.loads(value)


def _choices(spec: Mapping[str, Any]) -> list[Any]:
    return list(dict.fromkeys(encode(spec, value) for value in spec["vals"]))


def _plain(values: Sequence[Any]) -> bool:
    """Whether they are all texts, or all whole numbers."""
    return len({type(value) for value in values}) == 1 and type(values[0]) in (str, int)


def member(values: Mapping[str, Any], name: str) -> Any:
    """The hyperparameter of that full name, such as head.width."""
    for key in name.split("."):
        values = values[key]
    return values
