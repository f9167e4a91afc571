"""The loop of a search on this machine: trials report, the record decides, places are filled.

All that matters is in the record (an Optuna study) and in the trials' folders before anybody acts on it, so the engine, or
any of its trials, can be killed at any moment; `Engine.run` on the same record goes on.
"""

from __future__ import annotations

import queue
import shutil
import signal
import time
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from nas.core.fields import ConfigError
from nas.engine.pruner import BRACKET, read
from nas.engine.study_store import ENDED, Record
from nas.engine.workers import Placement, WorkerPool
from nas.runs.retention import CheckpointRetention
from nas.runs.run_folder import RetentionPolicy, RunFolder, new_run

RESTARTS = 5
"""Of a failed trial, where the config does not say `max_restarts`; the master's default."""

MIN_FREE_DISK_BYTES = 64 << 20
"""Bytes free below which a failure is taken for one of the disk."""


@dataclass
class Running:
    """A trial at work."""

    number: int
    seat: Placement
    begun: float | None = None  # time of the checkpoint it goes on from
    since: float = field(default_factory=time.monotonic)
    batches: int = 0
    total: int = 0
    time: float = 0  # of its last validation, in units of the time metric
    metric: float | None = None  # of its last validation
    how: str | None = None  # its last word
    why: list[str] = field(default_factory=list)


