"""The folder of one trial on this machine: its config, metrics, architecture, and the checkpoints worth keeping.

    experiments/train_one_arch-1/
        config.yaml       the experiment config, overrides included
        run.json          hyperparameters, seed, status, latest and best checkpoint, seconds, device, versions, digests of
                          the data
        genotype.json     the architecture (and whatever else the trial writes beside its weights)
        metrics.jsonl     one line a report, in order
        log.txt           what was said while it ran
        checkpoints/      the latest and the best

Everything is written so that a process killed at any moment, or a power cut, leaves a folder that can be resumed. What is
damaged all the same is renamed to `*.damaged-1`, and never deleted.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import filelock

from nas.config.yaml_text import dump, parse
from nas.core.errors import ConfigError
from nas.core.files import damaged_name, sync, write_atomically
from nas.core.program import ROOT
from nas.runs.checkpoint_files import check_owner, close_to_others, sync_checkpoint
from nas.runs.metrics_file import MetricsFile
from nas.runs.ranking import best
from nas.runs.retention import Entry, RetentionPolicy
from nas.runs.run_json import read_run, readable_run
from nas.runs.writing import UnwritableFolderError, writing

PLACE = ("group", "step", "batches", "epochs")
"""Of a record: what says when, and is no metric."""
SIZES = ("parameters", "macs")
"""What validations report of the architecture; no result, and the same for all of a training."""


class FolderBusyError(ConfigError):
    """Another process is at work in the folder."""


class RunFolder:
    """A run's folder. `run` is the content of `run.json`; `save()` writes it back."""

    def __init__(self, path: Path, run: dict[str, Any], policy: RetentionPolicy | None = None) -> None:
        self.path, self.run = path, run
        self.checkpoints = path / "checkpoints"
        self.policy = policy or RetentionPolicy()
        self._since, self._before = time.monotonic(), 0.0  # this attempt's start; seconds of the earlier ones
        self.metrics_file = MetricsFile(path / "metrics.jsonl")
        self.damaged: list[Entry] = []  # checkpoints to be set aside, see `choose_checkpoint`

    @classmethod
    def create(cls, parent: Path, name: str, config: dict[str, Any], run: dict[str, Any]) -> RunFolder:
        """A new folder `<name>-<n>` below `parent`, n being the first free number."""
        number = 1
        while True:
            path = parent / f"{name}-{number}"
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                number += 1
            except OSError as error:
                raise ConfigError(
                    [f"run folder {path} cannot be made: {error.strerror}; choose another with --experiments"]
                ) from error
        try:
            return cls.fill(path, config, run)
        except OSError:
            shutil.rmtree(path, ignore_errors=True)
            raise

    @classmethod
    def fill(cls, path: Path, config: dict[str, Any], run: dict[str, Any]) -> RunFolder:
        """Make an existing folder, such as one half made before a crash, that of a new run."""
        folder = cls(path, {"created": time.time(), **run}, RetentionPolicy.of(config))
        folder.write_file("config.yaml", config)
        folder.save()
        return folder

    @classmethod
    def open(cls, path: Path) -> tuple[RunFolder, dict[str, Any]]:
        """An existing run and its config. Raises ConfigError if the folder is not one of a run."""
        run = readable_run(path)
        try:
            config = parse((path / "config.yaml").read_text(encoding="utf-8"))
            if not isinstance(config, dict):
                raise ValueError("it must hold fields")
            return cls(path, run, RetentionPolicy.of(config)), config
        except OSError as error:
            raise ConfigError(
                [f"{path} is not the folder of a run: config.yaml cannot be read ({error.strerror})"]
            ) from error
        except ValueError as error:
            what = " ".join(str(error).split())
            raise ConfigError([f"{path} is not the folder of a run: config.yaml is damaged ({what})"]) from error

    @contextmanager
    def held(self, wait: float = 0.5) -> Iterator[None]:
        """Keep other processes from running the same trial, and read what the last one left.

        Raises:
            DataError: the folder belongs to another user, or is damaged.
            FolderBusyError: another process runs it, and still does after `wait` seconds: whoever only asks whether it is
                held (see `is_held`) is gone sooner.
        """
        check_owner(self.path, self.path / "run.json", self.path / "config.yaml", self.checkpoints)
        lock = filelock.FileLock(str(self.path / ".lock"))
        try:
            lock.acquire(timeout=wait)
        except filelock.Timeout as error:
            raise FolderBusyError([f"{self.path} is being run by another process; wait for it or stop it"]) from error
        except OSError as error:
            raise UnwritableFolderError.of(self.path, error) from error
        try:
            self.run = readable_run(self.path)
            yield
        finally:
            lock.release()

    def is_held(self) -> bool:
        """Whether a process is at work in the folder."""
        if not (self.path / ".lock").exists():
            return False
        lock = filelock.FileLock(str(self.path / ".lock"))
        try:
            with lock.acquire(timeout=0):
                return False
        except (filelock.Timeout, OSError):  # of a folder that is not ours to write in, nobody can tell
            return True

    def save(self, **changes: Any) -> None:
        """Update `run.json`, atomically."""
        self.run.update(changes)
        self.write_file("run.json", self.run)

    def write_file(self, name: str, content: Any) -> None:
        """A file in the folder, atomically; see `as_text`."""
        data = as_text(name, content).encode()
        with writing(self.path):
            write_atomically(self.path / name, data)

    def record(self, group: str, batches: int, metrics: dict[str, Any]) -> None:
        """Append one line to the metrics."""
        with writing(self.path):
            self.metrics_file.append({"group": group, "step": batches, **metrics})

    def metrics(self, group: str | None = None) -> list[dict[str, Any]]:
        """What was recorded, in order; a line that is damaged, such as one cut short by a kill, is left out."""
        return [record for record in self.metrics_file.records() if group in (None, record["group"])]

    def latest(self) -> tuple[str | None, int]:
        """Id and batches of the checkpoint to go on from: 0 batches if there is none yet, or only the one of a warm start."""
        latest = self.run.get("latest") or {}
        return (latest or self.run.get("warm_start") or {}).get("uuid"), int(latest.get("batches", 0))

    def rewind(self) -> tuple[str | None, int]:
        """Back to the latest checkpoint: its id and batches.

        Forgets the metrics and half-written checkpoints after it, and the test, which will be made again. The time of the
        run counts on from here.
        """
        uuid, batches = self.latest()
        self._since, self._before = time.monotonic(), float(self.run.get("seconds") or 0)
        with writing(self.path):
            self._set_damaged_aside()
            self.metrics_file.rewind(batches)
            close_to_others(self.checkpoints)
        self._prune()
        return uuid, batches

    def _set_damaged_aside(self) -> None:
        for entry in self.damaged:
            path = self.checkpoints / entry["uuid"]
            if path.exists():
                path.rename(damaged_name(self.path / path.name))
        if self.damaged:
            self.save()
            self.damaged = []

    def checkpoint_saved(
        self, uuid: str, batches: int, epochs: float, value: float | None, *, smaller_is_better: bool
    ) -> None:
        """Make a complete checkpoint the latest, and the best if its metric is; delete those that need not stay.

        The disk holds it, and all that was reported before it, when the older ones go.
        """
        with writing(self.path):
            close_to_others(self.checkpoints)
            sync_checkpoint(self.checkpoints / uuid)
            self.metrics_file.sync()
        entry: dict[str, Any] = {"uuid": uuid, "batches": batches, "epochs": epochs, "value": value}
        candidates = [each for each in (self.run.get("best"), entry) if each is not None]
        winner = best(candidates, lambda each: each["value"], smaller_is_better=smaller_is_better)
        known = [each for each in self.run.get("checkpoints") or [] if each["uuid"] != uuid]
        kept = self.policy.while_training([*known, entry], smaller_is_better=smaller_is_better)
        seconds = round(self._before + time.monotonic() - self._since, 2)  # of all attempts, up to this checkpoint
        first = not self.run.get("latest")
        self.save(latest=entry, best=winner, checkpoints=kept, seconds=seconds)
        for folder in (self.path, *([self.path.parent] if first else [])):
            sync(folder)
        self._prune()

    def retain(self, uuids: set[str]) -> None:
        """Delete all checkpoints but these, once nobody will go on with the run."""
        kept = [entry for entry in self.run.get("checkpoints") or [] if entry["uuid"] in uuids]
        if kept != self.run.get("checkpoints"):
            self.save(checkpoints=kept)
            sync(self.path)
        self._prune(always=())

    def _prune(self, always: tuple[str, ...] = ("latest", "best")) -> None:
        kept = {(self.run.get(which) or {}).get("uuid") for which in always}
        kept |= {entry["uuid"] for entry in self.run.get("checkpoints") or []}
        if always and not self.run.get("latest"):
            kept.add((self.run.get("warm_start") or {}).get("uuid"))
        for path in self.checkpoints.iterdir() if self.checkpoints.is_dir() else ():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def discard(self) -> None:
        """Remove a run that never trained, so that a config that fails leaves nothing behind."""
        if self.run.get("latest") in (None, self.run.get("resumed")) and not self.metrics():
            shutil.rmtree(self.path, ignore_errors=True)


