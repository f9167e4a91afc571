"""The loop of a search, over trials that only pretend to train: it keeps its rules, and a kill at any moment changes nothing.

`FakeCrew` stands where processes are started. What its trials do is a function of their seeds and of a script, their folders
are real ones, and the order in which several are heard is drawn: a search is the same however often it is run.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import os
import pickle
import queue
import random
import re
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from support.asha_reference import FAILED_METRIC, Reference

from nas.config import load as configs
from nas.config.rules import refusals
from nas.config.search_space import TrialSampler, searched
from nas.core.fields import ConfigError
from nas.engine import console as screens
from nas.engine import workers
from nas.engine.console import ConsoleReporter
from nas.engine.engine import Engine
from nas.engine.pruner import read
from nas.engine.study_store import Record
from nas.engine.workers import Placement
from nas.results import summary as closing
from nas.runs import run_folder
from nas.runs.retention import retained
from nas.runs.run_folder import RetentionPolicy, RunFolder

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


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In memory where that is possible: these tests write some ten thousand small files."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


class Json:
    """Stands in for ruamel's YAML: JSON is YAML, and read a hundred times as fast."""

    def __init__(self, **_: Any) -> None:
        self.load = json.loads


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the disk: nobody cuts the power here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(run_folder, "YAML", Json)
    monkeypatch.setattr(run_folder, "dump", json.dumps)


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
    why: tuple[str, ...] = ()
    metrics: Callable[[float], dict[str, Any]] = lambda value: {"loss": value}
    deaf: bool = False
    """It hears no signal but the one that kills."""


class FakeTrial:
    """The process of one trial, which does a little whenever it is asked to."""

    def __init__(self, folder: Path, seat: Placement, script: Script) -> None:
        self.number, self.seat, self.script = int(folder.name), seat, script
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
            yield {"say": "ended", "how": "completed", "why": []}
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

    def _leave(self, how: str, code: int) -> Iterator[dict[str, Any]]:
        self.folder.save(status="pruned" if how == "stopped" and self.stopped else how)
        yield {"say": "ended", "how": how, "why": list(self.script.why)}
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


class FakeCrew:
    """What the engine asks of a crew. Notes what happens, in order, as (what, trial, ...)."""

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

    def start(self, number: int, folder: Path, seat: Placement) -> None:
        assert number not in self._trials, "two processes for one trial"
        assert seat not in [each.seat for each in self._trials.values()], "two trials in one place"
        trial = self._trials[number] = FakeTrial(folder, seat, self._scripts.get(number, Script()))
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
        self.crews: list[FakeCrew] = []
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
        self.record = Record(self.storage, "study", self.config, SEED, self.sampler)  # type: ignore[arg-type]
        self.crew = FakeCrew(self.scripts, self.order)
        self.crews.append(self.crew)
        self.screen = ConsoleReporter(self.console, self.folder / "log.txt", "epochs", LENGTH)
        self.engine = Engine(self.config, self.folder, self.record, self.crew, self.placements, self.screen, {})  # type: ignore[arg-type]

    def run(self) -> bool:
        self.crew.on = self.on
        try:
            return self.engine.run()
        finally:
            assert self.crew.closed

    def go_on(self) -> bool:
        """Another engine takes over."""
        self.new_engine()
        return self.run()

    @property
    def trials(self) -> list[FrozenTrial]:
        return self.record.all()

    @property
    def ends(self) -> list[str | None]:
        """How each trial ended; None if it did not."""
        return [trial.user_attrs["ended"] if trial.state.is_finished() else None for trial in self.trials]

    @property
    def drawn(self) -> list[tuple[Any, int]]:
        """Hyperparameters and seeds."""
        return [(trial.user_attrs["hyperparameters"], trial.user_attrs["seed"]) for trial in self.trials]

    @property
    def output(self) -> str:
        return self.console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    def happened(self, what: str, number: int | None = None) -> list[tuple[Any, ...]]:
        """Events of all engines so far."""
        events = itertools.chain.from_iterable(crew.happened for crew in self.crews)
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
    3: Script(word="invalid", why=("lr must be above 0",)),
    4: Script(metrics=lambda value: {"loss": math.nan if value > 0.2 else value}),
    5: Script(dies={(1, "saving"): 1}),
}
DIVERGING = {**TROUBLES, 0: Script(word="diverged", at=2), 6: Script(word="diverged", at=LENGTH)}


def values_of(trial: FrozenTrial) -> str:
    return str(sorted(trial.intermediate_values.items()))


# A search keeps its rules


