"""How a recurrent language model is trained and evaluated: hyperparameters, and their rules."""

from __future__ import annotations

from dataclasses import dataclass

from nas.core.fields import field


@dataclass(frozen=True)
class OptimizerConfig:
    """How the language model is trained and evaluated."""

    learning_rate: float = field(gt=0)  # for a slice of bptt words; scaled by slice length / bptt
    global_batch_size: int = field(ge=1)  # columns of the training stream, over all processes
    eval_batch_size: int = field(ge=1)  # columns of the validation and test streams
    bptt: int = field(ge=1)  # usual length of a slice
    max_seq_length_delta: int = field(ge=0)  # a slice has at most bptt + this many words
    wdecay: float = field(ge=0)
    clip_gradients_l2_norm: float = field(gt=0)
    alpha: float = field(ge=0)  # activation regularisation
    beta: float = field(ge=0)  # temporal activation regularisation
    nonmono: int = field(ge=0)  # validations without improvement until weights are averaged


def fits_processes(config: OptimizerConfig, processes: int) -> list[str]:
    """What is wrong with the batch sizes for so many processes, each of which owns a part of every batch."""
    problems = []
    if config.global_batch_size % processes:
        problems.append(
            f"global_batch_size must be a multiple of the {processes} processes, got {config.global_batch_size}"
        )
    if config.eval_batch_size < processes:
        problems.append(f"eval_batch_size must be at least the {processes} processes, got {config.eval_batch_size}")
    return [f"hyperparameters.{problem}" for problem in problems]
