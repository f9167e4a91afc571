"""Searches with shared weights at tiny size, on images and on text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.config.yaml_text import dump
from support.runs import IMAGES, RECURRENT, TINY, Kind, Laptop, Run, read_config

TRIAL = "one_shot.trial:SearchTrial"
SCRIPT = ("-m", "one_shot.trial")
SHARED: dict[str, Any] = {"train_epochs": 2, "retrain": None}
SEARCH_IMAGES = Kind(
    TRIAL,
    "one_shot/cnn_folder.yaml",
    SCRIPT,
    {
        **{"init_channels": 2, "layers": 2, "global_batch_size": 8, "eval_batch_size": 64, "crop_padding": 1},
        **{"arch_learning_rate": 0.1, "channels_last": False, **SHARED},
    },
    {**IMAGES.data, "validation_fraction": 0.5},
)
SEARCH_TEXT = Kind(
    TRIAL,
    "one_shot/rnn_darts.yaml",
    SCRIPT,
    {**TINY, "global_batch_size": 8, "eval_batch_size": 6, "arch_learning_rate": 0.1, **SHARED},
    RECURRENT.data,
)
KINDS = {"images": SEARCH_IMAGES, "text": SEARCH_TEXT}

_NO_GRADIENT = dict.fromkeys(("sampler", "arch_learning_rate", "arch_weight_decay", "arch_beta1"))
RANDOM: dict[str, Any] = {"strategy": "random", "score_archs": 6, "rescore": 3, "epoch_archs": 2, "score_batches": 1}
METHODS: dict[str, dict[str, Any]] = {
    "DARTS, first order": {},
    "DARTS, second order": {"bilevel": "unrolled"},
    "DARTS, exact": {"bilevel": "exact"},
    "GAEA": {"sampler": "simplex", "arch_weight_decay": 0, "edge_norm": True},
    "GDAS": {"sampler": "gumbel_st", "temperature": 10, "temperature_end": 0.1, "temperature_schedule": "linear"},
    "SNAS": {"sampler": "gumbel_soft", "bilevel": "unrolled"},
    "DrNAS": {"sampler": "dirichlet", "anchor_weight": 0.001},
    "SmoothDARTS": {"perturb": "adversarial", "perturb_size": 0.1, "perturb_steps": 2},
    "DARTS-PT": {"select": "perturbation", "select_batches": 1},
    "warm-up": {"arch_warmup_epochs": 1, "edge_norm": True},
    "part": {"arch_data": "part"},
    "random": RANDOM,
}
ENAS: dict[str, Any] = {
    **{"strategy": "enas", "score_archs": 6, "rescore": 3, "epoch_archs": 2, "cells_per_update": 2},
    **{"controller_hidden": 5, "shared_steps": 2, "controller_updates": 2, "baseline": "moving_average"},
    "state_norm": False,
}
TEXT_ONLY: dict[str, dict[str, Any]] = {
    "ENAS": ENAS,
    "ENAS, aligned": {
        **ENAS,
        "response": "aligned",
        "lookahead": "last_gradient",
        "similarity_every": 3,
        "similarity_cells": 30,
    },
}
IMAGES_ONLY: dict[str, dict[str, Any]] = {
    "all budgets": {
        **{
            "strategy": "budget",
            "sampler": None,
            "retrain": "cnn_nas/folder.yaml",
            "projections": 3,
            "random_cells": 2,
        },
        **{"mixing": "straight_through", "temperature": 2.0, "temperature_end": 0.5, "temperature_schedule": "linear"},
        **{"edge_norm": True, "bilevel": "unrolled", "measure": "macs"},
    },
    "PC-DARTS": {"partial": 2, "init_channels": 4, "edge_norm": True},
    "DARTS-": {"auxiliary_skip": True, "auxiliary_weight": 1.0, "op_drop": 0.3},
}
CASES = [(space, method) for method in METHODS for space in KINDS] + [("images", method) for method in IMAGES_ONLY]
CASES += [("text", method) for method in TEXT_ONLY]


def search_config(space: str, method: str, data: Path, **hparams: Any) -> dict[str, Any]:
    """The config of a tiny search; a hyperparameter that is None is left out."""
    kind, chosen = KINDS[space], {**METHODS, **IMAGES_ONLY, **TEXT_ONLY}[method]
    config = read_config(kind.config)
    values = {**config["hyperparameters"], **kind.tiny, **chosen, **hparams}
    if chosen.get("strategy") in ("random", "enas"):
        values.update(_NO_GRADIENT)
        values.update({"arch_learning_rate": 0.1} if chosen["strategy"] == "enas" else {})
    elif chosen.get("sampler") == "simplex":
        values.update(arch_beta1=None, arch_weight_decay=None)
    elif chosen.get("sampler") == "dirichlet":
        values.update(arch_weight_decay=None)
    if (space, method) == ("text", "DARTS, exact"):  # whose steps take long
        values["global_batch_size"] = 16
    config["hyperparameters"] = {name: value for name, value in values.items() if value is not None}
    config["data"] = {**kind.data, "data_dir": str(data)}
    return config


def search(experiments: Path, config: dict[str, Any], *arguments: str) -> Run:
    """Run it as the command line would, in this process."""
    experiments.parent.mkdir(parents=True, exist_ok=True)
    path = experiments.parent / f"{experiments.name}.yaml"
    path.write_text(dump(config), encoding="utf-8")
    laptop = Laptop(experiments, Path(config["data"]["data_dir"]), SEARCH_IMAGES)
    return laptop.main(["--config", str(path), "--experiments", str(experiments), "--seed", "3", *arguments])


def go_on(run: Run) -> Run:
    """Resume it."""
    return Laptop(run.path.parent, run.path, SEARCH_IMAGES).resume(run.path)