@pytest.mark.parametrize("scripts", [{}, TROUBLES], ids=["smooth", "troubles"])
@pytest.mark.parametrize("searcher", SEARCHERS, ids=lambda searcher: searcher["name"])
def test_one_at_a_time_trials_are_trained_and_end_as_the_rules_say(
    tmp_path: Path, searcher: dict[str, Any], scripts: dict[int, Script]
) -> None:
    if searcher == RANDOM and scripts:
        scripts = DIVERGING
    search = Search(tmp_path, searcher, scripts)
    assert search.run() is True
    expected = simulate(searcher, scripts)
    assert search.ends == [how for how, _ in expected]
    assert list(map(values_of, search.trials)) == [str(sorted(values.items())) for _, values in expected]
    assert search.drawn == drawn(searcher, len(expected))
    for trial in search.trials:
        run, _ = RunFolder.open(search.engine.path(trial.number))
        assert (run.run["hyperparameters"], run.run["seed"]) == search.drawn[trial.number]
        assert run.run["ended"] == trial.user_attrs["ended"]
    assert [number for number, _ in search.starts()] == sorted(number for number, _ in search.starts())


def test_the_troubles_come_in_every_kind() -> None:
    """What the tests above and below go through."""
    assert {how for how, _ in simulate(ASHA, TROUBLES)} == {"completed", "pruned", "error", "invalid"}
    assert {how for how, _ in simulate(RANDOM, DIVERGING)} == {"completed", "error", "invalid", "diverged"}
    told = itertools.chain.from_iterable(values.values() for _, values in simulate(ASHA, TROUBLES))
    assert any(map(math.isnan, told))


@pytest.mark.parametrize("order", range(4))
@pytest.mark.parametrize("placements", [2, 3])
def test_several_at_once_are_decided_on_in_the_order_in_which_they_report(
    tmp_path: Path, placements: int, order: int
) -> None:
    """The crew sees to it that no place is taken twice, and no trial has two processes."""
    search = Search(tmp_path, ASHA, TROUBLES, placements=placements, order=order)
    rules, most = Reference({"metric": "loss", **ASHA}), 0
    judged: set[tuple[int, int]] = set()
    stopped: set[int] = set()

    def judge(event: tuple[Any, ...]) -> None:
        nonlocal most
        most = max(most, len(search.crew.numbers))
        what, number, *rest = event
        if what == "validation" and (number, rest[0]["epochs"]) not in judged:
            judged.add((number, rest[0]["epochs"]))
            value = rest[0]["loss"]
            if rules.validation(number, rest[0]["epochs"], value if math.isfinite(value) else FAILED_METRIC)[0]:
                stopped.add(number)
        elif what == "answer":
            assert rest[0] is (number in stopped)
        elif what == "exit" and deaths(search, number) > 5 and number not in stopped:
            rules.error(number)

    search.on = judge
    assert search.run() is True
    assert most == placements
    assert [trial.user_attrs["bracket"] for trial in search.trials] == rules.bracket_of
    assert None not in search.ends and search.ends.count("invalid") == 1
    assert search.drawn == drawn(ASHA, len(rules.bracket_of))
    begun = list(dict.fromkeys(number for number, _ in search.starts()))
    assert begun == sorted(begun)


def deaths(search: Search, number: int) -> int:
    """How many of a trial's processes ended without a word."""
    events = [event for crew in search.crews for event in crew.happened if event[1] == number]
    return sum(one[0] != "ended" and two[0] == "exit" for one, two in itertools.pairwise(events))


# A kill at any moment


class Killed(BaseException):
    """Nothing catches it but the way out."""


@dataclass
class Snapshot:
    """What a kill would leave."""

    storage: bytes
    files: dict[Path, bytes | None]
    ended: set[int]
    stopping: set[int]
    """Trials that were told to stop, and had not ended yet."""

    def restore(self, folder: Path, like: Search) -> Search:
        folder.mkdir()
        for path, content in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).mkdir(exist_ok=True) if content is None else (folder / path).write_bytes(content)
        return like.copy(folder, storage=pickle.loads(self.storage))


WRITES = ("create_new_trial", "set_trial_state_values", "set_trial_intermediate_value", "set_trial_user_attr")


