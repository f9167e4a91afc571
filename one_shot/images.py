"""Search on images, in the convolutional space.

DARTS (Liu et al. 2019, arXiv 1806.09055, section 3.1.1) trains the weights on one half of the training images and the
architecture on the other, which also validates. `arch_data: part` keeps the validation part for validation alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.utils.data import Dataset

from cnn_nas import data_checks
from cnn_nas.counting import NetworkSize, operation_costs
from cnn_nas.expected_cost import ExpectedCost
from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.feature_maps import FeatureMaps
from cnn_nas.images.arrays import Images, held_out
from cnn_nas.images.augmentation import Augmentation, Draws
from cnn_nas.images.batches import ProcessImages, ShuffledBatches, evenly
from cnn_nas.images.data import DataConfig, Known, expected, known, load
from cnn_nas.images.metrics import Classification, Regression, measured
from cnn_nas.memory import estimate_supernet
from cnn_nas.settings import OptimizerConfig, fits_processes
from cnn_nas.space import SPACE
from cnn_nas.supernet import Supernet, SupernetConfig, draw_skip_masks
from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.fields import field
from nas.core.identity import DataPart
from nas.core.memory import MemoryEstimate
from nas.core.optimizers import fused_sgd, with_momenta
from nas.core.seeds import derive, numpy_generator, torch_generator
from nas.core.space import Size
from one_shot.counted import Counted
from one_shot.gradient import Costs
from one_shot.pairs import PairedBatches, PairedImages
from one_shot.strategy import Objective, Progress
from one_shot.task import Inputs, Place, Step, Sums, Task, Trained

DRAWS = len(dataclasses.fields(Draws))


@dataclass(frozen=True)
class ImageSearchConfig(OptimizerConfig):
    """How the supernet's weights are trained and evaluated."""

    learning_rate_end: float = field(0.0, ge=0)  # the cosine ends there
    op_drop: float = field(0.0, ge=0, lt=1)  # rate at which skip connections are dropped at first; falls linearly to 0


