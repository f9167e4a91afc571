"""Everything an image trial reads from its config, and the rules over several fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cnn_nas import architecture, data_checks
from cnn_nas.architecture import Genotype
from cnn_nas.constraints import Constraints
from cnn_nas.counting import NetworkSize
from cnn_nas.from_config import ArchitectureConfig, from_config
from cnn_nas.images.data import DataConfig, expected, known
from cnn_nas.model import ModelConfig
from nas.core.errors import ErrorCollector
from nas.core.fields import field, read
from nas.core.run_config import RunConfig


@dataclass(frozen=True)
class OptimizerConfig:
    """How the network is trained and evaluated."""

    learning_rate: float = field(gt=0)  # at the start; falls to 0 along a cosine, batch by batch
    momentum: float = field(ge=0, lt=1)
    weight_decay: float = field(ge=0)
    clip_gradients_l2_norm: float = field(gt=0)
    global_batch_size: int = field(ge=2, most=1_000_000)  # images, over all processes
    eval_batch_size: int = field(ge=1, most=1_000_000)  # images a process
    crop_padding: int = field(ge=0, most=8192)  # zeros around an image, out of which it is cropped again; 0: no crop
    flip: bool = field()  # mirror half of the images
    cutout_length: int = field(ge=0, most=8192)  # side of the square that is cut out; 0: none
    mixed_precision: bool | None = None  # bfloat16 where it is safe; null: on a GPU that can; false: float32, not TF32
    channels_last: bool | None = None  # memory format of feature maps and weights; null: true but on MPS


@dataclass(frozen=True)
class GpuConfig:
    """Ways to compute the same on a GPU. What they gain was not measured yet, so none is taken by itself."""

    weight_casts: str = field("autocast", choices=("autocast", "once"))  # to bfloat16; once: all weights together
    pad_channels: bool = False  # widen feature maps by zeros to multiples of 8 channels
    compile: str = field("none", choices=("none", "cells"))  # by torch.compile, while training
    cudnn_benchmark: bool = False  # measure which kernels are fastest; runs are then not the same to the last bit

    def problems_with(self, run: RunConfig, optimizer: OptimizerConfig) -> list[str]:
        """What does not go together."""
        found = run.without_fast_form(self, ["weight_casts", "pad_channels", "compile"])
        if self.weight_casts == "once" and optimizer.mixed_precision is False:
            found.append("weight_casts once has nothing to cast with mixed_precision false; leave it out")
        return [f"hyperparameters.{problem}" for problem in found]


@dataclass(frozen=True)
class Settings:
    """Everything an image trial reads from its config."""

    run: RunConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    gpu: GpuConfig
    genotype: Genotype
    constraints: Constraints | None
    data: DataConfig


_GROUPS = (RunConfig, ModelConfig, OptimizerConfig, GpuConfig, ArchitectureConfig)


def read_settings(hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
    """The settings that a config means. Reads no data; raises ConfigError with every problem."""
    problems = ErrorCollector()
    plain = dict(hparams) if isinstance(hparams, Mapping) else hparams
    edges = architecture.edge_hparams(plain) if isinstance(plain, dict) else {}
    rules = plain.pop("constraints", None) if isinstance(plain, dict) else None
    rest = {name: value for name, value in plain.items() if name not in edges} if edges else plain
    groups = problems.catch(read, rest, *_GROUPS, elsewhere=["constraints"])
    sources = problems.catch(read, data, DataConfig, section="data")
    constraints = problems.catch(Constraints.from_mapping, rules) if rules is not None else None
    if groups:
        problems.found += groups[0].fits_processes(processes) + fits_processes(groups[2], processes)
        problems.found += groups[3].problems_with(groups[0], groups[2])
    if sources:
        problems.found += data_checks.split_problems(sources[0])
    if groups and sources:
        problems.found += data_checks.problems(groups[2], known(sources[0]))
    if isinstance(plain, dict):
        size = sized(groups[1], *expected(sources[0])) if groups and sources else _SOME_SIZE
        genotype = problems.catch(from_config, plain, constraints if groups and sources else None, size)
    problems.raise_any()
    run, model, optimizer, gpu, _ = groups
    return Settings(run, model, optimizer, gpu, genotype, constraints, sources[0])


_SOME_SIZE = NetworkSize(36, 20, 10, (3, 32, 32))  # to check an architecture where the network's size is not known


def sized(model: ModelConfig, outputs: int, shape: tuple[int, int, int]) -> NetworkSize:
    """The network that parameters and MACs are counted for; `shape` is channels, height and width of an image."""
    return NetworkSize(model.init_channels, model.layers, outputs, shape)


def fits_processes(config: OptimizerConfig, processes: int) -> list[str]:
    """What is wrong with the batch for so many processes, each of which takes its part of it."""
    size = config.global_batch_size
    if size % processes or size < 2 * processes:
        rule = f"a multiple of the {processes} processes, with at least 2 images for each"
        return [f"hyperparameters.global_batch_size must be {rule} (batch norm), got {size}"]
    return []
