"""One trial on this machine, without a master: Determined's own Trainer loop on a context that writes to a folder.

The trial, its loaders and the loop are those of the cluster; metrics and checkpoints go to a `RunFolder`, and a signal
takes the place of the master's preemption. With `torchrun` each process calls `train` and the first one writes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from determined import core, pytorch

from nas.config import load as configs
from nas.core.errors import ConfigError
from nas.core.identity import Identity, check_resume
from nas.runs.run_folder import RunFolder
from nas.runs.writing import saving_weights
from nas.trial import determined_private as private
from nas.trial.base import Trial
from nas.trial.bookkeeping import check_same_everywhere
from nas.trial.device import device_name
from nas.trial.engine_client import EngineClient
from nas.trial.progress import Progress, ReportingSteps
from nas.trial.stopping import SignalPreemptContext, StopCheck, StopRequest, parting_together


@dataclass(frozen=True)
class TrialPlan:
    """What one trial on this machine is to do."""

    config: dict[str, Any]  # the experiment's config, overrides included
    hparams: dict[str, Any]  # one value for each hyperparameter
    seed: int
    length: tuple[str, int]  # see Trial.length
    quiet: bool = False  # show no progress


class FolderTrainContext(private.DummyTrainContext):  # type: ignore[misc]
    """Takes what a trial reports and writes it to the folder."""

    def __init__(
        self, folder: RunFolder | None, progress: Progress, stop: StopRequest, engine: EngineClient | None
    ) -> None:
        super().__init__()
        self._folder, self._progress, self._stop, self._engine = folder, progress, stop, engine
        self.validation: dict[str, Any] = {}

    def set_status(self, status: str) -> None:
        """Only a web UI wants to know."""

    def report_progress(self, progress: float) -> None:
        """The bar knows better."""

    def set_metadata(self, metadata: dict[str, Any]) -> dict[str, Any]:
        if self._folder is not None:
            self._folder.save(metadata=metadata)
        return metadata

    def _report_trial_metrics(
        self, group: str, steps_completed: int, metrics: dict[str, Any], batch_metrics: Any = None
    ) -> None:
        plain = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
        if self._folder is not None:
            self._folder.record(group, steps_completed, plain)
        if group == "training":
            self._progress.training(plain)
        elif group == "validation":
            self.validation = plain
            self._progress.validation(plain)
            if self._engine is not None and self._engine.validation(plain):
                self._stop.ask()


class CheckpointRecorder(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Tells the folder about each complete checkpoint, so that it keeps the latest and the best."""

    def __init__(self, folder: RunFolder, trial: Trial, train: FolderTrainContext) -> None:
        self._folder, self._trial, self._train = folder, trial, train

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        """Also called at the end of a run: a validation can follow the last checkpoint, if a stop came between them."""
        trial = self._trial
        for name, content in trial.files().items():
            self._folder.write_file(name, content)
        config = trial.context.get_experiment_config()
        searcher = config.get("searcher") or {}
        validation = self._train.validation
        current = validation.get("batches") == trial.batches_trained
        value = validation.get(searcher.get("metric", "loss")) if current else None
        epochs = trial.batches_trained / (trial.epoch_length or 1)
        better = configs.smaller_is_better(config)
        self._folder.checkpoint_saved(uuid, trial.batches_trained, epochs, value, smaller_is_better=better)