def watch(search: Search, patch: pytest.MonkeyPatch, each: Callable[[], None]) -> None:
    """Call `each` before and after everything that the engine, not its trials, writes."""

    def watched(write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            if search.crew.inside:
                return write(*arguments, **named)
            each()
            result = write(*arguments, **named)
            each()
            return result

        return call

    for name in WRITES:
        patch.setattr(search.record.storage, name, watched(getattr(search.record.storage, name)))
    patch.setattr(RunFolder, "save", watched(RunFolder.save))


def snapshots(search: Search, wanted: Callable[[], bool] = lambda: True) -> list[Snapshot]:
    """Run the search to its end; returns what a kill before or after each write would have left."""
    taken: list[Snapshot] = []

    def take() -> None:
        if not wanted():
            return
        state = search.storage.__getstate__()  # type: ignore[no-untyped-call]
        storage = InMemoryStorage.__new__(InMemoryStorage)
        storage.__setstate__({name: value for name, value in state.items() if name not in WRITES})
        paths = sorted(search.folder.rglob("*"))
        files = {path.relative_to(search.folder): path.read_bytes() if path.is_file() else None for path in paths}
        ended = {trial.number for trial in search.trials if trial.state.is_finished()}
        stopping = {trial.number for trial in search.trials if read(trial)[0].stopped} - ended
        snapshot = Snapshot(pickle.dumps(storage), files, ended, stopping)
        if not taken or snapshot != taken[-1]:
            taken.append(snapshot)

    with pytest.MonkeyPatch.context() as patch:
        watch(search, patch, take)
        assert search.run() is True
    return taken


KEEPING = {"checkpoint_storage": {"save_experiment_best": 2, "save_trial_best": 1, "save_trial_latest": 1}}


@pytest.mark.parametrize(
    ("searcher", "scripts", "step"),
    [
        ({**ASHA, "max_trials": 6}, TROUBLES, 1),
        (RANDOM, DIVERGING, 3),
        ({"name": "grid", "max_concurrent_trials": 2}, {}, 13),
    ],
    ids=["adaptive_asha", "random", "grid"],
)
def test_a_kill_before_or_after_any_write_changes_nothing(
    tmp_path: Path, searcher: dict[str, Any], scripts: dict[int, Script], step: int
) -> None:
    straight = Search(tmp_path / "straight", searcher, scripts, max_restarts=3, **KEEPING)
    taken = snapshots(straight)
    assert len(taken) > 90
    kept = [straight.checkpoints(trial.number) for trial in straight.trials]
    for i, snapshot in list(enumerate(taken))[::step]:
        search = snapshot.restore(tmp_path / str(i), straight)
        assert search.run() is True, i
        assert search.contents() == straight.contents(), i
        started = {number for number, _ in search.starts()}
        assert not started & snapshot.ended, i
        for number in range(len(kept)):
            # Who was told to stop is not started again for the checkpoint that a kill may have cost it.
            assert search.checkpoints(number) == kept[number] or number in snapshot.stopping - started, i


def test_an_engine_that_is_killed_again_and_again_comes_to_the_same_end(tmp_path: Path) -> None:
    """With a database in a file, as it is; each engine comes a few writes further than the one before."""
    searcher = {**ASHA, "max_trials": 5, "max_concurrent_trials": 3}
    straight = Search(tmp_path / "straight", searcher, TROUBLES)
    assert straight.run() is True
    (tmp_path / "killed").mkdir()
    search = Search(tmp_path / "killed", searcher, TROUBLES, storage=f"sqlite:///{tmp_path / 'study.db'}")
    choose, kills, left = random.Random(0), 0, 0

    def count() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    while True:
        left = choose.randint(20, 45)
        with pytest.MonkeyPatch.context() as patch:
            watch(search, patch, count)
            try:
                assert search.run() is True
                break
            except Killed:
                kills += 1
        search.new_engine()
    assert kills > 3
    assert search.contents() == straight.contents()


@pytest.mark.parametrize("order", range(6))
def test_several_at_once_are_all_trained_once_however_often_the_engine_is_killed(tmp_path: Path, order: int) -> None:
    search = Search(tmp_path, {**ASHA, "max_trials": 12}, TROUBLES, placements=3, order=order)
    search.config["max_restarts"] = 3
    choose, ended = random.Random(order), dict[int, str]()

    def perhaps_die(event: tuple[Any, ...]) -> None:
        if choose.random() < 0.04:
            raise Killed

    search.on = perhaps_die
    while True:
        already = {number for number, how in enumerate(search.ends) if how}
        with contextlib.suppress(Killed):
            assert search.run() is True
            break
        assert not already & {event[1] for event in search.crew.happened if event[0] == "start"}
        assert ended.items() <= {number: how for number, how in enumerate(search.ends) if how}.items()
        ended = {number: how for number, how in enumerate(search.ends) if how}
        search.new_engine()
    assert len(search.crews) > 2
    assert search.drawn == drawn(ASHA, len(search.trials)) and len(search.trials) in (11, 12)  # one is invalid
    for trial in search.trials:
        seed, epochs = trial.user_attrs["seed"], sorted(trial.intermediate_values)
        assert epochs == list(range(1, len(epochs) + 1))
        if trial.number != 4:
            assert trial.intermediate_values == {epoch: loss(seed, epoch) for epoch in epochs}
        assert (trial.user_attrs["ended"] == "completed") == (len(epochs) == LENGTH)


def test_a_sampler_draws_what_it_would_have_drawn_without_a_kill(tmp_path: Path) -> None:
    """It looks at the trials that have ended; a stop makes room before its trial has ended, and so it must after a kill."""
    searcher = {**ASHA, "max_trials": 18}
    straight = Search(tmp_path / "straight", searcher, sampler="tpe")
    taken = snapshots(
        straight, lambda: len(straight.trials) > 12 and bool(straight.engine.record.searcher.missing(straight.trials))
    )
    assert len(taken) > 3
    assert not any(one == other for one, other in zip(straight.drawn, drawn(searcher, 18), strict=True))
    for i, snapshot in enumerate(taken):
        search = snapshot.restore(tmp_path / str(i), straight)
        assert search.run() is True, i
        assert search.contents() == straight.contents(), i


# Trials that fail


def test_a_trial_that_crashes_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    search = Search(tmp_path, RANDOM, {2: Script(dies={(2, "training"): 2, (4, "saving"): 3})})
    assert search.run() is True
    assert [epoch for _, epoch in search.starts(2)] == [0, 1, 1, 3, 3, 3]
    assert set(search.ends) == {"completed"}
    assert search.trials[2].user_attrs["restarts"] == 5
    assert "trial 2 failed: exit status 1; restart 5 of 5" in search.output
    assert search.output.count("trial 2 goes on from epoch") == 5


@pytest.mark.parametrize(("restarts", "allowed"), [({}, 5), ({"max_restarts": None}, 5), ({"max_restarts": 0}, 0)])
def test_a_trial_that_always_crashes_is_given_up_after_the_restarts_it_is_allowed(
    tmp_path: Path, restarts: dict[str, Any], allowed: int
) -> None:
    search = Search(tmp_path, ASHA, {1: Script(dies={(1, "training"): ALWAYS}, code=-9)}, **restarts)
    assert search.run() is True
    assert len(search.starts(1)) == allowed + 1
    assert search.ends[1] == "error" and search.ends.count("error") == 1
    assert len(search.trials) == 9, "another one takes its place"
    why = "killed by SIGKILL (out of memory?)"
    assert search.trials[1].user_attrs["why"] == [why]
    assert f"trial 1 failed: {why}; no restarts left; see {tmp_path / 'trials' / '1' / 'log.txt'}" in search.output


def test_restarts_are_counted_over_the_death_of_an_engine(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {0: Script(dies={(2, "training"): ALWAYS})})

    def die_at_the_third_start(_: tuple[Any, ...]) -> None:
        if len(search.starts()) == 3:
            raise Killed

    search.on = die_at_the_third_start
    with pytest.raises(Killed):
        search.run()
    search.on = lambda _: None
    assert search.go_on() is True
    assert search.ends == ["error"]
    assert deaths(search, 0) == 1 + 5
    assert len(search.starts()) == 1 + 5 + 1, "the engine died before the third of them did"


def test_a_trial_that_somebody_else_stops_goes_on(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {})

    def terminate(event: tuple[Any, ...]) -> None:
        if event[0] == "validation" and len(search.starts()) == 1:
            search.crew.signal(0, signal.SIGTERM)

    search.on = terminate
    assert search.run() is True
    assert search.starts() == [(0, 0), (0, 1)] and search.ends == ["completed"]
    assert "trial 0 failed: stopped by a signal; restart 1 of 5" in search.output


@pytest.mark.parametrize("searcher", [ASHA, RANDOM], ids=lambda searcher: searcher["name"])
def test_invalid_hyperparameters_are_not_tried_again(tmp_path: Path, searcher: dict[str, Any]) -> None:
    search = Search(tmp_path, searcher, {1: Script(word="invalid", why=("lr must be above 0, got -1",))})
    assert search.run() is True
    assert len(search.starts(1)) == 1 and search.ends[1] == "invalid"
    assert search.trials[1].user_attrs["why"] == ["lr must be above 0, got -1"]
    assert "trial 1 has invalid hyperparameters (lr must be above 0, got -1)" in search.output
    assert len(search.trials) == len(simulate(searcher, search.scripts))


# What is wrong for all trials


@pytest.mark.parametrize("placements", [1, 3])
@pytest.mark.parametrize(
    ("word", "why"), [("data", "folder /data has no train.txt"), ("disk", "No space left on device")]
)
def test_what_no_other_trial_would_do_better_stops_the_search_until_it_is_mended(
    tmp_path: Path, word: str, why: str, placements: int
) -> None:
    search = Search(tmp_path, RANDOM, {1: Script(word=word, at=2, why=(why,))}, placements=placements, order=3)
    with pytest.raises(ConfigError) as caught:
        search.run()
    assert caught.value.problems == [f"trial 1: {why}"]
    begun = {number for number, _ in search.starts()}
    running = [number for number in sorted(begun) if search.ends[number] is None]
    assert 1 in running and search.crew.numbers == []
    assert [trial.number for trial in search.trials if trial.state == TrialState.RUNNING] == running
    told = [number for _, number, sign in search.happened("signal") if sign == signal.SIGTERM]
    assert len(told) == len(set(told)) == placements - 1 and {1, *told} >= set(running)
    search.scripts = {}
    assert search.go_on() is True
    assert search.ends == ["completed"] * 7
    assert sorted(number for number, epoch in search.starts() if epoch == 0) == list(range(7))
    for trial in search.trials:
        assert trial.intermediate_values == {epoch: loss(trial.user_attrs["seed"], epoch) for epoch in range(1, 5)}


def test_the_first_to_complain_is_the_one_that_is_told_about(tmp_path: Path) -> None:
    complaining = {number: Script(word="data", why=(f"{number}.txt is missing",), deaf=True) for number in range(3)}
    search = Search(tmp_path, RANDOM, complaining, placements=3)
    with pytest.raises(ConfigError) as caught:
        search.run()
    complaints = [number for what, number, _ in search.crew.happened if what == "exit" and search.ends[number] is None]
    assert len(complaints) == 3
    first = complaints[0]
    assert caught.value.problems == [f"trial {first}: {first}.txt is missing"]


UNHEARD: dict[str, Callable[[float], dict[str, Any]]] = {
    "accuracy, perplexity": lambda value: {"perplexity": math.exp(value), "accuracy": 0.5},
    "f1, loss": lambda value: {"loss": str(value), "f1": 0.5},
    "loss": lambda _: {"loss": None},
    "nothing": lambda _: {},
}


@pytest.mark.parametrize("reported", UNHEARD)
@pytest.mark.parametrize("searcher", [RANDOM, ASHA], ids=lambda searcher: searcher["name"])
def test_a_metric_that_is_not_reported_stops_the_search(
    tmp_path: Path, searcher: dict[str, Any], reported: str
) -> None:
    search = Search(tmp_path, searcher, {2: Script(metrics=UNHEARD[reported])}, placements=3, order=1)
    problem = f"searcher.metric 'loss' is not reported by the trial; it reports {reported}"
    for engine in (search.run, search.go_on):
        with pytest.raises(ConfigError) as caught:
            engine()
        assert caught.value.problems == [problem]
        assert search.ends[2] is None and search.crew.numbers == []
    assert search.trials[2].intermediate_values == {}


def test_a_crash_on_a_full_disk_stops_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(tmp_path, RANDOM, {0: Script(dies={(2, "saving"): 1})})
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="disk full") as caught:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
        search.run()
    assert str(tmp_path / "trials") in str(caught.value) and "restarts" not in search.trials[0].user_attrs
    assert search.go_on() is True
    assert set(search.ends) == {"completed"}


