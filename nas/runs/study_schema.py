"""Names in an experiment's Optuna study and `run.json`: what the engine writes and results read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEED = "seed"
"""A trial's seed."""

HYPERPARAMETERS = "hyperparameters"
"""A trial's hyperparameters: one value for each, in the sections of the config."""

BRACKET = "bracket"
"""Index of the bracket to which a trial belongs."""

RUNG_STATE = "asha"
"""The rungs that a trial reached, and with which values."""

RESTARTS = "restarts"
"""How often a trial was started again after a failure."""

OUTCOME = "outcome"
"""How a trial ended: one of OUTCOMES."""

ERRORS = "errors"
"""What was wrong, for a trial whose outcome is invalid or error."""

SUMMARY = "summary"
"""In `run.json` of an experiment whose session is over: what came of it, so that nobody has to open its study; None before."""

METADATA = ("architecture", "parameters", "macs")
"""What is copied from a trial's metadata when it ends, so that the study alone can be read."""

OUTCOMES = ("completed", "pruned", "diverged", "error", "invalid")
FAILURES = ("error", "invalid")
"""Outcomes of trials that trained nothing that counts."""


_WORDS = {"pruned": "stopped early", "error": "failed", "": "running"}


def in_words(outcome: str) -> str:
    """An outcome as people are told it; "running" for that of a trial that has none."""
    return _WORDS.get(outcome, outcome)


def storage_url(folder: Path, run: Mapping[str, Any]) -> str:
    """The Optuna storage of an experiment, by its folder and `run.json`."""
    return str(run.get("storage") or f"sqlite:///{folder / 'study.db'}")
