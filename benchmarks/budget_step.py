"""A step of a search for all budgets against one of DARTS and against its authors' way, and what it has beside. From the root:

    python -m benchmarks.budget_step --threads 1 [--only steps | published | memory | counts] [--save]

A step is an update of the architecture and one of the weights, of first or second order, with the supernet of
`one_shot/budget_digits.yaml` (4 channels, 4 cells, 8 x 8, batch 32), where what is beside the supernet counts most, and with
one of 8 channels on 28 x 28. CPU seconds of the process, in turns; both sides start from the same weights. The authors' way
(`plain_budget.py`) has 4 channels, 3 cells, 28 x 28, batch 16.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import count

import torch
import torch.nn.functional as F

from benchmarks.measuring import Pair, Row, absolute, arguments, faster, finish, smaller
from benchmarks.peak import peaks
from benchmarks.plain_budget import PlainBudgetSupernet
from benchmarks.plain_supernet import Batch, PlainSearch
from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.relaxation import RELAXATION
from cnn_nas.supernet import SupernetConfig
from nas.core.arch_weights import ArchWeights
from nas.core.budget import Budget
from nas.core.fields import read
from nas.core.seeds import torch_generator
from one_shot.budget import STRATA, STRIDE, BudgetStrategy
from one_shot.budget_config import BudgetConfig
from one_shot.front import changes
from one_shot.gradient import GradientStrategy
from one_shot.gradient_config import GradientConfig
from one_shot.images import ImageTask
from one_shot.strategy import Problem, Progress, Strategy, WeightStep

NETWORK = {"init_channels": 16, "layers": 8, "classes": 10, "input_size": (1, 28, 28)}
SIZES = {"4 channels, 8 x 8, batch 32": (4, 8, 32), "8 channels, 28 x 28, batch 16": (8, 28, 16)}
PUBLISHED = (4, 28, 16, 3)  # channels, pixels, batch, cells
ORDERS = {"first": "first order", "unrolled": "second order"}
PARTS = ("steps", "published", "memory", "counts")
REPEATS = 100
Step = Callable[[], object]


def main() -> None:
    """Measure and report."""
    chosen = arguments("A step of a search for all budgets.", rounds=15, parts=PARTS)
    finish("budget_step", rows(chosen), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured, or one part of it."""
    made = {"steps": step_rows, "published": published_rows, "memory": memory_rows, "counts": count_rows}
    for part in PARTS if chosen.only is None else (chosen.only,):
        yield from made[part](chosen)