def scores_in(record: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a record, without what says when, and of which size."""
    others = (*PLACE, *SIZES)
    return {name: value for name, value in record.items() if name not in others and _is_number(value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_text(name: str, content: Any) -> str:
    """Plain data as the text of a file: YAML if the name ends so, JSON otherwise."""
    return dump(content) if name.endswith(".yaml") else json.dumps(content, indent=1) + "\n"


def begun_trials(trials: Path, first: int | None = None) -> Iterator[dict[str, Any]]:
    """What the trials of an experiment belong to, see `nas.core.identity.Identity`, with number and hyperparameters.

    Those that have not read their data yet, and those of a program that says nothing, are left out. `first`: look at so many.
    """
    numbered = [path for path in trials.glob("[0-9]*") if path.name.isdecimal()]
    for path in sorted(numbered, key=lambda path: int(path.name))[:first]:
        try:
            run = read_run(path)
        except (OSError, ValueError):  # killed before it was there, or damaged: the engine makes it anew
            continue
        identity, hyperparameters = run.get("identity") or {}, run.get("hyperparameters")
        if identity.get("architecture") is not None and hyperparameters is not None:
            yield {**identity, "number": int(path.name), "hyperparameters": hyperparameters}


def new_run(hparams: Mapping[str, Any], seed: int, versions: Mapping[str, str | None]) -> dict[str, Any]:
    """The `run.json` of a trial that has not begun."""
    about = {"hyperparameters": dict(hparams), "seed": seed, "status": "new", "versions": dict(versions)}
    return {**about, "latest": None, "best": None}


def versions() -> dict[str, str | None]:
    """Of Python, the libraries that decide results, and this project: its commit, if it is a clone."""
    try:
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        commit = git.stdout.strip() or None
    except OSError:  # no git here
        commit = None
    libraries = {name: _version(name) for name in ("torch", "numpy", "determined", "optuna")}
    return {"python": platform.python_version(), **libraries, "commit": commit}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
