"""How a recurrent language model is trained and evaluated: hyperparameters, and their rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nas.core.fields import field

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
    precision: str = field("fp32", choices=PRECISIONS)  # of matrix products in training; see docs/experiments.md


@dataclass(frozen=True)
class FastConfig:
    """How the fast form computes."""

    kernels: str = field(EAGER, choices=KERNELS)  # between products: torch's operations, or kernels for a CUDA GPU


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
