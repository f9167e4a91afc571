"""Hyperparameters that every trial has, whatever it trains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from nas.core.fields import field
from nas.core.seeds import derive

if TYPE_CHECKING:
    import torch

SEEDS = 2**31
"""Seeds of trials are below this."""


@dataclass(frozen=True)
class RunConfig:
    """Hyperparameters that every trial has."""

    train_epochs: int | None = field(None, ge=1, most=10**9)  # length of training where the searcher does not say it
    evaluate_test: bool = False  # score the test split, once, at the end
    repeat: int | None = field(None, ge=0)  # tells trainings of the same setting apart; only their seeds differ
    paired_repeats: bool = False  # trainings of the same repeat have the same seed, whatever else they differ in
    fast: bool | None = None  # the fast form of the same computation; null: true but on MPS, where it was never tried
    cuda_graphs: bool = False  # replay training steps from CUDA graphs; other devices have none

    def problems(self) -> list[str]:
        """Rules over several fields."""
        found = []
        if self.paired_repeats and self.repeat is None:
            found.append("paired_repeats true needs repeat, by which the seed is chosen")
        return found + self.without_fast_form(self, ["cuda_graphs"])

    def without_fast_form(self, group: Any, names: Iterable[str]) -> list[str]:
        """See `needs_fast_form`; nothing unless the plain form is asked for."""
        return needs_fast_form(group, names, "got fast false; leave one of them out") if self.fast is False else []

    def fits_processes(self, processes: int) -> list[str]:
        """What is wrong with these settings for so many processes."""
        if not self.cuda_graphs or processes == 1:
            return []
        rule = "must be false with several processes, whose gradients meet in the middle of a step"
        return [f"hyperparameters.cuda_graphs {rule}, got true with {processes}; leave it out, or train on one slot"]

    def fast_on(self, device: torch.device) -> bool:
        """Whether to compute in the fast form on a device."""
        return device.type != "mps" if self.fast is None else self.fast


def needs_fast_form(group: Any, names: Iterable[str], why_not: str) -> list[str]:
    """What is wrong where there is no fast form: those of a group's settings that need it and are not at their default."""
    given = {
        each.name: getattr(group, each.name) for each in fields(group) if getattr(group, each.name) != each.default
    }
    values = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
    return [f"{name} {values[name]} needs the fast form, {why_not}" for name in names if name in values]


def seed_of(hparams: Mapping[str, Any], experiment_seed: int, trial_seed: int) -> int:
    """The seed of a training: its trial's own, or with `paired_repeats` that of its repeat in the experiment."""
    if not hparams.get("paired_repeats") or hparams.get("repeat") is None:
        return trial_seed
    return derive(experiment_seed, "repeat", hparams["repeat"]) % SEEDS
