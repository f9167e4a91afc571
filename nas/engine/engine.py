"""The loop of a search on this machine: trials report, the searcher decides, free placements get the next trials.

Every decision is in the study, or in a trial's folder, before anybody acts on it. So the engine, or any of its trials, can be
killed at any moment; `Engine.run` on the same study goes on.
"""

from __future__ import annotations

import queue
import signal
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from nas.core.errors import ConfigError
from nas.core.files import free_bytes
from nas.core.signals import describe_status, handling_stops, leave_closed_terminal
from nas.engine.placement import Placement
from nas.engine.rebuilding import read_begun
from nas.engine.running import Running
from nas.engine.storage import StorageError
from nas.engine.study_store import StudyStore
from nas.engine.trial_folders import TrialFolders
from nas.engine.workers import WorkerPool
from nas.runs.retention import CheckpointRetention, RetentionPolicy
from nas.runs.study_schema import ERRORS, METADATA, OUTCOME, RESTARTS
from nas.runs.writing import NEARLY_FULL, disk_full

if TYPE_CHECKING:
    from nas.engine.console import ConsoleReporter

MAX_RESTARTS = 5
"""Of a failed trial, where the config does not say `max_restarts`; the master's default."""

LAST_PATIENCE = 10.0
"""Seconds that a locked database is waited for once the search is to stop."""


