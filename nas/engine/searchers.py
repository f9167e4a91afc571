"""What a Determined 0.38.1 master's searcher does: how many trials there are at each moment, and which of them stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from nas.config.search_space import grid_size
from nas.engine.asha import DEFAULTS, Bracket
from nas.engine.pruner import BRACKET, AshaPruner, read

ASHA = ("adaptive_asha", "async_halving")


class Searcher:
    """single, random, grid, adaptive_asha or async_halving.

    single, random and grid are one bracket without rungs, in which every end of a trial makes room for the next.
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
        passed = read(trial)[0].rung + self.complete(trial)
        return f"{passed}/{len(self.brackets[trial.user_attrs[BRACKET]].rungs)}"

    def missing(self, trials: Sequence[FrozenTrial]) -> list[int]:
        """The brackets of the trials that should be created now, in order."""
        wanted: list[int] = []
        for i, bracket in enumerate(self.brackets):
            own = [trial for trial in trials if trial.user_attrs[BRACKET] == i]
            wanted += [i] * (bracket.created(sum(map(self._departed, own))) - len(own))
        return wanted

    def _departed(self, trial: FrozenTrial) -> bool:
        """Under ASHA only a stop or an error makes room; leaving early (invalid hyperparameters) does not."""
        return read(trial)[0].stopped if self.pruner else trial.state.is_finished()


def _plain(config: Mapping[str, Any]) -> Bracket:
    section = config["searcher"]
    if section["name"] == "single":
        return Bracket((), 1, 1)
    count = grid_size(config["hyperparameters"]) if section["name"] == "grid" else int(section["max_trials"])
    concurrent = section.get("max_concurrent_trials")
    concurrent = DEFAULTS["max_concurrent_trials"] if concurrent is None else concurrent
    return Bracket((), count, min(int(concurrent), count) if concurrent else count)
