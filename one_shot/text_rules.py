"""The hyperparameters of a search on text that train and evaluate the weights, and the rules over several groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nas.core.fields import field
from nas.core.run_config import needs_fast_form
from randomNAS_files.corpora import most_tokens
from randomNAS_files.fast.precision import FULL, HALF
from randomNAS_files.model import ModelConfig
from randomNAS_files.settings import PRECISIONS, StreamConfig, fits_processes, fits_text
from randomNAS_files.supernet import SupernetConfig

SEARCH_EVAL_COLUMNS = 64


@dataclass(frozen=True)
class TextSearchConfig(StreamConfig):
    """How the supernet's weights are trained and evaluated."""

    max_state_norm: float = field(0.0, ge=0)  # of each state carried from slice to slice in training; 0: no bound
    learning_rate_decay: float = field(1.0, gt=0, le=1)  # by which it is multiplied for every epoch ...
    decay_after_epochs: int = field(0, ge=0)  # ... after so many
    precision: str = field(FULL, choices=PRECISIONS)  # of matrix products in training; see docs/one_shot.md

    def rate(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0; nothing to save, so that a resumed search goes on with it."""
        return self.learning_rate * self.learning_rate_decay ** max(0, epoch - self.decay_after_epochs + 1)


def problems_of(settings: Any, processes: int) -> list[str]:
    """See `Task.problems`."""
    config, exact = settings.groups[TextSearchConfig], settings.data.corpus != "text"
    found = fits_processes(config, processes)
    if why_not := _why_plain(settings):
        found += [f"hyperparameters.{each}" for each in needs_fast_form(config, ["precision"], why_not)]
    tokens = most_tokens(settings.data)
    if settings.learns and "train" in tokens and settings.search.arch_data == "part":
        tokens = {**tokens, "train": tokens["train"] - round(settings.search.arch_fraction * tokens["train"])}
    found += fits_text(config, tokens, False, exact=exact)
    arch = {"validation": tokens.get("valid"), "part": None}[settings.search.arch_data]
    if settings.learns and arch is not None and config.global_batch_size > arch - 1:
        rule = f"must be at most {arch - 1:,}, the words to predict for the architecture"
        found.append(f"hyperparameters.global_batch_size {rule}, got {config.global_batch_size}")
    return found + _supernet_problems(settings, processes)


def _why_plain(settings: Any) -> str:
    """Why a search computes in the plain form on every device; "" if it does not."""
    if settings.groups[SupernetConfig].hadamard:
        return "which hadamard has not; leave it out"
    if settings.run.fast is False:
        return "got fast false; leave one of them out"
    if not settings.fast:
        return "got bilevel exact, which needs second derivatives and so the plain form; leave one of them out"
    return ""


def _supernet_problems(settings: Any, processes: int) -> list[str]:
    found, config, supernet = [], settings.groups[TextSearchConfig], settings.groups[SupernetConfig]
    if supernet.state_norm and min(config.global_batch_size, config.eval_batch_size) // processes < 2:
        rule = "with state_norm global_batch_size and eval_batch_size must be at least 2 a process (batch norm)"
        found.append(f"hyperparameters: {rule}, got {config.global_batch_size} and {config.eval_batch_size}")
    sizes, nhid = supernet.hidden_choices, settings.groups[ModelConfig].nhid
    if sizes is not None and sizes[-1] != nhid:
        rule = f"must end with nhid {nhid}, the block of which the sizes are parts"
        found.append(f"hyperparameters.hidden_choices {rule}, got {list(sizes)}")
    if sizes is not None and settings.search.against_random:
        rule = "must be 0 with hidden_choices, as that experiment trains all cells with as many units"
        found.append(f"hyperparameters.against_random {rule}, got {settings.search.against_random}")
    if supernet.hadamard:
        found += _hadamard_problems(settings)
    if not supernet.one_cell_only:
        return found
    if settings.entry.one_mixture:
        rule = "sharing, output, one_activation, fixed_topology and hidden_choices must be left out, and nodes be one number,"
        why = f"with strategy {settings.search.strategy}, which mixes cells"
        return [*found, f"hyperparameters: {rule} {why}, got {supernet.one_cell_only}"]
    if supernet.state_norm:
        rule = f"must be false with {supernet.one_cell_only}, where each step trains a cell without batch norm"
        return [*found, f"hyperparameters.state_norm {rule}, got true"]
    return found


def _hadamard_problems(settings: Any) -> list[str]:
    found, strategy = [], settings.strategy
    if settings.run.fast:
        found.append("hyperparameters.fast must be left out with hadamard, which has no fast form, got true")
    if getattr(strategy, "controller", "heads") != "heads":
        rule = "must be heads with hadamard, as attention draws nodes with one predecessor"
        found.append(f"hyperparameters.controller {rule}, got {strategy.controller}")
    if getattr(strategy, "sample_none", False):
        found.append("hyperparameters.sample_none must be false with hadamard, whose cells have no none, got true")
    return found


def warnings_of(settings: Any) -> list[str]:
    """See `Task.warnings`."""
    config, found = settings.groups[TextSearchConfig], list[str]()
    if not settings.groups[SupernetConfig].state_norm:
        return found
    if config.eval_batch_size < SEARCH_EVAL_COLUMNS:
        what = (
            f"hyperparameters.eval_batch_size: states are normalised by the batch, of {config.eval_batch_size} columns"
        )
        found.append(f"{what}; {SEARCH_EVAL_COLUMNS} or more give steadier scores")
    if config.precision == HALF:
        what = "hyperparameters.precision: with state_norm the rounding of bf16 puts gradients off by some percent"
        found.append(f"{what}, and some searches then do not train; tf32 rounds to an eighth of that")
    return found
