"""Whether a trial obeys each of its settings: two short runs that differ in one of them, in either form."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from nas import trial as training
from support.runs import Laptop, step_losses


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        changed: its other value.
        seen_in: where the change must be seen: "losses" of the training steps, "reports" of any group, or "notes" of the
            test's own. Or "refused".
        base: settings of both runs, beside those of all rows.
    """

    changed: Any
    seen_in: str = "losses"
    base: dict[str, Any] = field(default_factory=dict)


def settings_of(*groups: type, without: Sequence[str] = ()) -> set[str]:
    """The names of all fields."""
    return {each.name for group in groups for each in dataclasses.fields(group)} - set(without)


Unchanged = dict[str, dict[str, Any]]
"""What runs without a change do, by their settings: many rows have the same."""


def assert_obeyed(
    laptop: Laptop, name: str, row: Row, notes: list[Any], base: dict[str, Any], unchanged: Unchanged
) -> None:
    """Train with and without the change; a name with a dot is one of another section, such as `data.split_seed`.

    Args:
        notes: filled by the test while training goes on.
        unchanged: of the other rows of the module; what is not there is added.
    """
    value = str(row.changed).lower() if isinstance(row.changed, bool) else row.changed
    override, changes = ([f"{name}={value}"], {}) if "." in name else ([], {name: row.changed})
    settings = repr(sorted((base | row.base).items()))
    if settings not in unchanged:
        unchanged[settings] = observed(laptop, [], base | row.base, notes)
    before = unchanged[settings]
    after = observed(laptop, override, base | row.base | changes, notes)
    if row.seen_in == "refused":
        assert before["code"] == 0 and after["code"] != 0 and name in after["err"]
    else:
        assert before["code"] == after["code"] == 0, (before["err"], after["err"])
        assert before[row.seen_in] != after[row.seen_in]


def observed(laptop: Laptop, overrides: list[str], settings: dict[str, Any], notes: list[Any]) -> dict[str, Any]:
    """What a run does."""
    notes.clear()
    with pytest.MonkeyPatch.context() as patch:
        losses = step_losses(patch)
        run = laptop.train(*overrides, **settings)
    reports = (
        [run.metrics(group) for group in ("training", "validation", "test", "architectures")] if run.code == 0 else []
    )
    return {"code": run.code, "err": run.err, "losses": losses, "reports": reports, "notes": list(notes)}


def note_form_and_validation(monkeypatch: pytest.MonkeyPatch, trial: type[training.Trial], notes: list[Any]) -> None:
    """Note the network's class, and the shapes of what is evaluated."""
    evaluate = trial.evaluate_batch

    def evaluate_batch(self: Any, batch: Any, batch_idx: int) -> Any:
        notes.append((type(self.net).__name__, tuple(batch[0].shape)))
        return evaluate(self, batch, batch_idx)

    monkeypatch.setattr(trial, "evaluate_batch", evaluate_batch)
