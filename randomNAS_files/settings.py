"""Everything a recurrent trial reads from its config, and the rules over several fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas.core.errors import ErrorCollector
from nas.core.fields import field, read
from nas.core.run_config import RunConfig, needs_fast_form
from nas.core.space import Size
from randomNAS_files import architecture
from randomNAS_files.architecture import Genotype
from randomNAS_files.corpora import DataConfig, most_tokens
from randomNAS_files.from_config import ArchitectureConfig, from_config
from randomNAS_files.hadamard import HadamardGenotype
from randomNAS_files.model import ModelConfig
from randomNAS_files.space import SPACE

PRECISIONS = ("fp32", "tf32", "bf16")
"""Of matrix products, see `randomNAS_files/fast/precision.py`."""
EAGER, TRITON = "eager", "triton"
KERNELS = (EAGER, TRITON)


@dataclass(frozen=True)
class StreamConfig:
    """How a language model goes through its texts, and by what steps."""

    learning_rate: float = field(gt=0)  # for a slice of bptt words; scaled by slice length / bptt
    global_batch_size: int = field(ge=1, most=1_000_000)  # columns of the training stream, over all processes
    eval_batch_size: int = field(ge=1, most=1_000_000)  # columns of the validation and test streams
    bptt: int = field(ge=1, most=100_000)  # usual length of a slice
    max_seq_length_delta: int = field(ge=0, most=100_000)  # a slice has at most bptt + this many words
    wdecay: float = field(ge=0)
    clip_gradients_l2_norm: float = field(gt=0)
    alpha: float = field(ge=0)  # activation regularisation
    beta: float = field(ge=0)  # temporal activation regularisation


@dataclass(frozen=True)
class OptimizerConfig(StreamConfig):
    """How the language model is trained and evaluated."""

    nonmono: int = field(ge=0)  # validations without improvement until weights are averaged


@dataclass(frozen=True)
class GpuConfig:
    """Ways to compute the same on a GPU, up to rounding. What they gain was not measured yet, so none is taken by itself."""

    precision: str = field("fp32", choices=PRECISIONS)  # of matrix products in training; see docs/experiments.md
    kernels: str = field(EAGER, choices=KERNELS)  # between products: torch's operations, or kernels for a CUDA GPU


NEED_FAST_FORM = ("precision", "kernels")


@dataclass(frozen=True)
class Settings:
    """Everything a recurrent trial reads from its config."""

    run: RunConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    gpu: GpuConfig
    architecture: ArchitectureConfig
    genotype: Genotype | HadamardGenotype
    data: DataConfig

    def problems(self) -> list[str]:
        """What a Hadamard cell does not go with."""
        if not isinstance(self.genotype, HadamardGenotype):
            return []
        why_not = "which a Hadamard cell has not; leave it out"
        found = needs_fast_form(self.run, ["cuda_graphs"], why_not)
        found += needs_fast_form(self.gpu, NEED_FAST_FORM, why_not)
        if self.run.fast:
            found.append("fast must be left out with a Hadamard cell, which has no fast form, got true")
        if not self.architecture.eval_same_arch:
            found.append("eval_same_arch must be true with a Hadamard cell, whose weights fit no other cell, got false")
        return [f"hyperparameters.{problem}" for problem in found]


def read_settings(hparams: Mapping[str, Any], data: Mapping[str, Any], processes: int) -> Settings:
    """The settings that a config means. Reads no data; raises ConfigError with every problem."""
    problems = ErrorCollector()
    nodes = architecture.node_hparams(hparams) if isinstance(hparams, Mapping) else {}
    rest = {name: value for name, value in hparams.items() if name not in nodes} if nodes else hparams
    groups = problems.catch(read, rest, RunConfig, ModelConfig, OptimizerConfig, GpuConfig, ArchitectureConfig)
    sources = problems.catch(read, data, DataConfig, section="data")
    genotype = problems.catch(from_config, hparams) if isinstance(hparams, Mapping) else None
    if groups:
        run, _, optimizer, gpu, _ = groups
        problems.found += run.fits_processes(processes) + fits_processes(optimizer, processes)
        problems.found += [f"hyperparameters.{each}" for each in run.without_fast_form(gpu, NEED_FAST_FORM)]
    if groups and sources:
        exact = sources[0].corpus != "text"
        problems.found += fits_text(optimizer, most_tokens(sources[0]), run.evaluate_test, exact=exact)
    problems.raise_any()
    run, model, optimizer, gpu, which = groups
    settings = Settings(run, model, optimizer, gpu, which, genotype, sources[0])
    problems.found += settings.problems()
    problems.raise_any()
    return settings


def sized(settings: Settings, vocabulary: int) -> Size:
    """What the network costs on a text of so many words."""
    model = settings.model
    return SPACE.size(settings.genotype, hidden=model.nhid, depth=model.depth, vocabulary=vocabulary)


def fits_processes(config: StreamConfig, processes: int) -> list[str]:
    """What is wrong with the batch sizes for so many processes, each of which owns a part of every batch."""
    problems = []
    if config.global_batch_size % processes:
        problems.append(
            f"global_batch_size must be a multiple of the {processes} processes, got {config.global_batch_size}"
        )
    if config.eval_batch_size < processes:
        problems.append(f"eval_batch_size must be at least the {processes} processes, got {config.eval_batch_size}")
    return [f"hyperparameters.{problem}" for problem in problems]


def fits_text(config: StreamConfig, tokens: Mapping[str, int], evaluate_test: bool, *, exact: bool) -> list[str]:
    """What is wrong with batches and slices for texts of so many tokens, by split; of one left out nothing is known.

    Args:
        exact: otherwise they have at most so many, and only what is wrong for certain is told.
    """
    problems = []
    sizes = [("train", "global_batch_size"), ("valid", "eval_batch_size")]
    for split, name in [*sizes, *([("test", "eval_batch_size")] if evaluate_test else [])]:
        size, words = getattr(config, name), tokens.get(split, 0) - 1
        if split in tokens and words < 1:
            problems.append(f"{split} of the data has no word to predict; it needs at least two")
        elif split in tokens and size > words:
            rule = f"hyperparameters.{name} must be at most {words}, as {split} has no more words to predict"
            problems.append(f"{rule}, got {size}")
    if exact and "train" in tokens and not problems:
        rows = (tokens["train"] - 1) // config.global_batch_size
        if config.bptt > rows:
            column = f"as a column of {config.global_batch_size} in train has no more words"
            problems.append(f"hyperparameters.bptt must be at most {rows}, {column}, got {config.bptt}")
    return problems
