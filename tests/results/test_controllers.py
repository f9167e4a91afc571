"""Random against trained controllers: statistics against SciPy and enumeration, what is refused, and what is written."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from scipy import stats
from support.results import experiment, trial

from nas.cli import main
from nas.core.contenders import TRAINED, UNIFORM, Contenders
from nas.core.errors import ConfigError
from nas.core.space import load_space
from nas.results.compare import controllers as reading
from nas.results.compare import permutation, superiority
from nas.results.compare.contest import Outcome, judge
from nas.results.compare.contest_figure import draw_outcome
from nas.results.compare.contest_text import csv_page, markdown_page, print_outcome
from nas.results.compare.controllers import gather_controllers
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.retraining import best_again
from nas.results.statistics import Floats

SPACE = load_space("randomNAS_files")
random = np.random.default_rng

# Statistics


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("values", [[1.0], [3.0, -1.0, 2.0, 2.0], [0.0, 0.0, 1.0], [0.3, 1.2, -0.4, 2.2, 0.1, -3.0]])
def test_the_permutation_test_is_the_full_enumeration(values: list[float], two_sided: bool) -> None:
    sums = [float(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=len(values))]
    larger = [abs(each) >= abs(sum(values)) - 1e-9 if two_sided else each >= sum(values) - 1e-9 for each in sums]
    found = permutation.permutation_p(values, two_sided=two_sided)
    assert found == pytest.approx(np.mean(larger), abs=1e-15)
    if len(values) > 1:
        other = stats.permutation_test(
            (values,), np.sum, permutation_type="samples", alternative="two-sided" if two_sided else "greater"
        )
        if not two_sided:  # SciPy doubles the smaller tail there
            assert found == pytest.approx(other.pvalue)


def test_drawn_signs_agree_with_all_of_them() -> None:
    values = random(3).normal(0.3, 1, 21).tolist()
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    exact = (sums >= sum(values)).mean()
    assert permutation.permutation_p(values, two_sided=False) == pytest.approx(
        exact, abs=4 * math.sqrt(exact / 100_000)
    )
    assert permutation.permutation_p([9.0] * 40, two_sided=False) > 0, "what was seen is one of the ways"


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_the_smallest_p_is_that_of_groups_that_do_not_overlap(count: int) -> None:
    apart = [np.array([1.0, 2.0])] * count, [np.array([3.0, 4.0])] * count
    for two_sided in (False, True):
        found = permutation.permutation_p(superiority.rank_differences(*apart), two_sided=two_sided)
        assert found == permutation.smallest_p(count, two_sided=two_sided)
        fewest = permutation.fewest_controllers(found, two_sided=two_sided)
        assert fewest == (1 if count == 1 else count)


def groups(seed: int, count: int = 4, cells: int = 3, ties: bool = False) -> tuple[list[Floats], list[Floats]]:
    generator = random(seed)
    drawn = [generator.normal(size=(count, cells)) for _ in range(2)]
    trained, uniform = [np.round(each) if ties else each for each in drawn]
    return list(trained), list(uniform)


@pytest.mark.parametrize("ties", [False, True])
def test_superiority_is_mann_whitneys_u_and_so_is_the_rank_statistic(ties: bool) -> None:
    trained, uniform = groups(1, ties=ties)
    one, other = np.concatenate(trained), np.concatenate(uniform)
    found, interval = superiority.superiority(trained, uniform)
    u = stats.mannwhitneyu(other, one).statistic  # pairs in which the uniform one is larger
    assert found == pytest.approx(u / 144) and interval is not None and interval[0] <= found <= interval[1]
    assert sum(superiority.rank_differences(trained, uniform)) == pytest.approx(144 * (2 * found - 1))


def test_what_diverged_is_the_worst_and_tied() -> None:
    trained, uniform = [np.array([1.0, math.inf])], [np.array([2.0, math.inf])]
    assert superiority.superiority(trained, uniform) == ((2 + 0.5) / 4, None)
    assert superiority.rank_differences(trained, uniform) == [(2 + 3.5) - (1 + 3.5)]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_the_best_of_n_is_the_mean_over_all_subsets(count: int) -> None:
    costs = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    means = np.mean([min(each) for each in itertools.combinations(costs, count)])
    assert superiority.best_of(costs, count) == pytest.approx(means)
    lost = np.array([3.0, math.inf, 4.0, 1.0])
    assert [math.isinf(superiority.best_of(lost, n)) for n in (1, 2, 3)] == [True, False, False]


def test_the_bootstrap_resamples_controllers() -> None:
    """The mean of k controllers resampled has their mean as expectation, and their variance / k."""
    values = [np.array([x, x + 1.0]) for x in (1.0, 2.0, 4.0, 8.0)]
    means = superiority.resamples(4, 0) @ np.array([each.mean() for each in values]) / 4
    centre, variance = 4.25, np.var([1.5, 2.5, 4.5, 8.5])
    assert means.mean() == pytest.approx(centre, abs=4 * math.sqrt(variance / 4 / 2000))
    assert means.var() == pytest.approx(variance / 4, rel=0.1)
    found, interval = superiority.mean(values)
    assert found == centre and interval == pytest.approx(np.quantile(means, [0.025, 0.975]))
    assert superiority.mean(values[:2])[1] is None
    curve, band = superiority.best_of_curve(values)
    assert curve.tolist() == [4.25, 3.75] and band is not None and band[0][0] == pytest.approx(interval[0])


def test_brunner_munzel_where_spreads_differ() -> None:
    generator = random(0)
    wide, narrow = generator.normal(0, 9, 30), generator.normal(0, 1, 30)
    p, how = superiority.cells_p(wide, narrow)
    assert p == pytest.approx(stats.brunnermunzel(wide, narrow).pvalue) and how.startswith("Brunner-Munzel")
    p, how = superiority.cells_p(narrow, narrow[::-1] + 0.1)
    assert p == pytest.approx(stats.mannwhitneyu(narrow, narrow + 0.1, method="exact").pvalue)
    assert how == "Mann-Whitney, exact"
    assert superiority.cells_p(wide, narrow + 1000)[1] == "Mann-Whitney, exact", "no overlap: not defined there"


def rejected(controller_sd: float, shift: float = 0.0, repetitions: int = 400) -> tuple[float, float]:
    """How often the test over controllers has p <= 1/32, and one that takes cells for independent p <= 0.05."""
    generator, ours, theirs = random(7), 0, 0
    for _ in range(repetitions):
        trained = generator.normal(size=(5, 4)) + controller_sd * generator.normal(size=(5, 1)) - shift
        uniform = generator.normal(size=(5, 4))
        ours += (
            permutation.permutation_p(superiority.rank_differences([*trained], [*uniform]), two_sided=False) <= 1 / 32
        )
        theirs += stats.mannwhitneyu(trained.ravel(), uniform.ravel(), method="asymptotic").pvalue <= 0.05
    return ours / repetitions, theirs / repetitions


@pytest.mark.parametrize("controller_sd", [0.0, 2.0])
def test_the_null_is_kept_also_where_cells_of_a_controller_are_alike(controller_sd: float) -> None:
    ours, theirs = rejected(controller_sd)
    low, high = stats.binom.ppf([0.0005, 0.9995], 400, 1 / 32) / 400
    assert low <= ours <= high
    assert theirs > 0.2 if controller_sd else theirs < 0.09, "cells are no unit"


def test_a_planted_shift_is_found() -> None:
    assert rejected(0.0, shift=2.0, repetitions=50)[0] > 0.9


# Experiments


def about(seed: int = 0, count: int = 2, **changes: Any) -> Contenders:
    texts = [SPACE.sample(k).to_text() for k in range(count)]
    uniform = [SPACE.sample(100 * seed + k).to_text() for k in range(count)]
    known: dict[str, Any] = {"search": "small", "settings": "0123", "strategy": "enas", "search_seed": 100 + seed}
    return Contenders(**{**known, "trained": texts, "uniform": uniform, **changes})


def retrained(
    seed: int, trained: Sequence[float | None], uniform: Sequence[float | None], **more: Any
) -> ExperimentResult:
    """One controller's experiment; None: that training diverged. A grid runs backwards."""
    trials, hparams = list[TrialResult](), {"depth": 1, **more.pop("hyperparameters", {})}
    cells = more.pop("cells", about(seed, len(trained)))
    seconds = more.pop("seconds", 10.0)
    for group, values in ((UNIFORM, uniform), (TRAINED, trained)):
        for pair in reversed(range(len(values))):
            value, number = values[pair], len(trials)
            points, outcome = ([9.0, 9.0, 9.0, value], "completed") if value is not None else ([1e10], "diverged")
            which = {"drawn_by": group, "pair": pair}
            known: dict[str, Any] = {"hyperparameters": which, "chosen": which, "space": "randomNAS_files"}
            known["seconds"] = seconds
            trials.append(trial(number, points, outcome, test={"test_loss": 7.0}, **known))
    space = {**hparams, "cells": asdict(cells), "drawn_by": {"type": "categorical", "vals": [TRAINED, UNIFORM]}}
    return experiment(*trials, name="again", seed=seed, searcher="grid", hyperparameters=space, **more)


