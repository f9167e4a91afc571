"""What a Determined 0.38.1 master's searcher does: how many trials there are at each moment, and which of them stop.

All in memory, so that its cost does not grow with the search; `study_store` brings it to where a search stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial

from nas.config.brackets import DEFAULTS, Bracket
from nas.config.search_space import grid_size
from nas.engine.asha import Asha, RungState
from nas.runs.study_schema import BRACKET, OUTCOME, RUNG_STATE

ASHA = ("adaptive_asha", "async_halving")


class Searcher:
    """single, random, grid, adaptive_asha or async_halving.

    single, random and grid are one bracket without rungs: whenever a trial ends, however it ends, the next one is created.
    Trials are numbered from 0 in the order in which `create` or `restore` tells of them.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        section = config["searcher"]
        self.name: str = section["name"]
        self._asha = Asha(section) if self.name in ASHA else None
        self.brackets: list[Bracket] = self._asha.brackets if self._asha else [_plain(config)]
        self._created = self._ended = 0  # without rungs

    @property
    def trials(self) -> int:
        """How many trials it creates, unless some leave early."""
        return sum(bracket.trials for bracket in self.brackets)

    @property
    def divisor(self) -> float | None:
        """One in so many trials passes a rung; None without rungs."""
        return self._asha.divisor if self._asha else None

    def create(self, bracket: int) -> None:
        """A trial was created."""
        if self._asha is not None:
            self._asha.add(bracket)
        self._created += 1

    def restore(self, trial: FrozenTrial) -> None:
        """A trial that was created before, with what is known of it."""
        if self._asha is not None:
            bracket = trial.user_attrs[BRACKET]
            number = self._asha.add(bracket, self._state(bracket, trial))
            if trial.user_attrs.get(OUTCOME) == "error":
                self.failed(number)
        self._created += 1
        self._ended += trial.state.is_finished()

    def validated(self, number: int, time: int, metric: float) -> bool:
        """A trial was validated at `time`, in units of the time metric; returns whether it stops."""
        if self._asha is None:
            return False
        return self.stopped(number) or self._asha.validated(number, time, metric)

    def failed(self, number: int) -> None:
        """A trial failed after all its restarts."""
        if self._asha is not None and not self.stopped(number):
            self._asha.failed(number)

    def ended(self) -> None:
        """A trial is over, however it ended."""
        self._ended += 1

    def stopped(self, number: int) -> bool:
        """Whether a trial was told to stop, or failed."""
        return self._asha is not None and self._asha.states[number].stopped

    def complete(self, number: int) -> bool:
        """Whether a trial that was stopped had gone all the way."""
        return self._asha is not None and self._asha.at_top(number)

    def state(self, number: int) -> dict[str, Any]:
        """What there is to keep of the decision that a trial stops; `restore` reads it."""
        assert self._asha is not None
        return _kept(self._asha.states[number])

    def stop_of(self, bracket: int, validations: Mapping[int, float], outcome: str) -> dict[str, Any] | None:
        """The same of a trial that has ended, by its validations alone; None if nobody told it to."""
        state = self._asha.left_at(bracket, validations) if self._asha is not None else None
        if state is None:
            return None
        # Who leaves by itself was not told to, unless it had gone all the way.
        told = outcome in ("pruned", "completed") or state.rung == len(self.brackets[bracket].rungs) - 1
        return _kept(state) if told else None

    def rung(self, number: int) -> str:
        """Such as 2/3: the rungs that a trial has passed, and those of its bracket."""
        if self._asha is None:
            return ""
        passed = self._asha.states[number].rung + self.complete(number)
        return f"{passed}/{len(self.brackets[self._asha.bracket_of[number]].rungs)}"

    def missing(self) -> list[int]:
        """The brackets of the trials that should be created now, in order."""
        if self._asha is not None:
            return self._asha.missing()
        return [0] * (self.brackets[0].created(self._ended) - self._created)

    @property
    def initial(self) -> int:
        """How many trials there are at most at once."""
        return sum(bracket.initial for bracket in self.brackets)

    @property
    def rungs(self) -> list[int]:
        """Times at which trials are compared, of all brackets."""
        return sorted({rung for bracket in self.brackets for rung in bracket.rungs})

    def _state(self, bracket: int, trial: FrozenTrial) -> RungState:
        assert self._asha is not None
        stored = trial.user_attrs.get(RUNG_STATE)
        if not stored or not stored["stopped"]:
            return self._asha.passed(bracket, trial.intermediate_values)
        return RungState(stored["rung"], [(int(rung), float(value)) for rung, value in stored["values"]], True, 1)


def _kept(state: RungState) -> dict[str, Any]:
    return {"rung": state.rung, "values": [list(pair) for pair in state.values], "stopped": state.stopped}


def _plain(config: Mapping[str, Any]) -> Bracket:
    section = config["searcher"]
    if section["name"] == "single":
        return Bracket((), 1, 1)
    count = grid_size(config["hyperparameters"]) if section["name"] == "grid" else int(section["max_trials"])
    concurrent = section.get("max_concurrent_trials")
    concurrent = DEFAULTS["max_concurrent_trials"] if concurrent is None else concurrent
    return Bracket((), count, min(int(concurrent), count) if concurrent else count)
