"""The best K architectures trained N times each: which they are, how the config says so, and what came of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.results import cell, experiment, trial

from nas.config.rules import refusals
from nas.config.search_space import search_space, trial_sampler
from nas.core.errors import ConfigError
from nas.core.space import load_space
from nas.results.experiment import ExperimentResult, TrialResult
from nas.results.repeats import repeated, repeats_table, spread
from nas.results.retraining import best_again, retraining
from randomNAS_files.from_config import from_config

SPACE = load_space("randomNAS_files")


def made_trial(number: int, values: list[float], outcome: str = "completed", **more: Any) -> TrialResult:
    """One of a search for the seed of a cell."""
    chosen = more.pop("chosen", {"arch_seed": number})
    known = {"space": "randomNAS_files", "genotype": cell(number), "hyperparameters": {"train_epochs": 3, **chosen}}
    return trial(number, values, outcome, chosen=chosen, **{**known, **more})


def made_experiment(*trials: TrialResult, **more: Any) -> ExperimentResult:
    searched = {"arch_seed": {"type": "int", "minval": 0, "maxval": 9}, "train_epochs": 3}
    known = {"length": 3, "trial": "model_def:RecurrentTrial", "hyperparameters": searched, "reference": "search-1"}
    return experiment(*trials, **{"searcher": "random", **known, **more})


def drawn(config: dict[str, Any], count: int) -> list[dict[str, Any]]:
    sampler = trial_sampler(config, 1)
    return [sampler.next_trial().hparams for _ in range(count)]


def test_the_best_are_trained_with_the_value_that_made_them() -> None:
    found = made_experiment(*(made_trial(k, [3.0, value]) for k, value in enumerate([2.0, 0.5, 1.0, math.nan])))
    config = best_again(found, 2, 3)
    assert refusals(config) == []
    assert config["searcher"] == {"name": "grid", "metric": "loss", "smaller_is_better": True}
    assert config["name"] == "search-best-2x3"
    assert config["description"] == "Retrains the best 2 trials of experiment search-1 (best validation loss 0.5)"
    tried = drawn(config, 6)
    assert sorted((each["arch_seed"], each["repeat"]) for each in tried) == [(a, r) for a in (1, 2) for r in range(3)]
    assert all(each["evaluate_test"] is True and each["train_epochs"] == 3 for each in tried)


def test_one_architecture_once_is_an_ordinary_run() -> None:
    config = best_again(made_experiment(made_trial(0, [2.0]), made_trial(1, [1.0])), 1, 1)
    assert config["searcher"]["name"] == "single" and search_space(config["hyperparameters"]) == {}
    assert config["hyperparameters"]["arch_seed"] == 1


def spelt(number: int, value: float, **more: Any) -> Any:
    genotype = SPACE.sample(number)
    return made_trial(number, [value], chosen={**genotype.to_hparams(), **more}, genotype=genotype.to_json())


def test_architectures_that_are_spelt_out_are_chosen_by_their_text() -> None:
    config = best_again(made_experiment(spelt(0, 2.0), spelt(1, 1.0), spelt(2, 3.0)), 2, 1)
    (name,) = search_space(config["hyperparameters"])
    assert name == "arch_to_use" and not [key for key in config["hyperparameters"] if key.startswith("node")]
    texts = [each["arch_to_use"] for each in drawn(config, 2)]
    assert {SPACE.read(text) for text in texts} == {SPACE.sample(1), SPACE.sample(0)}
    assert {from_config({"arch_to_use": text}) for text in texts} == {SPACE.sample(1), SPACE.sample(0)}


def test_trials_that_differ_in_more_than_the_architecture_are_refused_unless_that_is_settled() -> None:
    found = made_experiment(spelt(0, 2.0, lr=0.1), spelt(1, 1.0, lr=0.2))
    with pytest.raises(ConfigError, match=r"differ in lr too; --config hyperparameters\.lr=VALUE sets one for all"):
        best_again(found, 2, 2)
    assert best_again(found, 2, 2, {"lr"})["hyperparameters"]["lr"] == 0.2
    assert best_again(found, 1, 2)["hyperparameters"]["lr"] == 0.2


def test_the_same_cell_counts_once_and_there_must_be_as_many_as_asked_for() -> None:
    twins = [made_trial(k, [1.0 + k], genotype=cell(7)) for k in range(3)]
    found = made_experiment(*twins, made_trial(3, [9.0]))
    assert {each["arch_seed"] for each in drawn(best_again(found, 2, 1), 2)} == {0, 3}
    with pytest.raises(ConfigError, match=r"--best must be 1\.\.2, .* got 3"):
        best_again(found, 3, 1)
    with pytest.raises(ConfigError, match=r"--best must be 1\.\.0"):
        best_again(made_experiment(made_trial(0, [], "error")), 1, 1)
    with pytest.raises(ConfigError, match="--seeds must be"):
        best_again(found, 2, 10_000)


def test_a_trial_of_somebody_elses_program_is_trained_by_what_was_chosen() -> None:
    more: dict[str, Any] = {"space": None, "genotype": None}
    trials = [made_trial(k, [1.0 + k], chosen={"width": k, "depth": 2}, **more) for k in range(2)]
    found = made_experiment(*trials, trial=None)
    with pytest.raises(ConfigError, match="name no architecture of a search space, and they differ in width, depth"):
        best_again(found, 2, 1)
    config = best_again(found, 1, 2)
    assert config["hyperparameters"]["width"] == 0 and "evaluate_test" not in config["hyperparameters"]


def test_what_a_search_left_is_what_is_retrained(tmp_path: Path) -> None:
    (tmp_path / "retrain.yaml").write_text(
        "name: left\nsearcher: {name: single, metric: loss}\nhyperparameters: {node1_op: tanh, node1_edge: 0}\n"
    )
    found = made_experiment(made_trial(0, [1.0], folder=str(tmp_path), chosen={}), searcher="single")
    left = retraining(found, found.trials[0])
    assert left is not None and left["name"] == "left" and left["description"].startswith("Retrains trial 0 of")
    again = best_again(found, 1, 2)
    assert again["name"] == "left-1x2" and {each["repeat"] for each in drawn(again, 2)} == {0, 1}
    (tmp_path / "retrain.yaml").write_text("name: [")
    assert retraining(made_experiment(found.trials[0], searcher="single", storage=""), found.trials[0]) is None


def test_repeats_are_told_by_mean_and_spread_of_the_last_value() -> None:
    values = {0: [[9.0, 1.0], [9.0, 2.0], [0.1, 3.0]], 1: [[9.0, 1.5], [9.0, 1.5], [9.0, math.nan]]}
    trials = [
        made_trial(3 * arch + r, curve, chosen={"arch_seed": arch, "repeat": r}, test={"test_loss": 4.0 + r})
        for arch, curves in values.items()
        for r, curve in enumerate(curves)
    ]
    running = made_trial(6, [0.001], "", chosen={"arch_seed": 0, "repeat": 3})
    first, second = repeated(made_experiment(*trials, running))
    assert (first.last, first.mean) == ([1.0, 2.0, 3.0], 2.0) and first.test == {"test_loss": [4.0, 5.0, 6.0]}
    assert second.last[:2] == [1.5, 1.5]
    assert spread(first.last) == "2 ± 1.0 (3)"  # by hand: variance (1 + 0 + 1) / 2
    assert spread(second.last) == "1.5 ± 0 (2, 1 not finite)"
    assert spread([1e10]) == "none, 1 not finite" and spread([0.123456789]) == "0.123457 (1)"
    console = Console(width=120, record=True)
    table = repeats_table(made_experiment(*trials))
    assert table is not None
    console.print(table)
    assert "5 ± 1.0 (3)" in console.export_text()
    assert repeats_table(made_experiment(made_trial(0, [1.0]))) is None
