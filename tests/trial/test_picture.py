"""The architecture in TensorBoard, with a writer in the place of TensorBoard's, which is not installed everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs import HARD, Laptop, master_of, run_on

from cnn_nas.space import SPACE as CELLS
from nas.core.space import Space
from nas.trial import determined_private as private
from nas.trial.picture import as_code, text_figure
from randomNAS_files.architecture import Genotype
from randomNAS_files.space import SPACE

CELL = Genotype((("sigmoid", 0), ("tanh", 1), ("tanh", 0)))


class Writer:
    def __init__(self) -> None:
        self.figures: list[tuple[str, Any, int]] = []
        self.texts: list[tuple[str, str, int]] = []

    def add_figure(self, *figure: Any) -> None:
        self.figures.append(figure)

    def add_text(self, *text: Any) -> None:
        self.texts.append(text)


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch) -> Writer:
    found, original = Writer(), private.tensorboard_writer
    monkeypatch.setattr(
        private, "tensorboard_writer", lambda context: found if private.trial_id(context) else original(context)
    )
    return found


def test_the_cell_is_shown_once_when_training_starts(corpus: Path, tmp_path: Path, writer: Writer) -> None:
    run_on(master_of(corpus, tmp_path, **{**HARD, "train_epochs": 2}))
    ((name, text, step),) = writer.texts
    assert (name, step) == ("cell", 0)
    assert [line.removeprefix("    ") for line in text.splitlines()] == [*SPACE.draw(CELL), "", CELL.to_text()]
    assert all(line.startswith("    ") for line in text.splitlines())  # a block of code: TensorBoard renders Markdown
    ((name, figure, step),) = writer.figures
    assert (name, step) == ("cell", 0) and figure.texts[0].get_text().splitlines() == SPACE.draw(CELL)


def test_on_a_laptop_nothing_is_drawn(laptop: Laptop, writer: Writer) -> None:
    assert laptop.train(train_epochs=1).code == 0 and writer.figures == writer.texts == []


@pytest.mark.parametrize("space", [SPACE, CELLS], ids=["recurrent", "convolutional"])
def test_the_figure_holds_its_text(space: Space[Any]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for genotype in [*space.genotypes.values(), space.sample(3)]:
        figure = text_figure(space.draw(genotype))
        renderer = FigureCanvasAgg(figure).get_renderer()
        text, canvas = figure.texts[0].get_window_extent(renderer), figure.bbox
        assert canvas.x0 < text.x0 and canvas.y0 < text.y0 and text.x1 < canvas.x1 and text.y1 < canvas.y1
        assert text.width > canvas.width / 2 and text.height > canvas.height / 2


def test_no_line_is_markdown() -> None:
    assert as_code(["# no title", "", "a_b_c"]) == "    # no title\n    \n    a_b_c"
