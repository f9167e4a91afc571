"""The contract of what a search is made on: data, and the losses of a supernet on it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.utils.data import Dataset

from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.identity import DataPart
from nas.core.memory import MemoryEstimate
from nas.core.space import Size, Space, load_space
from nas.core.variants import SharedScores
from one_shot.counted import Counted
from one_shot.gradient import Costs
from one_shot.strategy import Objective, Progress, Scores

Sums = dict[str, torch.Tensor]
"""Of a batch, by name: see `Task.names`."""


Inputs = Sequence[torch.Tensor | None]
"""All that changes from step to step, as tensors: a batch, what was drawn for it, and the states that it starts from."""


class Trained(NamedTuple):
    """A forward pass that the weights are trained with."""

    objective: torch.Tensor  # what is minimised, a mean over the batch
    sums: Sums


@dataclass(frozen=True)
class Step:
    """One training step, with its batches, dropout masks and starting states.

    Attributes:
        learning_rate: of the weights.
        samples: that the weights are trained on.
        train: the forward pass for the weights.
        train_loss: what it minimises.
        valid_loss: the loss on a batch of the architecture's data; None if the search has none.
        given, arch_given: what `Task.train_on` and `Task.valid_on` made them of.
    """

    learning_rate: float
    samples: int
    train: Callable[[ArchWeights], Trained]
    train_loss: Objective
    valid_loss: Objective | None
    given: Inputs
    arch_given: Inputs = ()


@dataclass(frozen=True)
class Place:
    """Where a process trains.

    Attributes:
        rank, processes: which of how many.
        fast: whether in the fast form.
    """

    device: torch.device
    seed: int
    rank: int
    processes: int
    fast: bool


class Task(ABC):
    """One kind of data with the supernet for it. A subclass is one file, and an entry in `one_shot/settings.py`.

    Class methods answer before any data is read.
    """

    package: ClassVar[str]
    """Of the search space."""

    program: ClassVar[str]
    """What trains one architecture of it, as an entrypoint names it."""

    groups: ClassVar[tuple[type, ...]]
    """Dataclasses of its hyperparameters."""

    data_group: ClassVar[type]
    """Dataclass of the config's section `data`."""

    names: tuple[str, ...]
    """What is summed over a batch."""

    shown: ClassVar[tuple[str, ...]]
    """The metrics that are reported of derived architectures too, those of them that there are."""

    when_diverging: ClassVar[str] = "lower hyperparameters.learning_rate or hyperparameters.clip_gradients_l2_norm"
    """What a user is told to do."""

    fast_is_twice_differentiable: ClassVar[bool] = False
    """Whether the fast form has second derivatives, which `bilevel: exact` takes."""

    net: nn.Module
    max_norm: float
    """To which the gradient of the weights is clipped."""

    @abstractmethod
    def __init__(self, settings: Any, place: Place) -> None:
        """Read the data and make the supernet."""

    @classmethod
    @abstractmethod
    def problems(cls, settings: Any, processes: int) -> list[str]:
        """What is wrong with settings that are right one by one."""

    @classmethod
    def warnings(cls, settings: Any) -> list[str]:
        """What these settings allow and a user hardly means."""
        return []

    @classmethod
    def space(cls, settings: Any) -> Space[Any]:
        """The search space."""
        return load_space(cls.package)

    @classmethod
    @abstractmethod
    def supernet_json(cls, settings: Any) -> dict[str, Any]:
        """What fixes the supernet's weights and their meaning."""

    @classmethod
    @abstractmethod
    def supernet_size(cls, settings: Any) -> Size:
        """Parameters of the supernet; MACs of a mixture for one input."""

    @classmethod
    @abstractmethod
    def size_settings(cls, settings: Any) -> dict[str, Any]:
        """For `Space.size`: a network of one architecture as wide and deep as the supernet."""

    def size_read(self) -> dict[str, Any]:
        """Those settings of `Space.size` that reading the data has told."""
        return {}

    @classmethod
    def retraining(cls, beside: Mapping[str, Any]) -> dict[str, Any]:
        """The hyperparameters with which an architecture is retrained, of what its path says `beside` its genotype."""
        return {}

    @classmethod
    def costs(cls, settings: Any) -> Costs | None:
        """What each operation of each edge costs, as its share of the costs of a mean architecture; None if nobody knows."""
        return None

    @classmethod
    def counted(cls, network: Mapping[str, Any]) -> Counted | None:
        """What networks of a size cost, by the settings of `Space.size`; None where all cost the same."""
        return None

    @classmethod
    @abstractmethod
    def directions(cls, settings: Any | None) -> dict[str, str]:
        """The metrics of a validation and whether to "minimize" or "maximize" them; for None all there may be."""

    @classmethod
    @abstractmethod
    def data_facts(cls, settings: Any) -> tuple[str, int | None, str, int | None]:
        """See `nas.trial.DataFacts`."""

    @classmethod
    @abstractmethod
    def memory(cls, settings: Any, batch: int, device: str) -> MemoryEstimate:
        """What one process needs for `batch` samples."""

    @classmethod
    @abstractmethod
    def random_losses(cls, settings: Any, batch: int, device: torch.device) -> tuple[nn.Module, Objective]:
        """The supernet, and its mean loss on `batch` samples of noise, as long as they may be."""

    @classmethod
    @abstractmethod
    def global_batch_size(cls, settings: Any) -> int:
        """Of the settings."""

    @abstractmethod
    def data_parts(self) -> dict[str, DataPart]:
        """Digests of what is read."""

    @abstractmethod
    def optimizer(self) -> torch.optim.Optimizer:
        """A new optimiser of the supernet's weights."""

    @abstractmethod
    def training_batches(self) -> tuple[Dataset[Any], Any]:
        """A dataset and an endless batch sampler for it, see `nas.trial.ShardedBatchLoader`."""

    @abstractmethod
    def validation_batches(self) -> tuple[Dataset[Any], Any]:
        """The same for one pass over the validation data."""

    @abstractmethod
    def begin(self, batch: Any, progress: Progress) -> Step:
        """Prepare a training step: draw what chance decides, and put everything together."""

    @abstractmethod
    def train_on(self, given: Inputs) -> tuple[Callable[[ArchWeights], Trained], Objective]:
        """The forward pass for the weights on the tensors of a step, and what it minimises.

        It draws nothing and waits for nothing, so that a CUDA graph can repeat it on other tensors of the same shapes.
        """

    @abstractmethod
    def valid_on(self, given: Inputs) -> Objective:
        """The loss on a batch of the architecture's data, in the same way."""

    def carried(self, which: int) -> Sequence[torch.Tensor]:
        """The states that the last pass over the text of the weights (0) or the architecture (1) ended with, if any."""
        return ()

    def carry(self, which: int, states: Sequence[torch.Tensor]) -> None:
        """Take them from a graph, which repeats a pass without this object's doing."""
        return None

    def scores_on(self, number: int) -> Scores | None:
        """Scores on the batch of that number of the architecture's data, counted without end.

        None where these batches come with training batches only.
        """
        return None

    def scored_loss_on(self, number: int) -> Objective | None:
        """The loss that `scores_on` has of one architecture, on this process's part of the batch, differentiable."""
        return None

    def all_digits(self) -> AbstractContextManager[None]:
        """See `Problem.all_digits`."""
        return nullcontext()

    @abstractmethod
    def end(self) -> None:
        """Called after the step."""

    @abstractmethod
    def score(self, entrants: Sequence[ArchWeights], batch: Any, first: bool) -> tuple[torch.Tensor | int, list[Sums]]:
        """The number of samples in a validation batch, and sums over it for each of the entrants, in evaluation mode.

        Batches come in order; `first` if this is the first one of a pass.
        """

    @abstractmethod
    def objective_on(self, batch: Any) -> Objective:
        """The mean loss on a validation batch, in evaluation mode, from the state that a pass begins with."""

    @abstractmethod
    def score_all(self, entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        """The metrics of each entrant on the first validation batches, or all, computed by this process alone."""

    def score_others(self, genotypes: Sequence[Any]) -> SharedScores:
        """See `nas.trial.Trial.score_others`; the architectures may be smaller than those of the supernet."""
        raise ConfigError(["architectures that are not of the supernet are scored in the recurrent space only"])

    @abstractmethod
    def report(self, means: dict[str, float], training: bool = False) -> dict[str, float]:
        """The metrics of the means of what was summed."""

    @abstractmethod
    def rank_state(self) -> Any:
        """What only this process knows and a resumed run needs, as plain types and CPU tensors."""

    @abstractmethod
    def load_rank_states(self, states: list[Any]) -> None:
        """Restore from the states of all processes."""
