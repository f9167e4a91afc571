"""ENAS with the response of the weights, as a strategy: what an update does, leaves alone, remembers and refuses."""

from __future__ import annotations

import copy
import itertools
import math
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from scipy import stats
from support.runs import read_config
from support.strategy_suite import Planted, StrategySuite, progress, same_state, seeded
from torch import nn

from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.fields import read
from nas.core.relaxation import Relaxation, complete_cell
from one_shot.enas import Enas, EnasConfig
from one_shot.random_search import draw
from one_shot.response import Scored, look_ahead
from one_shot.similarity import NAMES, rank_correlation
from one_shot.strategy import Problem, WeightStep, one_by_one
from one_shot.trial import SearchTrial

TINY = {"cell": complete_cell(2, 1, ("none", "a", "b"), kept=1)}  # 8 cells
THREE = {"cell": complete_cell(1, 1, ("none", "a", "b", "c"), kept=1)}
SMALL = {"shared_steps": 1, "controller_updates": 1, "controller_hidden": 4, "cells_per_update": 2}
RESPONSES = ("none", "lookahead", "aligned", "joint")


class TestLookahead(StrategySuite):
    strategy = "enas"
    values = {**SMALL, "response": "lookahead", "shared_steps": 8, "controller_updates": 2}
    spaces = ("recurrent",)


class TestAligned(StrategySuite):
    strategy = "enas"
    values = {**SMALL, "response": "aligned", "shared_steps": 8, "similarity_every": 5, "similarity_cells": 30}
    spaces = ("recurrent",)


class TestJoint(StrategySuite):
    strategy = "enas"
    values = {**SMALL, "response": "joint", "shared_steps": 4, "joint_horizon": 4}
    spaces = ("recurrent",)


def enas(relaxation: Relaxation = TINY, seed: int = 0, **values: Any) -> Enas:
    (config,) = read({**SMALL, **values}, EnasConfig)
    return Enas(relaxation, config, seeded(seed))


def planted(relaxation: Relaxation = TINY) -> Planted:
    net = Planted(relaxation, draw(relaxation, seeded(0))).double()
    net.gives = {kind: table.double() for kind, table in net.gives.items()}
    with torch.no_grad():
        for k, parameter in enumerate(net.parameters()):
            parameter.normal_(generator=seeded(k))
    return net


@pytest.mark.parametrize("response", ["aligned", "joint"])
def test_an_update_expects_the_gradient_of_the_exact_objective(response: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over all that it may draw of three cells: 81 draws at the exact w', or 9 after each of three steps."""
    strategy, net = enas(THREE, entropy_weight=0, response=response, lookahead="last_gradient").double(), planted(THREE)
    (w,), parameters = list(net.parameters()), list(strategy.parameters())
    start, eta = w.detach().clone(), 3.0
    cells = [ArchWeights(paths=strategy.paths_of([k])) for k in range(3)]
    steps = torch.stack([_clipped(net, cell, 0.01) for cell in cells])
    pi = strategy.controller.log_prob(torch.arange(3)[:, None]).exp()

    def reward(after: torch.Tensor, k: int) -> torch.Tensor:
        return 80 * torch.exp(-torch.func.functional_call(net, {"trained.cell": after}, (cells[k],)))

    direction = (pi[:, None, None] * steps).sum(0)
    if response == "aligned":
        exact = torch.stack([pi[k] * reward(start - eta * direction, k) for k in range(3)]).sum()
    else:
        pairs = itertools.product(range(3), repeat=2)
        exact = torch.stack([pi[b] * pi[k] * reward(start - eta * steps[b], k).detach() for b, k in pairs]).sum()
    wanted = torch.autograd.grad(exact, parameters, allow_unused=True, retain_graph=True)
    found = [torch.zeros_like(parameter) for parameter in parameters]
    problem = replace(net.problem(), weight_step=WeightStep(eta, 0.0, 0.0, 0.01, [None], [direction.detach()]))
    for drawn in itertools.product(range(3), repeat=4 if response == "aligned" else 3):
        queue = [torch.tensor(drawn[:2])[:, None], torch.tensor(drawn[2:])[:, None]]
        monkeypatch.setattr(strategy.controller, "draw", lambda count, generator, queue=queue: queue.pop(0))
        if response == "joint":
            w.data.copy_(start - eta * steps[drawn[2]])
            strategy.response.get_buffer("average").fill_(30.0)
            strategy.trained(cells[drawn[2]])
        strategy.update(problem, seeded(0), progress(0))
        chance = pi.detach()[list(drawn)].prod()
        for total, parameter in zip(found, parameters, strict=True):
            total -= 0 if parameter.grad is None else chance * parameter.grad
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, rtol=1e-10, atol=1e-12)


