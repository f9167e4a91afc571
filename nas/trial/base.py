"""What every trial of this project inherits: exact resume, honest metrics, and a report of its architecture.

A trial says in `check` what its hyperparameters mean, builds itself from them, trains one batch in `train_step`, and
names the state that a resumed run needs. The rest is here: what survives a checkpoint, NaN that hurts nobody, and
`genotype.json` beside the weights.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from determined import pytorch

from nas.core.fields import field
from nas.trial.allocator import keep_freed_memory
from nas.trial.metrics import NONFINITE_PLACEHOLDER, replace_nonfinite

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunConfig:
    """Hyperparameters that every trial has."""

    train_epochs: int | None = field(None, ge=1)  # length of training where the searcher does not say it
    evaluate_test: bool = False  # score the test split, once, at the end
    fast: bool | None = None  # the fast form of the same computation; null: true but on MPS, where it was never tried

    def fast_on(self, device: torch.device) -> bool:
        """Whether to compute in the fast form on a device."""
        return device.type != "mps" if self.fast is None else self.fast


class Trial(pytorch.PyTorchTrial):  # type: ignore[misc]
    """Base class of the trials. A subclass defines what is abstract here and the loaders and evaluation of Determined."""

    larger_is_better: tuple[str, ...] = ()
    """Metrics whose worst value is small, such as an accuracy."""

    validates = True
    """False if nothing is held out to validate on: the trial then reports no validation metrics."""

    length: tuple[str, int]
    """("epochs" or "batches", how many): set before training starts."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        self.seed = int(context._trial_seed or 0)
        self.rank, self.processes = context.distributed.rank, context.distributed.size
        self.batches_trained = 0
        if context.device.type == "cpu":
            keep_freed_memory()
        self.diverged = False  # a validation was not finite, and training stopped for it
        self.validated_at = -1  # batches trained when it was last validated

    @classmethod
    def check(cls, hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Any:
        """The settings that the config means. Reads no data; raises ConfigError with every problem."""
        raise NotImplementedError

    @classmethod
    def metrics_for(cls, settings: Any) -> tuple[str, ...]:
        """What validation reports, and a searcher may look at; nothing if no data is held out. For None: all it may report."""
        raise NotImplementedError

    def train_step(self, batch: Any, epoch: int, index: int) -> dict[str, float]:
        """Train on one batch, the one of that index over the whole run; returns host numbers only."""
        raise NotImplementedError

    def summary(self) -> dict[str, str | int | float]:
        """The architecture in words, for the run's metadata, the log and the reader."""
        raise NotImplementedError

    def files(self) -> dict[str, Any]:
        """JSON to be written beside the weights of every checkpoint, by file name."""
        raise NotImplementedError

    def rank_state(self) -> Any:
        """What only this process knows and a resumed run needs, as plain types and CPU tensors."""
        raise NotImplementedError

    def load_rank_states(self, states: list[Any]) -> None:
        """Restore from the states of all processes of the run that wrote the checkpoint, however many there were."""
        raise NotImplementedError

    def shared_state(self) -> Any:
        """What every process knows alike."""
        raise NotImplementedError

    def load_shared_state(self, state: Any) -> None:
        """The inverse of `shared_state`."""
        raise NotImplementedError

    def on_warm_start(self) -> None:
        """Called when weights of another trial have been loaded, whose progress is not this one's."""

    def on_validation(self, metrics: dict[str, Any]) -> None:
        """Called on every process after a validation, with finite metrics."""

    def conclude(self) -> None:
        """Called on every process when the trial is finished, and never after a stop."""

    def train_batch(self, batch: Any, epoch_idx: int, batch_idx: int) -> dict[str, float]:
        """Determined's door to `train_step`."""
        metrics = self.train_step(batch, epoch_idx, batch_idx)
        self.batches_trained = batch_idx + 1
        return metrics

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """The bookkeeping that this class promises."""
        return {"bookkeeping": Bookkeeping(self)}

    @property
    def complete(self) -> bool:
        """Whether the trial has trained as long as it should."""
        unit, count = self.length
        batches = count * (self.context._epoch_len or 0) if unit == "epochs" else count
        return self.batches_trained >= batches > 0

    @property
    def finished(self) -> bool:
        """Whether it is complete and validated: a stop can fall between the last batch and its validation."""
        return self.complete and self.validated_at == self.batches_trained

    def report(self, group: str, metrics: dict[str, float], step: int | None = None) -> None:
        """Report metrics of a group of their own, such as "test", from the first process.

        With a `step` of their own they also say how many batches were trained.
        """
        if self.rank == 0:
            replace_nonfinite(metrics, {f"{group}_{name}": -NONFINITE_PLACEHOLDER for name in self.larger_is_better})
            counted = metrics if step is None else {**metrics, "batches": self.batches_trained}
            self.context._core.train.report_metrics(group, self.batches_trained if step is None else step, counted)


class Bookkeeping(pytorch.PyTorchCallback):  # type: ignore[misc]
    """Saves and restores what a trial carries, guards its metrics and writes its architecture beside the weights."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._ranks: list[Any] = []
        self._told = False

    @property
    def _trial_id(self) -> int:
        return int(getattr(self._trial.context._core.train, "_trial_id", 0))

    def on_training_start(self) -> None:
        """The master may know of a validation that was made after the checkpoint; Determined does not repeat it."""
        if self._trial.context._core.train._get_last_validation() == self._trial.batches_trained:
            self._trial.validated_at = self._trial.batches_trained

    def on_training_workload_end(self, avg_metrics: dict[str, Any], batch_metrics: Any) -> None:
        """Every checkpoint follows a stretch of training, and only here all processes meet."""
        gathered = self._trial.context.distributed.gather(self._trial.rank_state())
        self._ranks = gathered or []

    def state_dict(self) -> dict[str, Any]:
        trial = self._trial
        progress = {"batches_trained": trial.batches_trained, "validated_at": trial.validated_at}
        shared = {**progress, "trial": trial.shared_state()}
        return {"trial_id": self._trial_id, "ranks": self._ranks, "shared": shared}

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
        for name, content in self._trial.files().items():
            Path(checkpoint_dir, name).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        bad = replace_nonfinite(metrics, self._worst())
        if bad:
            self._diverged(bad)
        self._trial.validated_at = self._trial.batches_trained
        self._trial.on_validation(metrics)

    def _searcher(self) -> dict[str, Any]:
        searcher: dict[str, Any] = (self._trial.context._exp_conf or {}).get("searcher") or {}
        return searcher

    def _worst(self) -> dict[str, float]:
        searcher = self._searcher()
        searched = () if searcher.get("smaller_is_better", True) else (str(searcher.get("metric")),)
        return dict.fromkeys((*self._trial.larger_is_better, *searched), -NONFINITE_PLACEHOLDER)

    def _diverged(self, bad: list[str]) -> None:
        what = f"validation {', '.join(bad)} not finite (NaN or infinity)"
        message = f"{what}: reported as {NONFINITE_PLACEHOLDER:g}; lower learning_rate"
        if "max_time" in self._searcher():  # ASHA stops the trial at its rung, and replaces it only then
            if not self._told:
                logger.warning(message)
        else:
            logger.warning("%s. Nothing recovers from this, so training stops here", message)
            self._trial.diverged = True
            self._trial.context.set_stop_requested(True)
        self._told = True


def perplexity(loss: float) -> float:
    """exp(loss); infinity where that is more than a float holds."""
    return math.exp(loss) if loss < math.log(1e300) or math.isnan(loss) else math.inf


def to_cpu(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Detached copies on the CPU."""
    return [tensor.detach().cpu() for tensor in tensors]