class Engine:
    """Runs one experiment.

    Args:
        config: the experiment's.
        folder: the experiment's; trials are below it.
        record: what is known of the experiment.
        crew: starts the processes.
        seats: where trials can run.
        screen: who watches.
        versions: what goes to each trial's run.json.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: Path,
        record: Record,
        crew: WorkerPool,
        placements: list[Placement],
        screen: Any,
        versions: Mapping[str, str | None],
    ) -> None:
        self.config, self.record, self.running = dict(config), record, dict[int, Running]()
        self.interrupted = False
        self._trials, self._crew, self._screen, self._versions = folder / "trials", crew, screen, dict(versions)
        self._free = deque(placements)
        self._step = config["searcher"].get("time_metric") or "epochs"
        restarts = config.get("max_restarts")
        self._max_restarts = RESTARTS if restarts is None else int(restarts)
        self._shelf = CheckpointRetention(RetentionPolicy.of(config), smaller_is_better=record.smaller_is_better)
        self._fatal: list[str] = []
        self._decided = True  # something since the last look at how many trials there should be

    def path(self, number: int) -> Path:
        """A trial's folder."""
        return self._trials / str(number)

    def run(self) -> bool:
        """Until all trials have ended, or somebody interrupts it; returns whether they have.

        Raises:
            ConfigError: for what no further trial would mend: data that is not there, a metric that no trial reports, a full
                disk. Trials that run are asked for a checkpoint before.
        """
        with ExitStack() as stack:
            stack.callback(self._crew.close)
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, self._interrupt))
            waiting = self._recover()
            while True:
                if self._decided:
                    waiting += [trial.number for trial in self.record.create_missing_trials()]
                    self._decided = False
                while waiting and self._free and not self.interrupted:
                    self._start(waiting.popleft())
                if not self.running:
                    break
                self._screen.update(self)
                waiting.extendleft(self._listen())
        if self._fatal:
            raise ConfigError(self._fatal)
        return not self.interrupted

    def _recover(self) -> deque[int]:
        """Finish what an engine that was killed had decided; returns the trials to run: those begun first."""
        begun, waiting = [], []
        self.record.create_missing_trials()  # before any more have ended: what a sampler draws depends on those that have
        for trial in self.record.all():
            if trial.state == TrialState.RUNNING:
                how = trial.user_attrs.get(ENDED) or self._written(trial.number)
                if how is None and read(trial)[0].stopped and not self.record.searcher.complete(trial):
                    how = "pruned"
                if how is not None:
                    self._end(trial.number, how)
                else:
                    begun.append(trial.number)
            elif trial.state == TrialState.WAITING:
                waiting.append(trial.number)
            elif self.path(trial.number).is_dir():
                self._shelf.add(trial.number, self.path(trial.number))
        return deque([*begun, *waiting])

    def _written(self, number: int) -> str | None:
        """The last word of a trial that nobody heard; it is in its folder before it is said."""
        status = RunFolder.open(self.path(number))[0].run.get("status")
        return status if status in ("completed", "diverged") else None

    def _start(self, number: int) -> None:
        trial, path, seat = self.record.trial(number), self.path(number), self._free.popleft()
        begun = None
        if (path / "run.json").exists():
            latest = RunFolder.open(path)[0].run.get("latest") or {}
            begun = latest.get("epochs" if self._step == "epochs" else "batches")
        else:
            path.mkdir(parents=True, exist_ok=True)
            run = new_run(trial.user_attrs["hyperparameters"], trial.user_attrs["seed"], self._versions)
            RunFolder.fill(path, self.config, run)
        self.record.started(number)
        self.running[number] = Running(number, seat, begun=begun, metric=_last(trial), time=trial.last_step or 0)
        self._crew.start(number, path, seat)
        self._screen.started(self.running[number], trial)

    def _listen(self) -> list[int]:
        """Handle one message; returns the trials to start once more."""
        try:
            number, message = self._crew.messages.get(timeout=0.25)
        except queue.Empty:
            return []
        running = self.running.get(number)
        if running is None:
            return []
        say = message["say"]
        if say == "progress":
            running.batches, running.total = message["batches"], message["total"]
        elif say == "validation":
            self._validated(running, message["metrics"])
        elif say == "ended":
            running.how, running.why = message["how"], message["why"]
        elif say == "exit":
            return self._exited(running, message["code"])
        return []

    def _validated(self, running: Running, metrics: dict[str, Any]) -> None:
        metric = self.record.metric
        reported = sorted(name for name in metrics if name not in ("epochs", "batches"))
        for name, field_name in ((metric, "metric"), (self._step, "time_metric")):
            if isinstance(metrics.get(name), int | float) or not (reported or self.record.searcher.trials > 1):
                continue  # one trial may do without, where nothing is held out
            what = f"searcher.{field_name} {name!r} is not reported by the trial"
            self._give_up([f"{what}; it reports {', '.join(reported) or 'nothing'}"])
            return self._crew.answer(running.number, stop=True)
        stop = False
        if metric in metrics:
            running.time, running.metric = metrics[self._step], float(metrics[metric])
            stop = self.record.validated(running.number, int(running.time), running.metric)
            self._screen.validated(running, self.record.trial(running.number), stop)
        self._decided |= stop
        self._crew.answer(running.number, stop=stop or self.interrupted)

    def _exited(self, running: Running, code: int) -> list[int]:
        """A process has ended: the trial with it, or it starts again from its last checkpoint."""
        number = running.number
        del self.running[number]
        self._free.append(running.seat)
        trial = self.record.trial(number)
        how = running.how
        if how in ("completed", "diverged", "invalid"):
            self._end(number, how, running.why)
        elif read(trial)[0].stopped and (how == "stopped" or not self.record.searcher.complete(trial)):
            self._end(number, "pruned")
        elif how in ("data", "disk"):
            self._give_up([f"trial {number}: {line}" for line in running.why])
        elif self.interrupted:
            pass
        elif shutil.disk_usage(self._trials).free < MIN_FREE_DISK_BYTES:
            self._give_up([f"disk full: no space left in {self._trials}; free some"])
        else:
            return self._failed(trial, running.why or ["stopped by a signal" if how == "stopped" else _describe(code)])
        return []

    def _failed(self, trial: FrozenTrial, why: list[str]) -> list[int]:
        """Once more if it may."""
        restarts = trial.user_attrs.get("restarts", 0)
        reason = "; ".join(why)
        if restarts < self._max_restarts:
            self.record.note(trial.number, restarts=restarts + 1)
            self._screen.failed(trial.number, reason, f"restart {restarts + 1} of {self._max_restarts}")
            return [trial.number]
        self._screen.failed(trial.number, reason, f"no restarts left; see {self.path(trial.number) / 'log.txt'}")
        self._end(trial.number, "error", why)
        return []

    def _end(self, number: int, how: str, why: list[str] | None = None) -> None:
        path = self.path(number)
        if path.is_dir():
            folder, _ = RunFolder.open(path)
            for name in ("architecture", "parameters"):
                if name in folder.run.get("metadata", {}):
                    self.record.note(number, **{name: folder.run["metadata"][name]})
            folder.save(ended=how)
            self._shelf.add(number, path)
        if why:
            self.record.note(number, why=why)
        self.record.ended(number, how)
        self._decided = True
        self._screen.ended(self.record.trial(number), how, why or [])

    def _give_up(self, problems: list[str]) -> None:
        """What is wrong is wrong for all trials."""
        self._fatal = self._fatal or problems
        self._stop_all()

    def _interrupt(self, sign: int, frame: Any) -> None:
        if self.interrupted:
            for number in self._crew.numbers:
                self._crew.signal(number, signal.SIGKILL)
            return
        self._screen.say("stopping: each trial writes a checkpoint first (Ctrl-C again to leave at once)")
        self._stop_all()

    def _stop_all(self) -> None:
        self.interrupted = True
        for number in self._crew.numbers:
            self._crew.signal(number, signal.SIGTERM)

    def left(self, length: float) -> float:
        """Units of the time metric that the search still takes, about.

        In each bracket, the trials to come are taken to be like those that have ended; before any has, halving is taken to
        be exact.
        """
        pruner, trials = self.record.searcher.pruner, self.record.all()
        total = 0.0
        for i, bracket in enumerate(self.record.searcher.brackets):
            own = [trial for trial in trials if trial.user_attrs[BRACKET] == i]
            ended = [trial.last_step or 0 for trial in own if trial.state.is_finished()]
            steps = list(zip(bracket.rungs, (0, *bracket.rungs), strict=False))
            halving = (
                sum((rung - before) / pruner.divisor**k for k, (rung, before) in enumerate(steps)) if pruner else length
            )
            mean = sum(ended) / len(ended) if ended else halving
            begun = [trial.last_step or 0 for trial in own if trial.state == TrialState.RUNNING]
            total += mean * (bracket.trials - len(ended) - len(begun)) + sum(max(mean - done, 1) for done in begun)
        return total


def _last(trial: FrozenTrial) -> float | None:
    return None if trial.last_step is None else trial.intermediate_values[trial.last_step]


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"killed by {name}" + (" (out of memory?)" if -code == signal.SIGKILL else "")