def _clipped(net: Planted, cell: ArchWeights, most: float) -> torch.Tensor:
    (parameter,) = net.parameters()
    net(cell).backward()
    nn.utils.clip_grad_norm_([parameter], most)
    found, parameter.grad = parameter.grad, None
    assert found is not None
    return found


class Refuses(Exception):
    pass


@pytest.mark.parametrize("failing", [None, 0, 1])
@pytest.mark.parametrize("lookahead", ["gradient", "last_gradient", "momentum"])
@pytest.mark.parametrize("response", RESPONSES)
def test_weights_and_optimiser_are_bit_for_bit_untouched(response: str, lookahead: str, failing: int | None) -> None:
    """Also where scoring fails."""
    net = planted()
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
    for _ in range(2):
        net(ArchWeights()).backward()
        sgd.step()
    strategy = enas(response=response, lookahead=lookahead, similarity_every=1, similarity_cells=30)
    momenta = [sgd.state[each]["momentum_buffer"] for each in net.parameters()]
    last = [each.grad for each in net.parameters()]
    problem, calls = net.problem(), itertools.count()

    def scores(architectures: Sequence[ArchWeights]) -> torch.Tensor:
        if next(calls) == failing:
            raise Refuses
        return one_by_one(net)(architectures)

    step = WeightStep(0.1, 0.9, 1e-3, 0.5, momenta, last)
    before = copy.deepcopy([net.state_dict(), sgd.state_dict(), last])
    try:
        strategy.update(replace(problem, weight_step=step, valid_scores=scores), seeded(0), progress(0))
        assert failing is None and bool(strategy.measured[:4].isfinite().all())
    except Refuses:
        assert failing is not None
    same_state(net.state_dict(), before[0])
    state = sgd.state_dict()
    assert state["param_groups"] == before[1]["param_groups"]
    assert all(
        torch.equal(one["momentum_buffer"], other["momentum_buffer"])
        for one, other in zip(state["state"].values(), before[1]["state"].values(), strict=True)
    )
    assert all(torch.equal(one, other) for one, other in zip(last, before[2], strict=True))


def test_where_it_looks() -> None:
    w = nn.Parameter(torch.tensor([3.0, 4.0]))
    step = WeightStep(0.1, 0.9, 0.5, 1.0, [torch.tensor([1.0, 2.0])], [torch.tensor([5.0, 6.0])])
    problem = Problem(never, never, [w], step, lambda tensors: None)
    bad = {w: torch.tensor([math.inf, 0.0])}
    steps = [{w: torch.tensor([1.0, 0.0])}, bad, {w: torch.tensor([3.0, 2.0])}, {}]
    assert look_ahead(problem, "gradient", steps)[w].tolist() == pytest.approx([4 / 3, 2 / 3])
    assert look_ahead(problem, "gradient", [bad]) == {}
    assert look_ahead(problem, "last_gradient", [])[w].tolist() == [6.5, 8.0]
    assert look_ahead(problem, "momentum", [])[w].tolist() == [1.0, 2.0]
    assert look_ahead(replace(problem, weight_step=replace(step, last=())), "last_gradient", []) == {}
    with pytest.raises(ValueError, match="an optimiser with a momentum above 0"):
        look_ahead(replace(problem, weight_step=replace(step, momentum=0.0)), "momentum", [])


def never(weights: object) -> torch.Tensor:
    raise AssertionError


def test_none_draws_scores_and_differentiates_nothing_more() -> None:
    problem = replace(planted().problem(), train_loss=never, scored_loss=never)
    strategy = enas()
    strategy.update(problem, seeded(1), progress(0))
    assert bool(strategy.measured.isinf().all()) and set(NAMES).isdisjoint(strategy.report())
    generator = seeded(1)
    strategy.controller.draw(2, generator)
    after = seeded(1)
    strategy.update(problem, after, progress(0))
    assert torch.equal(after.get_state(), generator.get_state())


