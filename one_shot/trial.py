"""Search for an architecture in one training run: a supernet shares weights among all of them, a strategy chooses.

    python3 -m one_shot.trial --config one_shot/digits_darts.yaml       this machine
    det experiment create one_shot/digits_darts.yaml .                  a Determined cluster

After every epoch the architecture that the strategy would choose is scored with the shared weights and written down;
`genotype.json` is the last one, `search.json` has all of them, and `retrain.yaml` trains it on its own. No test set is read.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from determined import pytorch

from nas.core.arch_weights import ArchWeights, one_path
from nas.core.drawn_cells import ControllerCells
from nas.core.identity import DataPart, code_digest
from nas.core.memory import MemoryEstimate
from nas.core.seeds import torch_generator
from nas.core.space import Size
from nas.core.variants import SharedScores
from nas.trial import DataFacts, ShardedBatchLoader, Trial, WeightedMeans, main
from nas.trial.capture import MOST, CapturedStep, Step
from nas.trial.fitting import check_fits
from nas.trial.metrics import replace_nonfinite
from one_shot import analysis
from one_shot.architecture_training import ArchitectureTraining
from one_shot.averaging import average_over_processes, check_same_everywhere
from one_shot.captured import CapturedSteps
from one_shot.choosing import Chooser, eigenvalue
from one_shot.outcome import Outcome
from one_shot.record import SearchRecord, on_cpu
from one_shot.reporting import DERIVED, REPORTED, best_of, derived, directions, mean_of_sane, of_policy
from one_shot.retrain import transfer_warnings
from one_shot.settings import TASKS, Settings, build_strategy, read_settings
from one_shot.strategy import Progress
from one_shot.task import Place
from one_shot.timing import time_step
from one_shot.watch import Watch
from one_shot.weight_training import WeightTraining
from one_shot.within import reach

logger = logging.getLogger(__name__)


class SearchTrial(Trial):
    """One search with shared weights."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context)
        config = context.get_experiment_config()
        self.settings = self.check(context.get_hparams(), config.get("data") or {}, self.processes)
        self.space = self.settings.task.package
        self.search_space = self.settings.space
        check_fits(type(self), self.settings, self.processes, context.device, self._sharing())
        fast = self.settings.fast_on(context.device)
        self.task = self.settings.task(self.settings, Place(context.device, self.seed, self.rank, self.processes, fast))
        generator, read = torch_generator("cpu", self.seed, "strategy"), self.task.size_read()
        self.strategy = build_strategy(self.settings, generator, read).to(context.device)
        self._mixtures = (
            0 if self.strategy.mixture() is None else 1
        )  # that a validation scores before the discrete ones
        gather = context.distributed.allgather
        self.chooser = Chooser(self.settings, self.task, self.strategy, self.seed, gather, self.rank, self.processes)
        context.wrap_model(self.task.net)  # to be saved; gradients of several processes are averaged here
        self.parameters = list(self.task.net.parameters())
        self._size = sum(each.numel() for each in self.parameters)
        self.lr = 0.0
        self.sgd = context.wrap_optimizer(self.task.optimizer())
        self.outcome = Outcome(self.settings, self.task, self.strategy, self.seed, self.show)
        self.watch = Watch(self.search_space, context.device, self.task.when_diverging)
        self._entrants: list[ArchWeights] = []
        self._scores: list[dict[str, float]] = []
        second_order = self.settings.order in ("unrolled", "exact")
        self.architecture_training = ArchitectureTraining(self.strategy, self.task, self.sgd, self.seed, second_order)
        how = context.backward, context.step_optimizer, self.architecture_training.clip
        self.weight_training = WeightTraining(self.sgd, self.parameters, *how)
        if self.settings.run.cuda_graphs:
            self._capture()
        self._wrap_means()

    def _capture(self) -> None:
        """Two graphs a shape: the training of the weights, and the architecture's gradient."""
        made, halves = (self.task.net, self.sgd), (self.weight_training, self.architecture_training)

        def capture(work: Step) -> CapturedStep:
            return CapturedStep(work, *made, self.context.device, 2 * MOST)

        steps = CapturedSteps(self.settings, self.task, self.strategy, *halves, capture)
        self.weight_training.captured, self.architecture_training.captured = steps.train, steps.gradient

    def _sharing(self) -> int:
        """How many processes of this trial use this device."""
        return 1 if self.context.device.type == "cuda" else int(self.context.distributed.local_size)

    def _wrap_means(self) -> None:
        device, names = self.context.device, self.task.names
        self.train_means = self.context.wrap_reducer(
            WeightedMeans(device, names, self._training_report, over_epoch=True),
            for_validation=False,
        )
        self.arch_means = self.context.wrap_reducer(
            WeightedMeans(device, self.strategy.of_updates, lambda means: dict(means), over_epoch=True),
            for_validation=False,
        )
        entrants = [f"{k} {name}" for k in range(self._entrant_count) for name in names]
        self.valid_means = self.context.wrap_reducer(
            WeightedMeans(device, tuple(entrants), self._report), for_training=False
        )

    @property
    def _entrant_count(self) -> int:
        """How many a validation scores: the mixture, if there is one, and discrete architectures."""
        return self._mixtures + self.strategy.entrant_count

    @classmethod
    def check(cls, hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
        return read_settings(hparams, data, processes)

    @classmethod
    def metric_directions(cls, settings: Settings | None) -> dict[str, str]:
        if settings is None:
            return {name: way for task in TASKS.values() for name, way in directions(task, None).items()}
        return directions(settings.task, settings)

    @classmethod
    def data_facts(cls, settings: Settings) -> DataFacts:
        return DataFacts(*settings.task.data_facts(settings))

    @classmethod
    def network_size(cls, settings: Settings) -> Size:
        """Of the supernet."""
        return settings.task.supernet_size(settings)

    @classmethod
    def describe_size(cls, settings: Settings) -> str:
        return f"{cls.network_size(settings).parameters:,} parameters in the supernet"

    @classmethod
    def describe_reach(cls, settings: Settings) -> list[str]:
        return reach(settings)

    @classmethod
    def memory(
        cls, settings: Settings, processes: int, global_batch_size: int | None = None, device: str = "meta"
    ) -> MemoryEstimate:
        batch = (global_batch_size or settings.task.global_batch_size(settings)) // processes
        found = settings.task.memory(settings, batch, device)
        working = found.working + getattr(settings.strategy, "copies", 0) * found.parameters
        return dataclasses.replace(found, working=working).with_graphs(settings.run.cuda_graphs)

    @classmethod
    def step_seconds(cls, settings: Settings, processes: int, device: torch.device) -> float:
        """Of the third step; without dropout and augmentation."""
        return time_step(settings, settings.task.global_batch_size(settings) // processes, device)

    @classmethod
    def warnings(cls, settings: Settings) -> list[str]:
        told = transfer_warnings(settings.search.retrain, settings.task, dataclasses.asdict(settings.data))
        return settings.task.warnings(settings) + told

    @classmethod
    def global_batch_size(cls, settings: Settings) -> int:
        return settings.task.global_batch_size(settings)

    @classmethod
    def versions(cls) -> dict[str, str]:
        packages = [task.package for task in TASKS.values()]
        return {**super().versions(), "code": code_digest(["nas", "one_shot", "data", *packages])}

    def data_parts(self) -> dict[str, DataPart]:
        return self.task.data_parts()

    def build_training_data_loader(self) -> pytorch.DataLoader:
        """For each step a batch for the weights and, if the strategy learns, one for the architecture."""
        return ShardedBatchLoader(*self.task.training_batches())

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        """This process's part of the validation data."""
        return ShardedBatchLoader(*self.task.validation_batches())

    def progress(self, step: int) -> Progress:
        """How far the search is before that step."""
        unit, count = self.length
        return Progress(step, count * self.epoch_length if unit == "epochs" else count, self.epoch_length)

    def train_step(self, batch: Any, epoch: int, index: int) -> dict[str, float]:
        """Update the architecture, if the strategy learns, then the weights with what it samples."""
        progress = self.progress(index)
        if index % self.epoch_length == 0:
            self.train_means.start()
            self.arch_means.start()
        step = self.task.begin(batch, progress)
        self.lr = step.learning_rate
        for found in self.architecture_training.update(step, progress):
            self.arch_means.update(1, **found)
        generator = torch_generator("cpu", self.seed, "architecture", index)
        weights = self.strategy.sample(generator, progress, step.train_loss)
        trained = self.weight_training.update(step, weights)
        self.watch.see(index, trained.objective, weights)
        self.strategy.trained(weights)
        self.task.end()
        self.train_means.update(step.samples, **trained.sums)
        return {"lr": self.lr}

    def _training_report(self, means: dict[str, float]) -> dict[str, float]:
        """The learning rate is that of the last batch: a mean over the batches since a report would depend on stops."""
        return {**self.task.report(means, training=True), "lr": self.lr}

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Some of the validation data for all entrants; `valid_means` has the result."""
        if batch_idx == 0:
            self.watch.check()
            self._paths = self.chooser.entrants(self.batches_trained)
            mixture = [weights for weights in [self.strategy.expected()] if weights is not None]
            self._entrants = [*mixture, *map(one_path, self._paths)]
            self._measure_eigenvalue(batch)
        count, scores = self.task.score(self._entrants, batch, batch_idx == 0)
        sums = {f"{k} {name}": value for k, each in enumerate(scores) for name, value in each.items()}
        self.valid_means.update(count, **sums)
        return {}

    def _measure_eigenvalue(self, batch: Any) -> None:
        """On the first validation batch, every so many epochs."""
        every, epochs = self.settings.search.eigenvalue_epochs, self.batches_trained // (self.epoch_length or 1)
        if every and epochs % every == 0:
            generator = torch_generator("cpu", self.seed, "eigenvalue", self.batches_trained)
            value = eigenvalue(self.strategy, self.task.objective_on(batch), generator)
            found = torch.tensor(value, device=self.context.device)
            average_over_processes([found])
            self.outcome.record.eigenvalues.append(float(found))

    def _report(self, means: dict[str, float]) -> dict[str, float]:
        """The metrics of a validation."""
        names, count = self.task.names, self._entrant_count
        self._scores = [self.task.report({name: means[f"{k} {name}"] for name in names}) for k in range(count)]
        discrete = self._scores[self._mixtures :]
        main, exploded = (self._scores[0], {}) if self._mixtures else mean_of_sane(discrete)
        told = {name: value for name, value in self.strategy.report().items() if name in REPORTED}
        extra = {**exploded, **told, **of_policy(self.strategy, self.search_space, self.parameters)}
        if self.outcome.record.eigenvalues:
            extra = {**extra, "eigenvalue": self.outcome.record.eigenvalues[-1]}
        return {**main, **self._shown(discrete[best_of(discrete)]), **extra}

    def _shown(self, scores: Mapping[str, float]) -> dict[str, float]:
        """What is reported of the scores of a derived architecture.

        One that explodes with the shared weights is no reason to stop: its scores are the worst ones.
        """
        shown = {name: value for name, value in scores.items() if name in self.task.shown}
        replace_nonfinite(shown, self.worst_values())
        return derived(shown)

    def on_validation(self, metrics: dict[str, Any]) -> None:
        """Write down the architecture that the strategy would choose now; at the end choose."""
        check_same_everywhere(self.strategy.state_dict(), self.context.distributed.allgather)
        self.strategy.scored(self._paths, [scores["loss"] for scores in self._scores[self._mixtures :]])
        chosen = self.strategy.derive()
        assert chosen is not None  # it was told of some
        scores = {name: metrics[name] for name in metrics if name.startswith(DERIVED)}
        self.outcome.choose(chosen, scores, *self._place)
        if (reason := self.outcome.should_stop(*self._place)) and not self.complete:
            self.outcome.record.stopped = reason
            if self.rank == 0:
                logger.warning("%s, so the search stops here", reason)
            self.context.set_stop_requested(True)
        if self.complete:
            self._finish()
        self.publish()

    @property
    def _place(self) -> tuple[int, float]:
        """Batches trained, and epochs."""
        return self.batches_trained, self.batches_trained / (self.epoch_length or 1)

    def _finish(self) -> None:
        """Choose the architecture that the search ends with."""
        choice = None if self.outcome.record.stopped else self.chooser.final()
        if choice is None:
            return
        scores = self._shown(choice.scores)
        self.outcome.choose(choice.paths, scores, *self._place)
        self.outcome.finish(choice)
        reported = {**scores, **{f"{self.strategy.drawn}_{name}": value for name, value in choice.summary.items()}}
        self.report("search", reported)
        if self.rank == 0:
            told = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
            logger.info("chosen: %s\n%s", told, self.genotype.to_text())

    @property
    def complete(self) -> bool:
        """Whether it has trained as long as it should, or a rule stopped it."""
        return bool(self.outcome.record.stopped) or super().complete

    @property
    def genotype(self) -> Any:
        """The architecture chosen so far; None before the first validation."""
        return self.outcome.genotype

    @classmethod
    def need_controller(cls, settings: Settings) -> None:
        analysis.need_controller(settings)

    def analyze(self, cells: int, batches: int | None) -> ControllerCells:
        return analysis.analyze(self.settings, self.strategy, self.task.score_all, self.seed, cells, batches)

    def summary(self) -> dict[str, str | int | float]:
        genotype = self.genotype
        chosen = {} if genotype is None else {"architecture": str(genotype), "genotype": genotype.to_text()}
        chosen |= self.outcome.beside
        return {"supernet": str(self.settings.genotype), **chosen, "parameters": self._size}

    def architecture_size(self) -> dict[str, int]:
        """Of the architecture chosen so far, not of the supernet."""
        return self.outcome.costs()

    def score_others(self, genotypes: Sequence[Any]) -> SharedScores:
        return self.task.score_others(genotypes)

    def files(self) -> dict[str, Any]:
        """The chosen architecture, all that were chosen after each epoch, and how to retrain it."""
        return self.outcome.files(self.context.get_experiment_config(), self.context.get_hparams(), self.complete)

    def rank_state(self) -> dict[str, Any]:
        return {
            "task": self.task.rank_state(),
            "train": self.train_means.totals(),
            "architecture": self.arch_means.totals(),
        }

    def load_rank_states(self, states: list[dict[str, Any]]) -> None:
        """The first process takes over all sums."""
        self.task.load_rank_states([state["task"] for state in states])
        for name, means in (("train", self.train_means), ("architecture", self.arch_means)):
            means.start()
            for state in states if self.rank == 0 else []:
                means.add(state[name])

    def shared_state(self) -> dict[str, Any]:
        """The strategy and its optimiser, and what it chose."""
        own = {"method": self.settings.method, "record": self.outcome.record.to_state()}
        return {"strategy": on_cpu(self.strategy.state_dict()), **self.architecture_training.to_state(), **own}

    def load_shared_state(self, state: dict[str, Any]) -> None:
        """The inverse of `shared_state`. Raises MismatchError if it is of another strategy."""
        self.settings.check_method(state["method"])
        self.strategy.load_state_dict(state["strategy"])
        self.architecture_training.load_state(state, self.context.device)
        self.outcome.record = SearchRecord.from_state(state["record"])


if __name__ == "__main__":
    sys.exit(main("one_shot.trial:SearchTrial"))
