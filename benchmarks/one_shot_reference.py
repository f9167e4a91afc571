"""Our supernets beside the code that published them, in its settings. From the root:

    python -m benchmarks.one_shot_reference darts gaea           scikit-learn's digits, three seeds
    python -m benchmarks.one_shot_reference recurrent random     Penn Treebank (in $NAS_DATA/ptb, or fetched)

The ranges are what the original research code gave in these settings, in single precision on a CPU with PyTorch 2.15: its
data, order of the data, batches, schedules and rates, with other initial weights. Genotypes are not compared, as after so
few steps they are those of chance: three seeds of the original give three.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from cnn_nas.fast.supernet import FastSupernet as FastImages
from cnn_nas.relaxation import RELAXATION as IMAGES
from cnn_nas.supernet import SupernetConfig as ImageConfig
from data import DataConfig, load_corpus
from nas.core.arch_weights import ArchWeights, one_path
from nas.core.seeds import torch_generator
from one_shot.gradient import GradientStrategy
from one_shot.gradient_config import GradientConfig
from one_shot.random_search import RandomConfig, RandomSearch
from one_shot.strategy import Problem, Progress, WeightStep
from randomNAS_files.fast.supernet import FastSupernet as FastText
from randomNAS_files.model import ModelConfig, activation_penalty
from randomNAS_files.relaxation import RELAXATION as TEXT
from randomNAS_files.scoring import score_paths
from randomNAS_files.slices import Columns
from randomNAS_files.supernet import SupernetConfig as TextConfig

BATCH, IMAGES_EACH, EPOCHS = 32, 512, 6
STEPS, COLUMNS, BPTT = 80, 64, 35


@dataclass(frozen=True)
class Reference:
    """What the original code gave, as a range over its seeds."""

    what: str
    low: float
    high: float

    def line(self, found: Sequence[float], digits: int) -> str:
        """Ours beside it."""
        ours = ", ".join(f"{value:,.{digits}f}" for value in found)
        return f"{self.what:<58} {ours:<28} original {self.low:,.{digits}f} .. {self.high:,.{digits}f}"


def main() -> None:
    """Run what is asked for and print it beside the reference."""
    runs = {"darts": darts, "gaea": gaea, "recurrent": recurrent, "random": random}
    parser = argparse.ArgumentParser(description="Our supernets in the settings of the original code.")
    parser.add_argument("which", nargs="+", choices=runs)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name in chosen.which:
        begun = time.perf_counter()
        for line in runs[name](range(chosen.seeds)):
            print(line, flush=True)
        print(f"{'':<58} {time.perf_counter() - begun:.0f} s", flush=True)


def darts(seeds: Sequence[int]) -> Iterator[str]:
    """First-order DARTS: Adam at 3e-4, so that 96 steps decide nothing."""
    config = GradientConfig(3e-4, arch_weight_decay=1e-3)
    yield from _digits("DARTS, first order", config, seeds, Reference("", 88.9, 92.2), (2.0793, 2.0795))


def gaea(seeds: Sequence[int]) -> Iterator[str]:
    """GAEA without edge weights, at 0.1."""
    yield from _digits("GAEA", GradientConfig(0.1, sampler="simplex"), seeds, Reference("", 93.2, 95.7), (1.996, 2.050))


def _digits(
    name: str, config: GradientConfig, seeds: Sequence[int], accuracy: Reference, entropy: tuple[float, float]
) -> Iterator[str]:
    found = [search_digits(config, seed) for seed in seeds]
    what = f"{name}, digits: valid accuracy %, batch statistics"
    yield Reference(what, accuracy.low, accuracy.high).line([each[0] for each in found], 1)
    yield Reference(f"{name}, digits: entropy of an edge, nats", *entropy).line([each[1] for each in found], 4)


def search_digits(config: GradientConfig, seed: int) -> tuple[float, float]:
    """96 steps on 512 digits; returns accuracy in % on 512 others and the mean entropy.

    Weights: SGD at 0.025 falling to 0.001 by a cosine over epochs, momentum 0.9, decay 3e-4, clip 5; no augmentation. A step
    is one of the architecture, then one of the weights.
    """
    images, targets = digits()
    net = FastImages(ImageConfig(4, 4), 10, 1, torch_generator("cpu", seed)).to(memory_format=torch.channels_last)
    parameters = list(net.parameters())
    sgd = torch.optim.SGD(parameters, 0.025, 0.9, weight_decay=3e-4)
    strategy = GradientStrategy(IMAGES, config, torch_generator("cpu", seed, "strategy"))
    optimizer = strategy.optimizer()
    assert optimizer is not None
    others = np.random.RandomState(20_000 + seed)
    steps = EPOCHS * (IMAGES_EACH // BATCH)

    def loss_on(indices: np.ndarray) -> Callable[[ArchWeights], torch.Tensor]:
        x, y = images[indices], targets[indices]
        return lambda weights: F.cross_entropy(net(x, weights).logits, y)

    for epoch in range(EPOCHS):
        rate = 0.001 + 0.5 * 0.024 * (1 + math.cos(math.pi * epoch / EPOCHS))
        order = np.random.RandomState(10_000 * seed + epoch).permutation(IMAGES_EACH)
        for k, batch in enumerate(np.split(order, IMAGES_EACH // BATCH)):
            progress = Progress(epoch * (IMAGES_EACH // BATCH) + k, steps, IMAGES_EACH // BATCH)
            train_loss = loss_on(batch)
            valid_loss = loss_on(IMAGES_EACH + others.permutation(IMAGES_EACH)[:BATCH])
            _step(strategy, optimizer, sgd, parameters, (train_loss, valid_loss), (rate, 5.0), progress)
    with torch.no_grad():
        weights = strategy.expected()
        parts = torch.arange(IMAGES_EACH, 2 * IMAGES_EACH).split(BATCH)
        right = sum(int((net(images[part], weights).logits.argmax(1) == targets[part]).sum()) for part in parts)
    return 100 * right / IMAGES_EACH, strategy.report()["arch_entropy"]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """The first 1,024 digits in the order of the file, `(1024, 1, 8, 8)`, normalised as in the reference."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    read = load_digits()
    pixels = torch.from_numpy(np.round(read.images[: 2 * IMAGES_EACH] * 255 / 16) / 255).float()
    return ((pixels - 0.3) / 0.37).unsqueeze(1), torch.from_numpy(read.target[: 2 * IMAGES_EACH]).long()