def test_a_single_trial_that_holds_nothing_out_trains_to_its_end(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {0: Script(metrics=UNHEARD["nothing"])})
    assert search.run() is True
    assert search.ends == ["completed"] and search.record.leaderboard() == []
    assert search.starts() == [(0, 0)]


# Somebody interrupts it


def interrupting(search: Search, after: int, signs: list[signal.Signals]) -> Callable[[tuple[Any, ...]], None]:
    """Sends signals to this process when so many validations have been reported."""

    def on(event: tuple[Any, ...]) -> None:
        if event[0] == "validation" and len(search.happened("validation")) == after:
            for sign in signs:
                signal.raise_signal(sign)

    return on


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [1, 3, 4, 5, 9])
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(tmp_path: Path, after: int, sign: signal.Signals) -> None:
    straight = Search(tmp_path / "straight", ASHA, TROUBLES, **KEEPING)
    assert straight.run() is True
    search = Search(tmp_path / "again", ASHA, TROUBLES, **KEEPING)
    search.on = interrupting(search, after, [sign])
    before = signal.getsignal(sign)
    assert search.run() is False
    assert signal.getsignal(sign) == before
    happened = [event[0] for event in search.crew.happened]
    assert "start" not in happened[happened.index("signal") :] and search.crew.numbers == []
    assert "stopping: each trial writes a checkpoint first" in search.output
    assert search.go_on() is True
    assert search.contents() == straight.contents()
    assert [search.checkpoints(n) for n in range(9)] == [straight.checkpoints(n) for n in range(9)]


