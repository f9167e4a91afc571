"""Fit sin(x) with a perceptron."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from determined import pytorch
from torch.utils.data import TensorDataset

from nas.core.errors import ErrorCollector
from nas.core.fields import field, read
from nas.core.seeds import torch_generator
from nas.core.space import Size
from nas.trial import DataFacts, RunConfig, Trial, WeightedMeans, main
from toy_space.architecture import Genotype
from toy_space.space import SPACE

SAMPLES = 96


@dataclass(frozen=True)
class ToyConfig:
    width: int = field(ge=1)
    learning_rate: float = field(gt=0)
    arch_seed: int | None = field(None, ge=0)
    arch_to_use: str | None = None


@dataclass(frozen=True)
class Settings:
    run: RunConfig
    toy: ToyConfig
    genotype: Genotype


class ToyTrial(Trial):
    space = "toy_space"

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context)
        self.settings = self.check(context.get_hparams(), {}, self.processes)
        net = SPACE.network(self.settings.genotype, self.seed, width=self.settings.toy.width)
        self.model = context.wrap_model(net)
        rate = self.settings.toy.learning_rate
        self.sgd = context.wrap_optimizer(torch.optim.SGD(self.model.parameters(), rate))
        means = WeightedMeans(context.device, ("fit",), lambda means: {"fit": 1 / (1 + means["fit"])})
        self.valid_means = context.wrap_reducer(means, for_training=False)

    @classmethod
    def check(cls, hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
        problems = ErrorCollector()
        groups = problems.catch(read, hparams, RunConfig, ToyConfig)
        problems.raise_any()
        run, toy = groups
        named = problems.catch(SPACE.by_name, toy.arch_to_use) if toy.arch_to_use else SPACE.sample(toy.arch_seed or 0)
        problems.raise_any()
        return Settings(run, toy, named)

    @classmethod
    def metric_directions(cls, settings: Any) -> dict[str, str]:
        return {"fit": "maximize"}

    @classmethod
    def data_facts(cls, settings: Any) -> DataFacts:
        return DataFacts("the sine of a number", SAMPLES, "numbers")

    @classmethod
    def network_size(cls, settings: Settings) -> Size:
        return SPACE.size(settings.genotype, width=settings.toy.width)

    def build_training_data_loader(self) -> pytorch.DataLoader:
        x = torch.linspace(-3, 3, SAMPLES)[:, None]
        return pytorch.DataLoader(TensorDataset(x, x.sin()), batch_size=16)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        x = 6 * torch.rand(40, 1, generator=torch_generator("cpu", 0, "toy data")) - 3
        return pytorch.DataLoader(TensorDataset(x, x.sin()), batch_size=16)

    def train_step(self, batch: Any, epoch: int, index: int) -> dict[str, float]:
        x, y = batch
        loss = (self.model(x) - y).square().mean()
        self.context.backward(loss)
        self.context.step_optimizer(self.sgd)
        return {"lr": self.settings.toy.learning_rate}

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        x, y = batch
        self.valid_means.update(len(x), fit=(self.model(x) - y).square().sum())
        return {}

    def summary(self) -> dict[str, str | int | float]:
        size = self.network_size(self.settings)
        return {"architecture": str(self.settings.genotype), "parameters": size.parameters}

    def files(self) -> dict[str, Any]:
        return {"genotype.json": self.settings.genotype.to_json()}

    def rank_state(self) -> None:
        """Nothing is carried."""

    def load_rank_states(self, states: list[Any]) -> None:
        """See `rank_state`."""

    def shared_state(self) -> None:
        """Nothing is carried."""

    def load_shared_state(self, state: Any) -> None:
        """See `shared_state`."""


if __name__ == "__main__":
    sys.exit(main("toy_space.trial:ToyTrial"))
