"""Trials that only pretend to train, so that the engine's loop is tested without processes.

`FakePool` stands in for the pool of processes. What its trials do is a function of their seeds and of a script, their folders
are real ones, and the order in which several are heard is drawn: a search is the same however often it is run.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import queue
import random
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from rich.console import Console

from nas.config.search_space import TrialSampler
from nas.engine.console import ConsoleReporter
from nas.engine.engine import Engine
from nas.engine.placement import Placement
from nas.engine.study_store import StudyStore
from nas.runs.run_folder import RunFolder
from support.asha_reference import FAILED_METRIC, Reference

SEED = 11
LENGTH = 4
SPACE: dict[str, Any] = {"lr": {"type": "double", "minval": 0, "maxval": 1}, "width": 4}
GRID: dict[str, Any] = {
    "act": {"type": "categorical", "vals": ["relu", "tanh"]},
    "width": {"type": "int", "minval": 1, "maxval": 3, "count": 3},
}
ASHA: dict[str, Any] = {
    **{"name": "adaptive_asha", "time_metric": "epochs", "max_time": LENGTH, "divisor": 2},
    **{"max_trials": 9, "max_concurrent_trials": 4},
}
HALVING = {**ASHA, "name": "async_halving", "num_rungs": 3, "max_concurrent_trials": 0}
RANDOM = {"name": "random", "max_trials": 7, "max_concurrent_trials": 3}
SEARCHERS = [ASHA, HALVING, RANDOM, {"name": "grid", "max_concurrent_trials": 2}, {"name": "single"}]


def loss(seed: int, epoch: int) -> float:
    """Of a trial: its own quality, which shows the better the longer it trains."""
    return random.Random(seed).random() + random.Random(seed + epoch).random() / epoch


# Trials that pretend


@dataclass(frozen=True)
class Script:
    """What a trial does beside training well."""

    dies: Mapping[tuple[int, str], int] = field(default_factory=dict)
    """How often it dies in an epoch while "training", or while "saving", after the epoch was validated."""
    code: int = 1
    word: str = ""
    """Its last word, with which it leaves in epoch `at`: after the validation if that is "diverged", else before it."""
    at: int = 1
    errors: tuple[str, ...] = ()
    metrics: Callable[[float], dict[str, Any]] = lambda value: {"loss": value}
    deaf: bool = False
    """It hears no signal but the one that kills."""


class FakeTrial:
    """The process of one trial, which does a little whenever it is asked to."""

    def __init__(self, folder: Path, placement: Placement, script: Script) -> None:
        self.number, self.placement, self.script = int(folder.name), placement, script
        self.folder, self.config = RunFolder.open(folder)
        self.told_to_leave = self.killed = self.waits = self.stopped = False
        self._acts = self._live()

    def act(self) -> dict[str, Any]:
        """Go on until there is something to say."""
        try:
            if self.killed:
                return {"say": "exit", "code": -9}
            return next(self._acts)
        except StopIteration as end:
            return {"say": "exit", "code": end.value}

    def _live(self) -> Iterator[dict[str, Any]]:
        folder, script = self.folder, self.script
        seed = folder.run["seed"]
        if folder.run["status"] == "completed":
            yield {"say": "ended", "outcome": "completed", "errors": []}
            return 0
        folder.rewind()
        words = f"cell {seed}"
        folder.save(status="running", metadata={"architecture": words, "parameters": seed % 1000})
        yield {"say": "started", "trial": self.number, "pid": 1}
        for epoch in range(int((folder.run["latest"] or {"epochs": 0})["epochs"]) + 1, LENGTH + 1):
            yield {"say": "progress", "batches": 10 * epoch - 5, "total": 10 * LENGTH}
            if self.told_to_leave:
                return (yield from self._leave("stopped", 0))
            if script.word and script.word != "diverged" and epoch == script.at:
                return (yield from self._leave(script.word, 2))
            if self._dies(epoch, "training"):
                return script.code
            value = loss(seed, epoch)
            metrics = script.metrics(value)
            diverges = script.word == "diverged" and epoch >= script.at
            if diverges:
                metrics = dict.fromkeys(metrics, math.nan)
            counted = {**metrics, "epochs": epoch, "batches": 10 * epoch}
            folder.record("validation", 10 * epoch, counted)
            self.waits = True
            yield {"say": "validation", "metrics": counted}
            assert not self.waits
            if self._dies(epoch, "saving"):
                return script.code
            self._save(epoch, next((value for value in metrics.values() if isinstance(value, float)), None))
            if diverges and epoch < LENGTH:
                return (yield from self._leave("diverged", 1))
            if (self.stopped or self.told_to_leave) and epoch < LENGTH:
                return (yield from self._leave("stopped", 0))
        return (yield from self._leave("completed", 0))

    def _leave(self, outcome: str, code: int) -> Iterator[dict[str, Any]]:
        self.folder.save(status="pruned" if outcome == "stopped" and self.stopped else outcome)
        yield {"say": "ended", "outcome": outcome, "errors": list(self.script.errors)}
        return code

    def _dies(self, epoch: int, moment: str) -> bool:
        file = self.folder.path / f"deaths-{epoch}-{moment}"
        deaths = len(file.read_text()) if file.exists() else 0
        file.write_text("x" * (deaths + 1))
        return deaths < self.script.dies.get((epoch, moment), 0)

    def _save(self, epoch: int, value: float | None) -> None:
        place = self.folder.checkpoints / f"epoch-{epoch}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "weights").write_text(str(epoch))
        smaller = self.config["searcher"].get("smaller_is_better", True)
        self.folder.checkpoint_saved(place.name, 10 * epoch, epoch, value, smaller_is_better=smaller)


class FakePool:
    """What the engine asks of a pool. Notes what happens, in order, as (what, trial, ...)."""

    def __init__(self, scripts: Mapping[int, Script], order: random.Random) -> None:
        self.messages = self
        self.happened: list[tuple[Any, ...]] = []
        self.on: Callable[[tuple[Any, ...]], None] = lambda _: None
        self.closed = self.inside = False
        self._scripts, self._order, self._trials = scripts, order, dict[int, FakeTrial]()
        self._idle = 0

    @property
    def numbers(self) -> list[int]:
        return list(self._trials)

    def start(self, number: int, folder: Path, placement: Placement) -> None:
        assert number not in self._trials, "two processes for one trial"
        assert placement not in [each.placement for each in self._trials.values()], "two trials in one place"
        trial = self._trials[number] = FakeTrial(folder, placement, self._scripts.get(number, Script()))
        assert trial.number == number
        self._note("start", number, int((trial.folder.run["latest"] or {"epochs": 0})["epochs"]))

    def answer(self, number: int, *, stop: bool) -> None:
        trial = self._trials[number]
        assert trial.waits, "an answer to nobody"
        trial.waits, trial.stopped = False, stop
        self._note("answer", number, stop)

    def signal(self, number: int, sign: signal.Signals) -> None:
        self._note("signal", number, sign)
        if sign == signal.SIGKILL:
            self._trials[number].killed = True
        elif not self._trials[number].script.deaf:
            self._trials[number].told_to_leave = True

    def close(self) -> None:
        self.closed = True

    def get(self, timeout: float) -> tuple[int, dict[str, Any]]:
        """The queue of messages: one of the trials that are not waiting for an answer goes on."""
        ready = [trial for trial in self._trials.values() if not trial.waits or trial.killed]
        self._idle = 0 if ready else self._idle + 1
        assert self._idle < 5, "a trial waits for an answer that does not come"
        if not ready or self._order.random() < 0.05:
            raise queue.Empty
        trial = self._order.choice(ready)
        self.inside = True
        message = trial.act()
        self.inside = False
        if message["say"] == "exit":
            del self._trials[trial.number]
        self._note(message["say"], trial.number, message.get("metrics", message.get("code")))
        return trial.number, message

    def _note(self, *event: Any) -> None:
        self.happened.append(event)
        self.on(event)


class Search:
    """An experiment: engines run it one after another."""

    def __init__(
        self,
        folder: Path,
        searcher: Mapping[str, Any],
        scripts: Mapping[int, Script] | None = None,
        *,
        placements: int = 1,
        order: int = 0,
        storage: Any = None,
        sampler: str | None = None,
        space: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> None:
        self.folder, self.scripts, self.order, self.sampler = folder, scripts or {}, random.Random(order), sampler
        self.storage = InMemoryStorage() if storage is None else storage
        space = space or (GRID if searcher["name"] == "grid" else SPACE)
        self.config = {"searcher": {"metric": "loss", **searcher}, "hyperparameters": space, **more}
        self.placements = [Placement(f"CPU {i}", "cpu", (), 1) for i in range(placements)]
        self.pools: list[FakePool] = []
        self.console = Console(file=io.StringIO(), width=120)
        self.on: Callable[[tuple[Any, ...]], None] = lambda _: None
        folder.mkdir(exist_ok=True)
        self.new_engine()

    def copy(self, folder: Path, storage: Any) -> Search:
        """The same experiment, elsewhere."""
        section, space = self.config["searcher"], self.config["hyperparameters"]
        more = {name: self.config[name] for name in self.config.keys() - {"searcher", "hyperparameters"}}
        return Search(folder, section, self.scripts, storage=storage, sampler=self.sampler, space=space, **more)

    def new_engine(self) -> None:
        """Nothing is left but the storage and the folders."""
        self.store = StudyStore(self.storage, "study", self.config, SEED, self.sampler)  # type: ignore[arg-type]
        self.pool = FakePool(self.scripts, self.order)
        self.pools.append(self.pool)
        self.reporter = ConsoleReporter(self.console, self.folder / "log.txt", "epochs", LENGTH)
        self.engine = Engine(self.config, self.folder, self.store, self.pool, self.placements, self.reporter, {})  # type: ignore[arg-type]

    def run(self) -> bool:
        self.pool.on = self.on
        try:
            return self.engine.run()
        finally:
            assert self.pool.closed

    def go_on(self) -> bool:
        """Another engine takes over."""
        self.new_engine()
        return self.run()

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.store.trials()

    @property
    def ends(self) -> list[str | None]:
        """How each trial ended; None if it did not."""
        return [trial.user_attrs["outcome"] if trial.state.is_finished() else None for trial in self.trials]

    @property
    def drawn(self) -> list[tuple[Any, int]]:
        """Hyperparameters and seeds."""
        return [(trial.user_attrs["hyperparameters"], trial.user_attrs["seed"]) for trial in self.trials]

    @property
    def output(self) -> str:
        return self.console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    def happened(self, what: str, number: int | None = None) -> list[tuple[Any, ...]]:
        """Events of all engines so far."""
        events = itertools.chain.from_iterable(pool.happened for pool in self.pools)
        return [event for event in events if event[0] == what and number in (None, event[1])]

    def starts(self, number: int | None = None) -> list[tuple[int, int]]:
        """The trial of each process that was started, and the epoch from which it went on."""
        return [(trial, epoch) for _, trial, epoch in self.happened("start", number)]

    def checkpoints(self, number: int) -> set[int]:
        """The epochs whose checkpoints are there."""
        folder = self.folder / "trials" / str(number)
        names = {path.name for path in (folder / "checkpoints").glob("*")}
        listed = {entry["uuid"] for entry in RunFolder.open(folder)[0].run.get("checkpoints", [])}
        assert names == listed or (names > listed and self.ends[number] is None)
        return {int(name.removeprefix("epoch-")) for name in names}

    def contents(self) -> list[str]:
        """All that is known of the trials in the end; as text, in which a NaN equals itself.

        How often a trial was restarted is left out: a crash that an engine did not live to see counts for nothing.
        """
        rows = []
        for trial in self.trials:
            noted = {name: value for name, value in sorted(trial.user_attrs.items()) if name != "restarts"}
            known = json.dumps([trial.params, noted, trial.intermediate_values, trial.values])
            rows.append(f"{trial.number} {trial.state.name} {known}")
        return rows


def drawn(searcher: Mapping[str, Any], count: int) -> list[tuple[Any, int]]:
    """Hyperparameters and seeds of an experiment's first trials."""
    trials = TrialSampler(GRID, SEED, grid=True) if searcher["name"] == "grid" else TrialSampler(SPACE, SEED)
    return [(draw.hparams, draw.seed) for draw in itertools.islice(trials, count)]


