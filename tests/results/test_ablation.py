"""Ablations: which changes, what a finished or unfinished retraining says of them, against SciPy, and what is written."""

from __future__ import annotations

import csv
import io
import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console
from scipy import stats
from support.results import experiment, trial

from nas.config.load import load
from nas.config.rules import refusals
from nas.config.search_space import trial_sampler
from nas.core.errors import ConfigError
from nas.core.program import ROOT
from nas.core.space import load_space
from nas.core.variants import KINDS, SharedScore, SharedScores
from nas.results.ablation import ITSELF, Ablation, select
from nas.results.ablation_config import ablates, ablation_config, template_of
from nas.results.ablation_retrained import of_experiment
from nas.results.ablation_shared import by_shared_weights
from nas.results.ablation_text import csv_text, json_text, markdown, print_ablation
from nas.results.architecture import Found, find
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.figures.ablation import draw
from randomNAS_files.architecture import Genotype

SPACE = load_space("randomNAS_files")
CELL = Genotype((("tanh", 0), ("relu", 0), ("tanh", 2)))
UNUSED = Genotype((("tanh", 0), ("relu", 0), ("tanh", 2)), (3,))  # nobody needs node 1


def made(genotype: Genotype = CELL) -> Found:
    return Found(SPACE, SPACE.package, genotype, "a cell")


def config_of(genotype: Genotype = CELL, seeds: int = 3, kinds: list[str] | None = None) -> dict[str, Any]:
    found = made(genotype)
    variants = select(SPACE, genotype, kinds, None)
    return ablation_config(found, genotype, variants, load(ROOT / "quickstart.yaml"), seeds)


def trained(config: dict[str, Any], losses: Any) -> ExperimentResult:
    """The experiment of a config; `losses(text, repeat)` is a trial's loss, None for one that is not there."""
    trials: list[TrialResult] = []
    for each in trial_sampler(config, 1):
        value = losses(each.hparams["arch_to_use"], each.hparams["repeat"])
        if value is not None:
            more = {"chosen": each.chosen, "hyperparameters": each.hparams}
            trials.append(trial(len(trials), [9.0, value], "completed" if math.isfinite(value) else "diverged", **more))
    return experiment(*trials, searcher="grid", hyperparameters=config["hyperparameters"], name="retrained")


def loss(text: str, repeat: int) -> float:
    """Of a made-up training: something that differs by cell and by seed."""
    return 5 + repeat + random.Random(text).random() + random.Random(f"{text} {repeat}").random()


def test_the_experiment_trains_each_network_once_with_the_same_seeds() -> None:
    config = config_of()
    assert refusals(config) == []
    drawn = [each.hparams for each in trial_sampler(config, 1)]
    texts = config["hyperparameters"]["arch_to_use"]["vals"]
    forms = {SPACE.canonical(each.genotype) for each in SPACE.variants(CELL)} | {SPACE.canonical(CELL)}
    assert {SPACE.canonical(SPACE.read(text)) for text in texts} == forms
    assert len(texts) == len(forms) < len(SPACE.variants(CELL)) + 1  # some are the same network
    assert texts[-1] == CELL.to_text() and [each["arch_to_use"] for each in drawn[:3]] == [CELL.to_text()] * 3
    assert len(drawn) == 3 * len(forms) and {each["repeat"] for each in drawn} == {0, 1, 2}
    for each in drawn:
        assert each["paired_repeats"] is True and each["evaluate_test"] is False and each["train_epochs"] == 9
        assert "arch_seed" not in each
    assert config["searcher"] == {"name": "grid", "metric": "perplexity", "smaller_is_better": True}


def test_a_template_that_spells_a_cell_out_loses_it() -> None:
    template = load(ROOT / "quickstart.yaml")
    template["hyperparameters"] |= CELL.to_hparams() | {"node8_op": "tanh", "node8_edge": 0}
    config = ablation_config(made(), CELL, select(SPACE, CELL, ["remove"], None), template, 1)
    assert not [name for name in config["hyperparameters"] if name.startswith("node")]
    assert config["hyperparameters"]["repeat"] == 0  # which is one of the searched no more
    assert template_of(made(), None)[1] == "quickstart.yaml"


