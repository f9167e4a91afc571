"""Strategy `budget`: the contract, a problem whose answer is known for each level, and what it ends with."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support.smooth_supernet import problem_of, step_of
from support.strategy_suite import StrategySuite, progress, same_state, seeded
from torch import nn

from cnn_nas.counting import NetworkSize, count_size
from cnn_nas.relaxation import RELAXATION, genotype_of
from cnn_nas.space import SPACE
from cnn_nas.supernet import Supernet, SupernetConfig
from nas.core.arch_weights import ArchWeights
from nas.core.errors import ConfigError
from nas.core.fields import read
from nas.core.front import FILE, read_front
from nas.core.relaxation import Paths, Relaxation, complete_cell
from nas.core.space import Size
from one_shot.budget import BudgetStrategy
from one_shot.budget_config import BudgetConfig
from one_shot.counted import Counted, Expected
from one_shot.front import NEAREST, Row, changes, largest_gap, undominated, violation
from one_shot.images import ImageTask
from one_shot.strategy import Problem, Progress, Strategy

NETWORK = {"init_channels": 16, "layers": 5, "classes": 10, "input_size": (1, 8, 8)}
SIZE = NetworkSize(16, 5, 10, (1, 8, 8))
COOLING = {"temperature": 2.0, "temperature_end": 0.5, "temperature_schedule": "linear"}


def made(relaxation: Relaxation = RELAXATION, seed: int = 0, **values: Any) -> BudgetStrategy:
    (config,) = read({"arch_learning_rate": 0.1, **values}, BudgetConfig)
    return BudgetStrategy(relaxation, config, seeded(seed), ImageTask.counted(NETWORK))


class Suite(StrategySuite):
    """Levels of every part of [0, 1] in each update, so that each parameter has a gradient."""

    strategy = "budget"
    spaces = ("convolutional",)

    def make(self, relaxation: Relaxation, seed: int = 0) -> Strategy:
        return made(relaxation, seed, **{"levels_per_step": 2, "knots": 3, "penalty_high": 0.002, **self.values})


class TestSoftmax(Suite):
    values = {}


class TestSecondOrder(Suite):
    values = {"bilevel": "unrolled", "finite_difference": 0.1, "arch_weight_decay": 0.001}


class TestEdges(Suite):
    values = {"edge_norm": True, "arch_learning_rate": 0.3}


class TestGumbel(Suite):
    values = {"mixing": "gumbel", **COOLING}


class TestStraightThrough(Suite):
    values = {"mixing": "straight_through", **COOLING, "arch_learning_rate": 0.3, "levels_per_step": 4}


class TestHidden(Suite):
    values = {"hidden": 8, "arch_learning_rate": 0.02}


VALUES = {"none": 9.0, "large": 0.0, "middle": 0.4, "small": 1.5, "silly": 2.0}
COSTS = {"none": 0.0, "large": 1.0, "middle": 0.5, "small": 0.0, "silly": 0.9}
TOY: Relaxation = {"only": complete_cell(1, 2, tuple(VALUES), kept=2)}
TAU = 0.5


class Toy(Expected):
    """The mean cost of both edges."""

    low, high = 0, 100

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("costs", torch.tensor(list(COSTS.values()), dtype=torch.float64))

    def scaled(
        self, operations: Mapping[str, torch.Tensor], edges: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        return (operations["only"] @ self.get_buffer("costs")).mean()


def toy_loss(weights: ArchWeights) -> torch.Tensor:
    """<p, v> - tau H(p), which with a penalty mu <p, c> is least at p = softmax(-(v + mu c) / tau)."""
    assert weights.operations is not None
    p = weights.operations["only"]
    v = torch.tensor(list(VALUES.values()), dtype=torch.float64)
    return (p @ v - TAU * torch.special.entr(p).sum(1)).mean()


def trained(steps: int, **values: Any) -> BudgetStrategy:
    range_ = {"penalty_low": 0.3, "penalty_high": 6.0}
    (config,) = read({"arch_learning_rate": 0.1, **range_, **values}, BudgetConfig)
    strategy = BudgetStrategy(TOY, config, seeded(0), Counted(lambda measure: Toy(), lambda budget: None, {})).double()
    problem = problem_of(nn.Linear(1, 1), train=toy_loss, valid=toy_loss)
    optimizer = strategy.optimizer()
    cooled = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / steps)
    for step in range(steps):
        strategy.update(problem, seeded(step), Progress(step, steps, steps))
        optimizer.step()
        cooled.step()
    return strategy


def optimum(mu: float) -> torch.Tensor:
    v, c = (torch.tensor(list(table.values()), dtype=torch.float64) for table in (VALUES, COSTS))
    return (-(v + mu * c) / TAU).softmax(0)


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("level", [0.0, 0.4, 1.0])
def test_at_one_level_it_finds_the_known_optimum(level: float) -> None:
    strategy = trained(300, level=level, arch_learning_rate=0.2)
    mu = 0.3 * 20**level if level else 0.0
    found = strategy.mixture()
    assert found is not None and found.operations is not None
    torch.testing.assert_close(found.operations["only"][0], optimum(mu), rtol=0, atol=4e-3)
    costs = torch.tensor(list(COSTS.values()), dtype=torch.float64)
    h, p = 1e-4, optimum(mu)
    slope = float((optimum(mu + h) - optimum(mu - h)) @ costs) / (2 * h)
    variance = float(p @ costs.square() - (p @ costs).square())
    assert slope == pytest.approx(-variance / TAU, rel=1e-5) and slope <= 0


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("curve", [{}, {"hidden": 16, "arch_learning_rate": 0.03}])
def test_trained_on_all_levels_the_count_falls_and_each_has_its_cell(curve: dict[str, Any]) -> None:
    """The cell of a level is argmin v + mu c, but where two operations are about as good."""
    strategy = trained(900, levels_per_step=2, **curve)
    counts = list(strategy.expected_counts().values())
    assert violation(counts) < 1e-3 and counts[0] > 0.7 and counts[-1] < 0.1
    names, seen = list(VALUES), []
    for k in range(1, 40):
        mu = 0.3 * 20 ** (k / 40)
        objective = sorted((VALUES[name] + mu * COSTS[name], name) for name in names if name != "none")
        seen.append(names[strategy.derive(k / 40)["only"][0][0]])
        if objective[1][0] - objective[0][0] > 0.25:
            assert seen[-1] == objective[0][1]
    assert [name for k, name in enumerate(seen) if seen[:k][-1:] != [name]] == ["large", "middle", "small"]


class Scores:
    """Larger cells are better, but for some that are not; every cell that is scored is counted."""

    def __init__(self) -> None:
        self.seen: list[Paths] = []

    def __call__(self, entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        found = []
        for each in entrants:
            assert each.paths is not None
            self.seen.append(each.paths)
            size = count_size(genotype_of(each.paths), SIZE).parameters
            found.append({"loss": math.nan if size % 7 == 0 else 1 / size, "top1_accuracy": size % 97 / 100})
        return found


def spread(seed: int = 0, **values: Any) -> BudgetStrategy:
    """Trained on nothing: knots that differ."""
    strategy = made(seed=seed, random_cells=4, **values)
    for k, parameter in enumerate(strategy.parameters()):
        parameter.data += torch.randn(parameter.shape, generator=seeded(100 * seed + k))
    return strategy


@pytest.mark.parametrize("values", [{}, {"measure": "macs", "knots": 3}, {"level": 0.3, "projections": 0}])
def test_the_front_is_exact_and_nothing_on_it_is_dominated(values: dict[str, Any]) -> None:
    strategy, score = spread(**values), Scores()
    choice = strategy.choose(score, seeded(1))
    assert choice is not None and choice.front is not None
    front = choice.front
    measure = values.get("measure", "parameters")
    for row in [*front.rows, *front.levels, *front.random]:
        assert row.size == count_size(genotype_of(row.paths), SIZE)
    sizes, qualities = [getattr(row.size, measure) for row in front.rows], [row.quality for row in front.rows]
    assert sizes == sorted(set(sizes)) and qualities == sorted(set(qualities))
    for row in front.levels:
        assert row.level is not None and strategy.derive(row.level) == row.paths
        best = [each for each in front.rows if getattr(each.size, measure) <= getattr(row.size, measure)]
        assert best and best[-1].quality >= row.quality
    assert choice.paths == front.rows[-1].paths
    kept = {getattr(row.size, measure) for row in front.rows}
    assert all(min(abs(getattr(row.size, measure) / size - 1) for size in kept) <= 0.01 for row in front.random)
    keys = [str(paths) for paths in score.seen[: -len(front.random)]]
    assert len(keys) == len(set(keys))
    if "level" in values:
        assert len(front.levels) == 1 and front.levels[0].level == 0.3
    else:
        assert front.rows[0].by == "projection" and sizes[0] == front.about["low"]


def test_the_same_seed_gives_the_same_file_and_export_reads_it(tmp_path: Path) -> None:
    texts = []
    for _ in range(2):
        choice = spread(3).choose(Scores(), seeded(1))
        assert choice is not None and choice.front is not None
        texts.append(json.dumps(choice.front.to_json(SPACE), allow_nan=False))
    assert texts[0] == texts[1]
    (tmp_path / FILE).write_text(texts[0])
    found = read_front(tmp_path / FILE, SPACE)  # which counts every row again
    assert found.space == "cnn_nas" and found.network == {**NETWORK, "input_size": [1, 8, 8]}
    assert found.metric == "top1_accuracy" and found.smaller_is_better is False
    for read_rows, rows in ((found.rows, choice.front.rows), (found.levels, choice.front.levels)):
        for one, other in zip(read_rows, rows, strict=True):
            assert SPACE.from_json(one.genotype) == genotype_of(other.paths)
            assert (one.level, one.by, Size(one.parameters, one.macs)) == (other.level, other.by, other.size)
            assert one.score == (other.quality if math.isfinite(other.quality) else None)
    assert [len(row) for row in found.weights[0]["weights"]["normal"]] == [8] * 14


def test_changes_are_found_between_the_levels_of_the_grid() -> None:
    def derive(level: float) -> Paths:
        return {"only": ((sum(level > at for at in (0.30001, 0.5005, 0.502)),),)}  # all of two within one interval

    runs = changes(derive)
    assert [paths["only"][0][0] for _, paths in runs] == [0, 1, 2, 3]
    for (level, _), at in zip(runs[1:], (0.30001, 0.5005, 0.502), strict=True):
        assert at <= level <= at + NEAREST
    assert changes(derive, 0.4, 0.4) == [(0.4, derive(0.4))]


def test_what_is_dominated_is_left_out() -> None:
    def row(parameters: int, accuracy: float, macs: int = 0) -> Row:
        return Row(0.0, {}, Size(parameters, macs), {"loss": 1.0, "top1_accuracy": accuracy}, "level")

    rows = [row(3, 0.5), row(1, 0.4), row(2, 0.4), row(3, 0.6), row(4, math.nan), row(5, 0.6), row(6, 0.9)]
    assert [(r.size.parameters, r.quality) for r in undominated(rows, "parameters")] == [(1, 0.4), (3, 0.6), (6, 0.9)]
    assert largest_gap([row(1, 0), row(3, 0)], "parameters", 0, 10) == 0.7 and largest_gap([], "macs", 0, 10) == 1.0
    assert Row(0.0, {}, Size(), {"loss": 2.0}, "level").quality == -2.0
    assert violation([3.0, 2.0, 2.5, 1.0, 1.2]) == 0.5 and violation([3.0, 2.0, 2.0]) == 0.0


def test_it_chooses_nothing_where_nothing_has_a_score() -> None:
    def nothing(entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        return [{"loss": math.nan, "top1_accuracy": math.nan} for _ in entrants]

    assert spread().choose(nothing, seeded(1)) is None


def test_the_level_that_scores_best_is_remembered() -> None:
    strategy = spread()
    entrants = strategy.entrants(seeded(0))
    assert entrants == [strategy.derive(level) for level in (0.0, 0.25, 0.5, 0.75, 1.0)]
    strategy.scored(entrants, [3.0, math.nan, 1.0, 2.0, 1.0])
    assert strategy.derive() == strategy.derive(0.5)
    again = made(seed=9)
    again.load_state_dict(strategy.state_dict())
    assert again.derive() == strategy.derive(0.5)


def test_limits_are_kept_by_every_level_and_the_front() -> None:
    strategy = spread()
    strategy.decoder = SPACE.decoder(
        budget=read_budget([80_000, 120_000]), rules={"normal": {"skip_connect": [0, 1]}}, of="it", **NETWORK
    )
    choice = strategy.choose(Scores(), seeded(1))
    assert choice is not None and choice.front is not None
    for row in [*choice.front.rows, *choice.front.levels]:
        assert 80_000 <= row.size.parameters <= 120_000
        assert [name for name, _ in genotype_of(row.paths).normal].count("skip_connect") <= 1


def test_an_update_leaves_the_supernet_as_it_is_and_what_is_on_the_front_can_be_trained() -> None:
    """All of its state, bit for bit; there are no running statistics that a forward pass could move."""
    net = Supernet(SupernetConfig(2, 2), 10, 1, seeded(0))
    x, y = torch.randn(6, 1, 8, 8, generator=seeded(1)), torch.arange(6)
    loss = lambda weights: F.cross_entropy(net(x, weights).logits, y)  # noqa: E731
    before, parameters = copy.deepcopy(net.state_dict()), list(net.parameters())
    problem = Problem(loss, loss, parameters, step_of(parameters, "all"), lambda tensors: None)
    for values in ({}, {"bilevel": "unrolled", "mixing": "gumbel"}, {"mixing": "straight_through"}):
        made(**values).update(problem, seeded(1), progress(0))
        assert not any("running" in name for name in net.state_dict())
        same_state(net.state_dict(), before)
    choice = spread().choose(Scores(), seeded(1))
    assert choice is not None and choice.front is not None
    for row in choice.front.rows[:: len(choice.front.rows) - 1]:
        network = SPACE.network(genotype_of(row.paths), 0, **NETWORK)
        assert sum(parameter.numel() for parameter in network.parameters()) == row.size.parameters
        F.cross_entropy(network(x).logits, y).backward()
        assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def read_budget(parameters: list[int]) -> Any:
    from nas.core.budget import Budget

    return Budget.from_mapping({"parameters": parameters})


def test_without_sizes_there_is_no_such_search() -> None:
    with pytest.raises(ConfigError, match="needs networks whose sizes are known"):
        BudgetStrategy(RELAXATION, BudgetConfig(0.1), seeded(0))


def test_the_architecture_rests_while_it_warms_up() -> None:
    strategy = made(arch_warmup_epochs=7)
    assert strategy.update(problem_of(nn.Linear(1, 1)), seeded(0), progress(69)) == {}
    assert all(parameter.grad is None for parameter in strategy.parameters())