class Engine:
    """Runs one experiment.

    Args:
        config: the experiment's.
        folder: the experiment's; trials are below it.
        store: the experiment's study.
        pool: starts the processes of trials; it is closed at the end.
        placements: where trials can run, one at a time each.
        reporter: is told of every event.
        versions: what goes to each trial's run.json.
        keep: writes what was found out to the experiment's run.json.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: Path,
        store: StudyStore,
        pool: WorkerPool,
        placements: list[Placement],
        reporter: ConsoleReporter,
        versions: Mapping[str, str | None],
        keep: Callable[..., None] = lambda **facts: None,
    ) -> None:
        self.config, self.store, self.running = dict(config), store, dict[int, Running]()
        self.interrupted = self._asked_to_stop = False
        self._pool, self._reporter = pool, reporter
        self._folders = TrialFolders(folder / "trials", self.config, versions, reporter)
        self._free, self._keep = deque(placements), keep
        self._step = store.time_metric
        restarts = config.get("max_restarts")
        self._max_restarts = MAX_RESTARTS if restarts is None else int(restarts)
        self._retention = CheckpointRetention(RetentionPolicy.of(config), smaller_is_better=store.smaller_is_better)
        self._fatal: list[str] = []
        self._decided = True  # the searcher has decided something since trials were created: some may be missing
        self._threads: int | None = None  # of each trial, once one has found out
        self._lost = False  # whether the storage of the study fails

    def path(self, number: int) -> Path:
        """A trial's folder."""
        return self._folders.path(number)

    def run(self) -> bool:
        """Run until all trials have ended or somebody interrupts it; returns whether all have ended.

        Raises:
            ConfigError: for what would stop every other trial as well: data that is not there, a metric that no trial reports,
                a full disk. Trials that run are asked for a checkpoint before.
        """
        with ExitStack() as stack:
            stack.callback(self._pool.close)
            stack.enter_context(handling_stops(self._interrupt))
            self.store.patience.say = self._reporter.say
            waiting = self._recover()
            while self._go_on(waiting):
                self._reporter.update(self)
        if self._fatal:
            raise ConfigError(self._fatal)
        return not self.interrupted

    def _go_on(self, waiting: deque[int]) -> bool:
        """Create and start what there is to start, and hear one message; returns False once nobody is at work."""
        try:
            if self._decided and not self._lost:
                waiting += [trial.number for trial in self.store.create_missing_trials()]
                self._decided = False
            while waiting and self._free and not self.interrupted:
                self._start(waiting.popleft())
            if not self.running:
                return False
            waiting.extendleft(self._listen())
        except StorageError as error:  # trials leave what they did in their folders
            self._lost = True
            self._give_up(error.problems)
        return True

    def _recover(self) -> deque[int]:
        """Finish trials whose end a killed engine had decided; returns those to run, the ones that had begun first."""
        begun, waiting = [], []
        self.store.create_missing_trials()  # before any more have ended: what a sampler draws depends on those that have
        for trial in self.store.trials():
            if trial.state == TrialState.RUNNING:
                self._hear_again(trial)
                outcome = trial.user_attrs.get(OUTCOME) or self._folders.written_outcome(trial)
                if outcome is None and self._stopped_early(trial.number):
                    outcome = "pruned"
                if outcome is not None:
                    self._end(trial.number, outcome)
                else:
                    begun.append(trial.number)
            elif trial.state == TrialState.WAITING:
                waiting.append(trial.number)
            elif folder := self._folders.there(trial):
                self._retention.apply(trial.number, folder)
        return deque([*begun, *waiting])

    def _hear_again(self, trial: FrozenTrial) -> None:
        """Judge what a trial reported, and will not again, while the study could not be written."""
        known = read_begun(self.path(trial.number), self.store.metric, self._step)
        for step, value in sorted(known.validations.items() if known else ()):
            if trial.last_step is None or step > trial.last_step:
                self.store.validated(trial.number, step, value)

    def _stopped_early(self, number: int) -> bool:
        searcher = self.store.searcher
        return searcher.stopped(number) and not searcher.complete(number)

    def _start(self, number: int) -> None:
        trial, path = self.store.trial(number), self.path(number)
        try:
            latest = self._folders.open(trial).run.get("latest") or {}
        except OSError as error:
            return self._give_up([str(error)])
        placement = self._free.popleft()
        if self._threads is not None:
            placement = replace(placement, threads=self._threads, settled=True)
        begun = latest.get("epochs" if self._step == "epochs" else "batches")
        self.store.started(number)
        metric = None if trial.last_step is None else trial.intermediate_values[trial.last_step]
        self.running[number] = Running(number, placement, begun=begun, metric=metric, time=trial.last_step or 0)
        self._pool.start(number, path, placement)
        if self.interrupted:  # while the process was being started
            self._pool.signal(number, signal.SIGTERM)
        self._reporter.started(self.running[number], trial)

    def _listen(self) -> list[int]:
        """Handle one message; returns the trials to start once more."""
        try:
            number, message = self._pool.messages.get(timeout=0.25)
        except queue.Empty:
            return []
        running = self.running.get(number)
        if running is None:
            return []
        say = message["say"]
        if self._lost:
            if say == "validation":
                self._pool.answer(number, stop=True)
            elif say == "exit":
                del self.running[number]
            return []
        if say == "progress":
            running.batches, running.total = message["batches"], message["total"]
        elif say == "validation":
            self._validated(running, message["metrics"])
        elif say == "threads":
            self._settle_threads(message["count"])
        elif say == "note":
            self._reporter.say(f"trial {number}: {message['text']}")
        elif say == "ended":
            running.outcome, running.errors = message["outcome"], message["errors"]
        elif say == "exit":
            return self._exited(running, message["code"])
        return []

    def _settle_threads(self, count: int) -> None:
        """The first trial that says so speaks for all: they are alike, and the last digits depend on it."""
        if self._threads is None:
            self._threads = count
            self._keep(threads=count)
            self._reporter.say(f"threads      {count} for each trial; --threads says otherwise")

    def _validated(self, running: Running, metrics: dict[str, Any]) -> None:
        metric = self.store.metric
        reported = sorted(name for name in metrics if name not in ("epochs", "batches"))
        for name, field_name in ((metric, "metric"), (self._step, "time_metric")):
            if isinstance(metrics.get(name), int | float) or not (reported or self.store.searcher.trials > 1):
                continue  # one trial may do without, where nothing is held out
            what = f"searcher.{field_name} {name!r} is not reported by the trial"
            self._give_up([f"{what}; it reports {', '.join(reported) or 'nothing'}"])
            return self._pool.answer(running.number, stop=True)
        stop = False
        if metric in metrics:
            running.time, running.metric = metrics[self._step], float(metrics[metric])
            try:
                stop = self.store.validated(running.number, int(running.time), running.metric)
            except StorageError:
                self._pool.answer(running.number, stop=True)
                raise
            self._reporter.validated(running, self.store.trial(running.number), stop)
        self._decided |= stop
        self._pool.answer(running.number, stop=stop or self.interrupted)

    def _exited(self, running: Running, code: int) -> list[int]:
        """A process has ended: either the trial has, or it is returned, to start again from its last checkpoint."""
        number = running.number
        del self.running[number]
        self._free.append(running.placement)
        trial = self.store.trial(number)
        outcome = running.outcome
        if outcome in ("completed", "diverged", "invalid"):
            self._end(number, outcome, running.errors)
        elif self._stopped_early(number) or (outcome == "stopped" and self.store.searcher.stopped(number)):
            self._end(number, "pruned")
        elif outcome in ("changed", "data", "disk"):
            self._give_up([f"trial {number}: {error}" for error in running.errors])
        elif outcome == "mute":  # a program that cannot be heard is not run again, and another trial runs the same one
            log = self.path(number) / "log.txt"
            self._give_up(
                [f"trial {number}: {describe_status(code)}; {error}; {log} is its output" for error in running.errors]
            )
        elif self.interrupted:
            pass
        elif free_bytes(self._folders.trials) < NEARLY_FULL:
            self._give_up([disk_full(self._folders.trials)])
        else:
            unsaid = "stopped by a signal" if outcome == "stopped" else describe_status(code)
            return self._failed(trial, running.errors or [unsaid])
        return []

    def _failed(self, trial: FrozenTrial, errors: list[str]) -> list[int]:
        """The trial, to start again, if it has restarts left; otherwise it ends."""
        restarts = trial.user_attrs.get(RESTARTS, 0)
        reason = "; ".join(errors)
        if restarts < self._max_restarts:
            self.store.set_attributes(trial.number, **{RESTARTS: restarts + 1})
            self._reporter.failed(trial.number, reason, f"restart {restarts + 1} of {self._max_restarts}")
            return [trial.number]
        self._reporter.failed(trial.number, reason, f"no restarts left; see {self.path(trial.number) / 'log.txt'}")
        self._end(trial.number, "error", errors)
        return []

    def _end(self, number: int, outcome: str, errors: list[str] | None = None) -> None:
        try:
            if folder := self._folders.there(self.store.trial(number)):
                metadata = folder.run.get("metadata") or {}
                self.store.set_attributes(number, **{name: metadata[name] for name in METADATA if name in metadata})
                folder.save(outcome=outcome)
                self._retention.apply(number, folder)
        except OSError as error:  # the folder says how it ended: whoever goes on ends it
            return self._give_up([str(error)])
        if errors:
            self.store.set_attributes(number, **{ERRORS: errors})
        self.store.finish(number, outcome)
        self._decided = True
        self._reporter.ended(self.store.trial(number), outcome, errors or [])

    def _give_up(self, problems: list[str]) -> None:
        """Stop the search: the same problems would stop every other trial."""
        self._fatal = self._fatal or problems
        self._stop_all()

    def _interrupt(self, sign: int, frame: Any) -> None:
        if sign == signal.SIGHUP:
            leave_closed_terminal()
        if self._asked_to_stop and sign == signal.SIGINT:  # the others may come in pairs when a session ends
            for number in self._pool.numbers:
                self._pool.signal(number, signal.SIGKILL)
        elif not self._asked_to_stop:
            self._asked_to_stop = True
            self._stop_all()  # before anything is said, which can fail
            self._reporter.say("stopping: each trial writes a checkpoint first (Ctrl-C again to leave at once)")

    def _stop_all(self) -> None:
        self.interrupted = True
        self.store.patience.seconds = min(self.store.patience.seconds, LAST_PATIENCE)
        for number in self._pool.numbers:
            self._pool.signal(number, signal.SIGTERM)
