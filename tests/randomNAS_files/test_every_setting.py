"""Every setting of a recurrent trial has its effect in both forms."""

from __future__ import annotations

from typing import Any

import pytest
from support.runs import HARD, Laptop
from support.settings_table import Row, assert_obeyed, note_form_and_validation, observed, settings_of

from data import DataConfig
from model_def import RecurrentTrial
from nas.core.run_config import RunConfig
from randomNAS_files.from_config import ArchitectureConfig
from randomNAS_files.model import ModelConfig
from randomNAS_files.settings import OptimizerConfig

BASE: dict[str, Any] = HARD | {"train_epochs": 3, "evaluate_test": False, "nonmono": 5}
WITHOUT_NODES = {name: value for name, value in BASE.items() if not name.startswith("node")}
SCORING: dict[str, Any] = {"num_archs_to_eval": 2}
ROWS = {
    "train_epochs": Row(2),
    "evaluate_test": Row(True, "reports"),
    "fast": Row(None, "notes"),
    "emsize": Row(16, "refused"),
    "nhid": Row(16, "refused"),
    "nhidlast": Row(16, "refused"),
    "depth": Row(1),
    "dropout": Row(0.5),
    "dropouth": Row(0.0),
    "dropoutx": Row(0.0),
    "dropouti": Row(0.0),
    "dropoute": Row(0.0),
    "init_op": Row("sigmoid"),
    "learning_rate": Row(20),
    "global_batch_size": Row(4),
    "eval_batch_size": Row(2, "notes"),
    "bptt": Row(7),
    "max_seq_length_delta": Row(0),
    "wdecay": Row(0.01),
    "clip_gradients_l2_norm": Row(0.01),
    "alpha": Row(0),
    "beta": Row(0),
    "nonmono": Row(0, "reports", {"train_epochs": 4}),
    "arch_to_use": Row("DARTS_V2", base={"arch_to_use": "ASHA", "learning_rate": 5}),
    "arch_seed": Row(4, base={"arch_seed": 3, "learning_rate": 5}),
    "eval_same_arch": Row(False, "reports", SCORING),
    "num_archs_to_eval": Row(3, "reports", {"eval_same_arch": False, **SCORING}),
    "data.vocabulary_size": Row(20),
}
WHERE_DATA_LIES = ("corpus", "data_dir", "download_dir")


def test_no_setting_is_forgotten() -> None:
    hparams = settings_of(
        RunConfig, ModelConfig, OptimizerConfig, ArchitectureConfig, without=["repeat", "paired_repeats"]
    )
    data = {f"data.{name}" for name in settings_of(DataConfig, without=WHERE_DATA_LIES)}
    assert set(ROWS) == hparams | data


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
@pytest.mark.parametrize("name", ROWS)
def test_every_setting_is_obeyed(laptop: Laptop, monkeypatch: pytest.MonkeyPatch, name: str, fast: bool) -> None:
    notes: list[Any] = []
    note_form_and_validation(monkeypatch, RecurrentTrial, notes)
    monkeypatch.setattr("randomNAS_files.model.INIT_RANGE", 0.5)  # or the cell would have no say in a few steps
    row = Row(not fast, "notes") if name == "fast" else ROWS[name]
    assert_obeyed(
        laptop, name, row, notes, (WITHOUT_NODES if name in ("arch_to_use", "arch_seed") else BASE) | {"fast": fast}
    )


def test_a_repeat_changes_nothing_but_what_the_searcher_draws(laptop: Laptop) -> None:
    assert observed(laptop, [], BASE | {"train_epochs": 1, "repeat": 0}, []) == observed(
        laptop, [], BASE | {"train_epochs": 1, "repeat": 7}, []
    )


def test_paired_repeats_take_their_seed_from_the_repeat(laptop: Laptop) -> None:
    settings = BASE | {"train_epochs": 1, "paired_repeats": True}
    losses = [observed(laptop, [], settings | {"repeat": each}, [])["losses"] for each in (0, 1)]
    losses.append(observed(laptop, [], BASE | {"train_epochs": 1, "repeat": 0}, [])["losses"])
    assert losses[0] != losses[1] and losses[2] not in losses[:2]
