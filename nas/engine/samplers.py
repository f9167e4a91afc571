"""Samplers that choose hyperparameters from the results so far, instead of the master's draws.

Each is a function of the study and of seeds, so that a search that was killed goes on as if it had not been. Optuna's are made
anew for each trial, in a study of their own that holds the trials so far; what a sampler notes at a trial (CMA-ES: its
distribution and generation) is kept with it. Optuna's QMC sampler counts its points elsewhere and draws categories at random,
so Sobol's sequence is read here. NSGA-II is for several objectives, and its children often equal a parent: it is not offered.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.core.errors import ConfigError, closest
from nas.core.seeds import numpy_generator

SAMPLERS = ("tpe", "gp", "cmaes", "qmc")
"""What `--sampler` takes: tree-structured Parzen estimator, Gaussian process, CMA-ES, Sobol's quasi-random points."""

_PACKAGES = {"tpe": (), "gp": ("scipy", "torch"), "cmaes": ("cmaes",), "qmc": ("scipy",)}

_BITS = 30
"""Binary digits of a coordinate of Sobol's sequence."""

Suggestion = tuple[dict[str, Any], dict[str, Any]]
"""A value for each parameter, and what the sampler wants to be kept with the trial."""


def check_sampler(name: str) -> None:
    """Raises ConfigError if there is no such sampler, or it needs a package that is not installed."""
    if name not in SAMPLERS:
        near = closest(name, SAMPLERS)
        hint = f"; did you mean {near[0]}?" if near else ""
        known = f"there are {', '.join(SAMPLERS)}, and without --sampler the master's own random draws"
        raise ConfigError([f"--sampler {name!r} is no sampler{hint} ({known})"])
    missing = [package for package in _PACKAGES[name] if importlib.util.find_spec(package) is None]
    if missing:
        raise ConfigError([f"--sampler {name} needs {missing[0]}, which is not installed: pip install {missing[0]}"])


def suggest(
    name: str,
    distributions: Mapping[str, BaseDistribution],
    trials: Sequence[FrozenTrial],
    direction: optuna.study.StudyDirection,
    seeds: tuple[int, int],
) -> Suggestion:
    """The parameters of the next trial.

    Args:
        name: one of SAMPLERS.
        distributions: of the parameters.
        trials: all so far, by number.
        direction: of the study.
        seeds: of the experiment and of the next trial.
    """
    of_experiment, of_trial = seeds
    if name == "qmc":
        return sobol_point(distributions, len(trials), of_experiment), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = _optuna_sampler(name, of_trial)
    scratch = optuna.create_study(direction=direction, sampler=sampler)
    scratch.add_trials([_told(trial, pruned=name == "tpe") for trial in trials])
    number = scratch.ask(dict(distributions)).number
    asked = scratch.trials[number]
    return asked.params, asked.system_attrs


def sobol_point(distributions: Mapping[str, BaseDistribution], index: int, seed: int) -> dict[str, Any]:
    """A point of Sobol's sequence (1967), with the binary digits of each coordinate flipped as the seed says (a digital shift).

    The first 2**k points, in each parameter by itself, fall one each into 2**k equal parts of its range.
    """
    from scipy.stats import qmc  # type: ignore[import-untyped]  # here, because its import takes long

    if not distributions:
        return {}
    engine = qmc.Sobol(len(distributions), scramble=False, bits=_BITS)
    if index:
        engine.fast_forward(index)
    flips = numpy_generator(seed, "sobol").randint(2**_BITS, size=len(distributions), dtype=np.int64)
    digits = (engine.random(1)[0] * 2**_BITS).astype(np.int64) ^ flips
    return {
        name: _at(each, int(unit) / 2**_BITS) for (name, each), unit in zip(distributions.items(), digits, strict=True)
    }


def _at(spread: BaseDistribution, unit: float) -> Any:
    """The value at a place between 0 and 1 of a parameter's range."""
    if isinstance(spread, optuna.distributions.CategoricalDistribution):
        return spread.choices[min(int(unit * len(spread.choices)), len(spread.choices) - 1)]
    assert isinstance(spread, optuna.distributions.IntDistribution | optuna.distributions.FloatDistribution)
    if isinstance(spread, optuna.distributions.IntDistribution):
        return min(spread.low + int(unit * (spread.high - spread.low + 1)), spread.high)
    if spread.log:
        low, high = math.log(spread.low), math.log(spread.high)
        return min(max(math.exp(low + unit * (high - low)), spread.low), spread.high)
    return spread.low + unit * (spread.high - spread.low)


def _optuna_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


def _told(trial: FrozenTrial, *, pruned: bool) -> FrozenTrial:
    """A trial as a sampler should see it.

    One that ASHA stopped has a value, which samplers that know nothing of stops would not look at; and one that waits has its
    place already.
    """
    state = TrialState.RUNNING if trial.state == TrialState.WAITING else trial.state
    value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    if state == TrialState.PRUNED and value is not None and not pruned:
        state = TrialState.COMPLETE
    return create_trial(
        state=state,
        value=value,
        params=trial.params,
        distributions=trial.distributions,
        intermediate_values=trial.intermediate_values,
        system_attrs=trial.system_attrs,
    )