Shelf = Callable[..., list[str]]


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Put experiments where they are found by their references."""
    known: dict[str, ExperimentResult] = {}
    monkeypatch.setattr(reading, "read", known.__getitem__)

    def put(*experiments: ExperimentResult) -> list[str]:
        known.update({each.reference: each for each in experiments})
        return [each.reference for each in experiments]

    return put


def five(shelf: Shelf, **more: Any) -> list[str]:
    return shelf(*(retrained(k, [2.0 + k / 10, 3.0], [4.0, 5.0 + k], **more) for k in range(5)))


def test_a_difference_is_found_and_told(shelf: Shelf) -> None:
    found = judge(gather_controllers(five(shelf)))
    assert found.p == found.smallest == 1 / 32 and found.superiority == 1
    assert (
        found.verdict
        == "cells of a trained controller are better than uniform ones (p = 0.0312; trained cells win 100% of all pairs)"
    )
    trained, uniform = found.groups[TRAINED], found.groups[UNIFORM]
    assert trained.mean == pytest.approx(2.6) and uniform.mean == pytest.approx(5.5)
    assert found.difference == pytest.approx(-2.9) and found.difference_interval is not None
    assert trained.best is not None and (trained.best.value, trained.test) == (2.0, 7.0)
    assert trained.distinct == 2 and uniform.distinct == 10 and found.in_both == 2, (
        "uniform ones of seed 0 are the same two"
    )
    assert found.best_of[TRAINED].values == pytest.approx([2.6, 2.2]) and found.best_of[UNIFORM].values == [5.5, 4.0]
    everything = [4.0] * 5 + [5.0, 6.0, 7.0, 8.0, 9.0]
    assert found.pooled == pytest.approx([superiority.best_of(np.array(everything), n) for n in range(1, 11)])


def test_larger_may_be_better_and_the_test_two_sided(shelf: Shelf) -> None:
    more = {"metric": "accuracy", "smaller_is_better": False}
    made = [retrained(k, [2.0, 3.0], [4.0, 5.0], cells=about(k, test="different"), **more) for k in range(6)]
    found = judge(gather_controllers(shelf(*made)))
    assert found.superiority == 0 and found.p == found.smallest == 2 / 64
    assert found.verdict.startswith("cells of a trained controller are worse than uniform ones")
    assert found.groups[TRAINED].best is not None and found.groups[TRAINED].best.value == 3.0
    assert found.best_of[UNIFORM].values == [4.5, 5.0] and found.difference == pytest.approx(-2)
    one_sided = [retrained(k, [2.0, 3.0], [4.0, 5.0], **more) for k in range(6)]
    found = judge(gather_controllers(shelf(*one_sided)))
    assert found.p == 1 and found.verdict.startswith("it is not shown that cells of a trained controller are better")


def test_two_controllers_say_nothing_and_have_a_smallest_p(shelf: Shelf) -> None:
    found = judge(gather_controllers(five(shelf)[:2]))
    assert found.smallest == 0.25 and found.superiority_interval is None
    assert found.verdict.startswith("too few controllers to say anything: with 2, p cannot be below 0.25")
    assert "5 could show a difference" in found.verdict and "2 controllers are few" in found.notes[0]


def test_diverged_cells_count_as_the_worst(shelf: Shelf) -> None:
    made = [retrained(k, [2.0, None], [3.0, 4.0]) for k in range(5)]
    found = judge(gather_controllers(shelf(*made)))
    assert found.superiority == 0.5 and found.p == 1 and found.groups[TRAINED].diverged == 5
    assert found.groups[TRAINED].mean == 2 and found.groups[TRAINED].interval is None and found.difference is None
    assert math.isinf(found.best_of[TRAINED].values[0]) and found.best_of[TRAINED].values[1] == 2
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["best_of"]["trained"]["values"] == [None, 2.0]
    assert "may all diverge" in markdown_page(found, "x.svg")


def test_a_pair_that_is_not_whole_is_left_out_and_named(shelf: Shelf) -> None:
    made = [retrained(k, [2.0, 3.0, 4.0], [4.0, 5.0, 6.0]) for k in range(4)]
    made[0].trials[1] = trial(1, [], "error", hyperparameters=made[0].trials[1].hyperparameters)
    made[1].trials[5] = trial(5, [1.0], hyperparameters=made[1].trials[5].hyperparameters)
    del made[2].trials[0]
    made[3].trials[:] = [trial(each.number, [1.0], "", hyperparameters=each.hyperparameters) for each in made[3].trials]
    contest = gather_controllers(shelf(*made))
    assert contest.left_out[:3] == [
        "again-0: pair 1 is left out, as its uniform cell (trial 1) ended with error",
        "again-1: pair 0 is left out, as its trained cell (trial 5) trained 1 of 4 epochs",
        "again-2: pair 2 is left out, as its uniform cell was never trained",
    ]
    assert contest.left_out[-1] == "again-3: no pair is left, so this controller is left out"
    assert [len(each.cells[TRAINED]) for each in contest.controllers] == [2, 2, 2]
    assert any("flatters the group" in note for note in judge(contest).notes)
    with pytest.raises(ConfigError, match="at least 2 controllers to compare, got 1"):
        gather_controllers(["again-0", "again-3"])


def test_the_cost_of_searches_is_counted(shelf: Shelf) -> None:
    names = five(shelf)
    searches = [experiment(trial(0, [1.0], seed=100 + k, seconds=35.0), name="small", seed=k) for k in range(5)]
    found = judge(gather_controllers(names, shelf(*searches)))
    assert found.search_cost == 3.5
    assert [(row.count, row.uniform_count, row.paid_for) for row in found.equal_cost] == [(1, 4, 4), (2, 5, 5)]
    assert found.equal_cost[0].uniform == found.pooled[3] and found.equal_cost[1].trained == pytest.approx(2.2)
    expensive = [experiment(trial(0, [1.0], seed=100 + k, seconds=990.0), name="small", seed=k) for k in range(5)]
    row = judge(gather_controllers(names, shelf(*expensive))).equal_cost[0]
    assert (row.uniform_count, row.paid_for, row.uniform) == (10, 100, 4.0)
    with pytest.raises(ConfigError, match="--searches names no search small of seed 104, whose cells again-4 trained"):
        gather_controllers(names, shelf(*searches[:4]))
    silent = judge(gather_controllers(names))
    assert silent.search_cost is None and any("name them with --searches" in note for note in silent.notes)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (
            {"hyperparameters": {"train_epochs": 5}},
            "did not train their cells alike, but with another train_epochs: not set",
        ),
        ({"hyperparameters": {"depth": 2}}, r"with another depth: 1 \(again-0\), 2 \(again-1\); retrain them"),
        ({"length": 8}, r"with another length: 4 \(again-0\), 8 \(again-1\)"),
        (
            {"hyperparameters": {"repeat": {"type": "int", "minval": 0, "maxval": 1}}},
            "again-1 searches repeat as well, so",
        ),
        ({"processes": 2}, "with another processes: 1"),
        (
            {"cells": about(1, strategy="random", settings="4567")},
            "hold cells of different searches, not of one with several",
        ),
        ({"cells": about(1, test="different")}, r"name different confirmatory tests: better \(again-0\), different"),
        ({"cells": about(0)}, r"again-0 and again-1 trained cells of the same controller \(small, seed 100\)"),
        ({"metric": "perplexity"}, "look at different metrics: loss"),
        ({"smaller_is_better": False}, "differ in direction"),
    ],
    ids=str,
)
def test_groups_that_were_not_made_alike_are_refused(other: dict[str, Any], says: str, shelf: Shelf) -> None:
    names = shelf(retrained(0, [2.0, 3.0], [4.0, 5.0]), retrained(1, [2.0, 3.0], [4.0, 5.0], **other))
    with pytest.raises(ConfigError, match=says) as caught:
        gather_controllers(names)
    assert len(caught.value.problems) == (2 if "searches repeat" in says else 1)


def test_what_is_no_comparison_is_refused(shelf: Shelf) -> None:
    names = shelf(retrained(0, [2.0], [4.0]), experiment(name="plain"))
    with pytest.raises(
        ConfigError, match=r"plain-0 trained no cells of a controller and of chance: .*against_random.yaml"
    ):
        gather_controllers(names)
    with pytest.raises(ConfigError, match="at least 2 controllers to compare, got 1: cells of one controller are no"):
        gather_controllers(names[:1])
    tested = shelf(*(retrained(k, [2.0], [4.0], metric="test_loss") for k in range(2)))
    with pytest.raises(ConfigError, match="again-0 looks at test_loss: cells that are chosen by a test score are not"):
        gather_controllers(tested)
    uneven = shelf(retrained(0, [2.0], [4.0], cells=about(0, 2, uniform=["Genotype"])))
    with pytest.raises(
        ConfigError, match=r"again-0: hyperparameters\.cells\.uniform must have as many cells as trained, 2"
    ):
        gather_controllers([*uneven, *names[:1]])


def test_a_null_says_that_it_is_one(shelf: Shelf) -> None:
    made = [retrained(k, [2.0], [4.0], cells=about(k, 1, strategy="random")) for k in range(2)]
    assert any("any difference is chance" in note for note in judge(gather_controllers(shelf(*made))).notes)


# What is written


def printed(outcome: Outcome) -> str:
    buffer = io.StringIO()
    print_outcome(Console(file=buffer, width=200), outcome)
    return buffer.getvalue()


def test_everything_is_told_and_every_cell_is_in_the_csv(shelf: Shelf) -> None:
    found = judge(gather_controllers(five(shelf)))
    for text in (printed(found), markdown_page(found, "compare.svg")):
        assert "confirmatory, named before the cells were trained: permutation over controllers" in text
        assert "P(trained better than uniform) = 1" in text and "duplicates: 8 of 10 trained, 0 of 10 uniform" in text
    rows = list(csv.DictReader(io.StringIO(csv_page(found))))
    assert len(rows) == 20 and {row["search_seed"] for row in rows} == {"100", "101", "102", "103", "104"}
    assert [float(row["value"]) for row in rows if row["controller"] == "again-3"] == [2.3, 3.0, 4.0, 8.0]


def test_many_controllers_are_drawn_the_same_each_time(shelf: Shelf, tmp_path: Path) -> None:
    made = [retrained(k, [2.0 + k, 3.0, None if k == 1 else 3.5], [4.0, 5.0 + k, 6.0]) for k in range(14)]
    searches = [experiment(trial(0, [1.0], seed=100 + k, seconds=350.0), name="small", seed=k) for k in range(14)]
    found = judge(gather_controllers(shelf(*made), shelf(*searches)))
    paths = [tmp_path / name for name in ("a.svg", "b.svg")]
    for path in paths:
        draw_outcome(found, [path])
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_two_controllers_of_one_cell_are_drawn(shelf: Shelf, tmp_path: Path) -> None:
    """Too few for a density or a band; one of them diverged."""
    found = judge(gather_controllers(shelf(retrained(0, [2.0], [3.0]), retrained(1, [None], [4.0]))))
    draw_outcome(found, [tmp_path / "a.png"])
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 600 and len(np.unique(np.asarray(image.convert("L")))) > 20


def test_the_command(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = five(shelf)
    assert main(["compare", "--groups", *names]) == 0
    assert "are better than uniform ones (p = 0.0312" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "comparison").iterdir()) == [
        f"compare.{kind}" for kind in ("csv", "json", "md", "png", "svg")
    ]
    assert main(["compare", "--groups", *names, "--metric", "perplexity"]) == 2
    assert "--metric does not go with --groups: what is compared was said in the experiments" in capsys.readouterr().err
    assert main(["compare", *names, "--searches", "x"]) == 2
    assert "--searches goes with --groups" in capsys.readouterr().err


def test_the_best_cell_is_retrained_on_its_own_with_seeds_of_its_own() -> None:
    """Not with the seed of its pair, which would make all its trainings the same."""
    found = retrained(0, [2.0, 3.0], [4.0, 1.0], hyperparameters={"train_epochs": 4})
    for each in found.trials:
        each.hyperparameters.update(cells=asdict(about(0)))
    config = best_again(found, 1, 3)
    assert config["hyperparameters"]["arch_to_use"] == about(0).uniform[1]
    assert not {"cells", "drawn_by", "pair"} & set(config["hyperparameters"])


def test_a_config_that_a_master_filled_in_reads_the_same(shelf: Shelf) -> None:
    made = [retrained(k, [2.0], [4.0]) for k in range(2)]
    hparams = made[1].config["hyperparameters"]
    hparams["depth"] = {"type": "const", "val": 1}
    hparams["cells"] = {name: {"type": "const", "val": value} for name, value in hparams["cells"].items()}
    assert len(gather_controllers(shelf(*made)).controllers) == 2
