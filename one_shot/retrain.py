"""The config that trains the winner of a search on its own."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_nas.images.data import dataset_of
from nas.config.load import load
from nas.config.retraining import about_retraining
from nas.core.errors import ConfigError
from one_shot.task import Task

ROOT = Path(__file__).resolve().parent.parent
_ARCHITECTURE = re.compile(
    r"arch_to_use|arch_seed|distinct_predecessors|constraints|node\d+_\w+|(normal|reduce)_node\w+"
)
_SHARED = ("data_dir", "download_dir", "image_size", "vocabulary_size", "split", "split_seed", "validation_folder")
"""Where data lies and what it is are taken from the search; how much validates is not."""


def retraining_template(name: str, task: type[Task]) -> dict[str, Any]:
    """A YAML of this repository that trains one architecture of a space, without the architecture.

    Raises:
        ConfigError: there is no such file, or it is of another space.
    """
    path = ROOT / name
    if not os.path.isfile(path):
        rule = "a YAML of this repository, by its path from the root"
        raise ConfigError([f"hyperparameters.retrain must be {rule}, such as cnn_nas/digits.yaml, got {name!r}"])
    config = load(path)
    if task.program not in str(config.get("entrypoint")):
        raise ConfigError([f"hyperparameters.retrain must train one architecture of {task.package}, {name} does not"])
    hparams = {key: value for key, value in config["hyperparameters"].items() if not _ARCHITECTURE.fullmatch(key)}
    searcher = dict(config.get("searcher") or {})
    if "max_time" in searcher:  # of ASHA, whose full length is that of the retraining
        hparams["train_epochs"] = searcher["max_time"]
    kept = {key: value for key, value in searcher.items() if key in ("metric", "smaller_is_better")}
    return {**config, "searcher": {"name": "single", **kept}, "hyperparameters": hparams}


def spelt_out(genotype: Any) -> dict[str, Any]:
    """The hyperparameters that mean an architecture: edge by edge, or as a text where that cannot be."""
    try:
        found: dict[str, Any] = genotype.to_hparams()
    except ConfigError:  # a cell that does not average all nodes
        return {"arch_to_use": genotype.to_text()}
    return found


def data_sets(template: Mapping[str, Any], data: Mapping[str, Any]) -> tuple[str, str]:
    """The names of the data that a template trains on and that a search's section `data` means."""
    own = template.get("data") or {}
    which = "dataset" if "dataset" in own else "corpus"
    return str(dataset_of(own.get(which))), str(dataset_of(data.get(which)))


def transfer_warnings(name: str | None, task: type[Task], data: Mapping[str, Any]) -> list[str]:
    """What is told of a search whose result is to be trained on other data, as when a cell of CIFAR-10 goes to ImageNet."""
    if name is None:
        return []
    trained, searched = data_sets(retraining_template(name, task), data)
    if trained == searched:
        return []
    what = f"hyperparameters.retrain: {name} trains and tests on {trained}, but the search is on {searched}"
    return [f"{what}; if no transfer is meant, name a YAML for {searched}"]


def retraining_config(
    template: Mapping[str, Any], genotype: Mapping[str, Any], data: Mapping[str, Any], search: str
) -> dict[str, Any]:
    """The template with an architecture, and with the search's data where both use the same.

    Args:
        genotype: the hyperparameters that spell it out.
        data: the section of the search.
        search: its name.
    """
    own = dict(template.get("data") or {})
    trained, searched = data_sets(template, data)
    if trained == searched:
        own.update({key: data[key] for key in _SHARED if key in data})
    hparams = {**genotype, **template["hyperparameters"], "evaluate_test": True}
    return {**template, **about_retraining(template, search), "hyperparameters": hparams, "data": own}
