"""Train a convolutional network of DARTS cells on images: classes, or a number for each image.

The evaluation network and training of DARTS (Liu et al. 2019, arXiv 1806.09055, section 3.1.2): SGD with momentum, a
cosine learning rate, cutout, drop path and an auxiliary tower. The architecture comes by name (`arch_to_use`), from a seed
and constraints (`arch_seed`, `constraints`), or edge by edge (`normal_node1_edge1`, `normal_node1_edge1_op`, ...).

    python3 -m cnn_nas.trial --config cnn_nas/mnist.yaml       this machine
    det experiment create adaptive.yaml .                      a Determined cluster
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from determined import pytorch

from cnn_nas import data_checks
from cnn_nas.counting import count_size
from cnn_nas.fast.networks import image_network
from cnn_nas.feature_maps import FeatureMaps
from cnn_nas.images.augmentation import Augmentation, Draws
from cnn_nas.images.batches import ProcessImages, ShuffledBatches, in_order
from cnn_nas.images.data import expected, known, load, seen_shape
from cnn_nas.images.metrics import measured
from cnn_nas.memory import estimate_trial
from cnn_nas.model import draw_path_masks
from cnn_nas.portable import portable
from cnn_nas.scoring import Scorer
from cnn_nas.settings import Settings, read_settings, sized
from cnn_nas.survey import survey_config
from nas.core.errors import ConfigError
from nas.core.identity import DataPart
from nas.core.memory import MemoryEstimate
from nas.core.optimizers import at_rate, fused_sgd, set_rate
from nas.core.portable import Portable
from nas.core.seeds import torch_generator
from nas.core.space import Size
from nas.core.survey import SpaceSurvey
from nas.trial import DataFacts, ShardedBatchLoader, Trial, WeightedMeans, main
from nas.trial.callbacks import BroadcastBuffers
from nas.trial.capture import CapturedStep, Step
from nas.trial.device import measure_kernels

logger = logging.getLogger(__name__)


class ImageTrial(Trial):
    """One convolutional architecture, trained on one data set."""

    space = "cnn_nas"

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context)
        config = context.get_experiment_config().get("data") or {}
        self.settings = self.check(context.get_hparams(), config, self.processes)
        self.genotype, self.data = self.settings.genotype, load(self.settings.data)
        data_checks.check_read(self.settings.optimizer, self.data, self.settings.run.evaluate_test)
        self.tell(data_checks.warnings(self.settings.optimizer, self.settings.model, self.data.known))
        if self.settings.run.evaluate_test and not self.rank:
            _ = self.data.test  # damaged files are found before the training, and not after it
        self.validates = self.data.valid is not None
        self.size = sized(self.settings.model, self.data.outputs, self.data.train.shape)
        if self.settings.constraints and (broken := self.settings.constraints.broken(self.genotype, self.size)):
            raise ConfigError(f"hyperparameters: with the images as they are, constraints.{rule}" for rule in broken)
        total = self.settings.optimizer.global_batch_size
        self.shard = slice(total * self.rank // self.processes, total * (self.rank + 1) // self.processes)
        self.scores = measured(self.data.train.targets, self.data.classes)
        optimizer = self.settings.optimizer
        self.augmentation = Augmentation(
            self.data.mean, self.data.std, optimizer.crop_padding, optimizer.flip, optimizer.cutout_length
        )
        self._build_network()

    def _build_network(self) -> None:
        context, settings = self.context, self.settings
        device, optimizer = context.device, settings.optimizer
        weights = torch_generator("cpu", self.seed, "weights")
        fast = settings.run.fast_on(device)
        net = image_network(settings, self.data.outputs, self.data.train.shape, weights, fast)
        if settings.gpu.cudnn_benchmark:
            measure_kernels(device)
        self.maps = FeatureMaps.of(optimizer, device)
        self.net = net.to(memory_format=self.maps.memory_format)
        self.scorer = Scorer(self.net, self.augmentation, self.maps, self.scores, optimizer.eval_batch_size)
        self.model = context.wrap_model(self.net)  # the same modules, perhaps behind data parallelism
        self.unused = self.net.unused_parameters()
        sgd = fused_sgd if fast else torch.optim.SGD
        self.sgd = context.wrap_optimizer(
            sgd(self.net.parameters(), optimizer.learning_rate, optimizer.momentum, weight_decay=optimizer.weight_decay)
        )
        self.lr = optimizer.learning_rate
        graphs = settings.run.cuda_graphs
        self.step: Step = CapturedStep(self._step, self.net, self.sgd, device) if graphs else self._step
        training_means = WeightedMeans(device, self.scores.names, self._training_report, over_epoch=True)
        self.train_means = context.wrap_reducer(training_means, for_validation=False)
        self.valid_means = context.wrap_reducer(
            WeightedMeans(device, self.scores.names, self.scores.report), for_training=False
        )

    @classmethod
    def check(cls, hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
        return read_settings(hparams, data, processes)

    @classmethod
    def metric_directions(cls, settings: Settings | None) -> dict[str, str]:
        accuracies = {"top1_accuracy": "maximize", "top5_accuracy": "maximize"}
        if settings is None:
            return {"loss": "minimize", **accuracies, "r2": "maximize"}
        if not settings.data.validates:
            return {}
        outputs, _ = expected(settings.data)
        return {"loss": "minimize", **({"r2": "maximize"} if outputs == 1 else accuracies)}

    @classmethod
    def data_facts(cls, settings: Settings) -> DataFacts:
        data = settings.data
        outputs, shape = expected(data)
        head = "regression" if outputs == 1 else f"{outputs} classes"
        assumed = ""
        if data.dataset == "folder":
            assumed = "" if seen_shape(data) else ", assumed: no image could be looked at"
        text = f"{data.dataset} ({head}, images of {' x '.join(map(str, shape))}{assumed})"
        return DataFacts(text, known(data).images, "images", None if outputs == 1 else outputs)

    @classmethod
    def network_size(cls, settings: Settings) -> Size:
        """See `Trial.network_size`; without the auxiliary head, which only helps training."""
        return count_size(settings.genotype, sized(settings.model, *expected(settings.data)))

    @classmethod
    def describe_size(cls, settings: Settings) -> str:
        size, whole = cls.network_size(settings), sized(settings.model, *expected(settings.data))
        head = count_size(settings.genotype, whole, auxiliary=True).parameters - size.parameters
        more = f" ({head:,} more in the auxiliary tower)" if settings.model.auxiliary else ""
        return f"{size.parameters:,} parameters{more}, {size.macs:,} MACs an image"

    @classmethod
    def memory(
        cls, settings: Settings, processes: int, global_batch_size: int | None = None, device: str = "meta"
    ) -> MemoryEstimate:
        """See `Trial.memory`; by the shapes that `expected` tells."""
        batch = (global_batch_size or settings.optimizer.global_batch_size) // processes
        return estimate_trial(settings, *expected(settings.data), batch, device)

    @classmethod
    def warnings(cls, settings: Settings) -> list[str]:
        told = data_checks.warnings(settings.optimizer, settings.model, known(settings.data))
        return told + data_checks.split_warnings(settings.data)

    @classmethod
    def global_batch_size(cls, settings: Settings) -> int:
        return settings.optimizer.global_batch_size

    @classmethod
    def survey(
        cls, config: Mapping[str, Any], first: Mapping[str, Any], searched: Sequence[str], processes: int, samples: int
    ) -> SpaceSurvey | None:
        return survey_config(config, first, searched, processes, samples)

    def data_parts(self) -> dict[str, DataPart]:
        """The images to train and to validate on; the test split decides nothing, and is read at the end only."""
        return self.data.parts(self.settings.data.data_dir or "")

    def build_training_data_loader(self) -> pytorch.DataLoader:
        """All images in a new order each epoch; this process's part of every batch."""
        images = self.data.train.near(self.context.device)
        size = self.settings.optimizer.global_batch_size
        shuffled = ShuffledBatches(len(images), size, self.seed, device=images.targets.device)
        return ShardedBatchLoader(ProcessImages(images, self.shard), shuffled)

    def build_validation_data_loader(self) -> pytorch.DataLoader:
        """This process's part of the images held out; one image where nothing is, as Determined wants a loader."""
        images = self.data.valid if self.data.valid is not None else self.data.train
        images = images.near(self.context.device)
        count = len(images) if self.validates else self.processes
        first, last = (count * rank // self.processes for rank in (self.rank, self.rank + 1))
        batches = in_order(first, last, self.settings.optimizer.eval_batch_size)
        return ShardedBatchLoader(ProcessImages(images, slice(None)), [[batch] for batch in batches])

    def train_step(self, batch: Any, epoch: int, index: int) -> dict[str, float]:
        """Augment, step; the learning rate follows the batches, the drop path the epochs."""
        images, targets = batch
        optimizer, device = self.settings.optimizer, self.context.device
        if index % self.epoch_length == 0:
            self.train_means.start()
        self.lr = 0.5 * optimizer.learning_rate * (1 + math.cos(math.pi * index / self.total_batches))
        set_rate(self.sgd, self.lr)
        total = optimizer.global_batch_size
        draws = self.augmentation.draw(
            torch_generator(device, self.seed, "augmentation", index), total, self.shard, tuple(images.shape[2:])
        )
        chance = self.settings.model.drop_path_prob * epoch * self.epoch_length / self.total_batches
        generator, kind = torch_generator(device, self.seed, "drop path", index), self.maps.dtype
        masks = draw_path_masks(generator, self.net.droppable_edges, total, self.shard, chance, kind)
        sums = self.step(images, targets, self.lr, masks, *draws.tensors())
        self.train_means.update(len(targets), **dict(zip(self.scores.names, sums, strict=True)))
        return {"lr": self.lr}

    def _step(
        self,
        images: torch.Tensor,
        targets: torch.Tensor,
        rate: float | torch.Tensor,
        masks: torch.Tensor | None,
        *draws: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Augmentation, forward, backward, clipping and descent: what of a step can be captured as a graph.

        Returns:
            The sums of the scores, in the order of their names.
        """
        inputs = self.maps.arranged(self.augmentation.apply(images, Draws(*draws)))
        with self.maps.autocast():
            output = self.model(inputs, masks)
        objective = self.scores.objective(output.logits, targets)
        if output.auxiliary_logits is not None:
            auxiliary = self.scores.objective(output.auxiliary_logits, targets)
            objective = objective + self.settings.model.auxiliary_weight * auxiliary
        for parameter in self.unused:  # data parallelism wants a gradient of every parameter
            objective = objective + 0 * parameter.sum()
        self.context.backward(objective)
        with at_rate(self.sgd, rate):
            self.context.step_optimizer(self.sgd, clip_grads=self._clip)
        sums = self.scores.sums(output.logits.detach(), targets)
        return tuple(sums[name] for name in self.scores.names)

    def _training_report(self, means: dict[str, float]) -> dict[str, float]:
        """The learning rate is that of the last batch: a mean over the batches since a report would depend on stops."""
        return {**self.scores.training_report(means), "lr": self.lr}

    def _clip(self, parameters: Any) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.optimizer.clip_gradients_l2_norm)

    def evaluate_batch(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        """Some of the validation images; `valid_means` has the result."""
        images, targets = batch
        if self.validates:
            self.valid_means.update(len(targets), **self.scorer.sums(images, targets))
        return {}

    def conclude(self) -> None:
        """Score the test split once, with the final weights, if the run says so."""
        if not self.settings.run.evaluate_test or self.rank:
            return
        score = self.scorer.score(self.data.test)
        if self.settings.data.split == "published":
            score["r2_batches"] = self.scorer.mean_r2(self.data.test)
        self.report("test", {f"test_{name}": value for name, value in score.items()})
        if not self.diverged:
            logger.info("test %s", "  ".join(f"{name} {value:.4f}" for name, value in score.items()))

    def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """All processes validate the network that the first one saves."""
        return {"same_buffers": BroadcastBuffers(self.context, self.net), **super().build_callbacks()}

    def summary(self) -> dict[str, str | int | float]:
        """The architecture in words, and what it costs."""
        counts = count_size(self.genotype, self.size)
        return {
            "architecture": str(self.genotype),
            "genotype": self.genotype.to_text(),
            "parameters": counts.parameters,
            "macs": counts.macs,
            "dataset": self.data.name,
        }

    def files(self) -> dict[str, Any]:
        """The genotype."""
        return {"genotype.json": self.genotype.to_json()}

    def portable(self) -> Portable:
        return portable(self.net, self.data, self.scores)

    def rank_state(self) -> list[float]:
        """What the epoch has summed."""
        totals: list[float] = self.train_means.totals()
        return totals

    def load_rank_states(self, states: list[list[float]]) -> None:
        """The first process takes over all sums."""
        self.train_means.start()
        for state in states if self.rank == 0 else []:
            self.train_means.add(state)

    def shared_state(self) -> None:
        """Weights and optimiser are saved by Determined, and nothing else is carried."""

    def load_shared_state(self, state: None) -> None:
        """See `shared_state`."""


if __name__ == "__main__":
    sys.exit(main("cnn_nas.trial:ImageTrial"))
