"""Every setting of a recurrent trial has its effect in both forms."""

from __future__ import annotations

from typing import Any

import pytest
from support.runs import HARD, Laptop, read_config
from support.settings_table import Row, Unchanged, assert_obeyed, note_form_and_validation, observed, settings_of

from model_def import RecurrentTrial
from nas.core.errors import ConfigError
from nas.core.run_config import RunConfig
from randomNAS_files import genotypes
from randomNAS_files.corpora import DataConfig
from randomNAS_files.from_config import ArchitectureConfig
from randomNAS_files.model import ModelConfig
from randomNAS_files.settings import GpuConfig, OptimizerConfig

BASE: dict[str, Any] = HARD | {"train_epochs": 3, "evaluate_test": False, "nonmono": 5}
WITHOUT_NODES = {name: value for name, value in BASE.items() if not name.startswith("node")}
CELLS: dict[str, Any] = {
    **{"search": "small", "search_seed": 5, "settings": "0", "strategy": "enas"},
    **{name: [genotypes.DARTS_V2.to_text(), genotypes.ASHA.to_text()] for name in ("trained", "uniform")},
}
CONTENDERS: dict[str, Any] = {"cells": CELLS, "drawn_by": "trained", "pair": 0, "learning_rate": 5, "train_epochs": 1}
SCORING: dict[str, Any] = {"num_archs_to_eval": 2}
ROWS = {
    "train_epochs": Row(2),
    "evaluate_test": Row(True, "reports"),
    "fast": Row(None, "notes"),
    "kernels": Row("triton", "refused"),  # on a CPU, and in the plain form
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
    "precision": Row("bf16"),  # which the plain form refuses
    "arch_to_use": Row("DARTS_V2", base={"arch_to_use": "ASHA", "learning_rate": 5}),
    "arch_seed": Row(4, base={"arch_seed": 3, "learning_rate": 5}),
    "eval_same_arch": Row(False, "reports", SCORING),
    "num_archs_to_eval": Row(3, "reports", {"eval_same_arch": False, **SCORING}),
    "cells": Row(CELLS | {"trained": CELLS["trained"][::-1]}, base=CONTENDERS),
    "drawn_by": Row("uniform", base=CONTENDERS | {"cells": CELLS | {"uniform": CELLS["uniform"][::-1]}}),
    "pair": Row(1, base=CONTENDERS),
    "data.vocabulary_size": Row(20),
}
SAYS_WHICH = ("arch_to_use", "arch_seed", "cells", "drawn_by", "pair")
WHERE_DATA_LIES = ("corpus", "data_dir", "download_dir")


@pytest.fixture(scope="module")
def unchanged() -> Unchanged:
    return {}


def test_no_setting_is_forgotten() -> None:
    elsewhere = ["repeat", "paired_repeats", "cuda_graphs"]  # the last one in test_captured_trials.py
    hparams = settings_of(RunConfig, ModelConfig, OptimizerConfig, ArchitectureConfig, GpuConfig, without=elsewhere)
    data = {f"data.{name}" for name in settings_of(DataConfig, without=WHERE_DATA_LIES)}
    assert set(ROWS) == hparams | data


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
@pytest.mark.parametrize("name", ROWS)
def test_every_setting_is_obeyed(
    laptop: Laptop, monkeypatch: pytest.MonkeyPatch, unchanged: Unchanged, name: str, fast: bool
) -> None:
    notes: list[Any] = []
    note_form_and_validation(monkeypatch, RecurrentTrial, notes)
    monkeypatch.setattr("randomNAS_files.model.INIT_RANGE", 0.5)  # or the cell would have no say in a few steps
    row = Row(not fast, "notes") if name == "fast" else ROWS[name]
    row = Row("bf16", "refused") if name == "precision" and not fast else row
    assert_obeyed(
        laptop, name, row, notes, (BASE if name not in SAYS_WHICH else WITHOUT_NODES) | {"fast": fast}, unchanged
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


def test_a_pair_is_trained_alike_and_pairs_are_not(laptop: Laptop) -> None:
    """The same cell has the same losses in both groups, from whichever seed its trial has, and others in another pair."""
    same = CELLS | {name: [genotypes.ASHA.to_text()] * 2 for name in ("trained", "uniform")}

    def losses(drawn_by: str, pair: int, seed: int) -> list[Any]:
        settings = WITHOUT_NODES | CONTENDERS | {"cells": same, "drawn_by": drawn_by, "pair": pair, "train_epochs": 1}
        found: list[Any] = observed(laptop, [f"reproducibility.experiment_seed={seed}"], settings, [])["losses"]
        return found

    first = losses("trained", 0, 1)
    assert len(first) > 1 and first == losses("uniform", 0, 2) != losses("trained", 1, 1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"pair": None}, "hyperparameters.cells, drawn_by and pair go together, got cells and drawn_by only"),
        ({"cells": None, "arch_to_use": "ASHA"}, "cells, drawn_by and pair go together, got drawn_by and pair only"),
        ({"arch_to_use": "ASHA"}, "must say the architecture, got arch_to_use and cells"),
        ({"pair": 2}, "hyperparameters.pair must be 0..1, as a group has 2 cells, got 2"),
        ({"drawn_by": "both"}, "hyperparameters.drawn_by must be one of trained, uniform, got 'both'"),
        ({"cells": CELLS | {"uniform": ["ASHA"]}}, "cells.uniform must have as many cells as trained, 2, got 1"),
        (
            {"cells": CELLS | {"uniform": []}},
            "hyperparameters.cells.uniform must be a list of texts, at least one, got []",
        ),
        (
            {"cells": CELLS | {"uniform": ["ASHA", "ASHE"]}},
            "hyperparameters.cells.uniform[1]: architecture 'ASHE' is not",
        ),
        (
            {"cells": CELLS | {"test": "worse"}},
            "hyperparameters.cells.test must be one of better, different, got 'worse'",
        ),
        ({"cells": CELLS | {"x": 1}}, "hyperparameters.cells.x is read by nothing"),
        ({"cells": ["ASHA"]}, "hyperparameters.cells must be a section of names and values or null, got ['ASHA']"),
    ],
    ids=str,
)
def test_bad_cells(changes: dict[str, Any], says: str) -> None:
    hparams = {**read_config("train_small.yaml")["hyperparameters"], "arch_to_use": None, **CONTENDERS, **changes}
    with pytest.raises(ConfigError) as caught:
        RecurrentTrial.check(hparams, {"corpus": "pydoc"}, 1)
    assert any(says in problem for problem in caught.value.problems), caught.value.problems
