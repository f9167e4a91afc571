"""The architecture of a trial in TensorBoard: drawn in characters, as a text and as a figure, which the web UI shows best."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from nas.core.space import load_space
from nas.trial import determined_private as private
from nas.trial.base import Trial

TAG = "cell"
_SIZE = 9  # points
_WIDTH, _HEIGHT = 0.62, 1.3  # of a character, in font sizes
_INK = "#444444"


class CellPicture:
    """Shows the architecture that a trial trains, or has found so far; called where it may have changed.

    On a cluster where TensorBoard is installed, in the first process; otherwise nothing is drawn.
    """

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._shown: Any = None

    def __call__(self) -> None:
        trial = self._trial
        writer = private.tensorboard_writer(trial.context) if trial.rank == 0 and trial.space else None
        written = None if writer is None else trial.files().get("genotype.json")
        if writer is None or written in (None, self._shown):
            return
        space = load_space(trial.space)
        genotype, self._shown = space.from_json(written), written
        lines = space.draw(genotype)
        writer.add_text(TAG, as_code([*lines, "", genotype.to_text()]), trial.batches_trained)
        if importlib.util.find_spec("matplotlib") is not None:
            writer.add_figure(TAG, text_figure(lines), trial.batches_trained)


def as_code(lines: Sequence[str]) -> str:
    """Markdown that keeps every line and every blank."""
    return "\n".join(f"    {line}" for line in lines)


def text_figure(lines: Sequence[str]) -> Any:
    """A matplotlib `Figure` with these lines in a typewriter's letters, as large as they need."""
    from matplotlib.figure import Figure

    columns = max(map(len, lines), default=0)
    figure = Figure(figsize=((columns + 4) * _WIDTH * _SIZE / 72, (len(lines) + 2) * _HEIGHT * _SIZE / 72))
    style: dict[str, Any] = {"family": "monospace", "size": _SIZE, "color": _INK, "parse_math": False}
    figure.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", multialignment="left", **style)
    return figure
