"""The experiment that trains a cell and its variants alike: a grid over cells and seeds, and how it is known again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.config.load import load
from nas.core.errors import ConfigError
from nas.core.program import ROOT
from nas.core.variants import Variant
from nas.results.architecture import Found, find
from nas.results.experiment import ExperimentResult
from nas.results.retraining import MOST, REPEAT, once_more, retraining, spelling

DEFAULT = "quickstart.yaml"
"""What trains a cell that no search of its own says how to train: minutes for each, without a download."""
LABEL = "ablation"


def template_of(found: Found, path: Path | None) -> tuple[dict[str, Any], str]:
    """The config that says how each cell is trained, and where it is from.

    A YAML; else what the run says of its own: how to retrain what it found, or how it trained; else DEFAULT.
    """
    if path is not None:
        return load(path), str(path)
    if found.experiment is not None and found.trial is not None:
        if (config := retraining(found.experiment, found.trial)) is not None:
            return config, f"the retraining of {found.experiment.reference}"
        if not found.trial.search:
            return once_more(found.experiment, found.trial), found.experiment.reference
    return load(ROOT / DEFAULT), DEFAULT


def ablation_config(
    found: Found, genotype: Any, variants: Sequence[Variant], template: Mapping[str, Any], seeds: int
) -> dict[str, Any]:
    """One experiment that trains the cell and its variants with the same seeds. Networks that are the same are trained once.

    The cell comes last, for a grid is walked from its last point to its first.

    Raises:
        ConfigError: all variants are the same network as the cell, or there are too many trainings.
    """
    space = found.space
    own = space.canonical(genotype)
    cells = {own: genotype}
    for variant in variants:
        cells.setdefault(space.canonical(variant.genotype), variant.genotype)
    if len(cells) == 1:
        raise ConfigError(["all of these changes leave the network as it is, so there is nothing to train"])
    if len(cells) * seeds > MOST:
        raise ConfigError([f"--seeds must be 1..{MOST // len(cells)} for {len(cells)} cells, got {seeds}"])
    texts = [cell.to_text() for form, cell in cells.items() if form != own] + [genotype.to_text()]
    searcher = dict(template.get("searcher") or {})
    hparams = dict(template.get("hyperparameters") or {})
    if "train_epochs" not in hparams and searcher.get("time_metric") == "epochs" and "max_time" in searcher:
        hparams["train_epochs"] = searcher["max_time"]  # of ASHA
    kept = {name: value for name, value in searcher.items() if name in ("metric", "smaller_is_better")}
    hparams = {name: value for name, value in hparams.items() if name not in spelling(genotype, space.sample(0))}
    hparams |= {"arch_to_use": {"type": "categorical", "vals": texts}, "evaluate_test": False, "paired_repeats": True}
    hparams[REPEAT] = {"type": "int", "minval": 0, "maxval": seeds - 1, "count": seeds} if seeds > 1 else 0
    labels = dict.fromkeys([*(template.get("labels") or []), LABEL])
    named = {"name": f"{template.get('name') or 'cell'}-ablation", "labels": [*labels]}
    about = f"Ablates a cell ({found.origin}): {len(texts) - 1} networks with one thing changed, and itself, the last"
    return {**template, **named, "description": about, "searcher": {"name": "grid", **kept}, "hyperparameters": hparams}


def ablates(experiment: ExperimentResult) -> bool:
    """Whether an experiment looks like one of `ablation_config`."""
    spec = experiment.config["hyperparameters"].get("arch_to_use")
    listed = isinstance(spec, Mapping) and isinstance(spec.get("vals"), list) and bool(spec["vals"])
    return listed and experiment.config["searcher"].get("name") == "grid"


def cells_of(experiment: ExperimentResult) -> tuple[Found, list[str]]:
    """The cell of such an experiment, and the texts of its variants. Raises ConfigError if it is none."""
    where = experiment.reference
    if not ablates(experiment):
        raise ConfigError(
            [f"{where} is no ablation, which is a grid over arch_to_use; nas ablate ... --retrain makes one"]
        )
    *texts, last = map(str, experiment.config["hyperparameters"]["arch_to_use"]["vals"])
    base = find(last)
    space = base.space
    near = {space.canonical(each.genotype) for each in space.variants(base.genotype)}
    far = [text for text in texts if space.canonical(space.read(text)) not in near]
    if far or not texts:
        more = f"{far[0]} differs from the last cell in more than one thing" if far else "it has one cell alone"
        raise ConfigError([f"{where} is no ablation: {more}"])
    return Found(space, base.package, base.genotype, where, experiment), texts