def step_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Against DARTS."""
    for size in SIZES:
        for order, name in ORDERS.items():
            pairs = in_turns(*against_darts(size, order), chosen.rounds)
            yield faster(f"step of a search for all budgets against DARTS, {name}, {size}", pairs, 1 / 1.05)


def published_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Against the authors' way."""
    for order, name in ORDERS.items():
        for mixing in ("softmax", "straight_through"):
            pairs = in_turns(*against_published(order, mixing), max(chosen.rounds // 3, 2))
            yield faster(f"step of a search for all budgets against its authors' way, {name}, {mixing}", pairs, 5.0)


def memory_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Peak memory, see `peak`."""
    for order, name in ORDERS.items():
        for size in SIZES:
            pairs = [peaks("benchmarks.budget_step:against_darts", size, order, "cpu") for _ in range(2)]
            yield smaller(f"peak memory of a search for all budgets against DARTS, {name}, {size}", pairs, 1.02)
        pairs = [peaks("benchmarks.budget_step:against_published", order, "softmax", "cpu") for _ in range(2)]
        yield smaller(f"peak memory of a search for all budgets against its authors' way, {name}", pairs)


def count_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """What it has beside the supernet."""
    strategy = strategy_of("budget", "first")
    assert isinstance(strategy, BudgetStrategy)
    times = [cpu(lambda: differentiated(strategy)) / REPEATS for _ in range(chosen.rounds)]
    yield absolute("expected count and hypernetwork, with their gradient", "s", times, 1e-3)
    for k, parameter in enumerate(strategy.parameters()):
        parameter.data += torch.randn(parameter.shape, generator=torch_generator("cpu", k))
    times = [cpu(lambda: counted(strategy)) for _ in range(chosen.rounds)]
    yield absolute("257 levels and more derived and counted", "s", times, 0.5)


def against_darts(size: str, order: str, device: str = "cpu") -> tuple[Step, Step]:
    """A step of DARTS, and one of a search for all budgets."""
    return step_of("gradient", order, *SIZES[size]), step_of("budget", order, *SIZES[size])


def against_published(order: str, mixing: str, device: str = "cpu") -> tuple[Step, Step]:
    """A step in the authors' way, and ours."""
    return published_step(order), step_of("budget", order, *PUBLISHED, mixing)


def in_turns(plain: Step, ours: Step, rounds: int) -> list[Pair]:
    """CPU seconds of both."""
    for _ in range(2):
        plain(), ours()
    return [(cpu(plain), cpu(ours)) for _ in range(rounds)]


def cpu(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def strategy_of(kind: str, order: str, mixing: str = "softmax") -> Strategy:
    """With the settings of both that are the same."""
    values = {"arch_learning_rate": 3e-4, "arch_weight_decay": 1e-3, "bilevel": order}
    generator = torch_generator("cpu", 1)
    if kind == "gradient":
        return GradientStrategy(RELAXATION, read(values, GradientConfig)[0], generator)
    config = read({**values, "mixing": mixing}, BudgetConfig)[0]
    return BudgetStrategy(RELAXATION, config, generator, ImageTask.counted(NETWORK))


def batches(pixels: int, batch: int) -> list[Batch]:
    """One that trains the weights, and one that trains the architecture: noise."""
    drawn = [torch.rand(batch, 1, pixels, pixels, generator=torch_generator("cpu", k)) for k in range(2)]
    return [(images, torch.arange(batch) % 10) for images in drawn]


def published_step(order: str) -> Step:
    """A step in the authors' way, to be called again and again."""
    channels, pixels, batch, layers = PUBLISHED
    net = PlainBudgetSupernet(channels, layers, 10, 1)
    search, turn = PlainSearch(net), count()
    train, valid = batches(pixels, batch)

    def step() -> None:
        net.level = next(turn) * STRIDE % STRATA / STRATA
        net.price = 10 ** (-8 + 4 * net.level)
        if order == "first":
            search.first_order(valid)
        else:
            search.second_order(train, valid)
        search.weights(train)

    return step


def step_of(
    kind: str, order: str, channels: int, pixels: int, batch: int, layers: int = 4, mixing: str = "softmax"
) -> Step:
    """A step on noise, to be called again and again."""
    net = FastSupernet(SupernetConfig(channels, layers), 10, 1, torch_generator("cpu", 1))
    net = net.to(memory_format=torch.channels_last)
    train, valid = (
        lambda weights, x=x, y=y: F.cross_entropy(net(x, weights).logits, y) for x, y in batches(pixels, batch)
    )
    parameters, strategy, turn = list(net.parameters()), strategy_of(kind, order, mixing), count()
    weights, optimizer = torch.optim.SGD(parameters, 0.025, 0.9, weight_decay=3e-4), strategy.optimizer()
    problem = Problem(
        train, valid, parameters, WeightStep(0.025, 0.9, 3e-4, 5.0, [None] * len(parameters)), lambda tensors: None
    )
    assert optimizer is not None

    def step() -> None:
        number = next(turn)
        place = Progress(number, 1000, 100)
        strategy.update(problem, torch_generator("cpu", 1, "update", number), place)
        optimizer.step()
        optimizer.zero_grad()
        loss = train(strategy.sample(torch_generator("cpu", 1, "sample", number), place))
        weights.zero_grad()
        loss.backward()
        weights.step()

    return step


def differentiated(strategy: BudgetStrategy) -> None:
    """What an update has beside that of DARTS, and the softmax of both, so many times."""
    for _ in range(REPEATS):
        weights: ArchWeights = strategy._expected_at(0.3)
        assert weights.operations is not None
        penalty = strategy.expected_count.scaled(weights.operations)
        torch.autograd.grad(penalty, list(strategy.parameters()), allow_unused=True)


def counted(strategy: BudgetStrategy) -> None:
    """All cells along the levels with their sizes."""
    decoder = strategy.counted.decoder(Budget())
    for _, paths in changes(strategy.derive):
        decoder.size(paths)


if __name__ == "__main__":
    main()