def _step(
    strategy: GradientStrategy,
    optimizer: torch.optim.Optimizer,
    sgd: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    losses: tuple[Callable[[ArchWeights], torch.Tensor], Callable[[ArchWeights], torch.Tensor]],
    weight_rate: tuple[float, float],
    progress: Progress,
) -> float:
    """One step of the architecture, then one of the weights with the rate and the clip; returns the training loss."""
    (rate, clip), generator = weight_rate, torch_generator("cpu", progress.step)
    momenta = [sgd.state[each].get("momentum_buffer") for each in parameters]
    group = sgd.param_groups[0]
    step = WeightStep(rate, group["momentum"], group["weight_decay"], clip, momenta)
    strategy.update(Problem(*losses, parameters, step, lambda tensors: None), generator, progress)
    optimizer.step()
    optimizer.zero_grad()
    group["lr"] = rate
    loss = losses[0](strategy.sample(generator, progress))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, clip)
    sgd.step()
    sgd.zero_grad()
    return float(loss.detach())


class Text:
    """Penn Treebank in 64 columns and the supernet of 64 units, with the slices of the reference."""

    def __init__(self, seed: int, state_norm: bool) -> None:
        model = ModelConfig(64, 64, 64, 1, 0.2, 0.067, 0.2, 0.053, 0.0)
        corpus = load_corpus(DataConfig("ptb"))
        self.net = FastText(model, len(corpus.vocabulary), torch_generator("cpu", seed), TextConfig(state_norm))
        self.train, self.valid = (
            Columns(tokens, COLUMNS, slice(None), pad=False) for tokens in (corpus.train, corpus.valid)
        )
        self.lengths = np.random.RandomState(30_000 + seed)
        self.scored = Columns(corpus.valid, COLUMNS, slice(None), pad=True)
        self.row, self.seed = 0, seed
        self.hidden = [self.net.initial_state(COLUMNS) for _ in range(2)]
        self.after = list(self.hidden)

    def begin(self, step: int) -> tuple[int, tuple[Callable[[ArchWeights], torch.Tensor], ...]]:
        """The length of the next slice, and the losses on it and on the validation slice beside it."""
        length = BPTT if self.lengths.random_sample() < 0.95 else BPTT // 2
        valid_row = self.row % (len(self.valid) - length)
        places = ((self.train, self.row, "train"), (self.valid, valid_row, "valid"))
        self.row += length
        self.plain = 0.0

        def loss_of(which: int) -> Callable[[ArchWeights], torch.Tensor]:
            columns, row, purpose = places[which]
            tokens, targets = columns[row, length]
            generator = torch_generator("cpu", self.seed, purpose, step)
            masks = self.net.draw_masks(generator, COLUMNS, slice(0, COLUMNS))

            def loss(weights: ArchWeights) -> torch.Tensor:
                output = self.net(tokens, self.hidden[which], weights, masks, targets)
                assert output.loss is not None
                self.after[which] = [state.detach() for state in output.hidden]
                mean = output.loss / targets.numel()
                if which == 0:
                    self.plain = float(mean.detach())
                total: torch.Tensor = mean + activation_penalty(output, 0.0, 1e-3) if which == 0 else mean
                return total

            return loss

        return length, (loss_of(0), loss_of(1))

    def end(self) -> None:
        """Carry the states."""
        self.hidden = list(self.after)


