"""The steps of a convolutional architecture search, and their memory, against the plain ones. From the root:

    python -m benchmarks.supernet_step [--only PART] [--save] --threads 1

Weights: forward, backward, clipping, SGD. Architecture: the first and the second order of DARTS with Adam's step. Plain is the
search network of 2019 with its steps (`plain_supernet`), from the same weights, on the same images: 8 x 8 pixels like
scikit-learn's digits, 28 x 28 like MNIST, 32 x 32 like CIFAR-10. Second order against first, partial channels against all, and
one path against the discrete network are of ours alone: there `plain` is what ours is compared with.
On a GPU batches are of 64 in every setting, and ours computes in float32 as the plain one does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

import torch
from torch import nn

from benchmarks.image_search import DECAY, LR, MOMENTUM, OurSearch
from benchmarks.measuring import Row, arguments, faster, finish, interleaved, smaller
from benchmarks.peak import peaks
from benchmarks.plain_supernet import Batch, PlainSearch, PlainSupernet
from cnn_nas.fast.model import FastNetwork
from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.genotypes import DARTS_V2
from cnn_nas.model import Cell, ModelConfig
from cnn_nas.relaxation import paths_of
from cnn_nas.supernet import SupernetConfig
from nas.core.arch_weights import one_path
from nas.core.seeds import torch_generator

CLASSES = 10
Step = Callable[[], object]


class Setting(NamedTuple):
    """Sizes of a network and of its images."""

    channels: int
    layers: int
    batch: int
    in_channels: int
    side: int

    def words(self, device: str) -> str:
        """For a row."""
        return f"{self.side}x{self.side} pixels, {self.channels} channels, {self.layers} cells, batch {self.on(device).batch}"

    def on(self, device: str) -> Setting:
        """As it is measured on a device."""
        return self._replace(batch=64) if device == "cuda" else self


SETTINGS = {"digits": Setting(4, 4, 32, 1, 8), "mnist": Setting(4, 4, 32, 1, 28), "cifar": Setting(16, 8, 64, 3, 32)}
WIDE = Setting(16, 4, 32, 1, 8)  # for partial channels
KINDS = {"weights": (1.9, 2.3), "first order": (2.4, 3.1), "second order": (2.0, 2.5)}
PARTS = ("steps", "orders", "partial", "path", "memory")


def main() -> None:
    """Measure and report."""
    chosen = arguments("The steps of a convolutional search.", rounds=9, parts=PARTS)
    finish("supernet_step", rows(chosen), chosen)


def rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """All that is measured."""
    parts = {
        "steps": step_rows,
        "orders": order_rows,
        "partial": partial_rows,
        "path": path_rows,
        "memory": memory_rows,
    }
    for name, part in parts.items():
        if chosen.only in (None, name):
            yield from part(chosen)


def step_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Each step against the plain one."""
    for name in ("digits", "mnist"):
        for kind, goals in KINDS.items():
            pairs = interleaved(*steps(name, kind, chosen.device), chosen.rounds, chosen.device)
            yield faster(f"search step, {kind}, {SETTINGS[name].words(chosen.device)}", pairs, *goals)


def order_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """A whole step, of the architecture and of the weights: how many times faster it is by the first order."""
    for name in ("digits", "mnist"):
        pairs = interleaved(*orders(name, chosen.device), chosen.rounds, chosen.device)
        yield faster(
            f"search step with the second order against the first, {SETTINGS[name].words(chosen.device)}", pairs
        )


