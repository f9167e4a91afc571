"""Comparing searches: groups, matched budgets, what may be said, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from scipy import stats
from support.results import experiment, trial

from nas.cli import main
from nas.config.rules import refusals
from nas.core.errors import ConfigError
from nas.results.compare import groups as grouping
from nas.results.compare.baseline import random_search
from nas.results.compare.budgets import DEVICE_HOURS, choose_unit, trajectory
from nas.results.compare.comparison import Comparison, compare
from nas.results.compare.correlation import rank_agreement
from nas.results.compare.figure import draw, mean_curve
from nas.results.compare.groups import Group, gather
from nas.results.compare.tables import verdict
from nas.results.compare.text import csv_text, markdown, print_comparison
from nas.results.experiment import ExperimentResult

Shelf = Callable[..., None]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Put experiments where `gather` finds them by their references."""
    known: dict[str, ExperimentResult] = {}

    def read(reference: str) -> ExperimentResult:
        if reference not in known:
            raise ConfigError([f"there is no {reference}"])
        return known[reference]

    monkeypatch.setattr(grouping, "read", read)
    return lambda *experiments: known.update({each.reference: each for each in experiments})


def group(name: str, *values: float, **more: Any) -> Group:
    """Replicates of a search of one trial of one epoch, by their scores."""
    return Group(name, [experiment(trial(0, [each]), name=name, seed=i, **more) for i, each in enumerate(values)])


# Groups


def test_experiments_that_differ_in_seed_and_number_only_are_replicates(shelf: Shelf) -> None:
    found = [
        experiment(name="small", seed=1),
        experiment(name="small-2", seed=2),
        experiment(name="small_seed3", seed=3),
        experiment(name="other", seed=1),
        experiment(name="small", seed=4, hyperparameters={"depth": 2}),
        experiment(name="small", seed=5, searcher="random"),
    ]
    shelf(*found)
    made = gather([each.reference for each in found])
    assert [[each.reference for each in one.experiments] for one in made] == [
        ["small-1", "small-2-2", "small_seed3-3"],
        *(["other-1"], ["small-4"], ["small-5"]),
    ]
    assert made[0].name == "small (name adaptive_asha, depth 1)" and made[1].name == "other"
    assert made[3].name == "small (name random, depth 1)" and [one.is_random for one in made] == [False] * 3 + [True]


def test_a_size_in_a_name_is_no_number_of_an_experiment(shelf: Shelf) -> None:
    shelf(experiment(name="best-2x3", reference="a"), experiment(name="other", reference="b"))
    assert [one.name for one in gather(["a", "b"])] == ["best-2x3", "other"]


def test_a_user_may_group_as_they_like(shelf: Shelf, tmp_path: Path) -> None:
    for name in ("run-1", "run-2"):
        (tmp_path / name).mkdir()
    (tmp_path / "run-notes.txt").touch()
    places = [str(tmp_path / name) for name in ("run-1", "run-2")]
    shelf(experiment(reference="a"), experiment(reference="b"), *(experiment(reference=each) for each in places))
    made = gather(["<b>X</b>=a,b", f"Y={tmp_path}/run-*"])
    assert [(one.name, [each.reference for each in one.experiments]) for one in made] == [
        ("<b>X</b>", ["a", "b"]),
        ("Y", places),
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["a"], "at least two experiments"),
        (["a", "a"], "experiment a is named twice"),
        (["X=a", "X=b"], "group X is named twice"),
        (["=a", "b"], "NAME=folder,folder"),
        (["X=", "b"], "NAME=folder,folder"),
        (["X=a,zzz", "b", "yyy"], "there is no zzz\nthere is no yyy"),
    ],
)
def test_what_cannot_be_grouped(arguments: list[str], problem: str, shelf: Shelf) -> None:
    shelf(experiment(reference="a"), experiment(reference="b"))
    with pytest.raises(ConfigError, match=problem):
        gather(arguments)


# Budgets

points = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1.0, 2.0, 3.0, 4.0, math.nan, 1e10])), max_size=5)


