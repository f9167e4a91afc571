"""What a Determined 0.38.1 master's searcher does: how many trials there are at each moment, and which of them stop.

`Searcher` says how many; `AshaPruner` lets `asha.Asha` decide for the trials of an Optuna study, where all it depends on lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from nas.config.brackets import DEFAULTS, Bracket, brackets
from nas.config.search_space import grid_size
from nas.engine.asha import FAILED_METRIC, Asha, RungState
from nas.runs.study_schema import BRACKET, RUNG_STATE

ASHA = ("adaptive_asha", "async_halving")


class Searcher:
    """single, random, grid, adaptive_asha or async_halving.

    single, random and grid are one bracket without rungs: whenever a trial ends, however it ends, the next one is created.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        section = config["searcher"]
        self.name: str = section["name"]
        self.pruner = AshaPruner(section) if self.name in ASHA else None
        self.brackets: list[Bracket] = self.pruner.brackets if self.pruner else [_plain(config)]

    @property
    def trials(self) -> int:
        """How many trials it creates, unless some leave early."""
        return sum(bracket.trials for bracket in self.brackets)

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial stops after its last validation."""
        return self.pruner is not None and self.pruner.prune(study, trial)

    def fail(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """A trial failed after all its restarts."""
        if self.pruner is not None:
            self.pruner.fail(study, trial)

    def complete(self, trial: FrozenTrial) -> bool:
        """Whether a trial that was stopped had gone all the way."""
        return self.pruner is not None and self.pruner.at_top(trial)

    def rung(self, trial: FrozenTrial) -> str:
        """Such as 2/3: the rungs that a trial has passed, and those of its bracket."""
        if self.pruner is None:
            return ""
        passed = rung_state(trial)[0].rung + self.complete(trial)
        return f"{passed}/{len(self.brackets[trial.user_attrs[BRACKET]].rungs)}"

    def missing(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """The brackets of the trials that should be created now, in order."""
        if self.pruner is not None:
            return self.pruner.search(trials).missing()
        ended = sum(trial.state.is_finished() for trial in trials)
        return [0] * (self.brackets[0].created(ended) - len(trials))

    @property
    def initial(self) -> int:
        """How many trials there are at most at once."""
        return sum(bracket.initial for bracket in self.brackets)

    @property
    def rungs(self) -> list[int]:
        """Times at which trials are compared, of all brackets."""
        return sorted({rung for bracket in self.brackets for rung in bracket.rungs})


class AshaPruner(optuna.pruners.BasePruner):
    """Stops trials as a Determined 0.38.1 master does under adaptive_asha and async_halving.

    A decision is written to the trial as an attribute before the trial hears of it. So the same validation is never counted
    twice, and after a crash every later decision is what it would have been.

    Args:
        searcher: the config's section.

    A trial must have its bracket as user attribute BRACKET; steps are units of the time metric. Non-finite metrics rank last
    and never stop another trial.
    """

    def __init__(self, searcher: Mapping[str, Any]) -> None:
        self._searcher = searcher
        self.brackets: list[Bracket] = brackets(searcher)
        self.divisor = float(searcher.get("divisor") or DEFAULTS["divisor"])

    def search(self, trials: Iterable[FrozenTrial]) -> Asha:
        """The search that the trials of a study are in, by number."""
        return Asha(self._searcher, ((trial.user_attrs[BRACKET], rung_state(trial)[0]) for trial in trials))

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial stops after its last intermediate value."""
        step = trial.last_step
        state, seen = rung_state(trial)
        if step is None or step <= seen or state.stopped:
            return state.stopped
        search = self.search(study.get_trials(deepcopy=False))
        decision = search.validated(trial.number, step, trial.intermediate_values[step])
        _write(study, trial, search.states[trial.number], step)
        return decision.stop

    def fail(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """The trial failed after all its restarts."""
        state, seen = rung_state(trial)
        if not state.stopped:
            search = self.search(study.get_trials(deepcopy=False))
            search.failed(trial.number)
            _write(study, trial, search.states[trial.number], seen)

    def at_top(self, trial: FrozenTrial) -> bool:
        """Whether the trial was stopped because it went all the way."""
        state, _ = rung_state(trial)
        rungs = self.brackets[trial.user_attrs[BRACKET]].rungs
        return state.stopped and state.rung == len(rungs) - 1 and state.values[-1][1] != FAILED_METRIC


def rung_state(trial: FrozenTrial) -> tuple[RungState, int]:
    """Where a trial is in its bracket, and the step of the last validation that counted."""
    stored = trial.user_attrs.get(RUNG_STATE)
    if stored is None:
        return RungState(), -1
    values = [(int(rung), float(value)) for rung, value in stored["values"]]
    return RungState(stored["rung"], values, stored["stopped"], int(stored["stopped"])), stored["seen"]


def _write(study: optuna.Study, trial: FrozenTrial, state: RungState, seen: int) -> None:
    stored = {"rung": state.rung, "values": state.values, "stopped": state.stopped, "seen": seen}
    study._storage.set_trial_user_attr(trial._trial_id, RUNG_STATE, stored)


def _plain(config: Mapping[str, Any]) -> Bracket:
    section = config["searcher"]
    if section["name"] == "single":
        return Bracket((), 1, 1)
    count = grid_size(config["hyperparameters"]) if section["name"] == "grid" else int(section["max_trials"])
    concurrent = section.get("max_concurrent_trials")
    concurrent = DEFAULTS["max_concurrent_trials"] if concurrent is None else concurrent
    return Bracket((), count, min(int(concurrent), count) if concurrent else count)
