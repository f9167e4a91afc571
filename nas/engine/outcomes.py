"""How trials end, in the words of Optuna."""

from __future__ import annotations

from optuna.trial import TrialState

STATES = {
    "completed": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.COMPLETE,
    "error": TrialState.FAIL,
    "invalid": TrialState.FAIL,
}
"""The state in Optuna of each outcome."""


def state_of(outcome: str, value: float | None) -> TrialState:
    """Of a trial that ended so, with that as its best value."""
    state = STATES[outcome]
    # Where nothing was held out: Optuna has no complete trials without a value.
    return TrialState.PRUNED if state == TrialState.COMPLETE and value is None else state