@settings(deadline=None)
@given(st.lists(points, max_size=4), st.booleans(), st.floats(0, 40))
def test_the_best_so_far_is_the_best_of_all_that_the_budget_pays_for(
    trials: list[list[tuple[int, float]]], smaller: bool, budget: float
) -> None:
    found = experiment(*(trial(i, sorted(each)) for i, each in enumerate(trials)), smaller_is_better=smaller)
    path = trajectory(found, "loss", "epochs", smaller_is_better=smaller)
    paid, spent = [], 0
    for each in trials:
        paid += [value for time, value in each if spent + time <= budget and value < 1e10]
        spent += max((time for time, _ in each), default=0)
    assert path.total == spent
    value = float(path.on(np.array([budget]))[0])
    if paid:
        step = path.at(budget)
        assert value == (min(paid) if smaller else max(paid)) == (step.value if step else None)
    else:
        assert math.isnan(value) and path.at(budget) is None


def test_device_time_counts_where_all_know_theirs_on_the_same_device() -> None:
    known = experiment(
        trial(0, [2.0, 1.0], seconds=1800.0, device="cpu"), trial(1, [], "error", seconds=None), processes=2
    )
    assert choose_unit([known])[0] == DEVICE_HOURS
    path = trajectory(known, "loss", DEVICE_HOURS, smaller_is_better=True)
    assert [(step.cost, step.value) for step in path.steps] == [(0.5, 2.0), (1.0, 1.0)] and path.total == 1.0
    other = experiment(trial(0, [2.0], seconds=60.0, device="cuda (NVIDIA H200)"))
    unit, why = choose_unit([known, other])
    assert unit == "epochs" and "different devices (cpu, cuda (NVIDIA H200))" in why
    unit, why = choose_unit([known, experiment(trial(0, [2.0]))])
    assert unit == "epochs" and "not all know their device time" in why
    with pytest.raises(ConfigError, match=r"budgets cannot be matched.*some count batches, others epochs"):
        choose_unit([known, experiment(trial(0, [2.0]), time_metric="batches")])


def test_scores_are_read_at_a_budget_that_all_have_spent() -> None:
    long = Group("long", [experiment(trial(0, [4.0, 3.0]), trial(1, [2.0, 1.0]), name="long")])
    short = Group("short", [experiment(trial(0, [5.0, 3.5, 2.5]), name="short")])
    found = compare([long, short])
    assert found.budget == 3 and found.unit == "epochs"
    assert {name: scores.values for name, scores in found.tables[0].scores.items()} == {"long": [2.0], "short": [2.5]}
    assert [each.best for each in found.groups["long"]] == [1.0]
    at_two = compare([long, short], budget=2)
    assert [scores.values for scores in at_two.tables[0].scores.values()] == [[3.0], [3.5]]
    with pytest.raises(ConfigError, match=r"--budget must be at most 3 epochs.*got 4"):
        compare([long, short], budget=4)
    with pytest.raises(ConfigError, match=r"budgets do not overlap.*after 1 epochs, but --budget is 0.5"):
        compare([long, short], budget=0.5)
    late = Group("late", [experiment(trial(0, [(9, 1.0)]), name="late")])
    with pytest.raises(
        ConfigError, match=r"do not overlap: late-0 has its first validation after 9 epochs.*of its 3 by then"
    ):
        compare([short, late])


def test_curves_of_replicates_meet_on_budgets_that_all_have() -> None:
    paths = [
        trajectory(experiment(trial(0, each)), "loss", "epochs", smaller_is_better=True)
        for each in ([(2, 4.0), (4, 2.0)], [(1, 3.0), (8, 1.0)])
    ]
    grid, values = mean_curve(paths)
    assert grid[0] == pytest.approx(2) and grid[-1] == pytest.approx(4) and not np.isnan(values).any()
    assert list(values[:, 0]) == [4, 3] and list(values[:, -1]) == [2, 3]


# What may be said


