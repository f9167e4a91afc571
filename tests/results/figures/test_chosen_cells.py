"""The cells that a search without weights chose, as a GIF of any number of frames."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from PIL import Image
from support.made_up import search, trial

from nas.core.space import load_space
from nas.results.experiment import ExperimentResult
from nas.results.figures import chosen_cells
from nas.results.figures.chosen_cells import cells_animation
from nas.results.report.content import gather


def searched(count: int, package: str = "randomNAS_files", **changes: Any) -> ExperimentResult:
    space = load_space(package)
    entries = [
        {
            "epochs": float(epoch),
            "genotype": space.sample(epoch).to_json(),
            "scores": {"derived_loss": 4.0, "derived_perplexity": 100.0 / epoch},
            "weights": {},
        }
        for epoch in range(1, count + 1)
    ]
    entries[0] |= changes
    made = trial(0, random.Random(0), space=package, genotype=entries[-1]["genotype"], search=entries)
    return search(0, trials=[made], rungs=[])


def frames(experiment: ExperimentResult) -> list[tuple[Image.Image, int]]:
    picture = cells_animation(experiment)
    assert picture is not None and not picture.svg
    image = Image.open(io.BytesIO(picture.gif))
    found = []
    for k in range(getattr(image, "n_frames", 1)):
        image.seek(k)
        found.append((image.convert("RGB"), image.info.get("duration", 0)))
    return found


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_frame_for_each_choice_and_the_last_stays_longer(count: int) -> None:
    found = frames(searched(count))
    assert len(found) == count and len({image.tobytes() for image, _ in found}) == count
    assert [duration for _, duration in found] == [500] * (count - 1) + [3000]


def test_many_are_thinned_with_the_first_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_cells._FRAMES == 50
    monkeypatch.setattr(chosen_cells, "_FRAMES", 3)
    titles: list[str] = []
    drawing = chosen_cells._drawing
    monkeypatch.setattr(
        chosen_cells, "_drawing", lambda space, entry, title: titles.append(title) or drawing(space, entry, title)
    )
    experiment = searched(4)
    picture = cells_animation(experiment)
    assert len(titles) == 3 and picture is not None and "3 of 4 choices, from epoch 1 to 4" in picture.caption
    assert titles[0].startswith("epoch 1, derived_loss 4") and titles[-1].startswith("epoch 4, ")


def test_both_cells_of_a_convolutional_search() -> None:
    assert len(frames(searched(2, "cnn_nas"))) == 2


def test_it_is_in_the_report_where_there_are_no_weights() -> None:
    assert "chosen_cells" in [picture.name for picture in gather(searched(2)).pictures]
    assert cells_animation(search(0)) is None, "no one-shot search"
    assert cells_animation(searched(2, weights={"normal": [[1.0]]})) is None
    for damage in ({"genotype": {"recurrent": "?"}}, {"epochs": None}, {"scores": {"derived_loss": "high"}}):
        assert cells_animation(searched(2, **damage)) is None, damage
