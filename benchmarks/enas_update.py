"""Updates of ENAS's controller with the response of the weights, against those without. From the root:

    python -m benchmarks.enas_update [--save]

An update scores 10 cells of 8 nodes on a validation minibatch of 35 words in 64 columns, and steps the controller; `lookahead`
and `aligned` take training steps of two cells on as large a batch beside. With 64 units and 10,000 words, where the decoder
takes most of the time, and with 200 units and 1,000 words, where it does not. Both sides start from the same weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import count

import torch

from benchmarks.measuring import Row, arguments, faster, finish, interleaved
from nas.core.arch_weights import ArchWeights
from nas.core.fields import read
from nas.core.seeds import torch_generator
from one_shot.enas import Enas, EnasConfig
from one_shot.strategy import Problem, Progress, WeightStep
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import ModelConfig, activation_penalty
from randomNAS_files.relaxation import RELAXATION
from randomNAS_files.scoring import score_paths
from randomNAS_files.slices import Columns
from randomNAS_files.supernet import SupernetConfig

COLUMNS, LENGTH = 64, 35
SIZES = {"64": (64, 10_000), "200": (200, 1_000)}  # units and words
SETTINGS = {
    "lookahead": {"lookahead": "gradient"},
    "lookahead, last gradient": {"response": "lookahead", "lookahead": "last_gradient"},
    "aligned": {},
    "joint": {},
}
MUST = {"aligned": 1 / 2.2, "joint": 1 / 1.1}
"""What an update without may take of one with the response."""


def main() -> None:
    """Measure and report."""
    chosen = arguments("Updates of ENAS's controller.", rounds=15)
    finish("enas_update", rows(chosen), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured."""
    for size, (units, words) in SIZES.items():
        for name, values in SETTINGS.items():
            without = update_of(size, chosen.device, {})
            response = update_of(size, chosen.device, {"response": name, **values})
            pairs = interleaved(without, response, chosen.rounds, chosen.device)
            work = f"update of ENAS's controller with response {name} against one with none, ours"
            yield faster(f"{work}, {units} units, {words:,} words", pairs, MUST.get(name))


def update_of(size: str, device: str, values: dict[str, object]) -> Callable[[], None]:
    """An update and its step, after a step of the weights, to be called again and again."""
    (config,) = read({"shared_steps": 1, "controller_updates": 1, **values}, EnasConfig)
    strategy = Enas(RELAXATION, config, torch_generator("cpu", 1)).to(device)
    optimizer, problem, turn = strategy.optimizer(), problem_of(size, device), count()

    def update() -> None:
        number = next(turn)
        place, generator = Progress(number, 1000, 100), torch_generator("cpu", 1, "update", number)
        strategy.trained(strategy.sample(torch_generator("cpu", 1, "sample", number), place))
        strategy.update(problem, generator, place)
        optimizer.step()

    return update


def problem_of(size: str, device: str) -> Problem:
    """A supernet on noise: a training batch with dropout, a validation batch without, and a last gradient."""
    units, words = SIZES[size]
    model = ModelConfig(units, units, units, 1, dropout=0.2, dropouth=0.067, dropoutx=0.2, dropouti=0.053, dropoute=0.0)
    net = FastSupernet(model, words, torch_generator("cpu", 1), SupernetConfig(False)).to(device)
    stream = torch.randint(words, (LENGTH * COLUMNS + 1,), generator=torch_generator("cpu", 2)).to(device)
    columns = Columns(stream, COLUMNS, slice(None), pad=True)
    masks = net.draw_masks(torch_generator(device, 3), COLUMNS, slice(None))

    def train_loss(weights: ArchWeights) -> torch.Tensor:
        output = net(columns.inputs, net.initial_state(COLUMNS), weights, masks, columns.targets)
        loss: torch.Tensor = output.loss / columns.targets.numel() + activation_penalty(output, 0.0, 1e-3)
        return loss

    def scored_loss(weights: ArchWeights) -> torch.Tensor:
        output = net(columns.inputs, net.initial_state(COLUMNS), weights, None, columns.targets)
        loss: torch.Tensor = output.loss / columns.targets.numel()
        return loss

    def scores(architectures: Sequence[ArchWeights]) -> torch.Tensor:
        return torch.tensor(score_paths(net, columns, LENGTH, architectures), device=device)

    parameters = list(net.parameters())
    last = [torch.full_like(each, 1e-4) for each in parameters]
    step = WeightStep(20.0, 0.0, 5e-7, 0.25, [None] * len(parameters), last)
    return Problem(train_loss, train_loss, parameters, step, lambda tensors: None, scores, scored_loss)


if __name__ == "__main__":
    main()