@pytest.mark.parametrize("smaller", [True, False])
def test_a_difference_is_called_one_only_if_enough_replicates_show_it(smaller: bool) -> None:
    one, other = [1.0 + i / 100 for i in range(5)], [2.0 + i / 100 for i in range(5)]
    found = compare([group("A", *one, smaller_is_better=smaller), group("B", *other, smaller_is_better=smaller)])
    (pair,) = found.tables[0].pairs
    p = float(stats.mannwhitneyu(one, other, method="exact").pvalue)
    assert (pair.p, pair.adjusted, pair.smallest) == (pytest.approx(p), pytest.approx(p), pytest.approx(2 / 252))
    assert pair.a12 == (1 if smaller else 0)
    better, worse = ("A", "B") if smaller else ("B", "A")
    assert pair.verdict == f"{better} is better than {worse} (p = 0.0079, in 100% of all pairs)"
    scores = found.tables[0].scores["A"]
    assert (scores.mean, scores.median) == (pytest.approx(1.02), 1.02)
    assert scores.interval == pytest.approx(stats.t.interval(0.95, 4, 1.02, stats.sem(one)))


def test_three_against_three_says_nothing_however_far_apart() -> None:
    found = compare([group("A", 1, 2, 3), group("B", 100, 200, 300)])
    (pair,) = found.tables[0].pairs
    assert pair.p == pytest.approx(0.1) == pair.smallest
    assert (
        pair.verdict
        == "too few replicates to say anything: with 3 and 3, p cannot be below 0.1; 4 of each could show a difference"
    )
    assert "is better than" not in printed(found) + markdown(found, "x.svg") + json.dumps(found.to_json())


def test_the_correction_for_several_comparisons_can_take_away_what_could_be_said() -> None:
    """Four against four can give p = 0.029, but not if three pairs are compared."""
    a, b, c = group("A", 1, 2, 3, 4), group("B", 11, 12, 13, 14), group("C", 21, 22, 23, 24)
    assert "is better than" in compare([a, b]).tables[0].pairs[0].verdict
    pairs = compare([a, b, c]).tables[0].pairs
    assert [pair.adjusted for pair in pairs] == pytest.approx([3 * 2 / 70] * 3)
    assert all(pair.verdict.startswith("too few replicates") for pair in pairs)


def test_what_is_said() -> None:
    assert verdict("A", "B", (1, 1), 1, 1, 1.0, 3).endswith(
        "with 1 and 1, in 3 comparisons, p cannot be below 1; 5 of each could show a difference"
    )
    assert verdict("A", "B", (9, 9), 0.2, 0.001, 0.7).startswith("no difference shown (p = 0.2); that does not make")
    assert verdict("A", "B", (9, 9), 0.01, 0.001, 0.2) == "B is better than A (p = 0.01, in 80% of all pairs)"


def test_test_scores_are_compared_if_all_have_them() -> None:
    def tested(name: str, *values: float | None) -> Group:
        made = [
            experiment(
                trial(0, [3.0], test={"test_loss": 99.0}),
                trial(1, [1.0], test={} if value is None else {"test_loss": value}),
                name=name,
                seed=i,
            )
            for i, value in enumerate(values)
        ]
        return Group(name, made)

    found = compare([tested("A", 1.0, 2.0), tested("B", 3.0, 4.0)])
    assert [table.kind for table in found.tables] == ["validation", "test"]
    assert [scores.values for scores in found.tables[1].scores.values()] == [[1.0, 2.0], [3.0, 4.0]]
    without = compare([tested("A", 1.0, None), tested("B", 3.0, math.nan)])
    assert [table.kind for table in without.tables] == ["validation"]
    assert any("flatter every search" in note for note in without.notes)


