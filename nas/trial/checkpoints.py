"""A checkpoint in a folder of its own, such as `det checkpoint download UUID` writes: used here as if it had been made here.

Nothing of it is executed: weights are read as tensors and plain types (`weights_only`), Determined's pickle by a reader that
knows no classes, and the copy of the code inside it is left alone. What is read is written anew into the folder of a run.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from determined import core, pytorch

from nas.config import load as configs
from nas.core.errors import ConfigError
from nas.core.files import damaged_name, read_json
from nas.core.identity import Identity
from nas.runs.checkpoint_files import (
    DIGESTS,
    PROGRESS,
    WEIGHTS,
    check_whole,
    read_progress,
    sync_checkpoint,
    whole_ones,
    write_digests,
)
from nas.runs.fallback import choose_checkpoint
from nas.runs.run_folder import RunFolder, new_run
from nas.runs.writing import saving_weights, writing
from nas.trial import determined_private as private
from nas.trial import local
from nas.trial.base import Trial
from nas.trial.engine_client import EngineClient
from nas.trial.progress import describe

EXAMPLE = "such as checkpoints/UUID after det checkpoint download UUID, or checkpoints/UUID of a run"


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of a trial of this project.

    Attributes:
        path: its folder.
        config: of the experiment, as the master or this machine had it.
        hparams: one value for each hyperparameter.
        identity: what the weights belong to.
        progress: batches and epochs trained, and whatever else Determined notes.
    """

    path: Path
    config: dict[str, Any]
    hparams: dict[str, Any]
    identity: Identity
    progress: dict[str, Any]

    @classmethod
    def there(cls, path: Path) -> bool:
        """Whether the folder looks like one."""
        return any((path / name).is_file() for name in (WEIGHTS, DIGESTS, PROGRESS))

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """What a checkpoint says of itself; the weights are not read.

        Raises:
            ConfigError: it is none.
            DamagedCheckpointError: its files are not what was written.
        """
        try:
            if not cls.there(path):
                raise FileNotFoundError(f"{WEIGHTS} is missing")
            check_whole(path)
            known = read_json(path / "load_data.json")
            identity = Identity.from_json(read_json(path / "identity.json"))
            config, hparams = dict(known["experiment_config"]), dict(known["hparams"])
            progress = read_progress(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                [f"{path} is no checkpoint of a trial of this project ({error}); give one, {EXAMPLE}"]
            ) from error
        return cls(path, config, hparams, identity, progress)

    @property
    def batches(self) -> int:
        """How many were trained."""
        return int(self.progress["batches_trained"])

    @property
    def seed(self) -> int:
        """Of its trial."""
        return int(self.identity.seed or 0)

    def write_to(
        self, checkpoints: Path, trial_id: int, hparams: dict[str, Any] | None = None, **progress: Any
    ) -> dict[str, Any]:
        """Write it into a run's folder of checkpoints; returns its entry for `run.json`.

        Args:
            hparams: taken for those of the trial that wrote it: changes that are meant are not told.
            trial_id: whose it is to be: `private.LOCAL_TRIAL` to go on with, `private.OTHER_TRIAL` for a warm start.
            progress: changes of it.

        Raises:
            ConfigError: the weights are damaged, or hold more than tensors and plain types.
        """
        try:
            state = torch.load(self.path / WEIGHTS, map_location="cpu", weights_only=True)
            written = state["callbacks"]["bookkeeping"]
            written["trial_id"] = trial_id
            if hparams is not None:
                written["identity"]["hyperparameters"] = hparams
        except Exception as error:  # of damaged bytes: nearly every kind there is
            reason = " ".join(str(error).split())[:300]
            raise ConfigError([f"{self.path / WEIGHTS} cannot be read ({reason}); download it again"]) from error
        name = str(uuid.uuid4())
        place = checkpoints / name
        with saving_weights(checkpoints.parent):
            place.mkdir(parents=True)
            torch.save(state, place / WEIGHTS)
            private.write_progress(place, {**self.progress, "trial_id": trial_id, **progress})
            for file in self.path.glob("*.json"):
                shutil.copyfile(file, place / file.name)
            write_digests(place)
            sync_checkpoint(place)
        return {"uuid": name, "batches": self.batches, "epochs": self.progress["epochs_trained"], "value": None}


def settings_of(
    checkpoint: Checkpoint, overrides: Sequence[str], seed: int | None
) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Config, hyperparameters and seed of the checkpoint's trial, with overrides: paths are others on another machine."""
    config = configs.override({**checkpoint.config, "hyperparameters": checkpoint.hparams}, overrides)
    configs.check_sections(config)
    config = configs.with_absolute_folders(config)
    return config, config["hyperparameters"], checkpoint.seed if seed is None else seed


