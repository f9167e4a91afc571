"""Which checkpoints stay, by `checkpoint_storage`: save_trial_best, save_trial_latest, save_experiment_best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nas.core.errors import ConfigError
from nas.runs.ranking import rank
from nas.runs.run_json import LARGEST, is_whole

if TYPE_CHECKING:
    from nas.runs.run_folder import RunFolder

Entry = dict[str, Any]
"""A checkpoint as `run.json` lists it: uuid, batches, epochs, and the value of the searcher's metric."""


@dataclass(frozen=True)
class RetentionPolicy:
    """How many checkpoints stay, as `checkpoint_storage` says: those with the best metric, and the newest."""

    best: int = 1  # save_trial_best
    latest: int = 1  # save_trial_latest
    experiment_best: int = 0  # save_experiment_best: of all trials together

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> RetentionPolicy:
        """What an experiment's config says. Raises ConfigError for what is no number of checkpoints."""
        storage = config.get("checkpoint_storage") or {}
        if not isinstance(storage, Mapping):
            raise ConfigError([f"checkpoint_storage must be fields, got {str(storage)[:60]!r}"])
        names = {"best": "save_trial_best", "latest": "save_trial_latest", "experiment_best": "save_experiment_best"}
        asked = {field: storage[name] for field, name in names.items() if storage.get(name) is not None}
        if wrong := [field for field, count in asked.items() if not is_whole(count) or not 0 <= count < LARGEST]:
            raise ConfigError(
                f"checkpoint_storage.{names[field]} must be a whole number of at least 0, got {str(asked[field])[:60]!r}"
                for field in wrong
            )
        return cls(**asked)

    def while_training(self, entries: list[Entry], *, smaller_is_better: bool) -> list[Entry]:
        """The checkpoints, oldest first, that stay while their trial trains; the newest always does, to go on from."""
        ranked = rank(entries, _value, smaller_is_better=smaller_is_better)
        kept = [*ranked[: max(self.best, self.experiment_best)], *entries[-max(self.latest, 1) :]]
        return [entry for entry in entries if entry in kept]


def retained(
    entries: Mapping[int, list[Entry]], policy: RetentionPolicy, *, smaller_is_better: bool
) -> dict[int, set[str]]:
    """The ids of the checkpoints that stay when all these trials have ended; `entries` has each trial's, oldest first."""
    stay: dict[int, set[str]] = {}
    for number, own in entries.items():
        latest = own[len(own) - policy.latest :] if policy.latest < len(own) else own
        ranked = rank(own, _value, smaller_is_better=smaller_is_better)
        stay[number] = {entry["uuid"] for entry in [*ranked[: policy.best], *latest]}
    for number, entry in _experiment_best(entries, policy, smaller_is_better=smaller_is_better):
        stay[number].add(entry["uuid"])
    return stay


def _experiment_best(
    entries: Mapping[int, list[Entry]], policy: RetentionPolicy, *, smaller_is_better: bool
) -> list[tuple[int, Entry]]:
    """The best checkpoints of all these trials, with the trial of each."""
    everything = [(number, entry) for number, own in sorted(entries.items()) for entry in own]
    ranked = rank(everything, lambda pair: _value(pair[1]), smaller_is_better=smaller_is_better)
    return ranked[: policy.experiment_best]


class CheckpointRetention:
    """Deletes checkpoints of an experiment's ended trials.

    Args:
        policy: which stay.
        smaller_is_better: direction of the searcher's metric.
    """

    def __init__(self, policy: RetentionPolicy, *, smaller_is_better: bool) -> None:
        self._policy, self._smaller = policy, smaller_is_better
        self._folders: dict[int, RunFolder] = {}
        self._stay: dict[int, set[str]] = {}

    def apply(self, number: int, folder: RunFolder) -> None:
        """Apply the retention policy after a trial ends; this may delete checkpoints of trials that ended before."""
        self._folders[number] = folder
        entries = {each: known.run.get("checkpoints") or [] for each, known in self._folders.items()}
        stay = retained(entries, self._policy, smaller_is_better=self._smaller)
        for each, known in self._folders.items():
            if self._stay.get(each) != stay[each] and known.path.is_dir():
                known.retain(stay[each])
        # A checkpoint that is not among the best of the experiment will not be when more have come.
        leading = {each for each, _ in _experiment_best(entries, self._policy, smaller_is_better=self._smaller)}
        self._folders = {each: known for each, known in self._folders.items() if each in leading}
        self._stay = {each: stay[each] for each in leading}


def _value(entry: Entry) -> float | None:
    value: float | None = entry["value"]
    return value
