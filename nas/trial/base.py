"""What every trial of this project inherits: exact resume, honest metrics, and a report of its architecture.

A trial says in `check` what its hyperparameters mean, builds itself from them, trains one batch in `train_step`, and
names the state that a resumed run needs. What is done for it (checkpoints, NaN, `genotype.json` beside the weights) is in
`bookkeeping.py`.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from determined import pytorch

from nas.config.load import experiment_seed
from nas.core.drawn_cells import ControllerCells
from nas.core.errors import ConfigError
from nas.core.identity import DataPart, Identity, code_digest
from nas.core.portable import Portable
from nas.core.run_config import seed_of
from nas.core.variants import SharedScores
from nas.runs.run_folder import SIZES
from nas.trial import determined_private as private
from nas.trial.answers import TrialAnswers
from nas.trial.bookkeeping import Bookkeeping
from nas.trial.device import prepare
from nas.trial.metrics import replace_nonfinite, told_of
from nas.trial.user_errors import out_of_memory

logger = logging.getLogger(__name__)


class Trial(TrialAnswers, pytorch.PyTorchTrial):  # type: ignore[misc]
    """Base class of the trials. A subclass defines what is abstract here and the loaders and evaluation of Determined.

    Class methods answer before any data is read, see `answers.py`.
    """

    space: str = ""
    """Package of the search space, see `nas.core.space.load_space`; empty if the trial trains no architecture of one. A trial
    for several spaces sets it when it is made.
    """

    validates = True
    """False if nothing is held out to validate on: the trial then reports no validation metrics."""

    length: tuple[str, int]
    """("epochs" or "batches", how many): set before training starts."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.context = context
        config = private.experiment_config(context)
        self.seed = seed_of(context.get_hparams(), experiment_seed(config), private.trial_seed(context))
        self.rank, self.processes = context.distributed.rank, context.distributed.size
        self.batches_trained = 0
        prepare(context.device)
        self.diverged = False  # a validation was not finite, and training stopped for it; or the test score is not
        self.validated_at = -1  # batches trained when it was last validated
        self.publish: Callable[[], None] = lambda: None  # puts `describe` where the run's metadata are shown

    @classmethod
    def versions(cls) -> dict[str, str]:
        """Of the code (a digest) and of the libraries that decide results."""
        code = code_digest(["nas", cls.__module__, cls.space])
        return {"code": code, "torch": str(torch.__version__), "numpy": np.__version__}

    def data_parts(self) -> dict[str, DataPart]:
        """What was read of the data that decides weights and validations, by name such as "train".

        A run goes on with the same data only. Of a trial that says nothing here, data is not compared.
        """
        return {}

    @cached_property
    def identity(self) -> Identity:
        """What this trial's weights belong to, the same on every process."""
        hparams, config = self.context.get_hparams(), private.experiment_config(self.context)
        settings = self.check(hparams, config.get("data") or {}, self.processes)
        said = {name: value for name, value in hparams.items() if value is not None}
        found = Identity(self.architecture(settings), self.data_parts(), self.seed, said, self.versions(), self.space)
        return Identity.from_json(found.to_json())  # lists for tuples, as what it is compared with

    def tell(self, warnings: Sequence[str]) -> None:
        """Log what the user should know, once for all processes."""
        for warning in warnings if self.rank == 0 else ():
            logger.warning("%s", warning)

    def train_step(self, batch: Any, epoch: int, index: int) -> dict[str, float]:
        """Train on one batch, the one of that index over the whole run; returns host numbers only."""
        raise NotImplementedError

    def summary(self) -> dict[str, str | int | float]:
        """The architecture in words, for the log and the reader; `describe` adds the space."""
        raise NotImplementedError

    def architecture_size(self) -> dict[str, int]:
        """Parameters and multiply-accumulates of the architecture that the trial trains, or has found; empty if unknown.

        Validations report them, so that a list of trials can have them as columns, and a plot as its axes.
        """
        known = self.summary()
        return {name: value for name in SIZES if isinstance(value := known.get(name), int)}

    def show(self, name: str, draw: Callable[[], Any]) -> None:
        """Put a matplotlib figure into TensorBoard, on a cluster where that is installed; otherwise it is not drawn."""
        writer = private.tensorboard_writer(self.context) if self.rank == 0 else None
        if writer is not None and importlib.util.find_spec("matplotlib") is not None:
            writer.add_figure(name, draw(), self.batches_trained)

    def describe(self) -> dict[str, str | int | float]:
        """The summary, and where the architecture belongs: the metadata of a run here. On a cluster see `metadata.py`."""
        return {**self.summary(), **({"space": self.space} if self.space else {})}

    def files(self) -> dict[str, Any]:
        """Plain data to be written beside the weights of every checkpoint, by file name: JSON, or YAML if it ends so.

        A `retrain.yaml` is the config that trains what this trial found; `nas run` then offers it.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """All that is written beside the weights: `files`, and what the weights belong to."""
        return {**self.files(), "identity.json": self.identity.to_json()}

    def portable(self) -> Portable:
        """The trained network for use elsewhere. Raises ConfigError for a trial whose network is of no use there."""
        raise ConfigError([f"{type(self).__name__} trains no network that can be exported"])

    @classmethod
    def need_controller(cls, settings: Any) -> None:
        """Raises ConfigError for a trial without a controller that draws architectures, see `analyze`."""
        raise ConfigError([f"{cls.__name__} is no search with a controller, so there is nothing to analyze"])

    def analyze(self, cells: int, batches: int | None) -> ControllerCells:
        """Draw so many architectures of the controller, and score them on validation data, or so many batches of it."""
        raise NotImplementedError

    def score_others(self, genotypes: Sequence[Any]) -> SharedScores:
        """What other architectures score with this trial's weights on all of the validation data; no test split is read.

        Raises:
            ConfigError: the weights are not made for others, or the first of the architectures does not fit them.
        """
        raise ConfigError(["the trial trained one architecture, and its weights are of use for no other"])

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
        try:
            metrics = self.train_step(batch, epoch_idx, batch_idx)
        except (RuntimeError, MemoryError) as error:
            if full := out_of_memory(error):
                raise ConfigError([full]) from error
            raise
        self.batches_trained = batch_idx + 1
        return metrics

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """The bookkeeping that this class promises."""
        return {"bookkeeping": Bookkeeping(self)}

    @property
    def total_batches(self) -> int:
        """How many the trial is to be trained on; 0 before the loaders are there, if its length is in epochs."""
        unit, count = self.length
        return count * self.epoch_length if unit == "epochs" else count

    @property
    def complete(self) -> bool:
        """Whether the trial has trained as long as it should."""
        return self.batches_trained >= self.total_batches > 0

    @property
    def epoch_length(self) -> int:
        """Batches of an epoch; 0 before the loaders are there."""
        return private.epoch_length(self.context)

    @property
    def finished(self) -> bool:
        """Whether it is complete and validated: a stop can fall between the last batch and its validation."""
        return self.complete and self.validated_at == self.batches_trained

    def report(self, group: str, metrics: dict[str, float], step: int | None = None) -> None:
        """Report metrics of a group of their own, such as "test", from the first process.

        With a `step` of their own they also say how many batches were trained. A test score that is not finite makes the
        trial a diverged one.
        """
        if self.rank == 0:
            metrics = dict(metrics)
            worst = {f"{group}_{name}": value for name, value in self.worst_values().items()}
            bad = replace_nonfinite(metrics, worst)
            if bad and group == "test":
                self.diverged = True
                logger.error("%s. The weights are of no use; lower learning_rate", told_of(bad))
            counted = metrics if step is None else {**metrics, "batches": self.batches_trained}
            private.train_context(self.context).report_metrics(
                group, self.batches_trained if step is None else step, counted
            )


def to_cpu(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Detached copies on the CPU."""
    return [tensor.detach().cpu() for tensor in tensors]