def test_differences_are_paired_by_seed() -> None:
    found = of_experiment(trained(config_of(), loss))
    base = [loss(CELL.to_text(), repeat) for repeat in range(3)]
    assert found.base.value == pytest.approx(sum(base) / 3) and found.base.seeds == 3 and found.base.difference == 0
    alone = [row for row in found.rows if not row.same_as]
    assert len(alone) > 15 and {row.kind for row in found.rows} == set(KINDS)
    for row in alone:
        own = [loss(row.genotype, repeat) for repeat in range(3)]
        expected = stats.ttest_rel(own, base)
        interval = expected.confidence_interval(0.95)
        assert row.score.value == pytest.approx(sum(own) / 3)
        assert (row.score.low, row.score.high) == pytest.approx((interval.low, interval.high))
    differences = [row.score.difference for row in found.rows]
    assert None not in differences and differences == sorted(differences, key=lambda each: -(each or 0))


def test_the_same_network_has_the_same_score_and_says_so() -> None:
    star = Genotype((("tanh", 0),) * 3)
    rows = {row.change: row for row in of_experiment(trained(config_of(star), loss)).rows}
    one, other = rows["without node 1, tanh(0)"], rows["without node 3, tanh(0)"]
    assert other.same_as == one.change and other.score == one.score and one.same_as == ""
    assert rows["all nodes tanh"].same_as == ITSELF and rows["all nodes tanh"].score.difference == 0


def test_ablating_an_unused_node_changes_nothing_exactly() -> None:
    config = config_of(UNUSED)
    texts = config["hyperparameters"]["arch_to_use"]["vals"]
    without = [row for row in SPACE.variants(UNUSED) if row.kind == "remove" and row.node == 1]
    assert without[0].genotype.to_text() not in texts  # the same network is trained once
    found = of_experiment(trained(config, loss))
    rows = [row for row in found.rows if row.node == 1]
    assert {row.kind for row in rows} == {"remove", "activation"} and all(row.unused for row in rows)
    for row in rows:
        assert row.same_as == ITSELF and (row.score.difference, row.score.low, row.score.high) == (0.0, 0.0, 0.0)
    assert "unused nodes: 1;" in markdown(found, "x.svg")


def test_what_is_not_there_yet_is_told() -> None:
    config = config_of(kinds=["remove"])
    gone = config["hyperparameters"]["arch_to_use"]["vals"][0]
    found = of_experiment(
        trained(config, lambda text, repeat: None if text == gone or repeat == 2 else loss(text, repeat))
    )
    missing = [row for row in found.rows if row.missing]
    assert [row.genotype for row in missing] == [gone] and found.rows[-1] == missing[0]
    assert all(row.score.pairs == 2 for row in found.rows if row not in missing)
    assert "6 of 12 trainings have ended" in found.notes
    one = of_experiment(trained(config, lambda text, repeat: None if repeat else loss(text, repeat)))
    assert all(row.score.low is None for row in one.rows) and "no intervals" in one.notes[0]


def test_pairs_are_those_seeds_that_both_have() -> None:
    config = config_of(kinds=["unify"])

    def some(text: str, repeat: int) -> float | None:
        return None if (text == CELL.to_text()) == (repeat == 0) else loss(text, repeat)

    found = of_experiment(trained(config, some))  # the cell has seeds 1 and 2, the others seed 0
    assert all((row.score.pairs, row.score.difference, row.score.seeds) == (0, None, 1) for row in found.rows)


def test_a_training_that_explodes_stands_first() -> None:
    config = config_of(kinds=["remove"])
    bad = config["hyperparameters"]["arch_to_use"]["vals"][1]
    found = of_experiment(trained(config, lambda text, repeat: math.nan if text == bad else loss(text, repeat)))
    assert found.rows[0].genotype == bad and found.rows[0].score.not_finite == 3 and found.rows[0].score.value is None
    assert "not finite" in shown(found)


