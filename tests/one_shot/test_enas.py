"""ENAS as a strategy: what it draws and scores, that it learns a planted cell and nothing from constant rewards."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.strategy_suite import StrategySuite, check_architecture, progress, same_state, seeded
from torch import nn

from cnn_nas.relaxation import RELAXATION as CONVOLUTIONAL
from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.fields import read
from nas.core.relaxation import CellShape, Relaxation, complete_cell
from one_shot.enas import Enas, EnasConfig
from one_shot.strategy import Problem, WeightStep, one_by_one
from randomNAS_files.relaxation import RELAXATION as RECURRENT
from randomNAS_files.relaxation import genotype_of

TINY = {"cell": complete_cell(2, 1, ("none", "a", "b"), kept=1)}  # 8 cells
EVERY = {"shared_steps": 1, "controller_updates": 1}


class TestEnas(StrategySuite):
    strategy = "enas"
    values = {"shared_steps": 8, "controller_updates": 2, "controller_hidden": 4, "cells_per_update": 2}
    spaces = ("recurrent",)


def enas(relaxation: Relaxation = TINY, seed: int = 0, **values: Any) -> Enas:
    (config,) = read({**EVERY, "controller_hidden": 12, **values}, EnasConfig)
    return Enas(relaxation, config, seeded(seed))


def problem(score: Any) -> Problem:
    def never(weights: ArchWeights) -> torch.Tensor:
        raise AssertionError("neither of the losses that the weights are trained with is for ENAS")

    step = WeightStep(1.0, 0.0, 0.0, 1.0, [])
    return Problem(never, never, [], step, lambda tensors: None, score and one_by_one(score))


def train(strategy: Enas, score: Any, last: int, optimizer: Any = None, first: int = 0) -> Any:
    optimizer = optimizer or strategy.optimizer()
    for step in range(first, last):
        strategy.update(problem(score), seeded(step), progress(step))
        optimizer.step()
    return optimizer


def planted(weights: ArchWeights) -> torch.Tensor:
    """A perplexity of 80 for the cell of two nodes with operation 2 on state 0, then 2 on state 1; 160 for all others."""
    assert weights.paths is not None
    return torch.tensor(math.log(80 if weights.paths["cell"] == ((2,), (), (2,)) else 160))


def probability(strategy: Enas, cell: Sequence[int]) -> float:
    return float(strategy.controller.log_prob(torch.tensor([cell])).detach().exp())


def test_cells_are_paths_in_the_order_of_the_paper_and_back() -> None:
    strategy = enas(RECURRENT)
    cell = [0, 1, 1, 0, 2, *[0, 3] * 5]  # tanh(0); relu(1); sigmoid(0); identity(0) five times
    paths = strategy.paths_of(cell)
    assert genotype_of(paths).recurrent[:4] == (("tanh", 0), ("relu", 1), ("sigmoid", 0), ("identity", 0))
    assert strategy.cell_of(paths) == cell
    for drawn in strategy.candidates(seeded(0), 30):
        check_architecture(RECURRENT, drawn)
        assert strategy.paths_of(strategy.cell_of(drawn)) == drawn
    all_of_them = [strategy_paths(list(each)) for each in itertools.product(range(2), repeat=3)]
    assert len(set(all_of_them)) == 8


def strategy_paths(cell: list[int]) -> Any:
    return enas().paths_of(cell)["cell"]


PAPER: dict[str, Any] = {"cells_per_update": 1, "baseline": "moving_average", "entropy": "reward"}


@pytest.mark.parametrize(("values", "seeds"), [({"cells_per_update": 4}, range(10)), (PAPER, range(2))], ids=str)
def test_a_planted_cell_is_learned_in_60_updates_by_every_seed(values: dict[str, Any], seeds: range) -> None:
    for seed in seeds:
        strategy = enas(seed=seed, arch_learning_rate=0.03, **values)
        assert 0.1 < probability(strategy, [1, 1, 1]) < 0.15
        train(strategy, planted, 60)
        assert probability(strategy, [1, 1, 1]) > 0.9


def test_constant_rewards_teach_nothing() -> None:
    strategy = enas(arch_learning_rate=0.02)
    train(strategy, lambda weights: torch.tensor(4.0), 60)
    report = strategy.report()
    assert report["arch_entropy"] > 0.999 * math.log(8) and report["largest_probability"] < 0.14


def test_the_cells_of_an_update_are_scored_one_by_one_without_gradients() -> None:
    strategy, seen = enas(cells_per_update=4), []

    def score(weights: ArchWeights) -> torch.Tensor:
        assert not torch.is_grad_enabled() and weights.operations is None and weights.paths is not None
        seen.append(weights.paths["cell"])
        return torch.tensor(4.0)

    assert strategy.update(problem(score), seeded(3), progress(0))["arch_loss"] == 4.0
    assert seen == [each["cell"] for each in strategy.candidates(seeded(3), 4)]


def test_what_is_reported_of_an_update() -> None:
    strategy, losses = (
        enas(cells_per_update=4, entropy_weight=0.0),
        [math.log(80), math.log(40), math.nan, math.log(20)],
    )
    scores = iter(losses)
    before = {name: value.clone() for name, value in strategy.controller.state_dict().items()}
    found = strategy.update(problem(lambda weights: torch.tensor(next(scores))), seeded(3), progress(0))
    assert set(strategy.of_updates) == set(found) and not any(each.requires_grad for each in found.values())
    rewards = [1.0, 2.0, 0.0, 4.0]
    advantages = [reward - (7 - reward) / 3 for reward in rewards]
    cells = [strategy.cell_of(paths) for paths in strategy.candidates(seeded(3), 4)]
    log_probs = [math.log(probability(strategy, cell)) for cell in cells]
    expected = {
        "reward": 1.75,
        "baseline": 1.75,
        "advantage_spread": math.sqrt(sum(each**2 for each in advantages) / 4),
        "exploded_share": 0.25,
        "controller_loss": -sum(a * b for a, b in zip(advantages, log_probs, strict=True)) / 4,
        "arch_loss": (losses[0] + losses[1] + losses[3]) / 3,
    }
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=1e-5)
    same_state(strategy.controller.state_dict(), before)


def test_bad_scores_are_the_worst_and_nothing_but_bad_ones_is_an_error() -> None:
    def exploding(weights: ArchWeights) -> torch.Tensor:
        return torch.tensor(math.nan) if weights.paths["cell"][0] == (1,) else torch.tensor(4.0)  # type: ignore[index]

    for reward in ("inverse_ppl", "inverse_ppl_squared", "negative_loss"):
        kept: dict[str, Any] = {"arch_learning_rate": 0.02, "reward": reward}
        strategy = enas(**kept)
        found = strategy.update(problem(exploding), seeded(0), progress(0))
        assert found["arch_loss"] == 4.0
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in strategy.parameters())
    strategy = enas(arch_learning_rate=0.02)
    train(strategy, exploding, 100)
    assert sum(probability(strategy, [1, *rest]) for rest in itertools.product(range(2), repeat=2)) > 0.9
    with pytest.raises(ConfigError) as caught:
        strategy.update(problem(lambda weights: torch.tensor(math.nan)), seeded(0), progress(0))
    (says,) = caught.value.problems
    assert says.startswith("the losses of all 10 cells of an update are not finite") and "learning_rate" in says
    with pytest.raises(ConfigError, match="all 10 cells that were scored at the end are not finite"):
        strategy.choose(lambda entrants, batches=None: [{"loss": math.nan}] * len(entrants), seeded(0))


def test_the_end_scores_many_on_a_minibatch_and_the_best_again_on_all() -> None:
    strategy, calls = enas(RECURRENT, score_archs=30, rescore=4), []

    def score(entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        calls.append((len(entrants), batches))
        cells = [strategy.cell_of(each.paths or {}) for each in entrants]
        return [{"loss": float(sum(cell)) * (1 if batches else -1)} for cell in cells]

    choice = strategy.choose(score, seeded(1))
    assert calls == [(30, 1), (4, None)] and choice.summary["count"] == 30
    sums = sorted(sum(strategy.cell_of(each)) for each in strategy.candidates(seeded(1), 30))
    assert sum(strategy.cell_of(choice.paths)) == max(sum(strategy.cell_of(paths)) for paths, _ in choice.others)
    assert sorted(sum(strategy.cell_of(paths)) for paths, _ in choice.others) == sums[:4]
    assert strategy.derive() == choice.paths


def test_a_resumed_search_has_the_average_of_rewards_too() -> None:
    values = {"baseline": "moving_average", "arch_learning_rate": 0.02, "cells_per_update": 2}
    straight, before, after = (enas(seed=seed, **values) for seed in (0, 0, 1))
    train(straight, planted, 20)
    half = train(before, planted, 10)
    saved = copy.deepcopy((before.state_dict(), half.state_dict()))
    anew = after.optimizer()
    after.load_state_dict(saved[0])
    anew.load_state_dict(saved[1])
    train(after, planted, 20, anew, 10)
    same_state(after.state_dict(), straight.state_dict())
    assert math.isfinite(float(straight.average))


def test_the_moving_average_starts_at_the_first_rewards() -> None:
    strategy = enas(baseline="moving_average", baseline_decay=0.75)
    for perplexity, average in ((80, 1.0), (40, 1.25), (40, 1.4375)):
        loss = torch.tensor(math.log(perplexity))
        strategy.update(problem(lambda weights, loss=loss: loss), seeded(0), progress(0))
        assert float(strategy.average) == pytest.approx(average, abs=1e-6)


SIZES = {**TINY, "hidden": CellShape(((0, 0),), ("64", "200"), kept=1, excluded=())}


def test_a_price_of_parameters_decides_between_sizes() -> None:
    """Perplexity 80, or 60 for the larger size, whose reward is by 1/3 higher; it has a million parameters more."""

    def score(weights: ArchWeights) -> torch.Tensor:
        assert weights.paths is not None
        return torch.tensor(math.log(80 if weights.paths["hidden"] == ((0,),) else 60))

    def score_all(entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        return [{"loss": score(each).item()} for each in entrants]

    for price, better in ((0.0, 1), (0.2, 1), (0.5, 0)):
        strategy = enas(SIZES, arch_learning_rate=0.03, parameter_price=price, score_archs=20, rescore=2)
        strategy.parameters_of = lambda paths: 10**6 * (1 + paths["hidden"][0][0])
        choice = strategy.choose(score_all, seeded(1))
        assert choice.paths["hidden"] == ((better,),) == (strategy.derive() or {})["hidden"]
        assert {paths["hidden"] for paths, _ in choice.others} == {((better,),)}, "the others are not scored again"
        assert choice.scores == {"loss": pytest.approx(math.log((80, 60)[better]))}
        train(strategy, score, 60)
        drawn = [each["hidden"][0][0] for each in strategy.candidates(seeded(0), 100)]
        assert sum(size == better for size in drawn) > 90


def test_phases() -> None:
    strategy = enas(shared_steps=3, controller_updates=2, warmup_steps=4)
    found = [list(strategy.updates(progress(step))) for step in range(10)]
    assert found == [[], [], [], [], [], [2, 3], [], [], [4, 5], []]
    assert strategy.update_share == 2 / 3
    assert list(enas().updates(progress(7))) == [7]


def test_it_is_told_when_no_phase_ends(caplog: pytest.LogCaptureFixture) -> None:
    """A search here has 120 steps."""
    for values in ({"shared_steps": 120}, {"shared_steps": 50, "warmup_steps": 99}, {"warmup_steps": 119}):
        strategy = enas(**values)
        assert any(strategy.updates(progress(step)) for step in range(120)) and not caplog.records
    for values in ({"shared_steps": 121}, {"shared_steps": 50, "warmup_steps": 100}, {"warmup_steps": 120}):
        strategy = enas(**values)
        assert not any(strategy.updates(progress(step)) for step in range(120))
        assert "the controller is never updated" in caplog.text
        caplog.clear()


OF_RESPONSE = {
    *("response", "lookahead", "response_cells", "joint_horizon"),
    *("similarity_every", "similarity_cells"),
}  # which are changed in test_response_strategy.py
CHANGES: dict[str, Any] = {
    **{
        "controller": "attention",
        "controller_hidden": 10,
        "temperature": 1.0,
        "tanh_constant": 1.0,
        "arch_learning_rate": 0.5,
    },
    **{"cells_per_update": 4, "reward": "negative_loss", "baseline": "moving_average", "entropy": "reward"},
    **{"entropy_weight": 0.5, "baseline_decay": 0.5, "shared_steps": 2, "controller_updates": 3, "warmup_steps": 2},
    **{"score_archs": 12, "score_batches": 2, "rescore": 2, "epoch_archs": 3, "parameter_price": 0.5},
}


def behaviour(**values: Any) -> list[Any]:
    """All that a search does with it."""
    strategy, calls = enas(RECURRENT, **{"score_archs": 10, "rescore": 5, **values}), []
    optimizer = strategy.optimizer()
    strategy.parameters_of = lambda paths: 100_000 * strategy.cell_of(paths)[0]

    def score(weights: ArchWeights) -> torch.Tensor:
        return torch.tensor(0.1 * sum(strategy.cell_of(weights.paths or {})))

    def score_all(entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        calls.append((len(entrants), batches))
        return [{"loss": float(score(each))} for each in entrants]

    for step in range(4):
        for number in strategy.updates(progress(step)):
            strategy.update(problem(score), seeded(number), progress(step))
            optimizer.step()
    strategy.choose(score_all, seeded(0))
    weights = [parameter.detach().flatten().tolist() for parameter in strategy.controller.parameters()]
    return [weights, calls, len(strategy.entrants(seeded(0))), strategy.report()]


def test_every_setting_is_obeyed() -> None:
    assert set(CHANGES) | OF_RESPONSE == {each.name for each in dataclasses.fields(EnasConfig)}
    usual, moving = behaviour(), behaviour(baseline="moving_average")
    assert usual == behaviour()
    for name, value in CHANGES.items():
        base = {"baseline": "moving_average"} if name == "baseline_decay" else {}
        assert behaviour(**{**base, name: value}) != (moving if base else usual), name


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"cells_per_update": 1},
            "hyperparameters.cells_per_update must be at least 2 with baseline leave_one_out, the mean reward of the other "
            "cells, got 1; take more, or baseline moving_average",
        ),
        ({"temperature": 0}, "hyperparameters.temperature must be above 0, got 0"),
        ({"tanh_constant": -2.5}, "hyperparameters.tanh_constant must be above 0, got -2.5"),
        ({"score_archs": 5}, "hyperparameters.rescore must be at most score_archs 5, got 10"),
        ({"shared_steps": 0}, "hyperparameters.shared_steps must be at least 1, got 0"),
    ],
    ids=str,
)
def test_bad_hyperparameters(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(values, EnasConfig)
    assert caught.value.problems == [says]


def test_it_is_for_recurrent_cells() -> None:
    with pytest.raises(ConfigError, match="enas is built for recurrent cells only"):
        enas(CONVOLUTIONAL)
    with pytest.raises(ValueError, match="give the problem valid_scores"):
        enas().update(problem(None), seeded(0), progress(0))
    assert isinstance(enas(), nn.Module) and enas().mixture() is None and enas().probabilities() == {}
