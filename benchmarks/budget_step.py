"""A step of a search for all budgets against one of DARTS, and what it has beside. From the root:

    python -m benchmarks.budget_step --threads 1 [--save]

A step is an update of the architecture and one of the weights, of first or second order, with the supernet of
`one_shot/budget_digits.yaml` (4 channels, 4 cells, 8 x 8, batch 32), where what is beside the supernet counts most, and with
one of 8 channels on 28 x 28. CPU seconds of the process, in turns; both sides start from the same weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import count

import torch
import torch.nn.functional as F

from benchmarks.measuring import Row, absolute, arguments, faster, finish
from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.relaxation import RELAXATION
from cnn_nas.supernet import SupernetConfig
from nas.core.arch_weights import ArchWeights
from nas.core.budget import Budget
from nas.core.fields import read
from nas.core.seeds import torch_generator
from one_shot.budget import BudgetStrategy
from one_shot.budget_config import BudgetConfig
from one_shot.front import changes
from one_shot.gradient import GradientStrategy
from one_shot.gradient_config import GradientConfig
from one_shot.images import ImageTask
from one_shot.strategy import Problem, Progress, Strategy, WeightStep

NETWORK = {"init_channels": 16, "layers": 8, "classes": 10, "input_size": (1, 28, 28)}
SIZES = {"4 channels, 8 x 8, batch 32": (4, 8, 32), "8 channels, 28 x 28, batch 16": (8, 28, 16)}
ORDERS = {"first": "first order", "unrolled": "second order"}
MUST = 1 / 1.05
REPEATS = 100


def main() -> None:
    """Measure and report."""
    finish("budget_step", rows(chosen := arguments("A step of a search for all budgets.", rounds=15)), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured."""
    for size, (channels, pixels, batch) in SIZES.items():
        for order, name in ORDERS.items():
            darts, budget = (step_of(kind, order, channels, pixels, batch) for kind in ("gradient", "budget"))
            for _ in range(2):
                darts(), budget()
            pairs = [(cpu(darts), cpu(budget)) for _ in range(chosen.rounds)]
            yield faster(f"step of a search for all budgets against DARTS, {name}, {size}", pairs, MUST)
    strategy = strategy_of("budget", "first")
    assert isinstance(strategy, BudgetStrategy)
    times = [cpu(lambda: differentiated(strategy)) / REPEATS for _ in range(chosen.rounds)]
    yield absolute("expected count and hypernetwork, with their gradient", "s", times, 1e-3)
    for k, parameter in enumerate(strategy.parameters()):
        parameter.data += torch.randn(parameter.shape, generator=torch_generator("cpu", k))
    times = [cpu(lambda: counted(strategy)) for _ in range(chosen.rounds)]
    yield absolute("257 levels and more derived and counted", "s", times, 0.5)


def cpu(run: Callable[[], object]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def strategy_of(kind: str, order: str) -> Strategy:
    """With the settings of both that are the same."""
    values = {"arch_learning_rate": 3e-4, "arch_weight_decay": 1e-3, "bilevel": order}
    generator = torch_generator("cpu", 1)
    if kind == "gradient":
        return GradientStrategy(RELAXATION, read(values, GradientConfig)[0], generator)
    return BudgetStrategy(RELAXATION, read(values, BudgetConfig)[0], generator, ImageTask.counted(NETWORK))


def step_of(kind: str, order: str, channels: int, pixels: int, batch: int) -> Callable[[], None]:
    """A step on noise, to be called again and again."""
    net = FastSupernet(SupernetConfig(channels, 4), 10, 1, torch_generator("cpu", 1))
    net = net.to(memory_format=torch.channels_last)
    images = [torch.rand(batch, 1, pixels, pixels, generator=torch_generator("cpu", k)) for k in range(2)]
    classes = torch.arange(batch) % 10
    train, valid = (lambda weights, x=x: F.cross_entropy(net(x, weights).logits, classes) for x in images)
    parameters, strategy, turn = list(net.parameters()), strategy_of(kind, order), count()
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