def test_an_interrupt_asks_each_trial_once_and_leaves_them_as_running(tmp_path: Path) -> None:
    search = Search(tmp_path, RANDOM, placements=3)
    search.on = interrupting(search, 5, [signal.SIGINT])
    assert search.run() is False
    running = [trial.number for trial in search.trials if trial.state == TrialState.RUNNING]
    assert len(running) == 3
    assert sorted(search.happened("signal")) == [("signal", number, signal.SIGTERM) for number in running]
    stopped_at = {}
    for number in running:
        folder, _ = RunFolder.open(search.engine.path(number))
        stopped_at[number] = folder.run["latest"]["epochs"]
        assert search.trials[number].last_step == stopped_at[number]
    assert search.go_on() is True
    assert {number: search.starts(number)[-1][1] for number in running} == stopped_at
    assert set(search.ends) == {"completed"}


def test_a_second_interrupt_kills(tmp_path: Path) -> None:
    straight = Search(tmp_path / "straight", ASHA)
    assert straight.run() is True
    search = Search(tmp_path / "again", ASHA)
    search.on = interrupting(search, 3, [signal.SIGINT, signal.SIGINT])
    assert search.run() is False
    assert [event[2] for event in search.happened("signal")] == [signal.SIGTERM, signal.SIGKILL]
    assert search.happened("exit")[-1][2] == -9 and search.ends[0] is None
    assert search.go_on() is True
    assert search.contents() == straight.contents()