def test_a_random_search_is_asked_for_unless_there_is_one() -> None:
    asked = "there is no random search among them"
    space = {"lr": {"type": "double", "minval": 0, "maxval": 1}}
    for drawn, words in ((False, "arch_seed"), (True, "random.yaml, beside")):
        found = compare([group("A", 1), group("B", 2, **({"hyperparameters": space} if drawn else {}))])
        assert any(asked in note and words in note for note in found.notes) and (found.baseline is not None) == drawn
    for baseline in (
        group("B", 2, searcher="random"),
        group("random draws", 2),
        group("B", 2, searcher="single", hyperparameters={"arch_seed": 3}),
        group("B", 2, searcher="single", hyperparameters={"strategy": "random"}),
    ):
        found = compare([group("A", 1), baseline])
        assert (
            found.random == [baseline.name]
            and found.baseline is None
            and not any(asked in note for note in found.notes)
        )
    assert not group("B", 2, searcher="random", sampler="tpe").is_random
    assert not group("B", 2, searcher="single").is_random


def test_the_random_search_that_is_missing_costs_as_much_and_is_a_config_that_runs() -> None:
    space = {"lr": {"type": "double", "minval": 0, "maxval": 1}, "depth": 2}
    trials = [trial(0, [3.0, 2.0, 1.0, 1.0]), trial(1, [3.0]), trial(2, [4.0, 3.0])]  # seven epochs of four
    made = [experiment(*trials, trial(3, [], "error"), name="x", hyperparameters=space, seed=i) for i in range(2)]
    made[0].config["searcher"] |= {"max_trials": 9, "max_time": 4, "time_metric": "epochs"}
    config = random_search(Group("x", made))
    assert config is not None and refusals(config) == []
    assert config["searcher"] == {"name": "random", "metric": "loss", "smaller_is_better": True, "max_trials": 2}
    assert config["hyperparameters"] == {**space, "train_epochs": 4} and config["name"] == "x-random"
    baseline = Group("y", [experiment(trial(0, [1.0]), name="y", searcher="random", hyperparameters=space)])
    assert baseline.is_random and random_search(group("x", 1.0)) is None


def test_what_makes_numbers_doubtful_is_noted() -> None:
    same = Group("A", [experiment(trial(0, [1.0]), name="A", reference=str(i)) for i in range(2)])
    running = group("B", 2, status="running", versions={"commit": "b"})
    old = group("C", 3, versions={"commit": "c"})
    notes = "\n".join(compare([same, running, old]).notes)
    assert "A: some of its experiments have the same seed" in notes
    assert "B-0 is running: what it has so far counts" in notes and "commits b, c" in notes


# What is refused


def scored_on(place: Path, digest: str) -> ExperimentResult:
    place.mkdir()
    data = {"valid": {"digest": digest, "count": 3, "unit": "words", "source": ""}}
    (place / "run.json").write_text(json.dumps({"identity": {"data": data}}))
    return experiment(trial(0, [1.0], folder=str(place)), name=place.name)


def test_other_metrics_directions_and_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"different metrics: loss \(A-0 and 1 more\), accuracy \(B-0\); name one"):
        compare([group("A", 1, 2), group("B", 1, metric="accuracy")])
    with pytest.raises(ConfigError, match=r"differ in direction: smaller is better \(A-0\), larger is better \(B-0\)"):
        compare([group("A", 1), group("B", 1, smaller_is_better=False)])
    one, other, same = (scored_on(tmp_path / name, name[0] * 64) for name in ("a", "b", "a2"))
    with pytest.raises(ConfigError, match=r"a-0 and b-0 were not scored on the same data: valid: 3 words, SHA-256 aaa"):
        compare([Group("A", [one]), Group("B", [other])])
    assert compare([Group("A", [one]), Group("B", [same]), group("C", 1)])  # of which nobody knows