def recurrent(seeds: Sequence[int]) -> Iterator[str]:
    """First-order DARTS on text: Adam at 3e-3, SGD at 20, clip 0.25; mean training perplexity of steps 41 to 80."""
    found = []
    for seed in seeds:
        text = Text(seed, state_norm=True)
        parameters = list(text.net.parameters())
        sgd = torch.optim.SGD(parameters, 20.0, weight_decay=5e-7)
        config = GradientConfig(3e-3, arch_beta1=0.9, arch_weight_decay=1e-3)
        strategy = GradientStrategy(TEXT, config, torch_generator("cpu", seed, "strategy"))
        optimizer = strategy.optimizer()
        assert optimizer is not None
        losses = []
        for step in range(STEPS):
            length, (train, valid) = text.begin(step)
            rate = (20.0 * length / BPTT, 0.25)
            _step(strategy, optimizer, sgd, parameters, (train, valid), rate, Progress(step, STEPS, STEPS))
            text.end()
            losses.append(text.plain)
        found.append(math.exp(sum(losses[40:]) / 40))
    yield Reference("DARTS, PTB, 64 units: train perplexity of steps 41-80", 3005, 3134).line(found, 0)


def random(seeds: Sequence[int]) -> Iterator[str]:
    """Random search on text, clip 0.1: the mean perplexity of 40 cells on 4,480 words after 80 steps."""
    found = []
    for seed in seeds:
        text = Text(seed, state_norm=False)
        parameters = list(text.net.parameters())
        sgd = torch.optim.SGD(parameters, 20.0, weight_decay=5e-7)
        strategy = RandomSearch(TEXT, RandomConfig())
        for step in range(STEPS):
            length, (train, _) = text.begin(step)
            sgd.param_groups[0]["lr"] = 20.0 * length / BPTT
            progress = Progress(step, STEPS, STEPS)
            train(strategy.sample(torch_generator("cpu", seed, "cell", step), progress)).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.1)
            sgd.step()
            sgd.zero_grad()
            text.end()
        cells = strategy.candidates(torch_generator("cpu", 50_000), 40)
        losses = score_paths(text.net, text.scored, BPTT, [one_path(cell) for cell in cells], rows=2 * BPTT)
        found.append(sum(map(math.exp, losses)) / len(losses))
    yield Reference("random search, PTB, 64 units: mean perplexity of 40 cells", 1198, 1218).line(found, 0)


if __name__ == "__main__":
    main()