def test_a_trial_that_missed_the_signal_is_stopped_by_the_next_answer(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "single"}, {0: Script(deaf=True)})
    search.on = interrupting(search, 2, [signal.SIGINT])
    assert search.run() is False
    assert search.trials[0].last_step == 2 and search.trials[0].state == TrialState.RUNNING
    assert search.go_on() is True
    assert search.starts() == [(0, 0), (0, 2)]


# Checkpoints


@pytest.mark.parametrize("smaller_is_better", [True, False])
@pytest.mark.parametrize(
    ("best", "latest", "of_all"), [(1, 1, 0), (0, 0, 0), (0, 0, 3), (2, 0, 1), (1, 3, 5), (0, 1, 2)]
)
def test_checkpoints_that_stay_are_those_that_the_config_asks_for(
    tmp_path: Path, best: int, latest: int, of_all: int, smaller_is_better: bool
) -> None:
    storage = {"save_trial_best": best, "save_trial_latest": latest, "save_experiment_best": of_all}
    section = {**RANDOM, "smaller_is_better": smaller_is_better}
    scripts = {**TROUBLES, 4: Script()}
    search = Search(tmp_path, section, scripts, placements=2, checkpoint_storage=storage)
    search.on = interrupting(search, 13, [signal.SIGINT])
    assert search.run() is False
    check_checkpoints(search, best, latest, of_all, smaller_is_better)
    running = [trial.number for trial in search.trials if trial.state == TrialState.RUNNING]
    assert len(running) == 2
    for number in running:
        assert max(search.checkpoints(number)) == max(search.trials[number].intermediate_values)
    assert search.go_on() is True
    check_checkpoints(search, best, latest, of_all, smaller_is_better)


def check_checkpoints(search: Search, best: int, latest: int, of_all: int, smaller_is_better: bool) -> None:
    """Every checkpoint of every ended trial is held against the rule on its own."""
    sign = 1 if smaller_is_better else -1
    saved = {
        trial.number: {epoch: sign * value for epoch, value in trial.intermediate_values.items()}
        for trial in search.trials
        if trial.state.is_finished()
    }
    everything = [value for values in saved.values() for value in values.values()]
    assert len(everything) > 7
    for number, values in saved.items():
        stay = set()
        for epoch, value in values.items():
            better = sum(other < value for other in values.values())
            better_of_all = sum(other < value for other in everything)
            later = sum(other > epoch for other in values)
            if better < best or better_of_all < of_all or later < latest:
                stay.add(epoch)
        assert search.checkpoints(number) == stay


def test_a_checkpoint_whose_metric_is_not_a_number_is_never_the_best() -> None:
    entries = [{"uuid": str(i), "value": value} for i, value in enumerate([0.5, math.nan, 0.3, -math.inf, None])]
    for smaller, best in ((True, "2"), (False, "0")):
        assert retained({3: entries}, RetentionPolicy(best=1, latest=0), smaller_is_better=smaller) == {3: {best}}


# What comes after


