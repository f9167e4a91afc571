"""The picture of a search for all budgets."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from support.results import experiment, trial

from nas.results.figures.budget_front import budget_front
from nas.results.local import _front


def row(parameters: int, score: float | None) -> dict[str, Any]:
    return {"parameters": parameters, "macs": 10 * parameters, "score": score}


FRONT: dict[str, Any] = {
    **{"measure": "parameters", "metric": "top1_accuracy", "rows": [row(2000, 0.5), row(3000, 0.75)]},
    **{"levels": [row(2000, 0.5), row(3500, 0.6), row(3600, None)], "random": [row(2010, 0.25), row(3010, 0.35)]},
}


@pytest.mark.parametrize("measure", ["parameters", "macs"])
def test_it_has_all_cells_that_were_scored(measure: str) -> None:
    picture = budget_front(experiment(trial(0, [0.5]), trial(1, [0.4], front={**FRONT, "measure": measure})))
    assert picture is not None and picture.name == "budget_front"
    words = {"parameters": "parameters", "macs": "MACs"}[measure]
    low, high = ("2,000", "3,000") if measure == "parameters" else ("20,000", "30,000")
    assert "2 cells of which no smaller one has a better top1_accuracy" in picture.caption
    assert f"of {low} to {high} {words}; 2 cells derived along the levels. 2 random cells" in picture.caption
    assert "have 0.3 in the mean" in picture.caption
    root = ElementTree.fromstring(picture.svg)
    texts = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"on the front", "derived at a level", "random cell of about the same size"} <= set(texts)


@pytest.mark.parametrize(
    "front",
    [
        {},
        {**FRONT, "rows": []},
        {**FRONT, "rows": [{"parameters": 3}]},
        {**FRONT, "measure": "bananas"},
        {**FRONT, "rows": 3},
        {**FRONT, "levels": [row(-1, 0.5)]},
        {**FRONT, "random": [{"parameters": "many", "score": 1}]},
        {**FRONT, "rows": [row(3, float("nan"))]},
    ],
)
def test_without_a_front_or_with_an_edited_one_there_is_none(front: dict[str, Any]) -> None:
    assert budget_front(experiment(trial(0, [0.5], front=front))) is None


def test_it_is_read_from_the_folder_of_a_run(tmp_path: Path) -> None:
    assert _front(tmp_path) is None
    (tmp_path / "front.json").write_text("[1, 2]", encoding="utf-8")
    assert _front(tmp_path) is None
    (tmp_path / "front.json").write_text(json.dumps(FRONT), encoding="utf-8")
    assert _front(tmp_path) == FRONT
