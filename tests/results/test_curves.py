"""The picture of a search's learning curves, and what it says."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.runs import ROOT

from nas.results.curve_data import (
    Curve,
    Point,
    best,
    best_so_far,
    caption,
    drawable,
    logarithmic_metric,
    logarithmic_time,
)
from nas.results.curves import draw

ENDINGS = ("completed", "pruned", "diverged", "error", "invalid", "")
ORANGE = (0xD5, 0x5E, 0x00)
SAYS: dict[str, Any] = {"metric": "loss", "time_metric": "epochs", "smaller_is_better": True}


def flat(number: int, value: float, ended: str = "completed", length: int = 3) -> Curve:
    return Curve(number, [(time, value) for time in range(1, length + 1)], ended)


def search(trials: int, length: int = 4) -> list[Curve]:
    """Random walks with every ending."""
    generator = random.Random(trials)
    values = [[2 + generator.random() / time for time in range(1, length + 1)] for _ in range(trials)]
    return [Curve(i, list(enumerate(values[i], start=1)), ENDINGS[i % len(ENDINGS)]) for i in range(trials)]


def picture(path: Path, curves: Sequence[Curve], **options: Any) -> np.ndarray[Any, Any]:
    """Draws; the pixels as (height, width, colour)."""
    assert draw(curves, path, title="a search", **(SAYS | options))
    with Image.open(path) as image:
        assert image.format == "PNG" and image.size == (1200, 700)
        return np.asarray(image.convert("RGB"))


def orange(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows and columns of the pixels in the colour of the best trial, without the legend."""
    return np.argwhere((pixels[:600] == ORANGE).all(axis=2))


floats = st.one_of(st.floats(-100, 100), st.sampled_from([math.nan, math.inf, -math.inf, 1e9, 1e10]))
curve_lists = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 20), floats), max_size=5), st.sampled_from(ENDINGS)), max_size=8
)


# What is measured, and what is best


@settings(deadline=None)
@given(curve_lists, st.booleans(), st.randoms(use_true_random=False))
def test_the_best_trial_has_the_best_finite_value_in_both_directions(
    trials: list[tuple[list[tuple[float, float]], str]], smaller: bool, shuffle: random.Random
) -> None:
    curves = [Curve(number, points, ended) for number, (points, ended) in enumerate(trials)]
    shuffle.shuffle(curves)
    values = [value for points, _ in trials for _, value in points if abs(value) <= 100]
    winner = best(drawable(curves, smaller), smaller)
    if not values:
        assert winner is None
        return
    assert winner
    wanted = sorted(values)[0 if smaller else -1]
    assert winner.best.value == wanted and (winner.best.time, wanted) in trials[winner.number][0]
    assert not any(value == wanted for points, _ in trials[: winner.number] for _, value in points)


@pytest.mark.parametrize(("smaller", "number", "steps"), [(True, 2, [3, 3, 1, 1]), (False, 3, [4, 4, 4, 5])])
def test_the_best_so_far_never_gets_worse(smaller: bool, number: int, steps: list[float]) -> None:
    curves = [
        Curve(3, [(1, 5)], "error"),
        Curve(0, [(1, 4), (2, 3)], "pruned"),
        Curve(2, [(1, 2), (2, 1), (3, 2)], ""),
        Curve(1, [(1, 3.5)], "completed"),
        Curve(4, [(1, math.nan)], "diverged"),
    ]
    lines = drawable(curves, smaller)
    winner = best(lines, smaller)
    assert winner and winner.number == number
    assert best_so_far(lines, smaller) == list(enumerate(steps))


def test_placeholders_of_diverged_trials_are_no_measurements() -> None:
    points = [(3, 1e10), (2, 0.5), (1, 0.7), (4, math.nan), (5, math.inf), (6, 1e9), (7, -1e10)]
    for smaller in (True, False):
        (line,) = drawable([Curve(0, points, "diverged"), Curve(1, points[3:], "diverged")], smaller)
        assert line.points == [(1, 0.7), (2, 0.5)]
        assert line.best == ((2, 0.5) if smaller else (1, 0.7))


def test_the_caption_names_the_best_and_counts_what_is_left_out() -> None:
    curves = [
        Curve(0, [(1, 2.5), (2, 1e10), (3, math.nan)], "diverged"),
        Curve(1, [(1, 2.25), (1000, 2.125)], "completed"),
        Curve(2, [(1, math.inf)], "error"),
        Curve(3, [], "invalid"),
    ]
    assert caption(curves, **SAYS) == (
        "best: loss 2.125, trial 1 after 1,000 epochs; not drawn: 3 diverged values of 2 trials; "
        "1 trial without a validation"
    )
    assert caption(curves[1:2], **SAYS) == "best: loss 2.125, trial 1 after 1,000 epochs"
    assert caption([], **SAYS) == ""


