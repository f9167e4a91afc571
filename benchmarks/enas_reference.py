"""ENAS for recurrent cells beside a well-known reimplementation of it, in its setting. From the root:

    python -m benchmarks.enas_reference [--seeds 1]           Penn Treebank (in $NAS_DATA/ptb, or fetched)

64 units, 11 nodes after the initial state, one matrix for each pair of nodes, loose ends, no dropout, batch 64, 35 words a
slice, SGD at 20 clipped to 0.25: 401 steps of the weights from the first word on, then 200 updates of the controller of one
cell each (Adam at 3.5e-4, a moving average as baseline), then the best of 100 cells on one minibatch. The numbers beside ours
are what that code gave on a CPU with PyTorch 2.15, with one seed where it is one number. It scores cells with batch norm in
training mode while it searches, so that what its controller met does not compare with ours, and it draws the activation of
the initial state too, whose entropy is taken off.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Iterator, Sequence

import torch

from benchmarks.one_shot_reference import Reference
from data import DataConfig, load_corpus
from nas.core.arch_weights import ArchWeights, one_path
from nas.core.fields import read
from nas.core.seeds import torch_generator
from one_shot.enas import Enas, EnasConfig
from one_shot.strategy import Problem, Progress, WeightStep
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.model import ModelConfig
from randomNAS_files.relaxation import CELL, shape_of
from randomNAS_files.scoring import score_paths
from randomNAS_files.slices import Columns
from randomNAS_files.supernet import SupernetConfig

NODES, COLUMNS, BPTT, STEPS, UPDATES, DERIVED = 11, 64, 35, 401, 200, 100
PROGRESS = Progress(0, 1, 1)
WINDOWS = ((0, 101, "steps 0-100", 2230, 2416), (101, 201, "101-200", 1057, 1163), (301, 401, "301-400", 741, 741))
METHOD = {
    **{"cells_per_update": 1, "baseline": "moving_average", "entropy": "reward", "arch_learning_rate": 3.5e-4},
    **{"score_archs": DERIVED, "score_batches": 1, "rescore": 10},
}


class Search:
    """One seed."""

    def __init__(self, seed: int) -> None:
        corpus = load_corpus(DataConfig("ptb"))
        model = ModelConfig(64, 64, 64, 1, 0.0, 0.0, 0.0, 0.0, 0.0)
        supernet = SupernetConfig(False, "edge", "loose_ends", nodes=NODES)
        self.net = FastSupernet(model, len(corpus.vocabulary), torch_generator("cpu", seed, "weights"), supernet)
        (config,) = read(METHOD, EnasConfig)
        self.strategy = Enas({CELL: shape_of(NODES)}, config, torch_generator("cpu", seed, "strategy"))
        self.train = Columns(corpus.train, COLUMNS, slice(None), pad=False)
        self.valid = Columns(corpus.valid, COLUMNS, slice(None), pad=False)
        self.all_of_valid = Columns(corpus.valid, COLUMNS, slice(None), pad=True)
        self.seed = seed

    def train_weights(self) -> list[float]:
        """The losses of the steps."""
        parameters, losses = list(self.net.parameters()), []
        sgd = torch.optim.SGD(parameters, 20.0, weight_decay=1e-7)
        hidden = self.net.initial_state(COLUMNS)
        for step in range(STEPS):
            tokens, targets = self.train[step * BPTT, BPTT]
            weights = self.strategy.sample(torch_generator("cpu", self.seed, "cell", step), PROGRESS)
            output = self.net(tokens, hidden, weights, None, targets)
            assert output.loss is not None
            loss = output.loss / targets.numel()
            sgd.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.25)
            sgd.step()
            hidden = [state.detach() for state in output.hidden]
            losses.append(float(loss.detach()))
        return losses

    def train_controller(self) -> list[float]:
        """The losses of the cells that the updates met."""
        adam, met = self.strategy.optimizer(), list[float]()
        for number in range(UPDATES):
            batch = self.valid.some_rows(number % (len(self.valid) // BPTT) * BPTT, BPTT)

            def scores(cells: Sequence[ArchWeights], batch: Columns = batch) -> torch.Tensor:
                return torch.tensor(score_paths(self.net, batch, BPTT, cells))

            problem = Problem(_never, _never, [], WeightStep(20.0, 0.0, 1e-7, 0.25, []), lambda tensors: None, scores)
            generator = torch_generator("cpu", self.seed, "update", number)
            met.append(float(self.strategy.update(problem, generator, PROGRESS)["arch_loss"]))
            adam.step()
        return met

    def score(self, entrants: Sequence[ArchWeights], batches: int | None = None) -> list[dict[str, float]]:
        """On the first so many slices of the validation text, or all of it."""
        rows = None if batches is None else batches * BPTT
        losses = score_paths(self.net, self.all_of_valid, BPTT, entrants, rows)
        return [{"loss": loss} for loss in losses]


def _never(weights: ArchWeights) -> torch.Tensor:
    raise AssertionError("ENAS differentiates no loss")


def main() -> None:
    """Run the seeds and print each number beside the reference."""
    parser = argparse.ArgumentParser(description="ENAS in the setting of a reimplementation of it.")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    begun = time.perf_counter()
    runs = [_numbers(Search(seed)) for seed in range(chosen.seeds)]
    for what, low, high, found in zip(*_references(), zip(*runs, strict=True), strict=True):
        print(Reference(what, low, high).line(found, 0 if high > 50 else 3), flush=True)
    print(f"{'':<58} {time.perf_counter() - begun:.0f} s")


def _references() -> Iterator[list[object]]:
    rows: list[tuple[str, float, float]] = [
        *((f"train perplexity, {name}", low, high) for _, _, name, low, high in WINDOWS),
        ("entropy of a cell after 200 updates, nats", 34.134 - math.log(4), 34.134 - math.log(4)),
        ("validation perplexity of 100 cells on one minibatch, mean", 654, 654),
        ("of the best of them", 613, 613),
        ("of the chosen cell on all of valid", 580, 580),
        ("of 100 random cells on all of valid, median", 572, 935),
        ("quickest tenth of them", 572, 935),
    ]
    yield from map(list, zip(*rows, strict=True))


def _numbers(search: Search) -> list[float]:
    losses = search.train_weights()
    found = [math.exp(statistics.fmean(losses[first:last])) for first, last, *_ in WINDOWS]
    search.train_controller()
    found.append(search.strategy.report()["arch_entropy"])
    generator = torch_generator("cpu", search.seed, "derived")
    choice = search.strategy.choose(search.score, generator)
    found += [math.exp(choice.summary["mean"]), math.exp(choice.summary["best"]), math.exp(choice.scores["loss"])]
    cells = [one_path(each) for each in search.strategy.candidates(torch_generator("cpu", 50_000), DERIVED)]
    everywhere = sorted(math.exp(each["loss"]) for each in search.score(cells))
    return [*found, statistics.median(everywhere), everywhere[DERIVED // 10]]


if __name__ == "__main__":
    main()
