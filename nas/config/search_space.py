"""The trials that an experiment creates: hyperparameters and seeds, drawn as a Determined 0.38.1 master draws them.

The master's generator is NumPy's legacy Mersenne Twister, seeded by `experiment_seed`. For each trial, in the order in which
trials are created, it takes one draw for every searched hyperparameter in the order of their names, then 16 bytes for the
trial's request id, then the trial's seed. A grid draws no hyperparameters, but the other two.
One thing can not be repeated: it visits the members of a nested section in random order; here it is by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.config.ranges import power
from nas.core.errors import ConfigError, ErrorCollector

SEEDS = 2**31
"""Trial seeds are below this."""

_REQUEST_ID = 16
"""Bytes of the identifier by which a master's searcher knows a trial."""

_LARGEST = 2**63 - 1
"""Of whole numbers, and of how many a range has."""

_BOUNDS = ["minval", "maxval"]
_NEEDED = {"const": ["val"], "categorical": ["vals"], "int": _BOUNDS, "double": _BOUNDS, "log": _BOUNDS}


@dataclass(frozen=True)
class SampledTrial:
    """One trial: a value for each hyperparameter, its seed, and the full names of what was chosen for it."""

    hparams: dict[str, Any]
    seed: int
    chosen: dict[str, Any]  # full name such as head.width -> value


class TrialSampler:
    """An experiment's trials in the order of their creation.

    Args:
        hyperparameters: the config's section.
        seed: `experiment_seed`.
        grid: walk over the grid, as the grid searcher does, from its last point to its first.

    Raises:
        ConfigError: for a search space that a master would refuse as well.
    """

    def __init__(self, hyperparameters: Mapping[str, Any], seed: int, *, grid: bool = False) -> None:
        self._space = hyperparameters
        self._searched = search_space(hyperparameters)
        self._random = np.random.RandomState(seed)
        self._left: int | None = None
        if grid:
            self._axes = dict(sorted(_axes(self._searched).items(), key=_route))
            self._left = math.prod(map(len, self._axes.values()))

    def __iter__(self) -> Iterator[SampledTrial]:
        """Trials without end, or until the grid is."""
        while self._left is None or self._left > 0:
            yield self.next_trial()

    def next_trial(self) -> SampledTrial:
        """The next trial."""
        chosen = self._draw() if self._left is None else self._point()
        self._random.bytes(_REQUEST_ID)
        seed = int(self._random.randint(SEEDS, dtype=np.int64))
        return SampledTrial(substitute(self._space, chosen), seed, {name: chosen[name] for name in self._searched})

    def _draw(self) -> dict[str, Any]:
        return {name: _draw(spec, self._random) for name, spec in sorted(self._searched.items(), key=_route)}

    def _point(self) -> dict[str, Any]:
        assert self._left
        self._left -= 1
        index, point = self._left, {}
        for name, values in reversed(self._axes.items()):
            index, place = divmod(index, len(values))
            point[name] = values[place]
        return point


def trial_sampler(config: Mapping[str, Any], seed: int) -> TrialSampler:
    """Those of an experiment's config."""
    grid = (config.get("searcher") or {}).get("name") == "grid"
    return TrialSampler(config["hyperparameters"], seed, grid=grid)


def grid_size(hyperparameters: Mapping[str, Any]) -> int:
    """How many points the grid has."""
    return math.prod(map(len, _axes(search_space(hyperparameters)).values()))


def search_space(hyperparameters: Mapping[str, Any], section: str = "") -> dict[str, Mapping[str, Any]]:
    """The hyperparameters that a searcher chooses, by full name such as `head.width`, in the order of the config.

    Raises:
        ConfigError: with every one whose type or bounds a master would refuse.
    """
    found: dict[str, Mapping[str, Any]] = {}
    problems = ErrorCollector()
    for key, spec in hyperparameters.items():
        name = f"{section}{key}"
        if not isinstance(spec, Mapping):
            continue
        if "type" not in spec:
            found.update(problems.catch(search_space, spec, f"{name}.") or {})
            continue
        problems.catch(_check, f"hyperparameters.{name}", spec)
        if spec["type"] != "const":
            found[name] = spec
    problems.raise_any()
    return found


