"""Importance: what was planted is found, and what is noise is called that."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from support.made_up import search, trial

from nas.results.experiment import ExperimentResult
from nas.results.figures.importance import NEEDED, Importance, common_time, compute, features, importance, operations


def tuned(count: int, seed: int, effect: float, **changes: Any) -> ExperimentResult:
    """Trials with a learning rate that has an effect on the metric, and two choices that have none."""
    generator = random.Random(seed)
    trials = []
    for number in range(count):
        chosen = {"lr": 10 ** generator.uniform(-4, -1), "head.depth": generator.randint(1, 4)}
        chosen |= {"act": generator.choice(["relu", "tanh"]), "arch_seed": number}
        value = 50 + effect * abs(math.log10(chosen["lr"]) + 2) + generator.gauss(0, 1)
        points = [(1.0, value + 5), (2.0, value)]
        trials.append(trial(number, generator, chosen=chosen, validations=points, outcome="completed"))
    return search(0, trials=trials, rungs=[], **changes)


def found(experiment: ExperimentResult) -> Importance:
    result = compute(experiment)
    assert isinstance(result, Importance)
    return result


@pytest.mark.parametrize("smaller", [True, False])
def test_what_was_planted_exceeds_chance_and_nothing_else_does(smaller: bool) -> None:
    experiment = tuned(80, 1, 10 if smaller else -10, smaller_is_better=smaller)
    scores = found(experiment)
    assert [name for name, score in scores.scores.items() if score > scores.chance] == ["lr"]
    picture = importance(experiment)
    assert picture is not None and "More than chance explains: lr." in picture.caption


def test_noise_rarely_exceeds_chance() -> None:
    exceeding = [
        max(scores.scores.values()) > scores.chance for scores in (found(tuned(40, seed, 0)) for seed in range(12))
    ]
    assert sum(exceeding) <= 2  # one in twenty on average: three of twelve have a probability of 2 %


def test_noise_is_called_no_evidence() -> None:
    picture = importance(tuned(40, 3, 0))
    assert picture is not None and "no evidence that any of the choices matters" in picture.caption


def test_too_few_trials_give_no_picture_but_the_number_that_is_needed() -> None:
    picture = importance(tuned(NEEDED - 1, 0, 10))
    assert picture is not None and not picture.svg
    assert f"At least {NEEDED} trials" in picture.caption and f"{NEEDED - 1} can be compared" in picture.caption


def test_a_seed_of_the_architecture_gives_way_to_its_operations() -> None:
    genotype = {"normal": [["sep", 0], ["skip", 1], ["sep", 0]], "normal_concat": [2, 3], "reduce": [["skip", 0]]}
    assert operations(genotype) == {"normal: sep": 2, "normal: skip": 1, "reduce: skip": 1}
    made = trial(0, random.Random(0), genotype=genotype)
    assert features(made) == operations(genotype)
    assert features(trial(0, random.Random(0), chosen={"arch_seed": 3, "head.lr": 0.1})) == {"head.lr": 0.1}


def test_trials_are_compared_where_most_have_been() -> None:
    lengths = [1, 1, 3, 3, 3, 3, 9, 9]
    trials = [
        trial(i, random.Random(i), validations=[(float(t), 5.0) for t in range(1, length + 1)])
        for i, length in enumerate(lengths)
    ]
    assert common_time(search(0, trials=trials)) == 3
    assert common_time(search(0)) is None


def test_what_does_not_vary_is_no_choice() -> None:
    experiment = tuned(40, 0, 1)
    same = [
        trial(each.number, random.Random(0), chosen={"lr": 1}, validations=each.validations)
        for each in experiment.trials
    ]
    picture = importance(search(0, trials=same, rungs=[]))
    assert picture is not None and not picture.svg and "No choice differs" in picture.caption