def test_joint_credits_the_cells_since_the_last_update_once() -> None:
    strategy = enas(response="joint", shared_steps=2, joint_horizon=3, baseline_decay=0.75)
    cells = strategy.controller.draw(5, seeded(0)).tolist()
    for cell in cells:
        strategy.trained(ArchWeights(paths=strategy.paths_of(cell)))
    response, seen = strategy.response, []

    def scored(loss: float) -> Scored:
        problem = Problem(never, never, [], WeightStep(1.0, 0.0, 0.0, 1.0, []), lambda tensors: None, fixed(loss))
        found = response.score(problem, torch.zeros(2, 3, dtype=torch.int64), [ArchWeights()] * 2, never)
        seen.append(float(response.get_buffer("average")))
        return found

    first = scored(math.log(80))
    assert first.cells.tolist() == cells[2:] and first.advantages.tolist() == [0, 0, 0]
    assert len(scored(math.log(40)).cells) == 0
    strategy.trained(ArchWeights(paths=strategy.paths_of(cells[0])))
    last = scored(math.log(40))
    assert last.cells.tolist() == cells[:1] and float(last.advantages) == pytest.approx(0.75)
    assert seen == pytest.approx([1.0, 1.25, 1.4375])


def fixed(loss: float) -> Callable[[object], torch.Tensor]:
    return lambda architectures: torch.full((2,), loss)


@pytest.mark.parametrize("response", RESPONSES)
def test_two_processes_have_the_gradient_of_the_mean_of_their_losses(response: str) -> None:
    """Two threads in the place of processes, with another loss each, against one with the mean of both."""
    nets, deposits, barrier = [planted(), planted()], {}, threading.Barrier(2, timeout=30)

    def average(rank: int, tensors: Sequence[torch.Tensor]) -> None:
        deposits[rank] = [tensor.clone() for tensor in tensors]
        barrier.wait()
        for tensor, *each in zip(tensors, *deposits.values(), strict=True):
            tensor.copy_(torch.stack(each).mean(0))
        barrier.wait()

    def loss(net: Planted, sign: float, weights: ArchWeights) -> torch.Tensor:
        bent = net.trained["cell"].square() @ torch.tensor([0.1, 0.2, 0.3]).double()
        used = torch.tensor([float(bool(running)) for running in (weights.paths or {})["cell"]]).double()
        return net(weights) + sign * (bent * used).sum()

    def update(net: Planted, rank: int | None) -> Enas:
        each = partial(loss, net, 0.0 if rank is None else (1.0, -1.0)[rank])
        step = WeightStep(2.0, 0.0, 0.0, 0.3, [None])
        means = (lambda tensors: None) if rank is None else partial(average, rank)
        strategy = enas(response=response, similarity_every=1, similarity_cells=30).double()
        problem = Problem(each, never, list(net.parameters()), step, means, one_by_one(each), each)
        strategy.update(problem, seeded(0), progress(0))
        return strategy

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(update, nets, range(2))
    alone = update(planted(), None)
    for a, b, c in zip(one.parameters(), other.parameters(), alone.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None) == (c.grad is None)
        if a.grad is not None and b.grad is not None and c.grad is not None:
            assert torch.equal(a.grad, b.grad)
            torch.testing.assert_close(a.grad, c.grad, rtol=1e-9, atol=1e-12)
    assert torch.equal(one.measured[:4], other.measured[:4])
    torch.testing.assert_close(one.measured, alone.measured, rtol=1e-7, atol=0)


def test_rank_correlation() -> None:
    for seed in range(3):
        x, y = torch.randint(6, (2, 15), generator=seeded(seed)).double()
        assert float(rank_correlation(x, y)) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert bool(rank_correlation(torch.ones(3), torch.arange(3.0)).isnan())


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        ({}, [{"response": each} for each in RESPONSES[1:]]),
        ({"response": "lookahead"}, [{"lookahead": "last_gradient"}, {"lookahead": "momentum"}, {"response_cells": 1}]),
        ({"response": "aligned"}, [{"lookahead": "last_gradient"}, {"response_cells": 3}]),
        ({"similarity_every": 2, "similarity_cells": 30}, [{"similarity_every": 3}, {"similarity_cells": 40}]),
    ],
    ids=str,
)
def test_every_setting_is_obeyed(base: dict[str, Any], changes: list[dict[str, Any]]) -> None:
    """`joint_horizon` is, in `test_joint_credits_the_cells_since_the_last_update_once`."""
    usual = behaviour(**base)
    assert usual == behaviour(**base)
    for change in changes:
        assert behaviour(**{**base, **change}) != usual, change


