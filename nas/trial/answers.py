"""What the class of a trial answers before any data is read, for whoever asks: `nas check`, the local engine, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from nas.core.memory import MemoryEstimate
from nas.core.run_config import RunConfig
from nas.core.space import Size
from nas.core.survey import SpaceSurvey
from nas.runs.ranking import NONFINITE_PLACEHOLDER


class Settings(Protocol):
    """What a trial reads from its config: a frozen dataclass with at least these fields."""

    @property
    def run(self) -> RunConfig:
        """The hyperparameters that every trial has."""

    @property
    def genotype(self) -> Any:
        """The architecture, a `nas.core.space.Genotype`."""


@dataclass(frozen=True)
class DataFacts:
    """What is known of a trial's data before any of it is read.

    Attributes:
        text: the data in words, such as `cifar10 (10 classes, images of 3 x 32 x 32)`.
        samples: how many there are to train on; None if only reading would tell.
        unit: what a sample is, such as `images`.
        classes: how many the network tells apart; None for a regression, or if only reading would tell.
    """

    text: str
    samples: int | None
    unit: str
    classes: int | None = None


class TrialAnswers:
    """The class methods of `Trial` that know nothing but a config."""

    @classmethod
    def check(cls, hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Any:
        """The `Settings` that the config means. Raises ConfigError with every problem."""
        raise NotImplementedError

    @classmethod
    def metric_directions(cls, settings: Any) -> dict[str, str]:
        """What validation reports, and whether a searcher should "minimize" or "maximize" it.

        Empty if no data is held out. For None: all that the trial may report.
        """
        raise NotImplementedError

    @classmethod
    def data_facts(cls, settings: Any) -> DataFacts:
        """What is known of the data."""
        raise NotImplementedError

    @classmethod
    def network_size(cls, settings: Any) -> Size:
        """Parameters of the network, and multiply-accumulates for one input."""
        raise NotImplementedError

    @classmethod
    def describe_size(cls, settings: Any) -> str:
        """The network's size in words."""
        size = cls.network_size(settings)
        macs = f", {size.macs:,} MACs" if size.macs else ""
        return f"{size.parameters:,} parameters{macs}"

    @classmethod
    def describe_reach(cls, settings: Any) -> list[str]:
        """How large the networks are among which one is chosen by size, in words; no lines where none is."""
        return []

    @classmethod
    def memory(
        cls, settings: Any, processes: int, global_batch_size: int | None = None, device: str = "meta"
    ) -> MemoryEstimate | None:
        """What one process needs in training; None if the trial does not estimate it.

        Args:
            global_batch_size: another one than that of the settings.
            device: where a step is run to find out; on the meta device it takes neither time nor memory.
        """
        return None

    @classmethod
    def step_seconds(cls, settings: Any, processes: int, device: torch.device) -> float | None:
        """How long one process takes for a training step, measured here on random data; None if the trial cannot tell."""
        return None

    @classmethod
    def warnings(cls, settings: Any) -> list[str]:
        """What these settings allow and a user hardly means, a sentence each; `check` refuses what can only be a mistake."""
        return []

    @classmethod
    def global_batch_size(cls, settings: Any) -> int | None:
        """Of the settings; None if the trial has none to vary."""
        return None

    @classmethod
    def survey(
        cls, config: Mapping[str, Any], first: Mapping[str, Any], searched: Sequence[str], processes: int, samples: int
    ) -> SpaceSurvey | None:
        """Random samples of the search space that the config describes; None if the trial has nothing to say of it.

        Args:
            config: the experiment's.
            first: the hyperparameters of its first trial.
            searched: full names of those that the searcher chooses.
            samples: how many to draw.

        Raises:
            ConfigError: for settings that no trial can have, or constraints that no architecture satisfies.
        """
        return None

    @classmethod
    def architecture(cls, settings: Any) -> Any:
        """What network the weights are of, as JSON: the genotype; of a supernet, what fixes its search space."""
        genotype = settings.genotype
        return genotype.to_json() if hasattr(genotype, "to_json") else genotype

    @classmethod
    def worst_values(cls) -> dict[str, float]:
        """What is reported in place of NaN for each metric whose worst value is small, such as an accuracy."""
        directions = cls.metric_directions(None)
        return {name: -NONFINITE_PLACEHOLDER for name, direction in directions.items() if direction == "maximize"}
