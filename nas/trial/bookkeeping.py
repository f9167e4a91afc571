"""What every trial has done for it: state in checkpoints that know what they belong to, finite metrics, the architecture
beside the weights.
"""

from __future__ import annotations

import inspect
import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from determined import pytorch

from nas.config import load as configs
from nas.core.identity import Identity, MismatchError, check_processes, check_resume, check_shapes, check_warm_start
from nas.runs.checkpoint_files import write_digests
from nas.runs.ranking import NONFINITE_PLACEHOLDER
from nas.runs.run_folder import as_text
from nas.trial import determined_private as private
from nas.trial.metrics import replace_nonfinite, told_of

if TYPE_CHECKING:
    from nas.trial.base import Trial

logger = logging.getLogger(__name__)


def check_same_everywhere(trial: Trial) -> None:
    """Raises MismatchError, on all processes, if they do not train the same network on the same data."""
    everywhere = trial.context.distributed.allgather(trial.identity.to_json())
    check_processes([Identity.from_json(each) for each in everywhere])


def _shapes(weights: Mapping[str, Any]) -> dict[str, str]:
    """By name, with or without data parallelism."""
    tensors = {name.removeprefix("module."): value for name, value in weights.items()}
    return {name: str(tuple(value.shape)) for name, value in tensors.items() if isinstance(value, torch.Tensor)}


def _keep_settings(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """What the hyperparameters say, such as the weight decay, is not taken from a checkpoint; the state is.

    Settings are what the optimiser is made with; the learning rate is left, as a schedule may have changed it.
    """
    settings = set(inspect.signature(type(optimizer)).parameters) - {"params", "lr"}
    for old, group in zip(saved["param_groups"], optimizer.param_groups, strict=True):
        old.update({name: group[name] for name in settings & group.keys()})


class Bookkeeping(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Saves and restores what a trial carries, guards its metrics and writes its architecture beside the weights."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._ranks: list[Any] = []
        self._told = False

    @property
    def _trial_id(self) -> int:
        return private.trial_id(self._trial.context)

    def on_training_start(self) -> None:
        """The master may know of a validation that was made after the checkpoint; Determined does not repeat it."""
        if private.last_validation(self._trial.context) == self._trial.batches_trained:
            self._trial.validated_at = self._trial.batches_trained

    def on_training_workload_end(self, avg_metrics: dict[str, Any], batch_metrics: Any) -> None:
        """Every checkpoint follows a stretch of training, and only here all processes meet."""
        gathered = self._trial.context.distributed.gather(self._trial.rank_state())
        self._ranks = gathered or []

    def state_dict(self) -> dict[str, Any]:
        trial = self._trial
        progress = {"batches_trained": trial.batches_trained, "validated_at": trial.validated_at}
        shared = {**progress, "trial": trial.shared_state()}
        identity = trial.identity.to_json()
        return {"trial_id": self._trial_id, "identity": identity, "ranks": self._ranks, "shared": shared}

    def on_checkpoint_load_start(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights of another network before they are loaded, on every process alike."""
        state = checkpoint.get("callbacks", {}).get("bookkeeping") or {}
        if "identity" not in state:
            raise MismatchError(["the checkpoint does not say what architecture and data it is of; start a new run"])
        check = check_resume if state["trial_id"] == self._trial_id else check_warm_start
        note = check(Identity.from_json(state["identity"]), self._trial.identity, "the checkpoint")
        if note and self._trial.rank == 0:
            logger.warning("%s", note)
        for weights, model in zip(checkpoint["models_state_dict"], self._trial.context.models, strict=True):
            check_shapes(_shapes(weights), _shapes(model.state_dict()))
        for saved, optimizer in zip(checkpoint["optimizers_state_dict"], self._trial.context.optimizers, strict=True):
            _keep_settings(saved, optimizer)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if state_dict["trial_id"] != self._trial_id:
            self._trial.on_warm_start()
            return
        self._ranks = state_dict["ranks"]
        self._trial.batches_trained = state_dict["shared"]["batches_trained"]
        self._trial.validated_at = state_dict["shared"]["validated_at"]
        self._trial.load_shared_state(state_dict["shared"]["trial"])
        self._trial.load_rank_states(self._ranks)

    def on_checkpoint_save_start(self, checkpoint: dict[str, Any]) -> None:
        # torch.load reads plain types and tensors only, and NumPy's state holds an array.
        name, keys, *rest = np.random.get_state()
        checkpoint["rng_state"]["np_rng_state"] = (name, np.asarray(keys).tolist(), *rest)
        checkpoint["rng_state"]["random_rng_state"] = random.getstate()

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        for name, content in self._trial.facts().items():
            Path(checkpoint_dir, name).write_text(as_text(name, content), encoding="utf-8")
        write_digests(Path(checkpoint_dir))

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        bad = replace_nonfinite(metrics, self._worst())
        if bad:
            self._diverged(bad)
        self._trial.validated_at = self._trial.batches_trained
        self._trial.on_validation(metrics)
        if self._trial.validates:
            metrics.update(self._trial.architecture_size())

    def _searcher(self) -> dict[str, Any]:
        searcher: dict[str, Any] = private.experiment_config(self._trial.context).get("searcher") or {}
        return searcher

    def _worst(self) -> dict[str, float]:
        searcher = self._searcher()
        searched = () if configs.smaller_is_better({"searcher": searcher}) else (str(searcher.get("metric")),)
        return {**self._trial.worst_values(), **dict.fromkeys(searched, -NONFINITE_PLACEHOLDER)}

    def _diverged(self, bad: list[str]) -> None:
        message = f"validation {told_of(bad)}; lower learning_rate"
        if "max_time" in self._searcher():  # ASHA stops the trial at its rung, and replaces it only then
            if not self._told:
                logger.warning(message)
        else:
            logger.warning("%s. Nothing recovers from this, so training stops here", message)
            self._trial.diverged = True
            self._trial.context.set_stop_requested(True)
        self._told = True