def processes() -> int:
    """How many processes train together: more than one under `torchrun`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: torch.device) -> core.DistributedContext:
    """Meet the other processes of a `torchrun`; on its own a process needs nobody."""
    if processes() == 1:
        return private.DummyDistributedContext()
    os.environ["USE_TORCH_DISTRIBUTED"] = "True"
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL talks through the current device
    # Nobody fails for being slow; whether the others are still there is looked at, see `parting_together`.
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timedelta(days=1))
    ports = [_free_ports(2) if os.environ["RANK"] == "0" else None]
    torch.distributed.broadcast_object_list(ports, src=0)
    publish, pull = ports[0] or (0, 0)
    names = {
        "size": "WORLD_SIZE",
        "local_size": "LOCAL_WORLD_SIZE",
        "cross_rank": "GROUP_RANK",
        "cross_size": "GROUP_WORLD_SIZE",
    }
    place = {
        name: int(os.environ[variable])
        for name, variable in {"rank": "RANK", "local_rank": "LOCAL_RANK", **names}.items()
    }
    return core.DistributedContext(**place, chief_ip=os.environ["MASTER_ADDR"], pub_port=publish, pull_port=pull)


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports of our own, for Determined's fixed ones collide when two runs share a machine."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return tuple(each.getsockname()[1] for each in sockets)


def choose_device(name: str, together: int | None = None) -> torch.device:
    """The device by name, or the best one there is for "auto"; each process of a `torchrun` takes its own GPU.

    Args:
        together: how many processes train one trial; of this one's `torchrun` if not said.

    Raises:
        ConfigError: if this machine has no such device, or several processes cannot share it.
    """
    together = processes() if together is None else together
    mps = getattr(torch.backends, "mps", None)
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": bool(mps and mps.is_available()),
        "cpu": True,
    }
    if together > 1 and there["mps"]:
        if name == "mps":
            what = f"--device mps: one process can train there, and this trial has {together}"
            raise ConfigError([f"{what}; --device cpu, or resources.slots_per_trial 1"])
        there["mps"] = False
    if name == "auto":
        name = next(kind for kind, usable in there.items() if usable)
    if not there[name]:
        usable = ", ".join(kind for kind in there if there[kind])
        raise ConfigError([f"--device {name}: torch sees no such device here; usable: {usable}"])
    return torch.device(name, int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device(name)


def train(
    build: Callable[[pytorch.PyTorchTrialContext], Trial],
    plan: TrialPlan,
    device: torch.device,
    distributed: core.DistributedContext,
    folder: RunFolder,
    engine: EngineClient | None = None,
) -> Trial:
    """Train a trial from the folder's latest checkpoint, or from the start.

    Until it is complete, or a signal stops it, or the engine asks it to stop.
    """
    chief = distributed.rank == 0
    latest, batches = folder.latest()
    progress = Progress(show=chief and not plan.quiet, tell=engine.progress if engine else None)
    stop = StopRequest(engine)
    train_context = FolderTrainContext(folder if chief else None, progress, stop, engine)
    preempt = SignalPreemptContext(distributed, stop)
    context_parts = private.local_core_context(distributed, str(folder.checkpoints), preempt, train_context)
    with context_parts as core_context, stop.on_signals(), parting_together(distributed):
        context = _trial_context(core_context, plan, device, batches)
        trial = build(context)
        trial.length = plan.length
        _check_identity(trial, folder)
        if chief:
            folder.rewind()
            belongs = trial.identity.to_json(only=("architecture", "data", "space", "versions"))
            about = {"name": device_name(device), "processes": distributed.size}
            kept = {"threads": torch.get_num_threads()} if device.type == "cpu" else {}
            folder.save(status="running", identity=belongs, device=about, **kept)
            trial.publish = lambda: core_context.train.set_metadata(trial.describe())
            trial.publish()
        recorder = CheckpointRecorder(folder, trial, train_context) if chief else None
        try:
            with saving_weights(folder.path):
                _fit(trial, context, recorder, progress, stop, latest, batches)
        finally:
            progress.close()
        if trial.finished:
            if recorder is not None and train_context.validation:
                recorder.on_checkpoint_upload_end(folder.run["latest"]["uuid"])
            trial.conclude()
    return trial


def _check_identity(trial: Trial, folder: RunFolder) -> None:
    """Raises MismatchError, before anything is written, if the run was begun with another architecture or other data."""
    check_same_everywhere(trial)
    begun = folder.run.get("identity")
    if begun is not None:
        check_resume(Identity.from_json(begun), trial.identity, str(folder.path))


def _trial_context(
    core_context: core.Context, plan: TrialPlan, device: torch.device, batches: int
) -> pytorch.PyTorchTrialContext:
    """What `pytorch.init` makes, with a seed, a device and a start of our choice."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    context = private.trial_context(
        core_context, seed=plan.seed, hparams=plan.hparams, config=plan.config, gpus=gpus, batches=batches
    )
    context.device = device
    return context


def _fit(
    trial: Trial,
    context: pytorch.PyTorchTrialContext,
    recorder: CheckpointRecorder | None,
    progress: Progress,
    stop: StopRequest,
    latest: str | None,
    batches: int,
) -> None:
    """Train with our own bookkeeping around it: which checkpoints stay, the bar, a stop at any batch."""
    callbacks = trial.build_callbacks()
    if recorder is not None:
        callbacks["keep_best"] = recorder
    callbacks["bar"] = _BarStart(trial, progress, batches)
    trial.build_callbacks = lambda: callbacks  # type: ignore[method-assign]
    reporting = ReportingSteps(100, StopCheck(context.distributed, stop), progress)
    private.fit(trial, context, reporting=reporting, length=trial.length, batches=batches, checkpoint=latest)


class _BarStart(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Starts the bar once the loaders are there and the length of an epoch is known."""

    def __init__(self, trial: Trial, progress: Progress, batches: int) -> None:
        self._trial, self._progress, self._batches = trial, progress, batches

    def on_training_start(self) -> None:
        unit, count = self._trial.length
        total = count * self._trial.epoch_length if unit == "epochs" else count
        self._progress.start(self._batches, total)