def open_run(path: Path) -> tuple[RunFolder, dict[str, Any]]:
    """A run to go on with. Raises ConfigError if it is none, or damaged; then with the way to go on all the same."""
    try:
        return RunFolder.open(path)
    except ConfigError as error:
        places = path / "checkpoints"
        whole = whole_ones(places) if places.is_dir() else []
        hint = f"; go on from its newest checkpoint, in a new run: --resume {places / whole[0]}" if whole else ""
        raise ConfigError([f"{problem}{hint}" for problem in error.problems]) from error


def choose_start(folder: RunFolder, config: dict[str, Any], engine: EngineClient | None) -> list[str]:
    """Choose the checkpoint to go on from; returns what should be known of it. A trial of a search may start over."""
    if folder.run.get("status") == "completed":
        return []
    smaller = configs.smaller_is_better(config)
    note = choose_checkpoint(folder, smaller_is_better=smaller, start_over=engine is not None)
    notes = [note] if note else []
    with writing(folder.path):
        lines = folder.metrics_file.damaged_lines()
    if lines:
        path = folder.metrics_file.path
        notes.append(f"{path} is damaged: {lines} of its lines left out, a copy is kept as {damaged_name(path).name}")
    if engine is not None:
        for each in notes:
            engine.note(each)
    return notes


def begin_from(folder: RunFolder, checkpoint: Checkpoint, *, warm: bool) -> None:
    """Let a new run go on from a checkpoint; or, warm, begin anew with its weights."""
    try:
        entry = checkpoint.write_to(folder.checkpoints, private.OTHER_TRIAL if warm else private.LOCAL_TRIAL)
    except BaseException:
        folder.discard()
        raise
    where = str(checkpoint.path.absolute())
    if warm:
        folder.save(warm_start={**entry, "from": where})
    else:
        folder.save(latest=entry, checkpoints=[entry], resumed=entry, resumed_from=where)


def evaluated(
    trial_class: type[Trial],
    checkpoint: Checkpoint,
    plan: local.TrialPlan,
    device: torch.device,
    distributed: core.DistributedContext,
    validate: bool = True,
) -> tuple[Trial, dict[str, dict[str, Any]]]:
    """Validate a checkpoint's weights, and test them if the hyperparameters say so.

    Args:
        validate: False only loads them.

    Returns:
        The trial with these weights, and on the first process the metrics of each split that was scored: "valid", which is
        empty if nothing is held out, and "test".

    Raises:
        MismatchError: the architecture or the data are not those that it was trained with.
    """

    def build(context: pytorch.PyTorchTrialContext) -> Trial:
        trial = trial_class(context)
        trial.on_validation = lambda metrics: None  # type: ignore[method-assign]  # nothing is trained any more
        return trial

    with ExitStack() as stack:
        folder = None
        if distributed.rank == 0:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nas-score-")))
            folder = RunFolder.create(scratch, "score", plan.config, new_run(plan.hparams, plan.seed, {}))
            # Determined validates where it was not validated, and saves where it was not saved.
            done = {"last_val": 0 if validate else checkpoint.batches, "last_ckpt": checkpoint.batches}
            entry = checkpoint.write_to(folder.checkpoints, private.LOCAL_TRIAL, plan.hparams, **done)
            folder.save(latest=entry)
        folder = distributed.broadcast(folder)
        whole = replace(plan, length=("batches", checkpoint.batches), quiet=True)
        trial = local.train(build, whole, device, distributed, folder)
        if distributed.rank:
            return trial, {}
        records = {"valid": folder.metrics("validation"), "test": folder.metrics("test")}
        return trial, {split: found[-1] for split, found in records.items() if found}


def score(
    trial_class: type[Trial],
    checkpoint: Checkpoint,
    plan: local.TrialPlan,
    device: torch.device,
    distributed: core.DistributedContext,
) -> str:
    """What `evaluated` finds, in words: the trial, and a line for each split. Raises MismatchError."""
    trial, scores = evaluated(trial_class, checkpoint, plan, device, distributed)
    lines = [f"{split:<12} {describe(found) or 'nothing held out'}" for split, found in scores.items()]
    about = [f"{name:<12} {value}" for name, value in trial.describe().items()]
    return "\n".join([*about, f"{'trained':<12} {checkpoint.batches} batches", *lines])
