"""An experiment as an Optuna study: the only memory of the engine, so that it can be killed at any moment.

A trial is created WAITING, with its hyperparameters, seed and bracket, in one transaction. What it reports are its
intermediate values; a decision is an attribute of it before anybody acts on it. Everything else follows from these.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.config import load as configs
from nas.config.search_space import SampledTrial, search_space, substitute, trial_sampler
from nas.core.errors import ConfigError
from nas.engine.samplers import suggest
from nas.engine.searchers import Searcher
from nas.runs.ranking import best_value, rank
from nas.runs.study_schema import BRACKET, HYPERPARAMETERS, OUTCOME, SEED

STATES = {
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.COMPLETE,
    "error": TrialState.FAIL,
    "invalid": TrialState.FAIL,
}
"""The state in Optuna of each outcome."""


class StudyStore:
    """The study of one experiment.

    Args:
        url: an Optuna storage, such as `sqlite:///study.db`.
        name: of the study.
        config: the experiment's.
        seed: its `experiment_seed`.
        sampler: one of `samplers.SAMPLERS`, or None for the master's own draws.

    Raises:
        ConfigError: if the storage cannot be opened.
    """

    def __init__(self, url: str, name: str, config: Mapping[str, Any], seed: int, sampler: str | None = None) -> None:
        self.config, self.url, self.sampler = config, url, sampler
        section = config["searcher"]
        self.metric: str = section["metric"]
        self.smaller_is_better = configs.smaller_is_better(config)
        self.searcher = Searcher(config)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = search_space(config["hyperparameters"])
        self._distributions = {name: distribution(spec) for name, spec in self._space.items()}
        self._sampled, self._seed = trial_sampler(config, seed), seed
        self.storage = _open(url)
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=name,
            direction="minimize" if self.smaller_is_better else "maximize",
            pruner=self.searcher.pruner or optuna.pruners.NopPruner(),
            sampler=optuna.samplers.RandomSampler(seed),
            load_if_exists=True,
        )
        for _ in self.trials():  # the generator stands where the last trial left it
            self._sampled.next_trial()

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self.study.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        """The trial of that number, as it is now."""
        return self.storage.get_trial(
            self.storage.get_trial_id_from_study_id_trial_number(self.study._study_id, number)
        )

    def create_missing_trials(self) -> list[FrozenTrial]:
        """Create the trials that there should be by now, and return them."""
        return [self._create(bracket) for bracket in self.searcher.missing(self.trials())]

    def started(self, number: int) -> None:
        """A process works on the trial: it is no longer waiting."""
        trial = self.trial(number)
        if trial.state == TrialState.WAITING:
            self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)

    def validated(self, number: int, step: int, value: float) -> bool:
        """Write a validation at `step`; returns whether the trial stops. One that is reported again changes nothing."""
        trial = self.trial(number)
        if trial.last_step is None or step > trial.last_step:
            self.storage.set_trial_intermediate_value(trial._trial_id, step, value)
        return self.searcher.prune(self.study, self.trial(number))

    def set_attributes(self, number: int, **attributes: Any) -> None:
        """Set user attributes of a trial that has not ended."""
        trial = self.trial(number)
        for name, value in attributes.items():
            self.storage.set_trial_user_attr(trial._trial_id, name, value)

    def finish(self, number: int, outcome: str) -> None:
        """A trial is over: one of OUTCOMES."""
        trial = self.trial(number)
        value = self.best_value(trial)
        state = STATES[outcome]
        # The outcome is written first: an error that counts for the searcher but has no outcome would look like a stop.
        self.set_attributes(number, **{OUTCOME: outcome})
        if outcome == "error":
            self.searcher.fail(self.study, trial)
        if state == TrialState.COMPLETE and value is None:
            state = TrialState.PRUNED  # nothing was held out; Optuna has no complete trials without a value
        self.storage.set_trial_state_values(
            trial._trial_id, state, None if value is None or state == TrialState.FAIL else [value]
        )

    def best_value(self, trial: FrozenTrial) -> float | None:
        """The best of its validations so far."""
        return best_value(trial.intermediate_values.values(), smaller_is_better=self.smaller_is_better)

    def leaderboard(self) -> list[FrozenTrial]:
        """All trials that were validated, best first; of equal ones the one with the smaller number."""
        return rank(self.trials(), self.best_value, smaller_is_better=self.smaller_is_better)

    def _create(self, bracket: int) -> FrozenTrial:
        draw = self._sampled.next_trial()
        notes: dict[str, Any] = {}
        if self.sampler is not None:
            draw, notes = self._suggested(self.sampler, draw)
        params = {name: encode(self._space[name], value) for name, value in draw.chosen.items()}
        template = create_trial(
            state=TrialState.WAITING,
            params=params,
            distributions=self._distributions,
            user_attrs={BRACKET: bracket, SEED: draw.seed, HYPERPARAMETERS: draw.hparams},
            system_attrs=notes,
        )
        return self.storage.get_trial(self.storage.create_new_trial(self.study._study_id, template_trial=template))

    def _suggested(self, sampler: str, draw: SampledTrial) -> tuple[SampledTrial, dict[str, Any]]:
        """Hyperparameters by a sampler instead, and what it notes at the trial; the seed stays the master's."""
        seeds = (self._seed, draw.seed)
        asked, notes = suggest(sampler, self._distributions, self.trials(), self.study.direction, seeds)
        chosen = {name: decode(self._space[name], value) for name, value in asked.items()}
        return SampledTrial(substitute(self.config["hyperparameters"], chosen), draw.seed, chosen), notes


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


def _open(url: str) -> optuna.storages.BaseStorage:
    try:
        return optuna.storages.get_storage(url)
    except Exception as error:  # of SQLAlchemy, its drivers, Alembic: each has its own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError([f"storage {url} cannot be opened: {reason}; see --storage"]) from error
