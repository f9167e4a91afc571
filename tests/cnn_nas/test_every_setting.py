"""Every setting of an image trial has its effect in both forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.runs import Laptop
from support.settings_table import Row, Unchanged, assert_obeyed, note_form_and_validation, observed, settings_of

from cnn_nas.fast.cells import run_cell
from cnn_nas.from_config import ArchitectureConfig
from cnn_nas.images.data import DataConfig
from cnn_nas.model import ModelConfig
from cnn_nas.settings import GpuConfig, OptimizerConfig
from cnn_nas.trial import ImageTrial
from nas.core.run_config import RunConfig

BASE: dict[str, Any] = {
    **{"train_epochs": 2, "learning_rate": 0.1, "auxiliary": True, "auxiliary_weight": 0.4, "drop_path_prob": 0.4},
    **{"crop_padding": 2, "flip": True, "cutout_length": 4, "mixed_precision": False, "weight_decay": 3e-4},
}
DRAWN: dict[str, Any] = {"arch_to_use": None, "arch_seed": 3, "distinct_predecessors": True}
ROWS = {
    "train_epochs": Row(3),
    "evaluate_test": Row(True, "reports"),
    "fast": Row(None, "notes"),
    "init_channels": Row(4),
    "layers": Row(4),
    "auxiliary": Row(False),
    "auxiliary_weight": Row(0.1),
    "drop_path_prob": Row(0.0),
    "learning_rate": Row(0.05),
    "momentum": Row(0.5),
    "weight_decay": Row(0.1),
    "clip_gradients_l2_norm": Row(0.01),
    "global_batch_size": Row(8),
    "eval_batch_size": Row(5, "notes"),
    "crop_padding": Row(0),
    "flip": Row(False),
    "cutout_length": Row(0),
    "mixed_precision": Row(True),
    "channels_last": Row(True, "notes", {"init_channels": 16, "layers": 1}),
    "weight_casts": Row("once", "notes", {"mixed_precision": True}),
    "pad_channels": Row(True, "notes"),
    "compile": Row("cells", "notes"),
    "cudnn_benchmark": Row(True, "notes"),
    "arch_to_use": Row("CONSTRAINED_ASHA"),
    "arch_seed": Row(4, base=DRAWN),
    "distinct_predecessors": Row(False, base=DRAWN),
    "data.image_size": Row(9),
    "data.validation_fraction": Row(0.5),
    "data.split_seed": Row(1),
}
OF_THE_FAST_FORM = (
    "weight_casts",
    "pad_channels",
    "compile",
)  # refused with `fast: false`, see `bad_inputs/settings.py`
WHERE_DATA_LIES = (
    "dataset",
    "data_dir",
    "download_dir",
    "validation_folder",
    "split",
)  # see test_leaks.py, test_kirigami.py


@pytest.fixture(scope="module")
def unchanged() -> Unchanged:
    return {}


def test_no_setting_is_forgotten() -> None:
    elsewhere = ["repeat", "paired_repeats", "cuda_graphs"]  # the last one in test_captured_trials.py
    hparams = settings_of(RunConfig, ModelConfig, OptimizerConfig, GpuConfig, ArchitectureConfig, without=elsewhere)
    data = {f"data.{name}" for name in settings_of(DataConfig, without=WHERE_DATA_LIES)}
    assert set(ROWS) == hparams | data


@pytest.mark.parametrize(
    ("name", "fast"),
    [(name, fast) for name in ROWS for fast in (True, False) if fast or name not in OF_THE_FAST_FORM],
)
def test_every_setting_is_obeyed(
    darkroom: Laptop, monkeypatch: pytest.MonkeyPatch, unchanged: Unchanged, name: str, fast: bool
) -> None:
    notes: list[Any] = []
    note_form_and_validation(monkeypatch, ImageTrial, notes)
    note_memory_format(monkeypatch, notes)
    note_what_is_for_a_gpu(monkeypatch, notes)
    row = Row(not fast, "notes") if name == "fast" else ROWS[name]
    assert_obeyed(darkroom, name, row, notes, BASE | {"fast": fast}, unchanged)


def note_memory_format(monkeypatch: pytest.MonkeyPatch, notes: list[Any]) -> None:
    """Note how the feature maps lie that the auxiliary head is given."""
    build = ImageTrial._build_network

    def look(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        notes.append(inputs[0].is_contiguous(memory_format=torch.channels_last))

    def build_network(self: ImageTrial) -> None:
        build(self)
        if self.net.auxiliary is not None:
            self.net.auxiliary[1].register_forward_pre_hook(look)  # the pool, which both forms call

    monkeypatch.setattr(ImageTrial, "_build_network", build_network)


def note_what_is_for_a_gpu(monkeypatch: pytest.MonkeyPatch, notes: list[Any]) -> None:
    """Note the form of the network, with cells that nothing compiles, and whether kernels are measured."""
    build = ImageTrial._build_network

    def build_network(self: ImageTrial) -> None:
        build(self)
        notes.append(getattr(self.net, "form", None))

    monkeypatch.setattr(ImageTrial, "_build_network", build_network)
    monkeypatch.setattr("cnn_nas.fast.model.CompiledCells", lambda _: run_cell)
    monkeypatch.setattr("cnn_nas.trial.measure_kernels", notes.append)


def test_a_repeat_changes_nothing_but_what_the_searcher_draws(darkroom: Laptop) -> None:
    assert observed(darkroom, [], BASE | {"train_epochs": 1, "repeat": 0}, []) == observed(
        darkroom, [], BASE | {"train_epochs": 1, "repeat": 7}, []
    )
