"""What a trial's controller draws, computed from a checkpoint of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nas.config.entrypoint import resolve
from nas.core.drawn_cells import ControllerCells
from nas.core.program import importing_from
from nas.trial.base import Trial
from nas.trial.checkpoints import Checkpoint, settings_of
from nas.trial.exporting import load
from nas.trial.inspection import load_trial


def analyze(
    path: Path,
    overrides: Sequence[str],
    cells: int,
    batches: int | None = None,
    device: str = "auto",
    program_folder: str | None = None,
) -> tuple[Trial, ControllerCells]:
    """Draw and score cells of a checkpoint's controller, on validation data; test data is not read.

    Args:
        path: of the checkpoint's folder.
        overrides: of the config that it was trained with, such as `data.data_dir=elsewhere`.
        cells: how many.
        batches: of validation data to score by; None: all.
        program_folder: of the trial's program, where that is known.

    Raises:
        ConfigError: there is no checkpoint, or its trial has no controller; before data is read.
    """
    config, hparams, _ = settings_of(Checkpoint.read(path), overrides, None)
    folder = Path(program_folder) if program_folder else None
    trial_class = load_trial(resolve(config.get("entrypoint"), None, folder))
    with importing_from(program_folder):
        trial_class.need_controller(trial_class.check(hparams, config.get("data") or {}, 1))
        trial = load(path, overrides, device, program_folder)
        return trial, trial.analyze(cells, batches)
