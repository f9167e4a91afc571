"""An experiment as an Optuna study: the only memory of the engine that survives it, so that it can be killed at any moment.

A trial is created WAITING, with its hyperparameters, seed and bracket, in one transaction. What it reports are its
intermediate values; the decision to stop it is an attribute that is written before them. Everything else follows from these.
The engine is the only writer, so that all of it is in memory as well: nothing is read but when a study is opened, and what a
validation costs does not depend on how many trials there are.
"""

from __future__ import annotations

import copy
import heapq
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas.config import load as configs
from nas.config.search_space import SampledTrial, search_space, substitute, trial_sampler
from nas.core.errors import ConfigError
from nas.core.secrets import without_password
from nas.engine.distributions import decode, distribution, encode, member
from nas.engine.outcomes import state_of
from nas.engine.rebuilding import BegunTrial
from nas.engine.samplers import suggest
from nas.engine.searchers import Searcher
from nas.engine.storage import Patience, StorageError, open_storage
from nas.runs.ranking import best_value, is_measurement, rank
from nas.runs.study_schema import BRACKET, HYPERPARAMETERS, METADATA, OUTCOME, RUNG_STATE, SEED


@dataclass
class Tally:
    """What of a bracket's trials is over: how many, and the units of the time metric that they trained."""

    ended: int = 0
    units: float = 0.0