Ends = list[tuple[str, dict[int, float]]]


def simulate(searcher: Mapping[str, Any], scripts: Mapping[int, Script], restarts: int = 5) -> Ends:
    """How each trial ends and what it reported, where one trains at a time."""
    total = {"grid": 6, "single": 1}.get(searcher["name"], searcher.get("max_trials", 0))
    rules = Reference({"metric": "loss", **searcher}) if "max_time" in searcher else None
    seeds = [seed for _, seed in drawn(searcher, total)]
    ends: Ends = []
    while len(ends) < (len(rules.bracket_of) if rules else total):
        number = len(ends)
        script, values, deaths = scripts.get(number, Script()), dict[int, float](), 0
        how = "completed"
        for epoch in range(1, LENGTH + 1):
            if script.word == "invalid" and script.at == epoch:
                how = "invalid"
                break
            deaths += script.dies.get((epoch, "training"), 0)
            if deaths > restarts:
                how = "error"
                break
            diverges = script.word == "diverged" and epoch >= script.at
            values[epoch] = math.nan if diverges else script.metrics(loss(seeds[number], epoch))["loss"]
            finite = values[epoch] if math.isfinite(values[epoch]) else FAILED_METRIC
            stop = rules is not None and rules.validation(number, epoch, finite)[0]
            if stop and epoch < LENGTH:
                how = "pruned"
                break
            deaths += script.dies.get((epoch, "saving"), 0)
            if deaths > restarts:
                how = "error"
                break
            if diverges and epoch < LENGTH:
                how = "diverged"
                break
        if how == "error" and rules is not None:
            rules.error(number)
        ends.append((how, values))
    return ends


