"""ENAS with the recurrent supernet: updates of the controller, deriving, and the memory of a search. From the root:

    python -m benchmarks.controller [--only memory] [--save]

An update draws 10 cells, scores them on one slice of 35 words in 64 columns and takes a step of Adam; it stands against
scoring those 10 cells one after another in the plain form, and nothing else. Deriving scores 100 cells at once; it stands
against our own scoring of one after another. The memory of a search is that of steps of the weights, each with a new cell,
and updates; it stands against steps of one cell alone, a language model as we train it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import count

import torch

from benchmarks.measuring import Row, arguments, faster, finish, interleaved, smaller
from benchmarks.peak import peaks
from benchmarks.plain_recurrent import score
from benchmarks.recurrent_supernet import (
    COLUMNS,
    LENGTH,
    SIZES,
    Step,
    alone_steps,
    model_config,
    networks,
    setting,
    training,
)
from nas.core.arch_weights import ArchWeights, one_path
from nas.core.fields import read
from one_shot.enas import Enas, EnasConfig
from one_shot.strategy import Problem, Progress, WeightStep
from randomNAS_files.architecture import sample
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.relaxation import paths_of
from randomNAS_files.scoring import score_paths
from randomNAS_files.slices import Columns
from randomNAS_files.space import SPACE
from randomNAS_files.supernet import SupernetConfig

CELLS, DERIVED = 10, 100  # of an update; that are drawn to derive one
WIDE = 850
SHORT = 5  # words of a column that deriving scores here
ONE_AFTER_ANOTHER = 1 / 0.65
MORE_MEMORY = 1.2  # than one cell of that size
PROGRESS = Progress(0, 1, 1)


def main() -> None:
    """Measure and report."""
    chosen = arguments("Updates of ENAS's controller.", rounds=7, parts=("memory",))
    finish("controller", rows(chosen), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured."""
    if chosen.only != "memory":
        yield from (update_row(size, chosen) for size in SIZES)
        yield from (deriving_row(columns, chosen) for columns in (10, COLUMNS))
    found = [peaks("benchmarks.controller:memory_steps", "64", chosen.device) for _ in range(2)]
    work = f"peak memory of a search by ENAS against training one cell, {setting('64')}"
    yield smaller(work, found, MORE_MEMORY)


def update_row(size: str, chosen: argparse.Namespace) -> Row:
    """An update against the forward passes of its cells."""
    net, reference = networks(size, chosen.device, state_norm=False)
    columns = _columns(SIZES[size][1], LENGTH)
    tokens, targets = (part.to(chosen.device) for part in columns[0, LENGTH])
    cells = [sample(seed) for seed in range(CELLS)]

    def plain() -> None:
        for cell in cells:
            reference.run_alone(cell)
            score(reference, [(tokens, targets)], COLUMNS)

    pairs = interleaved(plain, _update(net, columns, chosen.device), chosen.rounds, chosen.device)
    return faster(f"update of ENAS's controller with {CELLS} cells, {setting(size)}", pairs, 1.0)


def deriving_row(columns: int, chosen: argparse.Namespace) -> Row:
    """Cells at once against one after another."""
    words, generator = SIZES["64"][1], torch.Generator().manual_seed(1)
    net = FastSupernet(model_config(WIDE), words, generator, SupernetConfig(False)).to(chosen.device)
    stream = _columns(words, SHORT, columns)
    architectures = [one_path(paths_of(sample(seed))) for seed in range(DERIVED)]

    def one_by_one() -> None:
        for each in architectures:
            score_paths(net, stream, SHORT, [each])

    pairs = interleaved(one_by_one, lambda: score_paths(net, stream, SHORT, architectures), 3, chosen.device, warm_up=1)
    what = f"deriving from {DERIVED} cells at once against one after another, ours, {columns} columns"
    return faster(f"{what}, {WIDE} units, {words:,} words", pairs, ONE_AFTER_ANOTHER)


def memory_steps(size: str, device: str) -> tuple[Step, Step]:
    """One cell alone, and a search: a step of a new cell and an update."""
    alone = alone_steps(size, device)[0]
    net = FastSupernet(
        model_config(SIZES[size][0]), SIZES[size][1], torch.Generator().manual_seed(1), SupernetConfig(False)
    )
    train = training(net.to(device), size, device, lambda step: {"weights": one_path(paths_of(sample(step)))})
    update = _update(net, _columns(SIZES[size][1], LENGTH), device)

    def search() -> None:
        train()
        update()

    return alone, search


def _update(net: FastSupernet, columns: Columns, device: str) -> Step:
    (config,) = read({"cells_per_update": CELLS}, EnasConfig)
    strategy = Enas(SPACE.relaxation, config, torch.Generator().manual_seed(1)).to(device)
    adam, turn = strategy.optimizer(), count()

    def never(weights: ArchWeights) -> torch.Tensor:
        raise AssertionError("ENAS differentiates no loss")

    def scores(architectures: Sequence[ArchWeights]) -> torch.Tensor:
        return torch.tensor(score_paths(net, columns, LENGTH, architectures), device=device)

    step = WeightStep(1.0, 0.0, 0.0, 1.0, [])
    problem = Problem(never, never, [], step, lambda tensors: None, scores)

    def update() -> None:
        strategy.update(problem, torch.Generator().manual_seed(next(turn)), PROGRESS)
        adam.step()

    return update


def _columns(words: int, rows: int, columns: int = COLUMNS) -> Columns:
    stream = torch.randint(words, (rows * columns + 1,), generator=torch.Generator().manual_seed(3))
    return Columns(stream, columns, slice(None), pad=True)


if __name__ == "__main__":
    main()