@pytest.mark.parametrize(
    ("hyperparameters", "says"),
    [
        ({"depth": 1}, "is no ablation, which is a grid over arch_to_use"),
        ({"arch_to_use": {"type": "categorical", "vals": ["ASHA"]}}, "it has one cell alone"),
        ({"arch_to_use": {"type": "categorical", "vals": ["ENAS", "ASHA"]}}, "ENAS differs from the last cell in more"),
        (
            {"arch_to_use": {"type": "categorical", "vals": ["NASNET", "AMOEBANET"]}},
            "recurrent cells, not for convolutional",
        ),
    ],
)
def test_another_experiment_is_no_ablation(hyperparameters: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        of_experiment(experiment(searcher="grid", hyperparameters=hyperparameters))


def test_one_without_results_says_so() -> None:
    empty = trained(config_of(kinds=["remove"]), lambda text, repeat: None)
    assert ablates(empty)
    with pytest.raises(ConfigError, match="no training of retrained-0 has ended"):
        of_experiment(empty)


@pytest.mark.parametrize(
    ("kinds", "nodes", "says"),
    [
        (None, [12], r"--nodes must be 1\.\.3, the nodes of the cell, got 12"),
        (["add"], [2], "changes none of the --nodes"),
    ],
)
def test_changes_that_are_not_there(kinds: list[str] | None, nodes: list[int], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        select(SPACE, CELL, kinds, nodes)


def test_changes_of_some_nodes() -> None:
    assert {(each.kind, each.node) for each in select(SPACE, CELL, None, [3])} == {
        (kind, 3) for kind in ("remove", "predecessor", "activation")
    }


def test_no_experiment_without_a_change() -> None:
    star = Genotype((("tanh", 0),) * 2)
    same = [each for each in SPACE.variants(star) if each.text == "all nodes tanh"]
    with pytest.raises(ConfigError, match="nothing to train"):
        ablation_config(made(star), star, same, load(ROOT / "quickstart.yaml"), 2)
    with pytest.raises(ConfigError, match=r"--seeds must be 1\.\.5000 for 2 cells, got 9999"):
        ablation_config(made(), CELL, select(SPACE, CELL, ["remove"], [3]), load(ROOT / "quickstart.yaml"), 9999)


def shared() -> Ablation:
    variants = select(SPACE, CELL, None, None)
    scores = [SharedScore({"loss": 4.0})]
    for i, each in enumerate(variants):
        scores.append(
            SharedScore(missing="no matrix") if each.kind == "add" else SharedScore({"loss": 4 + (i - 5) / 100})
        )
    scores[3] = SharedScore({"loss": 4.0}, same_as=0)
    scores[4] = SharedScore({"loss": math.nan})
    scores[7] = SharedScore({"loss": 9.0})
    return by_shared_weights(made(), variants, SharedScores(scores, ["sharing node: ..."]))


def shown(found: Ablation) -> str:
    buffer = io.StringIO()
    print_ablation(Console(file=buffer, width=120), found)
    return buffer.getvalue()


def test_shared_scores_are_sorted_by_harm_and_have_no_interval() -> None:
    found = shared()
    assert [row.score.not_finite for row in found.rows[:2]] == [1, 0] and found.rows[1].score.difference == 5.0
    assert all(row.score.low is None for row in found.rows) and found.rows[-1].missing == "no matrix"
    assert "16 of 35 changes are not scored: no matrix" in shown(found) and "same as the cell itself" in shown(found)


def test_one_network_with_other_matrices_says_how_far_scores_can_be_trusted() -> None:
    star = Genotype((("tanh", 0),) * 3)
    variants = select(SPACE, star, ["remove"], None)  # three ways to the same two nodes
    scores = [SharedScore({"loss": each}) for each in (4.0, 4.5, 4.2, 4.1)]
    found = by_shared_weights(made(star), variants, SharedScores(scores, []))
    rows = {row.node: row for row in found.rows}
    assert (rows[1].alike, rows[2].alike, rows[3].alike) == ("", rows[1].change, rows[1].change)
    assert "differ by 0.4 (median) and up to 0.4" in found.notes[-1] and "other matrices" in shown(found)


@pytest.mark.parametrize("retrained", [False, True], ids=["shared", "retrained"])
def test_files_hold_all_of_it(retrained: bool) -> None:
    found = of_experiment(trained(config_of(), loss)) if retrained else shared()
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert len(rows) == len(found.rows) + 1 and rows[0]["value"] == repr(found.base.value)
    assert [row["change"] for row in rows[1:]] == [row.change for row in found.rows]
    assert json.loads(json_text(found))["rows"][0]["change"] == found.rows[0].change
    page = markdown(found, "ablation.svg")
    assert all(row.change.split(",")[0] in page for row in found.rows) and "](ablation.svg)" in page
    pictures = draw(found)
    assert Image.open(io.BytesIO(pictures["png"])).width > 600
    svg = pictures["svg"].decode()
    assert all(title in svg for kind, title in KINDS.items() if retrained or kind != "add")
    if not retrained:
        assert "+5" in svg  # which lies far beyond the others, and is written


def test_nothing_scored_is_no_picture(tmp_path: Path) -> None:
    variants = select(SPACE, CELL, ["add"], None)
    scores = [SharedScore({"loss": 4.0}), *(SharedScore(missing="no matrix") for _ in variants)]
    found = by_shared_weights(made(), variants, SharedScores(scores, []))
    assert draw(found) == {} and "16 of 16 changes" in shown(found)


def test_a_named_cell_is_found() -> None:
    assert find("ENAS").package == SPACE.package