def test_another_metric_has_a_direction_by_its_name_or_by_what_is_said() -> None:
    def curves(**values: float) -> dict[str, Any]:
        return {"validation": {name: [(1.0, value)] for name, value in values.items()}}

    both = [
        Group(name, [experiment(trial(0, [1.0], curves=curves(top1_accuracy=value, odd=value)), name=name)])
        for name, value in (("A", 0.5), ("B", 0.75))
    ]
    found = compare(both, metric="top1_accuracy")
    assert not found.smaller_is_better and found.tables[0].pairs[0].a12 == 0
    assert compare(both, metric="odd", smaller_is_better=True).tables[0].pairs[0].a12 == 1
    with pytest.raises(ConfigError, match="whether small values of odd are good is not known; say --smaller-is-better"):
        compare(both, metric="odd")
    with pytest.raises(ConfigError, match="'top1_acuracy' was not measured by any of them; did you mean top1_accuracy"):
        compare(both, metric="top1_acuracy")
    with pytest.raises(ConfigError, match="C-0 has no validation that measured top1_accuracy"):
        compare([*both, group("C", 1)], metric="top1_accuracy")


@pytest.mark.parametrize("trials", [[], [trial(0, [], "error")], [trial(0, [math.nan, 1e10], "diverged")]])
def test_an_experiment_that_measured_nothing_is_refused(trials: list[Any]) -> None:
    with pytest.raises(ConfigError, match="B-0 has no validation that measured loss"):
        compare([group("A", 1), Group("B", [experiment(*trials, name="B")])])


# Search-time scores against training


def cells(*names: str, **more: Any) -> dict[str, Any]:
    return {"space": "toy_space", "genotype": {"layers": list(names)}, "architecture": " ".join(names), **more}


def test_scores_are_matched_by_architecture_whatever_its_dead_nodes() -> None:
    searched = experiment(
        trial(0, [5.0, 3.0], **cells("relu")),
        trial(1, [2.0], **cells("tanh")),
        trial(2, [4.0], **cells("relu", "identity")),  # the same as the first
        trial(3, [1.0], **cells("relu", "relu")),
        trial(4, [9.0], **cells("tanh", "tanh")),  # nobody trained it again
    )
    again = [
        experiment(trial(0, [2.5], **cells("identity", "relu")), trial(1, [0.5], **cells("relu", "relu"))),
        experiment(trial(0, [1.5], **cells("relu")), trial(1, [3.0, 2.75], **cells("tanh"))),
        experiment(trial(0, [1.0], **cells("tanh", "relu"))),  # nobody searched it
    ]
    found = rank_agreement([searched], again, "loss", smaller_is_better=True)
    assert found.pairs == [("relu", 3.0, 2.0), ("tanh", 2.0, 2.75), ("relu relu", 1.0, 0.5)] and found.unmatched == 1
    assert found.spearman and found.spearman.value == pytest.approx(
        stats.spearmanr([3, 2, 1], [2, 2.75, 0.5]).statistic
    )
    assert found.kendall and found.kendall.value == pytest.approx(1 / 3) and "3 architectures are too few" in found.says
    with pytest.raises(ConfigError, match="names no run of an architecture that the compared experiments found"):
        rank_agreement([searched], again[2:], "loss", smaller_is_better=True)


@pytest.mark.parametrize(("order", "says"), [(1, "as training does, better"), (-1, "wrong way round")])
@pytest.mark.parametrize("metric", ["top1_accuracy", "derived_top1_accuracy"])
def test_a_one_shot_search_is_judged_by_the_score_of_its_last_architecture(order: int, says: str, metric: str) -> None:
    layers = [["relu"] * (i + 1) for i in range(8)]
    scores = [0.1 * i for i in range(8)]
    searches = [
        experiment(
            trial(
                0, [0.5], search=[{"scores": {"derived_top1_accuracy": each}} for each in (0.5, score)], **cells(*names)
            ),
            metric="top1_accuracy",
        )
        for names, score in zip(layers, scores, strict=True)
    ]
    curves = [{"validation": {"top1_accuracy": [(1.0, 0.5 + order * score / 10)]}} for score in scores]
    again = [experiment(trial(0, [], curves=c, **cells(*each))) for each, c in zip(layers, curves, strict=True)]
    found = rank_agreement(searches, again, metric, smaller_is_better=False)
    assert (found.searched_by, found.retrained_by) == ("derived_top1_accuracy", "top1_accuracy")
    assert found.spearman and found.spearman.value == pytest.approx(order) and says in found.says