def behaviour(**values: Any) -> list[list[float]]:
    """What four steps of a search leave in the controller, and what they measure."""
    strategy, net = enas(**{"cells_per_update": 4, **values}), planted()
    optimizer, sgd = strategy.optimizer(), torch.optim.SGD(net.parameters(), 0.5, momentum=0.5)
    last: list[torch.Tensor | None] = []
    for number in range(4):
        momenta = [sgd.state[each].get("momentum_buffer") for each in net.parameters()]
        step = WeightStep(0.5, 0.5, 0.0, 5.0, momenta, last)
        strategy.update(replace(net.problem(), weight_step=step), seeded(number), progress(number))
        optimizer.step()
        sampled = strategy.sample(seeded(100 + number), progress(number))
        sgd.zero_grad()
        net(sampled).backward()
        last = [None if each.grad is None else each.grad.clone() for each in net.parameters()]
        sgd.step()
        strategy.trained(sampled)
    weights = torch.cat([parameter.detach().flatten() for parameter in strategy.controller.parameters()])
    return [weights.tolist(), strategy.measured.tolist()]


def test_memory_of_an_update_that_looks_ahead() -> None:
    config = read_config("one_shot/rnn_enas_small.yaml")
    found = []
    for values in ({}, {"response": "lookahead"}, {"response": "aligned", "response_cells": 3}):
        settings = SearchTrial.check({**config["hyperparameters"], **values}, config["data"], 1)
        found.append(SearchTrial.memory(settings, 1))
    weights = found[0].parameters
    assert [each.total - found[0].total for each in found] == [0, 4 * weights, 8 * weights]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"response": "joint", "shared_steps": 3, "joint_horizon": 2},
            "hyperparameters.shared_steps must be at most joint_horizon 2 with response joint, which credits a reward to the "
            "cells of all steps since the last update, got 3; lower it, or raise joint_horizon",
        ),
        (
            {"response": "joint", "controller_updates": 2},
            "hyperparameters.controller_updates must be 1 with response joint, as the steps before a second update are of the "
            "controller before the first, got 2",
        ),
        (
            {"response": "aligned", "response_cells": 1},
            "hyperparameters.response_cells must be 2..cells_per_update 2 with response aligned, got 1",
        ),
        (
            {"response": "aligned", "response_cells": 3},
            "hyperparameters.response_cells must be 2..cells_per_update 2 with response aligned, got 3",
        ),
        ({"joint_horizon": 0}, "hyperparameters.joint_horizon must be at least 1, got 0"),
        ({"similarity_cells": 29}, "hyperparameters.similarity_cells must be at least 30, got 29"),
    ],
    ids=str,
)
def test_bad_hyperparameters(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read({**SMALL, **values}, EnasConfig)
    assert caught.value.problems == [says]


def test_what_looking_ahead_tells_is_reported() -> None:
    """On a smooth problem, where a step hardly turns the gradient and is a line; without a step nothing is turned at all."""
    strategy, problem = enas(response="aligned", similarity_every=2, similarity_cells=100), planted().problem()
    strategy.update(problem, seeded(0), progress(0))
    assert set(NAMES).isdisjoint(strategy.report()), "in every second update"
    strategy.update(problem, seeded(0), progress(1))
    report = strategy.report()
    cosine, length, null, ceiling, correlation = (report[name] for name in NAMES)
    assert 0.999 < cosine < 1 and 0.999 < null < 1 and 0.99 < length < 1.01
    assert ceiling < 0.999 and correlation > 0.99
    still = replace(problem, weight_step=replace(problem.weight_step, learning_rate=0.0))
    strategy.update(still, seeded(0), progress(2))
    strategy.update(still, seeded(0), progress(3))
    cosine, length, null, *_ = (strategy.report()[name] for name in NAMES[:4])
    assert (cosine, length, null) == pytest.approx((1, 1, 1), abs=1e-12) and NAMES[4] not in strategy.report()


def test_measuring_does_not_change_the_update() -> None:
    found = []
    for every in (0, 1):
        strategy = enas(response="aligned", similarity_every=every, similarity_cells=30)
        strategy.update(planted().problem(), seeded(0), progress(0))
        found.append([parameter.grad for parameter in strategy.parameters()])
    for one, other in zip(*found, strict=True):
        assert (one is None) == (other is None) and (one is None or torch.equal(one, other))