def substitute(hyperparameters: Mapping[str, Any], chosen: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """One value for each hyperparameter: constants as they are, the others by full name from `chosen`."""
    values = {}
    for key, spec in hyperparameters.items():
        name = f"{section}{key}"
        if not isinstance(spec, Mapping):
            values[key] = spec
        elif "type" not in spec:
            values[key] = substitute(spec, chosen, f"{name}.")
        else:
            values[key] = spec["val"] if spec["type"] == "const" else chosen[name]
    return values


def axis(name: str, spec: Mapping[str, Any]) -> Sequence[Any]:
    """The values that the grid searcher tries: all of a categorical, `count` even steps of a range, both ends included.

    Raises:
        ConfigError: if a range has no `count`.
    """
    if spec["type"] == "categorical":
        values: Sequence[Any] = spec["vals"]
        return values
    count, low, high = spec.get("count"), spec["minval"], spec["maxval"]
    if type(count) is not int or count < 1:
        raise ConfigError([f"hyperparameters.{name}.count must be a whole number from 1 for a grid, got {count!r}"])
    if spec["type"] == "int":
        low, high = int(low), int(high)
        count = min(count, high - low + 1)
    steps = [(low + high) / 2] if count == 1 else [low + i * (high - low) / (count - 1) for i in range(count)]
    if spec["type"] == "int":
        return [_round(step) for step in steps]
    return [power(spec.get("base", 10.0), step) for step in steps] if spec["type"] == "log" else list(map(float, steps))


def _axes(space: Mapping[str, Mapping[str, Any]]) -> dict[str, Sequence[Any]]:
    problems = ErrorCollector()
    axes = {name: problems.catch(axis, name, spec) for name, spec in space.items()}
    problems.raise_any()
    return axes


def _route(item: tuple[str, Any]) -> list[str]:
    """Sections are visited by name, and within each its members by name."""
    return item[0].split(".")


def _check(name: str, spec: Mapping[str, Any]) -> None:
    kind = spec["type"]
    needed = _NEEDED.get(kind) if isinstance(kind, str) else None
    if needed is None:
        raise ConfigError([f"{name}.type must be const, int, double, log or categorical, got {kind!r}"])
    if missing := [key for key in needed if key not in spec]:
        raise ConfigError([f"{name}.{missing[0]} is missing; type {kind} needs it"])
    if kind == "categorical" and (not isinstance(spec["vals"], list) or not spec["vals"]):
        raise ConfigError([f"{name}.vals must be a list with at least one value, got {spec['vals']!r}"])
    if needed is not _BOUNDS:
        return
    low, high, base = spec["minval"], spec["maxval"], spec.get("base", 10.0)
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in (low, high, base))
    if not numbers or low >= high or base <= 0:
        raise ConfigError([f"{name} must have numbers with minval below maxval, got {dict(spec)}"])
    if kind == "int" and not all(float(value).is_integer() for value in (low, high)):
        raise ConfigError([f"{name} must have whole numbers as minval and maxval, got {dict(spec)}"])
    if kind == "int" and (max(abs(low), abs(high)) > _LARGEST or high - low > _LARGEST):
        raise ConfigError([f"{name} must have minval and maxval within 64 bits, got {dict(spec)}"])


def _draw(spec: Mapping[str, Any], random: np.random.RandomState) -> Any:
    if spec["type"] == "categorical":
        return spec["vals"][int(random.randint(len(spec["vals"]), dtype=np.int64))]
    low, high = spec["minval"], spec["maxval"]
    if spec["type"] == "int":
        return int(low) + int(random.randint(int(high) - int(low) + 1, dtype=np.int64))
    value = low + (high - low) * float(random.random_sample())
    return power(spec.get("base", 10.0), value) if spec["type"] == "log" else value


def _round(value: float) -> int:
    """To the nearest whole number, halves away from zero."""
    whole = math.trunc(abs(value))
    whole += abs(value) - whole >= 0.5
    return int(math.copysign(whole, value))
