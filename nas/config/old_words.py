"""What the examples of 2020 to 2022 called otherwise, and what is written today in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nas.config.entrypoint import LAUNCHER

_CLASS = re.compile(r"[\w.]+:\w+")
_PROGRAMS = (  # by a hyperparameter that only its trial has
    (("strategy",), "python3 -m one_shot.trial"),
    (("init_channels", "drop_path_prob", "auxiliary"), "python3 -m cnn_nas.trial"),
    (("nhid", "emsize", "bptt"), "python3 model_def.py"),
)


def likely_entrypoint(config: Mapping[str, Any]) -> str | None:
    """The entrypoint of the trial of this project that has such hyperparameters; None if there is none."""
    hparams = config.get("hyperparameters")
    names = hparams if isinstance(hparams, Mapping) else {}
    found = next((program for known, program in _PROGRAMS if any(name in names for name in known)), None)
    return found and f"{LAUNCHER} {found}"


def old_entrypoint(config: Mapping[str, Any]) -> str | None:
    """The sentence for an entrypoint that is a trial class, `module:Class`; None if it is none."""
    given = config.get("entrypoint")
    if not isinstance(given, str) or not _CLASS.fullmatch(given):
        return None
    write = likely_entrypoint(config) or f"{LAUNCHER} python3 {given.partition(':')[0].replace('.', '/')}.py"
    return f"entrypoint {given} is a trial class, as it was before 2022; write entrypoint: {write}"


def old_length(config: Mapping[str, Any]) -> tuple[str | None, tuple[str, ...]]:
    """The sentence for a length of training in old words, and the fields of which nothing else need be said.

    A length that a master takes, as with the searcher single, is for `nas.config.load.training_length` to tell.
    """
    searcher, hparams = (config.get(name) for name in ("searcher", "hyperparameters"))
    searcher = searcher if isinstance(searcher, Mapping) else {}
    beside = isinstance(hparams, Mapping) and hparams.get("train_epochs") is not None
    steps, length = searcher.get("max_steps"), searcher.get("max_length")
    asha = searcher.get("name") in ("adaptive_asha", "async_halving")
    covered = ("searcher.max_steps", "searcher.time_metric", "searcher.max_time")
    if searcher.get("max_time") is not None or (steps is None and length is None):
        return None, ()
    if steps is not None:
        where = "as time_metric: epochs and max_time" if asha else "as hyperparameters.train_epochs"
        return f"searcher.max_steps {steps} counts steps of 100 batches, as in 2020; say the epochs {where}", covered
    unit, count = next(iter(length.items()), ("", None)) if isinstance(length, Mapping) else ("batches", length)
    if type(count) is not int or count < 1 or (isinstance(length, Mapping) and len(length) > 1):
        return None, ()
    if asha:
        left_out = "; leave hyperparameters.train_epochs out" if beside else ""
        units = (unit, count) if unit in ("epochs", "batches") else ("epochs", "...")
        write = f"time_metric: {units[0]} and max_time: {units[1]} in the searcher"
        return f"searcher.max_length {{{unit}: {count}}} is said otherwise now; write {write}{left_out}", covered
    if beside:
        return None, ()
    write = f"train_epochs: {count}" if unit == "epochs" else f"train_epochs: the epochs that are {count} {unit}"
    return f"searcher.max_length {{{unit}: {count}}} is said otherwise now; write hyperparameters.{write}", covered