class ImageTask(Task):
    """Images of one data set.

    Args:
        settings: see `one_shot.settings.Settings`.
    """

    package = SPACE.package
    program = "cnn_nas.trial"
    groups = (SupernetConfig, ImageSearchConfig)
    data_group = DataConfig
    fast_is_twice_differentiable = True
    shown = ("loss", "top1_accuracy", "r2")
    net: Supernet

    def __init__(self, settings: Any, place: Place) -> None:
        self.settings, self.place = settings, place
        self.model, self.config = settings.groups[SupernetConfig], settings.groups[ImageSearchConfig]
        self.max_norm = self.config.clip_gradients_l2_norm
        self.data = load(settings.data)
        if wrong := data_checks.problems(self.config, self.data.known):
            raise ConfigError(wrong)
        assert self.data.valid is not None  # `problems` refuses a search without validation
        self.train, self.architecture = self._parts()
        total = self.config.global_batch_size
        self.shard = slice(total * place.rank // place.processes, total * (place.rank + 1) // place.processes)
        self.scores = measured(self.train.targets, self.data.classes)
        self.names = self.scores.names
        self.augmentation = Augmentation(
            self.data.mean, self.data.std, self.config.crop_padding, self.config.flip, self.config.cutout_length
        )
        self._build()

    def _parts(self) -> tuple[Images, Images | None]:
        """The images that the weights and the architecture are trained on."""
        train, search = self.data.train, self.settings.search
        if not self.settings.learns:
            return train, None
        if search.arch_data == "validation":
            return train, self.data.valid
        count = round(search.arch_fraction * len(train))
        generator = numpy_generator(self.settings.data.split_seed, "architecture part")
        kept, out = held_out(train.targets, count, generator, self.data.groups)
        return train.subset(kept), train.subset(out)

    def _build(self) -> None:
        weights = torch_generator("cpu", self.place.seed, "weights")
        kind = FastSupernet if self.place.fast else Supernet
        net = kind(self.model, self.data.outputs, self.data.train.shape[0], weights)
        self.maps = FeatureMaps.of(self.config, self.place.device)
        self.net = net.to(memory_format=self.maps.memory_format)

    @classmethod
    def problems(cls, settings: Any, processes: int) -> list[str]:
        config, facts = settings.groups[ImageSearchConfig], known(settings.data)
        found = fits_processes(config, processes) + data_checks.split_problems(settings.data)
        images = facts if facts.images is None or facts.total is None else cls._of_the_smaller_part(settings, facts)
        found += data_checks.problems(config, images)
        if not settings.data.validates:
            found.append("data.validation_fraction must be above 0, as a search is judged by images held out, got 0")
        if config.eval_batch_size < 2:
            rule = "hyperparameters.eval_batch_size must be at least 2, as a supernet normalises by the batch it sees"
            found.append(f"{rule}, got {config.eval_batch_size}")
        if config.learning_rate_end > config.learning_rate:
            rule = f"hyperparameters.learning_rate_end must be at most learning_rate {config.learning_rate:g}"
            found.append(f"{rule}, got {config.learning_rate_end:g}")
        return found

    @staticmethod
    def _of_the_smaller_part(settings: Any, facts: Known) -> Known:
        """With as many images as the smaller of the two parts that batches are taken from."""
        assert facts.images is not None and facts.total is not None
        if not settings.learns:
            return facts
        part = round(settings.search.arch_fraction * facts.images)
        validates = settings.search.arch_data == "validation"
        parts = (facts.images, facts.total - facts.images) if validates else (facts.images - part, part)
        return dataclasses.replace(facts, images=min(parts))

    @classmethod
    def warnings(cls, settings: Any) -> list[str]:
        config, model = settings.groups[ImageSearchConfig], settings.groups[SupernetConfig]
        told = data_checks.warnings(config, model, known(settings.data)) + data_checks.split_warnings(settings.data)
        if config.eval_batch_size < 64:
            what = "hyperparameters.eval_batch_size: a supernet normalises by the batch it sees"
            told.append(f"{what}, of {config.eval_batch_size} images; 64 or more give steadier scores")
        return told

    @classmethod
    def supernet_json(cls, settings: Any) -> dict[str, Any]:
        outputs, shape = expected(settings.data)
        model = settings.groups[SupernetConfig]
        fixed = {"init_channels": model.init_channels, "layers": model.layers, "partial": model.partial}
        return {**fixed, "auxiliary_skip": model.auxiliary_skip, "outputs": outputs, "channels": shape[0]}

    @classmethod
    def supernet_size(cls, settings: Any) -> Size:
        outputs, shape = expected(settings.data)
        with torch.device("meta"):
            net = Supernet(settings.groups[SupernetConfig], outputs, shape[0], torch_generator("cpu", 0))
        return Size(sum(parameter.numel() for parameter in net.parameters()))

    @classmethod
    def size_settings(cls, settings: Any) -> dict[str, Any]:
        outputs, shape = expected(settings.data)
        model = settings.groups[SupernetConfig]
        fixed = {"init_channels": model.init_channels, "layers": model.layers}
        return {**fixed, "classes": outputs, "input_size": shape}

    def size_read(self) -> dict[str, Any]:
        return {"classes": self.data.outputs, "input_size": self.data.train.shape}

    @classmethod
    def costs(cls, settings: Any) -> Costs:
        """Multiply-accumulates of the discrete operation, over all cells of its kind."""
        return operation_costs(cls.size_settings(settings))

    @classmethod
    def counted(cls, network: Mapping[str, Any]) -> Counted:
        size = NetworkSize(**network)
        return Counted(
            lambda measure: ExpectedCost(size, measure),
            lambda budget: SPACE.decoder(budget, None, "the network that is retrained", **network),
            network,
        )

    @classmethod
    def directions(cls, settings: Any | None) -> dict[str, str]:
        accuracies = {"top1_accuracy": "maximize", "top5_accuracy": "maximize"}
        if settings is None:
            return {"loss": "minimize", **accuracies, "r2": "maximize"}
        outputs, _ = expected(settings.data)
        return {"loss": "minimize", **({"r2": "maximize"} if outputs == 1 else accuracies)}

    @classmethod
    def data_facts(cls, settings: Any) -> tuple[str, int | None, str, int | None]:
        outputs, shape = expected(settings.data)
        kind = "regression" if outputs == 1 else f"{outputs} classes"
        text = f"{settings.data.dataset} ({kind}, images of {' x '.join(map(str, shape))})"
        images = known(settings.data).images
        if images is not None and settings.learns and settings.search.arch_data == "part":
            images -= round(settings.search.arch_fraction * images)
        return text, images, "images", None if outputs == 1 else outputs

    @classmethod
    def memory(cls, settings: Any, batch: int, device: str) -> MemoryEstimate:
        """By the shapes that `expected` tells."""
        outputs, shape = expected(settings.data)
        config = settings.groups[ImageSearchConfig]
        return estimate_supernet(
            settings.groups[SupernetConfig],
            outputs,
            shape,
            batch,
            fast=settings.fast,
            momentum=config.momentum > 0,
            order=settings.order,
            crop_padding=config.crop_padding,
            flip=config.flip,
            paths=None if settings.mixes else SPACE.paths_of(SPACE.sample(0)),
            whole_cells=getattr(settings.strategy, "whole_cells", False),
            mixed=config.mixed_precision,
            device=device,
        )

    @classmethod
    def random_losses(cls, settings: Any, batch: int, device: torch.device) -> tuple[nn.Module, Objective]:
        (outputs, shape), generator = expected(settings.data), torch_generator("cpu", 0)
        kind = FastSupernet if settings.fast_on(device) else Supernet
        net = kind(settings.groups[SupernetConfig], outputs, shape[0], generator)
        net = net.to(device).to(memory_format=torch.channels_last)
        x = torch.rand(batch, *shape, generator=generator).to(device, memory_format=torch.channels_last)
        scores = Regression(0.0, 1.0) if outputs == 1 else Classification()
        targets = torch.zeros(batch, dtype=torch.float32 if outputs == 1 else torch.int64, device=device)
        return net, lambda weights: scores.objective(net(x, weights).logits, targets)

    @classmethod
    def global_batch_size(cls, settings: Any) -> int:
        return cast(int, settings.groups[ImageSearchConfig].global_batch_size)

    def data_parts(self) -> dict[str, DataPart]:
        return self.data.parts(self.settings.data.data_dir or "")

    def optimizer(self) -> torch.optim.Optimizer:
        config, sgd = self.config, fused_sgd if self.place.fast else torch.optim.SGD
        rate, decay = config.learning_rate, config.weight_decay
        return with_momenta(sgd(self.net.parameters(), rate, config.momentum, weight_decay=decay))

    def training_batches(self) -> tuple[Dataset[Any], Any]:
        size, seed, near = self.config.global_batch_size, self.place.seed, self.place.device
        train = self.train.near(near)
        weights = ShuffledBatches(len(train), size, seed, "to train the weights on", train.targets.device)
        first = ProcessImages(train, self.shard)
        if self.architecture is None:
            return PairedImages(first, None), PairedBatches(weights, None)
        other = derive(seed, "architecture data")
        images = self.architecture.near(near)
        use = "to train the architecture on"
        architecture = ShuffledBatches(len(images), size, other, use, images.targets.device)
        second = ProcessImages(images, self.shard)
        return PairedImages(first, second), PairedBatches(weights, architecture)

    def validation_batches(self) -> tuple[Dataset[Any], Any]:
        """Batches of one size, to within an image, as the supernet normalises by them."""
        assert self.data.valid is not None
        images, (rank, processes) = self.data.valid.near(self.place.device), (self.place.rank, self.place.processes)
        first, last = (len(images) * part // processes for part in (rank, rank + 1))
        if last - first < 2:
            rule = f"at least {2 * processes} images, two for each process"
            own = self.settings.data.validation_folder is not None
            which = "validation_folder must have" if own else "validation_fraction must hold out"
            raise ConfigError([f"data.{which} {rule} (batch norm), got {len(images)}"])
        batches = evenly(first, last, self.config.eval_batch_size)
        return ProcessImages(images, slice(None)), [[batch] for batch in batches]

    def score_all(self, entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        assert self.data.valid is not None
        images, size = self.data.valid, self.config.eval_batch_size
        totals, samples = torch.zeros(len(entrants), len(self.names), dtype=torch.float64), 0
        for indices in evenly(0, len(images), size)[:batches]:
            count, sums = self.score(entrants, images.batch(indices, self.place.device), first=False)
            samples += count
            values = torch.stack([each[name].float() for each in sums for name in self.names])
            totals += values.view(len(entrants), -1).cpu()
        return [self.report(dict(zip(self.names, row, strict=True))) for row in (totals / samples).tolist()]

    def begin(self, batch: Any, progress: Progress) -> Step:
        (images, targets), other = batch
        config = self.config
        span = config.learning_rate - config.learning_rate_end
        rate = config.learning_rate_end + 0.5 * span * (1 + math.cos(math.pi * progress.fraction))
        draws = self._draws(images, "augmentation", progress.step)
        generator = torch_generator(self.place.device, self.place.seed, "op drop", progress.step)
        chance = config.op_drop * (1 - progress.fraction)
        masks = draw_skip_masks(
            generator, self.model.layers, config.global_batch_size, self.shard, chance, self.maps.dtype
        )
        skips = () if masks is None else tuple(masks.values())
        given = (images, targets, *draws, *skips)
        if not other:
            return Step(rate, len(targets), *self.train_on(given), None, given)
        arch_draws = self._draws(other[0], "augmentation of the architecture's batch", progress.step)
        arch_given = (*other, *arch_draws, *skips)
        return Step(rate, len(targets), *self.train_on(given), self.valid_on(arch_given), given, arch_given)

    def train_on(self, given: Inputs) -> tuple[Callable[[ArchWeights], Trained], Objective]:
        outputs, targets = self._outputs_on(given)

        def train(weights: ArchWeights) -> Trained:
            logits = outputs(weights)
            sums = self.scores.sums(logits.detach(), targets)
            return Trained(self.scores.objective(logits, targets), sums)

        return train, lambda weights: self.scores.objective(outputs(weights), targets)

    def valid_on(self, given: Inputs) -> Objective:
        outputs, targets = self._outputs_on(given)
        return lambda weights: self.scores.objective(outputs(weights), targets)

    def _outputs_on(self, given: Inputs) -> tuple[Callable[[ArchWeights], torch.Tensor], torch.Tensor]:
        """The logits of a batch, and its targets; images are augmented when they are first asked for."""
        images, targets, *rest = cast("list[torch.Tensor]", given)
        draws, masks = Draws(*rest[:DRAWS]), dict(enumerate(rest[DRAWS:])) or None

        @functools.cache
        def inputs() -> torch.Tensor:
            return self.maps.arranged(self.augmentation.apply(images, draws))

        def outputs(weights: ArchWeights) -> torch.Tensor:
            x = inputs()
            with self.maps.autocast():
                logits: torch.Tensor = self.net(x, weights, masks).logits
            return logits

        return outputs, targets

    def _draws(self, images: torch.Tensor, purpose: str, step: int) -> tuple[torch.Tensor, ...]:
        generator = torch_generator(self.place.device, self.place.seed, purpose, step)
        size = self.config.global_batch_size
        return self.augmentation.draw(generator, size, self.shard, (images.size(2), images.size(3))).tensors()

    @contextlib.contextmanager
    def all_digits(self) -> Iterator[None]:
        """See `Problem.all_digits`: a move of the weights that a difference is taken over is lost in bfloat16."""
        before, self.maps = self.maps, dataclasses.replace(self.maps, mixed=False)
        try:
            yield
        finally:
            self.maps = before

    @torch.no_grad()
    def score(self, entrants: Sequence[ArchWeights], batch: Any, first: bool) -> tuple[int, list[Sums]]:
        images, targets = batch
        inputs = self.maps.arranged(self.augmentation.normalise(images))
        found = []
        for weights in entrants:
            with self.maps.autocast():
                logits = self.net(inputs, weights).logits
            found.append(self.scores.sums(logits, targets))
        return len(targets), found

    def objective_on(self, batch: Any) -> Objective:
        images, targets = batch
        inputs = self.maps.arranged(self.augmentation.normalise(images))

        def loss(weights: ArchWeights) -> torch.Tensor:
            logits: torch.Tensor = self.net(inputs, weights).logits
            return self.scores.objective(logits, targets)

        return loss

    def end(self) -> None:
        """Nothing is carried from step to step."""

    def rank_state(self) -> None:
        """See `end`."""

    def load_rank_states(self, states: list[Any]) -> None:
        """See `end`."""

    def report(self, means: dict[str, float], training: bool = False) -> dict[str, float]:
        return self.scores.training_report(means) if training else self.scores.report(means)