@pytest.mark.parametrize(
    ("entrypoint", "asks_for_test"), [("python3 model_def.py", True), ("python3 train.py --fast", False)]
)
@pytest.mark.parametrize("searcher", [ASHA, {**RANDOM, "smaller_is_better": False}], ids=["asha", "random"])
def test_the_best_architecture_can_be_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, searcher: dict[str, Any], entrypoint: str, asks_for_test: bool
) -> None:
    monkeypatch.setattr(closing.curves, "draw", lambda *_, **__: True)
    more = {"name": "tiny", "entrypoint": entrypoint, "max_restarts": 2, "data": {"corpus": "text"}}
    search = Search(tmp_path, searcher, placements=2, **more)
    assert search.run() is True
    search.record.url = "sqlite:///study.db"
    closing.close(search.console, search.config, tmp_path, search.record, "epochs", LENGTH)
    config = configs.load(tmp_path / "best.yaml")
    assert refusals(config) == [] and searched(config["hyperparameters"]) == {}
    smaller = searcher.get("smaller_is_better", True)
    best = (min if smaller else max)(
        (value, trial.number) for trial in search.trials for value in trial.intermediate_values.values()
    )[1]
    expected = {**search.drawn[best][0], "train_epochs": LENGTH, **({"evaluate_test": True} if asks_for_test else {})}
    assert config["hyperparameters"] == expected
    same = {"metric": "loss", **({} if smaller else {"smaller_is_better": False})}
    assert config["searcher"] == {"name": "single", **same}
    assert config["name"] == "tiny-best"
    assert all(config[name] == more[name] for name in ("entrypoint", "max_restarts", "data"))
    again = Search(tmp_path / "again", config["searcher"], space=config["hyperparameters"])
    assert again.run() is True and again.ends == ["completed"]
    words = " ".join(search.output.split())
    assert f"nas run {tmp_path / 'best.yaml'}" in words
    for how, word in (("completed", "completed"), ("pruned", "stopped early")):
        count = search.ends.count(how)
        assert (f"{count} {word}" in words) == (count > 0)


# Places to train at