# Axes


@pytest.mark.parametrize(
    ("times", "logarithmic"),
    [([], False), ([1, 8], False), ([1, 9], True), ([0, 9], False), ([10, 11], False), ([100, 1000], True)],
)
def test_time_is_logarithmic_where_it_is_long(times: list[float], logarithmic: bool) -> None:
    assert logarithmic_time([Point(time, 1) for time in times]) is logarithmic


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [([], False), ([1, 20], False), ([1, 21], True), ([0, 21], False), ([-1, 21], False), ([0.01, 1], True)],
)
def test_the_metric_is_logarithmic_where_it_varies_much(values: list[float], logarithmic: bool) -> None:
    points = [Point(1, value) for value in values]
    assert logarithmic_metric(points, True) is logarithmic
    assert not logarithmic_metric(points, False)  # an accuracy is told apart near 1


# The picture


@pytest.mark.parametrize(
    "curves",
    [
        [],
        [Curve(0, [], "")],
        [flat(0, math.nan), flat(1, 1e10)],
        [flat(7, 0.5, "", 1)],
        [flat(0, 0.0), flat(1, 0.0)],
        search(32, 17),
        search(1000),
    ],
    ids=["no trial", "no validation", "nothing finite", "one point", "all zero", "32 trials", "1000 trials"],
)
def test_any_number_of_trials_is_drawn(curves: list[Curve], tmp_path: Path) -> None:
    path = tmp_path / "new" / "curves.png"
    with_best = len(orange(picture(path, curves, rungs=(0, 1, 4, 16, 64)))) > 50
    assert with_best == bool(drawable(curves, True))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("smaller", [True, False])
def test_the_best_line_is_the_one_at_the_better_end(smaller: bool, tmp_path: Path) -> None:
    found = orange(picture(tmp_path / "x.png", [flat(0, 1), flat(1, 2), flat(2, 3)], smaller_is_better=smaller))
    assert found[:, 0].mean() > 400 if smaller else found[:, 0].mean() < 200
    rows = np.unique(found[:, 0], return_counts=True)[1]
    assert (rows > 800).sum() in (2, 3, 4, 5)  # from end to end, and thick


def test_rungs_that_were_reached_are_drawn(tmp_path: Path) -> None:
    curves = search(6, 16)
    without = picture(tmp_path / "x.png", curves)
    assert (picture(tmp_path / "x.png", curves, rungs=(17, 64)) == without).all()
    assert (picture(tmp_path / "x.png", curves, rungs=(4, 16)) != without).any()


@pytest.mark.parametrize("name", ["$\\frac{$", "a_b^c", "many words\n" * 50])
def test_names_are_no_formulas_and_may_be_long(name: str, tmp_path: Path) -> None:
    assert draw(search(2), tmp_path / "x.png", title=name, metric=name, time_metric=name, smaller_is_better=True)


@pytest.mark.parametrize("last", [100.0, 4.0])
def test_what_the_axes_and_the_legend_say(last: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    best = Curve(0, [(1, 3.0), (2, 2.0)], "completed", [(1, 9000.0), (2, 2.5), (3, math.nan)])
    assert draw([best, Curve(1, [(1, last)], "pruned")], tmp_path / "x.png", title="", **SAYS)
    axes, (legend,) = figures[0].axes[0], figures[0].legends
    assert axes.get_ylabel() == "validation loss" + " (logarithmic)" * (last == 100)
    assert axes.get_xlabel() == "epochs"
    assert 3 < axes.get_ylim()[1] < 300  # what training begins with squeezes nothing
    assert [9000.0, 2.5] in [list(line.get_ydata()) for line in axes.lines]
    said = [text.get_text() for text in legend.get_texts()]
    assert "its training" in said and "stopped early (1)" in said


def test_the_old_picture_stays_until_the_new_one_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")
    seen = []

    def replace(self: Path, target: Path) -> None:
        with Image.open(self) as image:
            image.load()
        seen.append(target.read_bytes())
        raise OSError("the disk is gone")

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(OSError, match="the disk is gone"):
        draw(search(3), path, title="", **SAYS)
    assert seen == [b"old"] and path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_without_matplotlib_there_is_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not draw(search(3), tmp_path / "x.png", title="", **SAYS)
    assert not list(tmp_path.iterdir())


def test_curves_import_no_torch_and_matplotlib_only_to_draw(tmp_path: Path) -> None:
    code = f"""
import json, pathlib, sys
from nas.results.curves import Curve, draw
before = "matplotlib" in sys.modules
drawn = draw([Curve(0, [(1, 2.0)], "")], pathlib.Path({str(tmp_path / "x.png")!r}), title="", metric="loss",
             time_metric="epochs", smaller_is_better=True)
print(json.dumps([before, drawn, "torch" in sys.modules]))
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads(out) == [False, True, False]
