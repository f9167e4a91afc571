"""Which checkpoints of ended trials stay, by `checkpoint_storage`: save_trial_best, save_trial_latest, save_experiment_best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.runs.run_folder import RetentionPolicy, RunFolder

Entries = Mapping[int, list[dict[str, Any]]]


def retained(entries: Entries, keep: RetentionPolicy, *, smaller_is_better: bool) -> dict[int, set[str]]:
    """Of each trial's checkpoints, oldest first, the ids of those that stay."""
    sign = 1 if smaller_is_better else -1

    def best(candidates: list[tuple[int, dict[str, Any]]], count: int) -> list[tuple[int, dict[str, Any]]]:
        scored = [
            pair for pair in candidates if math.isfinite(math.nan if pair[1]["value"] is None else pair[1]["value"])
        ]
        return sorted(scored, key=lambda pair: sign * pair[1]["value"])[:count]

    stay: dict[int, set[str]] = {}
    for number, own in entries.items():
        pairs = [(number, entry) for entry in own]
        latest = pairs[len(pairs) - keep.latest :] if keep.latest < len(pairs) else pairs
        stay[number] = {entry["uuid"] for _, entry in [*best(pairs, keep.best), *latest]}
    everything = [(number, entry) for number, own in sorted(entries.items()) for entry in own]
    for number, entry in best(everything, keep.experiment_best):
        stay[number].add(entry["uuid"])
    return stay


class CheckpointRetention:
    """The checkpoints of an experiment's ended trials on disk."""

    def __init__(self, keep: RetentionPolicy, *, smaller_is_better: bool) -> None:
        self._keep, self._smaller = keep, smaller_is_better
        self._folders: dict[int, RunFolder] = {}
        self._stay: dict[int, set[str]] = {}

    def add(self, number: int, path: Path) -> None:
        """A trial has ended: delete what need not stay, of it and of those before."""
        folder, _ = RunFolder.open(path)
        if not self._keep.experiment_best:  # then no trial matters to another
            self._folders.clear()
        self._folders[number] = folder
        entries = {each: folder.run.get("checkpoints", []) for each, folder in self._folders.items()}
        stay = retained(entries, self._keep, smaller_is_better=self._smaller)
        for each, folder in self._folders.items():
            if self._stay.get(each) != stay[each]:
                folder.retain(stay[each])
        self._stay = stay