ALWAYS = 99
TROUBLES = {
    0: Script(dies={(LENGTH, "saving"): 1}),
    1: Script(dies={(1, "training"): 1, (2, "saving"): 2}),
    2: Script(dies={(2, "training"): ALWAYS}, code=-9),
    3: Script(word="invalid", errors=("lr must be above 0",)),
    4: Script(metrics=lambda value: {"loss": math.nan if value > 0.2 else value}),
    5: Script(dies={(1, "saving"): 1}),
}
DIVERGING = {**TROUBLES, 0: Script(word="diverged", at=2), 6: Script(word="diverged", at=LENGTH)}


def values_of(trial: FrozenTrial) -> str:
    return str(sorted(trial.intermediate_values.items()))


def deaths(search: Search, number: int) -> int:
    """How many of a trial's processes ended without a word."""
    events = [event for pool in search.pools for event in pool.happened if event[1] == number]
    return sum(one[0] != "ended" and two[0] == "exit" for one, two in itertools.pairwise(events))


def interrupting(search: Search, after: int, signs: list[signal.Signals]) -> Callable[[tuple[Any, ...]], None]:
    """Sends signals to this process when so many validations have been reported."""

    def on(event: tuple[Any, ...]) -> None:
        if event[0] == "validation" and len(search.happened("validation")) == after:
            for sign in signs:
                signal.raise_signal(sign)

    return on


class Killed(BaseException):
    """Nothing catches it but the way out."""


KEEPING = {"checkpoint_storage": {"save_experiment_best": 2, "save_trial_best": 1, "save_trial_latest": 1}}


UNHEARD: dict[str, Callable[[float], dict[str, Any]]] = {
    "accuracy, perplexity": lambda value: {"perplexity": math.exp(value), "accuracy": 0.5},
    "f1, loss": lambda value: {"loss": str(value), "f1": 0.5},
    "loss": lambda _: {"loss": None},
    "nothing": lambda _: {},
}