class StudyStore:
    """The study of one experiment.

    Args:
        url: an Optuna storage, such as `sqlite:////here/study.db`.
        name: of the study.
        config: the experiment's.
        seed: its `experiment_seed`.
        sampler: one of `samplers.SAMPLERS`, or None for the master's own draws.

    Attributes:
        url: of the storage, without a password.
        live: the trials that run, by number.
        tallies: what is over, by bracket.

    Raises:
        StorageError: if the storage cannot be opened or read.
        ConfigError: if its trials are not those of this config and seed.
    """

    def __init__(self, url: str, name: str, config: Mapping[str, Any], seed: int, sampler: str | None = None) -> None:
        self.config, self.url, self.sampler = config, without_password(str(url)), sampler
        section = config["searcher"]
        self.metric: str = section["metric"]
        self.time_metric: str = section.get("time_metric") or "epochs"
        self.smaller_is_better = configs.smaller_is_better(config)
        self.searcher = Searcher(config)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._space = search_space(config["hyperparameters"])
        self._distributions = {name: distribution(spec) for name, spec in self._space.items()}
        self._sampled, self._seed = trial_sampler(config, seed), seed
        self.patience = Patience(str(url))
        self.storage = url if isinstance(url, BaseStorage) else open_storage(url)
        self._trials: list[FrozenTrial] = []
        self._best: dict[int, float] = {}  # by trial, of those that have a value that is one
        self.live: dict[int, FrozenTrial] = {}
        self.tallies = [Tally() for _ in self.searcher.brackets]
        self._open(name)

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number; not to be changed."""
        return self._trials

    def trial(self, number: int) -> FrozenTrial:
        """The trial of that number, as it is now; not to be changed."""
        return self._trials[number]

    def create_missing_trials(self) -> list[FrozenTrial]:
        """Create the trials that there should be by now, and return them."""
        return [self.create(bracket) for bracket in self.searcher.missing()]

    def started(self, number: int) -> None:
        """A process works on the trial: it is no longer waiting."""
        trial = self._trials[number]
        if trial.state == TrialState.WAITING:
            self.patience(self.storage.set_trial_state_values, trial._trial_id, TrialState.RUNNING)
            trial.state = TrialState.RUNNING
            self.live[number] = trial

    def validated(self, number: int, step: int, value: float) -> bool:
        """Write a validation at `step`; returns whether the trial stops. One that is reported again changes nothing.

        A stop is written before the value that leads to it: a value alone means that its trial goes on.
        """
        trial, last = self._trials[number], self._trials[number].last_step
        new = last is None or step > last
        if not new:
            assert last is not None
            step, value = last, trial.intermediate_values[last]
        before = self.searcher.stopped(number)
        stop = self.searcher.validated(number, step, value)
        if stop and not before:
            # As text: NaN is no JSON, and other programs read these attributes as well.
            self._note(trial, RUNG_STATE, {**self.searcher.state(number), "seen": step, "value": repr(value)})
        if new:
            self.patience(self.storage.set_trial_intermediate_value, trial._trial_id, step, value)
            trial.intermediate_values[step] = value
            self._count(trial)
        return stop

    def set_attributes(self, number: int, **attributes: Any) -> None:
        """Set user attributes of a trial that has not ended."""
        for name, value in attributes.items():
            self._note(self._trials[number], name, value)

    def finish(self, number: int, outcome: str) -> None:
        """A trial is over: one of OUTCOMES."""
        trial = self._trials[number]
        value = self.best_value(trial)
        state = state_of(outcome, value)
        # The outcome is written first: it says how, and for an error that the searcher counts it.
        self.set_attributes(number, **{OUTCOME: outcome})
        if outcome == "error":
            self.searcher.failed(number)
        values = None if value is None or state == TrialState.FAIL else [value]
        self.patience(self.storage.set_trial_state_values, trial._trial_id, state, values)
        trial.values, trial.state = values, state
        self.searcher.ended()
        self._over(trial)

    def best_value(self, trial: FrozenTrial) -> float | None:
        """The best of its validations so far."""
        return self._best.get(trial.number)

    def leaders(self, count: int) -> list[tuple[FrozenTrial, float, int]]:
        """The best trials so far, each with its best value and when it had it, in units of the time metric."""
        sign = 1 if self.smaller_is_better else -1
        best = heapq.nsmallest(count, self._best.items(), key=lambda pair: (sign * pair[1], pair[0]))
        found = [(self._trials[number], value) for number, value in best]
        return [
            (trial, value, min(s for s, v in trial.intermediate_values.items() if v == value)) for trial, value in found
        ]

    def leaderboard(self) -> list[FrozenTrial]:
        """All trials that were validated, best first; of equal ones the one with the smaller number."""
        return rank(self._trials, self.best_value, smaller_is_better=self.smaller_is_better)

    def _open(self, name: str) -> None:
        """Read the study, or make it."""
        direction = "minimize" if self.smaller_is_better else "maximize"
        self.study = self.patience(
            lambda: optuna.create_study(
                storage=self.storage,
                study_name=name,
                direction=direction,
                sampler=optuna.samplers.RandomSampler(self._seed),
                load_if_exists=True,
            )
        )
        self.storage = self.study._storage
        try:
            for trial in self.patience(self.study.get_trials, False):
                self._restore(trial if trial.state.is_finished() else copy.deepcopy(trial))
        except ConfigError:
            raise
        except Exception as error:  # pages that were written over: whatever came of what they say
            what = f"the study {name} in {self.url} is damaged ({type(error).__name__}: {error})"
            raise StorageError(
                [f"{what}; move it away, and the search is rebuilt from the folders of its trials when it goes on"]
            ) from error

    def _restore(self, trial: FrozenTrial) -> None:
        """A trial that the study had, or the folders: it must be the one that the config and the seed lead to."""
        draw = self._sampled.next_trial()  # the generator stands where the last trial left it
        known = trial.user_attrs
        same = known[SEED] == draw.seed and (self.sampler is not None or known[HYPERPARAMETERS] == draw.hparams)
        if not same or not 0 <= known[BRACKET] < len(self.tallies):
            what = f"trial {trial.number} of {self.url} is not the one that hyperparameters and experiment_seed lead to"
            raise ConfigError(
                [f"{what}: they were changed, or an earlier version began it; start a new one with --new"]
            )
        stop = known.get(RUNG_STATE) or {}
        if "value" in stop and stop["seen"] not in trial.intermediate_values:  # killed between the two
            value = float(stop["value"])
            self.patience(self.storage.set_trial_intermediate_value, trial._trial_id, stop["seen"], value)
            trial.intermediate_values[stop["seen"]] = value
        self._trials.append(trial)
        self.searcher.restore(trial)
        self._count(trial)
        if trial.state.is_finished():
            self._over(trial)
        elif trial.state == TrialState.RUNNING:
            self.live[trial.number] = trial

    def create_begun(self, begun: BegunTrial, bracket: int) -> None:
        """Create a trial that was begun once, as its folder knows it. Raises ConfigError if it should be another."""
        chosen = {name: member(begun.hyperparameters, name) for name in self._space}
        attributes: dict[str, Any] = {BRACKET: bracket, SEED: begun.seed, HYPERPARAMETERS: begun.hyperparameters}
        outcome, best = begun.outcome, best_value(begun.validations.values(), smaller_is_better=self.smaller_is_better)
        if outcome is not None:
            attributes |= {name: begun.metadata[name] for name in METADATA if name in begun.metadata}
            attributes[OUTCOME] = outcome
        if outcome is not None and (stop := self.searcher.stop_of(bracket, begun.validations, outcome)):
            attributes[RUNG_STATE] = stop
        state = state_of(outcome, best) if outcome is not None else TrialState.RUNNING
        template = create_trial(
            state=state,
            value=best if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
            params={name: encode(self._space[name], value) for name, value in chosen.items()},
            distributions=self._distributions,
            user_attrs=attributes,
            intermediate_values=dict(begun.validations),
        )
        self._restore(self._add(template))

    def create(self, bracket: int) -> FrozenTrial:
        """Create the next trial, in a bracket."""
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
        trial = self._add(template)
        self._trials.append(trial)
        self.searcher.create(bracket)
        return trial

    def _add(self, template: FrozenTrial) -> FrozenTrial:
        """Write a new trial."""
        study, number, tries = self.study._study_id, len(self._trials), itertools.count()

        def write() -> FrozenTrial:
            # A write whose answer was lost may have been made.
            if next(tries) == 0 or self.storage.get_n_trials(study) == number:
                self.storage.create_new_trial(study, template_trial=template)
            return self.storage.get_trial(self.storage.get_trial_id_from_study_id_trial_number(study, number))

        return copy.deepcopy(self.patience(write))

    def _note(self, trial: FrozenTrial, name: str, value: Any) -> None:
        self.patience(self.storage.set_trial_user_attr, trial._trial_id, name, value)
        trial.user_attrs[name] = json.loads(json.dumps(value))

    def _count(self, trial: FrozenTrial) -> None:
        """Its best value may be another."""
        values = trial.intermediate_values
        latest = (
            [*values.values()] if trial.number not in self._best else [self._best[trial.number], values[max(values)]]
        )
        best = best_value(latest, smaller_is_better=self.smaller_is_better)
        if best is not None and is_measurement(best):
            self._best[trial.number] = best

    def _over(self, trial: FrozenTrial) -> None:
        self.live.pop(trial.number, None)
        tally = self.tallies[trial.user_attrs[BRACKET]]
        tally.ended += 1
        tally.units += trial.last_step or 0

    def _suggested(self, sampler: str, draw: SampledTrial) -> tuple[SampledTrial, dict[str, Any]]:
        """Hyperparameters by a sampler instead, and what it notes at the trial; the seed stays the master's."""
        seeds = (self._seed, draw.seed)
        asked, notes = suggest(sampler, self._distributions, self._trials, self.study.direction, seeds)
        chosen = {name: decode(self._space[name], value) for name, value in asked.items()}
        return SampledTrial(substitute(self.config["hyperparameters"], chosen), draw.seed, chosen), notes
