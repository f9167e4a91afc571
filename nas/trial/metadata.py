"""A run's metadata as the web UI shows them: it cuts long lines, folds maps and sorts their keys by name."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from nas.core.space import load_space
from nas.runs.run_folder import versions
from nas.trial.base import Trial
from nas.trial.device import device_name

LONGEST_TEXT, LONGEST_KEY = 5000, 50
"""What a 0.38.1 master takes; a key must not have any of `$ . [ ]` either."""

GENOTYPE = "whole genotype"
"""Key of the genotype's one line, too long to read there: it sorts after those of the rest."""


def metadata(trial: Trial) -> dict[str, Any]:
    """What `Trial.describe` says, with a short text for each node of the architecture, and the whole genotype at the end.

    Seed, device and versions are for whoever reads the results, see nas/results/determined_trial.py.
    """
    ran = {"seed": trial.seed, "device": device_name(trial.context.device), "versions": _versions()}
    described: dict[str, Any] = {**ran, **trial.describe()}
    written = trial.files().get("genotype.json")
    if trial.space and written is not None:
        space = load_space(trial.space)
        genotype = space.from_json(written)
        described = {name: value for name, value in described.items() if name != "genotype"}
        described |= {"architecture": space.outline(genotype), GENOTYPE: genotype.to_text()}
    return _within_limits(described)


@cache
def _versions() -> dict[str, str]:
    return {name: version for name, version in versions().items() if version}


def _within_limits(values: Mapping[str, Any]) -> dict[str, Any]:
    return {re.sub(r"[$.\[\]]", "_", str(key))[:LONGEST_KEY]: _taken(value) for key, value in values.items()}


def _taken(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _within_limits(value)
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."
