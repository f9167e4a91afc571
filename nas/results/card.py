"""A model card: what a network is, how it was found and trained, what it scores, and how to load it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from nas.results.architecture import Found
from nas.results.experiment import ExperimentResult, TrialResult
from nas.runs.ranking import is_measurement

_LOADING = """    import json, torch
    from nas.core.space import load_space
    about = json.load(open("network.json"))
    space = load_space(about["space"])
    network = space.network(space.from_json(about["genotype"]), 0, **about["settings"])
    network.load_state_dict(torch.load("weights.pt"))
    network.eval()
"""
_ALONE = """    import torch
    network = torch.export.load("network.pt2").module()
"""


def model_card(found: Found, name: str, network: Mapping[str, Any] | None = None) -> str:
    """Markdown.

    Args:
        name: of the architecture.
        network: what `network.json` says, if the weights were exported too.
    """
    lines = [f"# {_text(name)}", "", f"One of the {found.space.title}, from {_text(found.origin)}.", ""]
    lines += ["```", *found.space.draw(found.genotype), "```", ""]
    if found.trial is not None and found.experiment is not None:
        lines += [*_facts(found.experiment, found.trial), ""]
    lines += (
        ["## Train it again", "", "    nas run retrain.yaml", ""] if found.experiment and found.config != {} else []
    )
    if network is not None:
        lines += ["## Load the trained network", "", *(f"- {line}" for line in network["inputs"]), ""]
        lines += ["With this project:", "", _LOADING, "With PyTorch alone:", "", _ALONE]
    lines += ["## The architecture", "", "```python", f"{found.genotype.to_text()}", "```", ""]
    return "\n".join(lines)


def _facts(experiment: ExperimentResult, trial: TrialResult) -> list[str]:
    """What is known of the training, or of the search, whose length and scores are not those of the architecture."""
    how, whose = ("searched", ", of the search") if trial.search else ("trained", "")
    data = ", ".join(f"{name} {value}" for name, value in (experiment.config.get("data") or {}).items())
    versions = ", ".join(f"{name} {value}" for name, value in trial.versions.items() if value)
    facts: list[tuple[str, Any]] = [
        ("parameters", f"{trial.parameters:,}" if trial.parameters else None),
        ("multiply-accumulates for one input", f"{trial.macs:,}" if trial.macs else None),
        ("data", data),
        (how, _trained(experiment, trial)),
        (
            f"validation {experiment.metric}, last{whose}",
            _number(trial.validations[-1][1]) if trial.validations else None,
        ),
        *((f"{name}, with the final weights", _number(value)) for name, value in trial.test.items()),
        ("seed", trial.seed),
        ("device", trial.device),
        ("versions", versions),
    ]
    return [f"- {name}: {_text(str(value))}" for name, value in facts if value not in (None, "")]


def _trained(experiment: ExperimentResult, trial: TrialResult) -> str | None:
    if not trial.validations:
        return None
    time = f"{trial.validations[-1][0]:g} {experiment.time_metric}"
    return time if trial.seconds is None else f"{time}, {math.ceil(trial.seconds):,} s"


def _number(value: float) -> str:
    return f"{value:.6g}" if is_measurement(value) else "not finite"


def _text(text: str) -> str:
    """On one line, and no markup."""
    plain = " ".join(text.split())
    return "".join(f"\\{each}" if each in "\\`*_[]<>#|" else each for each in plain)
