"""Learning curves, progress, Pareto front and rungs: what they compute, and that what they draw is sound SVG."""

from __future__ import annotations

import math
import random
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.made_up import search, trial

from nas.engine import asha
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.figures import data, style
from nas.results.figures.learning import learning_curves, training_metric
from nas.results.figures.pareto import Sized, front, pareto
from nas.results.figures.progress import Moment, best_so_far, moments, progress
from nas.results.figures.rungs import Bracket, Rung, brackets, rung_diagram

HTML = "<script>alert(\"x\")</script> & $x_1^2$ 'q'"
FIGURES = [learning_curves, progress, pareto, rung_diagram]


def of(*trials: TrialResult, **changes: Any) -> ExperimentResult:
    return search(0, trials=list(trials), **changes)


def one(number: int = 0, **changes: Any) -> TrialResult:
    return trial(number, random.Random(number), **{"outcome": "completed", "curves": {}, **changes})


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


# SVG


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_are_sound_svg_that_leads_nowhere(figure: Any) -> None:
    picture = figure(search(40, name=HTML, metric=HTML, time_metric=HTML))
    root = ElementTree.fromstring(picture.svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg" and root.get("role") == "img"
    assert HTML in str(root.get("aria-label"))
    assert "http" not in picture.svg.replace("http://www.w3.org/2000/svg", "").replace(HTML, "")
    ids = re.findall(r'\bid="([^"]*)"', picture.svg)
    assert len(ids) == len(set(ids)) and set(re.findall(r'href="#([^"]*)"', picture.svg)) <= set(ids)
    assert not [tag for tag in root.iter() if tag.tag.endswith("}script")]


@pytest.mark.parametrize("figure", FIGURES)
def test_a_themed_figure_has_no_colour_of_its_own(figure: Any) -> None:
    themed = style.themed(figure(search(40)).svg)
    assert not re.findall(r"(?:fill|stroke): ?#\w+|(?:fill|stroke)=\"#\w+", themed)
    used = set(re.findall(r"var\((--[\w-]+)\)", themed))
    for dark in (False, True):
        assert used <= set(re.findall(r"(--[\w-]+):", style.css_variables(dark)))


def contrast(one: str, other: str) -> float:
    """Of WCAG 2.2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_and_lines_stand_out_from_the_paper_in_both_modes() -> None:
    for colour in (style.INK, style.MUTED):
        assert contrast(colour, style.PAPER) >= 4.5
        assert contrast(style.DARK[colour], style.DARK[style.PAPER]) >= 4.5
    for colour in (style.BLUE, style.ORANGE, style.GREEN, style.PURPLE, style.GREY):
        assert contrast(colour, style.PAPER) >= 2.5
        assert contrast(style.DARK[colour], style.DARK[style.PAPER]) >= 3
    for fill in (style.INPUT, style.STATE, style.OUTPUT):
        assert contrast(style.DARK[style.INK], style.DARK[fill]) >= 7


# One bad trial


def test_one_bad_trial_squeezes_nobody_and_is_counted() -> None:
    good = [one(i, validations=[(1.0, 60.0 + i), (2.0, 50.0 + i)]) for i in range(8)]
    bad = one(8, validations=[(1.0, 1e7), (2.0, 1e6)])
    picture = learning_curves(of(*good, bad, rungs=[]))
    assert picture is not None and "1 trial with far worse values leave the picture" in picture.caption
    shown = [float(text) for text in texts(picture.svg) if re.fullmatch(r"\d+(\.\d+)?", text)]
    assert max(shown) < 100
    assert data.fence([*range(50, 58), 1e6], smaller_is_better=True) == pytest.approx(57)
    assert data.fence([*(0.8 + 0.01 * i for i in range(8)), -1e6], smaller_is_better=False) == pytest.approx(0.8)


@given(st.lists(st.floats(1, 2), min_size=4, max_size=30), st.booleans())
def test_the_best_is_never_beyond_the_fence(values: list[float], smaller: bool) -> None:
    edge = data.fence(values, smaller)
    if edge is not None:
        assert min(values) <= edge * 1.000001 if smaller else max(values) >= edge * 0.999999


# Learning curves


def test_what_cannot_be_drawn_is_said() -> None:
    diverged = one(1, validations=[(1.0, math.nan), (2.0, 1e10)], outcome="diverged")
    silent = one(2, validations=[])
    picture = learning_curves(of(one(0), diverged, silent))
    assert picture is not None and picture.svg
    assert "2 validations that diverged or were not finite" in picture.caption
    assert "1 trial without a validation" in picture.caption
    nothing = learning_curves(of(diverged, silent))
    assert nothing is not None and not nothing.svg and "finite" in nothing.caption
    assert learning_curves(of()) is None


def test_training_is_drawn_by_the_same_metric_or_by_the_loss() -> None:
    both = {"training": {"loss": [(1.0, 2.0)], "perplexity": [(1.0, 7.4)]}}
    assert training_metric(of(one(curves=both))) == "perplexity"
    assert training_metric(of(one(curves={"training": {"loss": [(1.0, 2.0)], "lr": [(1.0, 20.0)]}}))) == "loss"
    assert training_metric(of(one())) == ""
    picture = learning_curves(of(one(curves=both)))
    assert picture is not None
    assert {"training perplexity", "validation perplexity", "epochs"} <= set(texts(picture.svg))


# Progress


def test_trials_lie_one_after_the_other_and_all_their_devices_count() -> None:
    first = one(0, validations=[(1.0, 5.0), (2.0, 4.0)], seconds=1800.0)
    unknown = one(1, validations=[(1.0, 1.0)], seconds=None)
    second = one(2, validations=[(1.0, 3.0), (4.0, math.nan)], seconds=3600.0)
    expected = [Moment(0.5, 5.0, 0), Moment(1.0, 4.0, 0), Moment(1.5, 3.0, 2)]
    assert moments(of(first, unknown, second, processes=2)) == expected


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.booleans())
def test_the_best_so_far_is_the_running_best(values: list[int], smaller: bool) -> None:
    points = [(float(i), float(value)) for i, value in enumerate(values)]
    steps = best_so_far(points, smaller)
    for i in range(len(values)):
        running = (min if smaller else max)(values[: i + 1])
        assert [value for x, value in steps if x <= i][-1] == running
    assert steps[-1][0] == points[-1][0]


def test_without_seconds_there_is_no_axis_of_hours() -> None:
    picture = progress(of(one(0, seconds=None), one(1, seconds=None)))
    assert picture is not None and "no axis of device hours" in picture.caption
    assert "number of trials" in texts(picture.svg) and not [text for text in texts(picture.svg) if "device" in text]


# Pareto


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=12), st.booleans())
def test_the_front_is_what_no_other_beats(points: list[tuple[int, int]], smaller: bool) -> None:
    sized = [Sized(size, float(value), one(i)) for i, (size, value) in enumerate(points)]
    sign = 1 if smaller else -1

    def beaten(size: int, value: int) -> bool:
        return any(
            (s <= size and sign * v <= sign * value) and (s < size or sign * v < sign * value) for s, v in points
        )

    expected = {(size, float(value)) for size, value in points if not beaten(size, value)}
    found = front(sized, smaller)
    assert {(each.size, each.value) for each in found} == expected and len(found) == len(expected)


def test_sizes_that_nobody_knows_have_no_panel() -> None:
    known = [one(i, macs=None, parameters=1000 * (i + 1)) for i in range(3)]
    picture = pareto(of(*known))
    assert picture is not None and "parameters" in texts(picture.svg)
    assert not [text for text in texts(picture.svg) if "multiply" in text]
    assert pareto(of(*(replace(each, parameters=7) for each in known))) is None


# Rungs


@pytest.mark.parametrize("mode", ["aggressive", "standard", "conservative"])
@pytest.mark.parametrize("given_rungs", [None, [2, 3]])
def test_the_rungs_of_each_bracket_are_those_of_the_engine(mode: str, given_rungs: list[int] | None) -> None:
    searcher = {"name": "adaptive_asha", "max_trials": 60, "max_time": 27, "divisor": 3, "mode": mode}
    searcher |= {"bracket_rungs": given_rungs, "metric": "perplexity"}
    truth = asha.brackets(searcher)
    rungs = sorted({rung for bracket in truth for rung in bracket.rungs})
    trials = [one(i, bracket=i) for i in range(len(truth))]
    found = brackets(of(*trials, rungs=rungs, config={"searcher": searcher}))
    assert [[rung.time for rung in bracket.rungs] for bracket in found] == [list(each.rungs) for each in truth]


def test_a_rung_says_what_became_of_those_who_came_to_it() -> None:
    ends = [("completed", 9), ("pruned", 1), ("pruned", 1), ("pruned", 3), ("diverged", 4), ("", 2), ("error", 0)]
    trials = [
        one(i, bracket=0, outcome=outcome, validations=[(float(t), 5.0) for t in range(1, end + 1)])
        for i, (outcome, end) in enumerate(ends)
    ]
    expected = [Rung(1, passed=3, stopped=2, running=1), Rung(3, passed=1, stopped=1, failed=1), Rung(9, passed=1)]
    assert brackets(of(*trials)) == [Bracket(0, expected, trials=7, before=1)]
    assert rung_diagram(of(*trials, rungs=[])) is None
    nowhere = rung_diagram(of(one(0, validations=[], outcome="")))
    assert nowhere is not None and not nowhere.svg


# Many


def test_a_thousand_trials_stay_small() -> None:
    long = [(float(epoch), 50 + 100 / epoch) for epoch in range(1, 61)]
    many = [one(i, validations=long, curves={"training": {"perplexity": long}}) for i in range(1000)]
    experiment = of(*many, rungs=[])
    for figure in FIGURES:
        picture = figure(experiment)
        assert picture is None or len(picture.svg) < 3_000_000, picture.name
