"""How long a step of a search takes, measured on noise before any data is read."""

from __future__ import annotations

import time

import torch

from nas.core.seeds import torch_generator
from one_shot.settings import Settings, build_strategy
from one_shot.strategy import Problem, Progress, WeightStep, one_by_one

STEPS = 3
"""That are taken; the last counts, as first ones also load and plan."""


def time_step(settings: Settings, batch: int, device: torch.device) -> float:
    """Seconds of a step of the weights, with `batch` samples, and the updates of the architecture for it, if it is trained."""
    net, loss_on = settings.task.random_losses(settings, batch, device)
    generator = torch_generator("cpu", 0)
    strategy = build_strategy(settings, generator).to(device)
    optimizer, parameters = strategy.optimizer(), list(net.parameters())
    sgd = torch.optim.SGD(parameters, 1e-6)
    step = WeightStep(1e-6, 0.0, 0.0, 1.0, [None] * len(parameters))
    problem = Problem(loss_on, loss_on, parameters, step, lambda tensors: None, one_by_one(loss_on), loss_on)
    warm = getattr(settings.strategy, "arch_warmup_epochs", 0)
    progress, seconds = Progress(warm, warm + STEPS, 1), 0.0
    for _ in range(STEPS):
        _wait(device)
        start = middle = time.perf_counter()
        if optimizer is not None:
            strategy.update(problem, generator, progress)
            optimizer.step()
            _wait(device)
            middle = time.perf_counter()
        loss_on(strategy.sample(generator, progress, loss_on)).backward()  # type: ignore[no-untyped-call]
        sgd.step()
        sgd.zero_grad()
        _wait(device)
        seconds = strategy.update_share * (middle - start) + time.perf_counter() - middle
    return seconds


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