# What is written


def printed(comparison: Comparison) -> str:
    buffer = io.StringIO()
    print_comparison(Console(file=buffer, width=200), comparison)
    return buffer.getvalue()


def everything() -> Comparison:
    """Names that are markup, a baseline, test scores and retrained architectures."""
    test = {"test": {"test_loss": 1.0}}
    odd = [
        experiment(trial(0, [3.0, 2.0 + i], **cells("relu"), **test), name="[red]x[/red] <b> a|b $\\frac{$", seed=i)
        for i in range(3)
    ]
    plain = [experiment(trial(0, [4.0, 3.0 + i], **test), name="plain", searcher="random", seed=i) for i in range(4)]
    again = [experiment(trial(0, [1.0], **cells("relu")))]
    return compare([Group(odd[0].name, odd), Group("plain", plain)], retrained=again)


def test_names_are_shown_as_they_are() -> None:
    found = everything()
    assert "[red]x[/red] <b> a|b $\\frac{$" in printed(found) and "plain (random search)" in printed(found)
    page = markdown(found, "compare.svg")
    assert "<b>" not in page and "\\[red\\]x\\[/red\\] \\<b\\> a\\|b" in page and "![" in page
    assert all(line.startswith("|") == line.endswith("|") for line in page.splitlines())


def test_csv_and_json_hold_all_scores() -> None:
    found = everything()
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [(row["kind"], row["group"] == "plain", float(row["value"])) for row in rows] == [
        *(("validation", False, value) for value in (2.0, 3.0, 3.0)),
        *(("validation", True, value) for value in (3.0, 4.0, 4.0, 4.0)),
        *(("test", False, 1.0) for _ in range(3)),
        *(("test", True, 1.0) for _ in range(4)),
    ]
    assert {row["random"] for row in rows if row["group"] == "plain"} == {"True"}
    data = json.loads(json.dumps(found.to_json()))
    assert data["budget"] == 2 and data["tables"][0]["pairs"][0]["first"].startswith("[red]")
    assert data["trajectories"]["plain"][1]["steps"][-1] == [1.0, 4.0, 0]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_any_number_of_groups_is_drawn_the_same_each_time(count: int, tmp_path: Path) -> None:
    names = ["a long name of a search", *"bcdefghi"][:count]
    made = [group(name, *(float(i + j) for j in range(1 + i % 4))) for i, name in enumerate(names)]
    found = compare([*made, group("random", 1.0)]) if count < 9 else compare(made)
    paths = [tmp_path / name for name in ("a.png", "a.svg", "b.png", "b.svg")]
    draw(found, paths[:2])
    draw(found, paths[2:])
    with Image.open(paths[0]) as image:
        assert image.width > 600 and len(np.unique(np.asarray(image.convert("L")))) > 20
    assert paths[1].read_text().lstrip().startswith("<?xml")
    assert [path.read_bytes() for path in paths[:2]] == [path.read_bytes() for path in paths[2:]]


def test_all_parts_are_drawn(tmp_path: Path) -> None:
    draw(everything(), [tmp_path / "x.png"])
    assert list(tmp_path.iterdir()) == [tmp_path / "x.png"]


def test_the_command_writes_everything_beside_its_picture(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found: Sequence[ExperimentResult] = [
        *group("A", 1, 2).experiments,
        *group("B", 3, 4, searcher="random").experiments,
    ]
    shelf(*found)
    assert main(["compare", *(each.reference for each in found)]) == 0
    assert "too few replicates to say anything" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "comparison").iterdir()) == [
        f"compare.{kind}" for kind in ("csv", "json", "md", "png", "svg")
    ]
    assert main(["compare", "A-0", "B-0", "--budget", "7"]) == 2
    assert "--budget must be at most 1 epochs" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main(["compare", "A-0", "B-0", "--out", "file/x"]) == 2
    assert "file" in capsys.readouterr().err
