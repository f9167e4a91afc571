"""Ways to give the program a bad input, without a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cnn_nas.trial
import model_def
import one_shot.trial
from nas.core.program import ROOT

TRIALS = (model_def, cnn_nas.trial, one_shot.trial)
"""Imported before time and memory are counted."""

RNN, CNN, SEARCH = ("train_small.yaml", "cnn_nas/digits.yaml", "one_shot/digits_darts.yaml")
RANDOM, TEXT_SEARCH, ASHA = "one_shot/digits_random.yaml", "one_shot/pydoc_darts.yaml", "quickstart.yaml"
Act = Callable[[Path], int]


def nas(*words: str) -> Act:
    """`nas WORD ...`; {} is the scratch folder."""

    def act(folder: Path) -> int:
        from nas.cli import main

        return main([word.replace("{}", str(folder)) for word in words])

    return act


def check(config: str, *settings: str) -> Act:
    """`nas check` of one of the repository's configs with settings changed."""
    return nas(
        "check", str(ROOT / config), "--samples", "10", *(each for one in settings for each in ("--config", one))
    )


def check_text(text: str | bytes) -> Act:
    """`nas check` of a config of that text."""

    def act(folder: Path) -> int:
        path = folder / "bad.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return nas("check", str(path))(folder)

    return act


def edited(config: str, old: str, new: str) -> Act:
    """`nas check` of one of the repository's configs with some of its text replaced."""
    text = (ROOT / config).read_text(encoding="utf-8")
    assert old in text
    return check_text(text.replace(old, new, 1))


def trial(module: str, *words: str) -> Act:
    """The trial's own command line, such as `python3 model_def.py WORD ...`; {} is the scratch folder."""

    def act(folder: Path) -> int:
        from nas.trial.entry import main

        return main(module, [word.replace("{}", str(folder)) for word in words])

    return act


def rnn_trial(*settings: str) -> Act:
    """`python3 model_def.py --config train_small.yaml` with settings changed."""
    words = (each for one in settings for each in ("--set", one))
    return trial("model_def:RecurrentTrial", "--config", str(ROOT / RNN), *words)


def after(prepare: Callable[[Path], object], act: Act) -> Act:
    """Put something in the scratch folder first."""

    def both(folder: Path) -> int:
        prepare(folder)
        return act(folder)

    return both