def partial_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Partial channels."""
    words = f"partial channels, k = 4, against all, {WIDE.words(chosen.device)}"
    for kind in ("weights", "first order"):
        pairs = interleaved(*partial(kind, chosen.device), chosen.rounds, chosen.device)
        yield faster(f"{words}: {kind}", pairs, 1 / 0.57)
    for kind in ("weights", "first order"):
        yield smaller(f"peak memory of {words}: {kind}", _peaks("partial", kind, chosen.device), 0.5)


def path_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """One path through the supernet."""
    for name in ("digits", "mnist"):
        pairs = interleaved(*path(name, chosen.device), chosen.rounds, chosen.device)
        words = f"weight step of one path against the discrete network, DARTS_V2, {SETTINGS[name].words(chosen.device)}"
        yield faster(words, pairs, 1 / 1.2)


def memory_rows(chosen: argparse.Namespace) -> Iterator[Row]:
    """Peak memory, see `peak`: weights, gradients, momentum, and all that is allocated for a step."""
    for name, setting in SETTINGS.items():
        for kind in KINDS:
            words = f"peak memory of the search step, {kind}, {setting.words(chosen.device)}"
            yield smaller(words, _peaks("steps", name, kind, chosen.device))
        words = f"peak memory with the first order against the second, {setting.words(chosen.device)}"
        yield smaller(words, _peaks("orders", name, chosen.device))


def _peaks(function: str, *words: str) -> list[tuple[float, float]]:
    return [peaks(f"benchmarks.supernet_step:{function}", *words) for _ in range(2)]


# What is compared: each makes two steps, to be called again and again


def steps(name: str, kind: str, device: str, mixed: bool = False, graphs: bool = False) -> tuple[Step, Step]:
    """A step of the plain search and of ours; see `OurSearch` for how ours may compute."""
    setting = SETTINGS[name].on(device)
    net = supernet(setting)
    plain = PlainSupernet(setting.channels, setting.layers, CLASSES, setting.in_channels).copy_weights(net)
    plain.to(device).copy_alphas([alpha.to(device) for alpha in plain.alphas])
    search, ours = (
        PlainSearch(plain, LR, MOMENTUM, DECAY),
        OurSearch(net.to(device), plain.alphas, mixed=mixed, graphs=graphs),
    )
    train, valid = batch(setting, 2, device), batch(setting, 3, device)
    ours_of = {
        "weights": lambda: ours.weights(train),
        "first order": lambda: ours.architecture(train, valid, "first"),
        "second order": lambda: ours.architecture(train, valid, "unrolled"),
    }
    plain_of = {
        "weights": lambda: search.weights(train),
        "first order": lambda: search.first_order(valid),
        "second order": lambda: search.second_order(train, valid),
    }
    ours.weights(train), search.weights(train)  # the second order has momenta then
    return plain_of[kind], ours_of[kind]


def orders(name: str, device: str) -> tuple[Step, Step]:
    """Both steps of ours with the second order, and with the first."""
    setting = SETTINGS[name].on(device)
    train, valid = batch(setting, 2, device), batch(setting, 3, device)

    def step(order: str) -> Step:
        search = OurSearch(supernet(setting).to(device), logits(device))

        def both() -> None:
            search.architecture(train, valid, order)
            search.weights(train)

        return both

    return step("unrolled"), step("first")


def partial(kind: str, device: str) -> tuple[Step, Step]:
    """A step of ours with all channels, and with a fourth."""
    setting = WIDE.on(device)
    train, valid = batch(setting, 2, device), batch(setting, 3, device)

    def step(k: int) -> Step:
        search = OurSearch(supernet(setting, k).to(device), logits(device))
        return (
            (lambda: search.weights(train)) if kind == "weights" else lambda: search.architecture(train, valid, "first")
        )

    return step(1), step(4)


def path(name: str, device: str) -> tuple[Step, Step]:
    """A weight step of the discrete network, with pooling normalised as in the search, and of its path."""
    setting = SETTINGS[name].on(device)
    train, genotype = batch(setting, 2, device), DARTS_V2
    config = ModelConfig(setting.channels, setting.layers, auxiliary=False, auxiliary_weight=0.0, drop_path_prob=0.0)
    size = (setting.side, setting.side)
    net = FastNetwork(config, genotype, CLASSES, setting.in_channels, size, torch_generator("cpu", 1))
    for cell in (cast(Cell, each) for each in net.cells):
        width = cell.channels_out // len(cell.concat)
        for k, (operation, _) in enumerate(cell.edges):
            if "pool" in operation:
                cell.operations[k] = nn.Sequential(cell.operations[k], nn.BatchNorm2d(width, affine=False))
    discrete = OurSearch(net.to(device), [], lambda x: net(x).logits)
    found = supernet(setting).to(device)
    weights = one_path(paths_of(genotype))
    search = OurSearch(found, [], lambda x: found(x, weights).logits)
    return lambda: discrete.weights(train), lambda: search.weights(train)


def supernet(setting: Setting, partial: int = 1) -> FastSupernet:
    """Ours, in channels-last."""
    config = SupernetConfig(setting.channels, setting.layers, partial)
    net = FastSupernet(config, CLASSES, setting.in_channels, torch_generator("cpu", 1))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def logits(device: str) -> list[torch.Tensor]:
    """Of the architecture, at the start."""
    return [1e-3 * torch.randn(14, 8, generator=torch_generator("cpu", 4 + k)).to(device) for k in range(2)]


def batch(setting: Setting, seed: int, device: str) -> Batch:
    """Random images and classes."""
    shape = (setting.batch, setting.in_channels, setting.side, setting.side)
    images = torch.randn(shape, generator=torch_generator("cpu", seed)).to(device)
    return images, torch.randint(CLASSES, (len(images),), generator=torch_generator("cpu", seed, "classes")).to(device)


if __name__ == "__main__":
    main()
