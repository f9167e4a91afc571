"""Which checkpoints of an experiment stay as its trials end, in any order, held against the rule over all of them at once."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nas.runs import retention
from nas.runs.retention import CheckpointRetention, RetentionPolicy, retained

VALUES = st.sampled_from([0.5, 1.0, 1.0, 2.0, math.nan, None]) | st.floats(0, 1)
TRIALS = st.lists(st.lists(VALUES, max_size=3), min_size=1, max_size=12)


class Folder(SimpleNamespace):
    """Of a trial: what of its checkpoints is there."""

    path: Path
    run: dict[str, Any]
    written: int

    def retain(self, uuids: set[str]) -> None:
        assert uuids <= {entry["uuid"] for entry in self.run["checkpoints"]}, "one that was deleted is wanted"
        self.run["checkpoints"] = [entry for entry in self.run["checkpoints"] if entry["uuid"] in uuids]
        self.written += 1


def folder(number: int, values: list[float | None]) -> Folder:
    entries = [{"uuid": f"{number}-{i}", "value": value} for i, value in enumerate(values)]
    return Folder(path=Path(), run={"checkpoints": entries}, written=0)


@settings(max_examples=200, deadline=None)
@given(TRIALS, st.integers(0, 2), st.integers(0, 2), st.integers(0, 3), st.booleans(), st.randoms())
def test_what_stays_does_not_depend_on_the_order_in_which_trials_end(
    trials: list[list[float | None]], best: int, latest: int, of_all: int, smaller: bool, order: Any
) -> None:
    policy = RetentionPolicy(best, latest, of_all)
    folders = {number: folder(number, values) for number, values in enumerate(trials)}
    entries = {number: list(each.run["checkpoints"]) for number, each in folders.items()}
    kept = CheckpointRetention(policy, smaller_is_better=smaller)
    numbers = list(folders)
    order.shuffle(numbers)
    for number in numbers:
        kept.apply(number, folders[number])  # type: ignore[arg-type]
    expected = retained(entries, policy, smaller_is_better=smaller)
    there = {number: {entry["uuid"] for entry in each.run["checkpoints"]} for number, each in folders.items()}
    assert there == expected


def test_the_work_of_an_end_does_not_grow_with_the_trials(monkeypatch: Any) -> None:
    looked_at: list[int] = []
    rule = retention.retained

    def counted(entries: Any, *arguments: Any, **named: Any) -> Any:
        looked_at.append(len(entries))
        return rule(entries, *arguments, **named)

    monkeypatch.setattr(retention, "retained", counted)
    kept = CheckpointRetention(RetentionPolicy(1, 1, experiment_best=3), smaller_is_better=True)
    for number in range(200):
        kept.apply(number, folder(number, [1000 - number, 500.0]))  # type: ignore[arg-type]
    assert max(looked_at) == 4