@given(
    device=st.sampled_from(["cpu", "cuda", "mps"]),
    gpus=st.integers(1, 9),
    slots=st.integers(1, 4),
    asked=st.none() | st.integers(1, 12),
    most=st.integers(1, 12),
    cores=st.integers(1, 64),
)
def test_places_share_devices_and_threads(
    device: str, gpus: int, slots: int, asked: int | None, most: int, cores: int
) -> None:
    names = [f"GPU-{chr(ord('a') + i)}" for i in range(max(gpus, slots))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "cpus", lambda: cores)
        places = workers.placements(device, names if device == "cuda" else [], slots, asked, most)
    groups = len(names) // slots if device == "cuda" else 1
    assert len(places) == (asked or min(groups, most))
    assert len(set(places)) == len(places) or len(places) > groups
    assert {place.device for place in places} == {device}
    threads = {place.threads for place in places}
    assert threads == {max(1, cores // (len(places) * slots))}
    used = Counter(name for place in places for name in place.visible)
    if device != "cuda":
        assert not used
        return
    assert all(len(set(place.visible)) == slots for place in places)
    assert set(used) <= set(names)
    assert max(used.values()) == math.ceil(len(places) / groups)  # one each, while there are enough
    assert min(used.values()) >= len(places) // groups


# What a person sees


class Clock:
    """Ten seconds pass whenever a trial has validated."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0
        known = SimpleNamespace(monotonic=lambda: time.monotonic() + self.passed, strftime=time.strftime)
        monkeypatch.setattr(screens, "time", known)

    def tick(self, event: tuple[Any, ...]) -> None:
        self.passed += 10 * (event[0] == "answer")


class Watched(ConsoleReporter):
    """Notes what the table shows each time, as text."""

    shown: list[str]

    def update(self, engine: Engine) -> None:
        super().update(engine)
        if self._live is not None:
            plain = Console(file=io.StringIO(), width=100)
            plain.print(self._live.get_renderable())
            self.shown.append(plain.file.getvalue())  # type: ignore[attr-defined]


def watch_screen(search: Search, terminal: bool) -> Watched:
    search.console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
    screen = Watched(search.console, search.folder / "log.txt", "epochs", LENGTH)
    screen.shown = []
    search.engine._screen = search.screen = screen
    return screen


def test_in_a_terminal_a_table_shows_what_every_trial_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    search = Search(tmp_path, HALVING, TROUBLES, placements=2)
    screen = watch_screen(search, terminal=True)
    search.on = clock.tick
    with screen:
        assert search.run() is True
    halfway = next(text for text in screen.shown if "completed" in text)
    rows = [line.split() for line in halfway.splitlines()]
    assert rows[0] == ["trial", "architecture", "epochs", "loss", "rung", "on", "time"]
    assert any(row[:2] == ["best", "architecture"] for row in rows)
    seen: set[tuple[str, str]] = set()
    for text in screen.shown:
        lines = [line.split() for line in text.split("best")[0].splitlines()[1:] if line.strip()]
        for number, *words in lines:
            trial = search.trials[int(number)]
            assert words[-2:-1][0] in ("0", "1") and words[-3] == "CPU" and re.fullmatch(r"\d:\d\d:\d\d", words[-1])
            rung = words[-4]
            assert re.fullmatch(r"[0-3]/3", rung)
            seen.add((number, rung))
            if words[:2] == ["cell", str(trial.user_attrs["seed"])] and len(words) == 8:
                epoch, value = float(words[2]), float(words[3])
                values = list(trial.intermediate_values.values())
                assert 0 < epoch <= LENGTH and any(
                    value == pytest.approx(each, rel=1e-4, nan_ok=True) for each in values
                )
    assert {rung for number, rung in seen if number == "0"} >= {"0/3", "1/3", "2/3"}
    leaders = [line.split() for line in screen.shown[-1].split("best", 1)[1].splitlines()[1:6]]
    assert [int(row[0]) for row in leaders[:3]] == [trial.number for trial in search.record.leaderboard()[:3]]
    assert re.search(r"\d of 9 trials ended, 0:0\d:\d\d, about \d:\d\d:\d\d left", screen.shown[-1])
    assert "trial 1 failed: exit status 1; restart 1 of 5" in search.output


def test_elsewhere_lines_say_what_happens(tmp_path: Path) -> None:
    search = Search(tmp_path, {"name": "random", "max_trials": 2})
    screen = watch_screen(search, terminal=False)
    with screen:
        assert search.run() is True
    expected = []
    for number, (hparams, seed) in enumerate(drawn(RANDOM, 2)):
        values = [f"{loss(seed, epoch):.5g}" for epoch in range(1, LENGTH + 1)]
        expected += [
            f"trial {number} starts on CPU 0: lr {hparams['lr']:.5g}",
            f"trial {number} after 1 epoch: {values[0]}",
        ]
        expected += [f"trial {number} after {epoch} epochs: {values[epoch - 1]}" for epoch in range(2, LENGTH + 1)]
        expected += [f"trial {number} completed after {LENGTH} epochs: {values[-1]}"]
    assert search.output.splitlines() == expected and screen.shown == []
    log = (tmp_path / "log.txt").read_text().splitlines()
    assert [line[20:] for line in log] == expected
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in log)


LEFT = re.compile(r"(\d+) of (\d+) trials ended, .*, about (\d+):(\d\d):(\d\d) left")


def seconds_left(screen: Watched) -> list[tuple[int, int]]:
    """The trials that had ended, and the seconds left, each time the table said so."""
    told = [match.groups() for text in screen.shown if (match := LEFT.search(text))]
    return [(int(ended), 3600 * int(hours) + 60 * int(minutes) + int(rest)) for ended, _, hours, minutes, rest in told]


@pytest.mark.parametrize("placements", [1, 3])
@pytest.mark.parametrize(("searcher", "scripts"), [(RANDOM, {}), (ASHA, TROUBLES), (RANDOM, DIVERGING)])
def test_the_time_that_is_left_is_told_and_shrinks_to_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    searcher: dict[str, Any],
    scripts: dict[int, Script],
    placements: int,
) -> None:
    clock = Clock(monkeypatch)
    search = Search(tmp_path, searcher, scripts, placements=placements)
    screen = watch_screen(search, terminal=True)
    search.on = clock.tick
    with screen:
        assert search.run() is True
    told = seconds_left(screen)
    assert len(told) > 15
    assert not [text for text in screen.shown if "day" in text]  # that would be less than nothing
    for ended, left in told if not scripts else []:
        if ended >= 2:  # each of 7 trials takes 40 seconds
            assert 40 * (7 - ended - placements) * 0.7 - 10 <= left <= 40 * (7 - ended) * 1.3
    assert told[-1][1] <= 20 or scripts


def test_the_time_that_is_left_is_told_at_the_pace_of_this_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was trained before it started took it no time."""
    search = Search(tmp_path, RANDOM)
    search.on = interrupting(search, 14, [signal.SIGINT])
    assert search.run() is False
    clock = Clock(monkeypatch)
    search.new_engine()
    screen = watch_screen(search, terminal=True)
    search.on = clock.tick
    with screen:
        assert search.run() is True
    told = seconds_left(screen)
    assert told[0][0] == 3
    assert all(abs(left - 40 * (7 - ended)) < 60 for ended, left in told if ended > 3)
