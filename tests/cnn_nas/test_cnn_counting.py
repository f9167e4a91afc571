"""Parameters and MACs against published numbers, a network written out here, and the project's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cnn_nas import genotypes
from cnn_nas.architecture import ALL_OPERATIONS, OPERATIONS, Genotype, sample
from cnn_nas.counting import count, operation_costs
from cnn_nas.relaxation import paths_of
from cnn_nas.space import SPACE
from nas.core.space import Size, named_genotypes

CIFAR: dict[str, Any] = {"init_channels": 36, "layers": 20, "classes": 10, "input_size": (3, 32, 32)}

# Published


@pytest.mark.parametrize(
    ("name", "millions", "source"),
    [
        ("DARTS_V2", 3.3, "Liu et al. 2019, table 1"),
        ("PC_DARTS_CIFAR", 3.6, "Xu et al. 2020, table 1"),
        ("GAEA_PC_DARTS", 3.7, "Li et al. 2021, table 1"),
    ],
)
def test_parameters_are_the_published_ones(name: str, millions: float, source: str) -> None:
    assert round(count(SPACE.by_name(name), **CIFAR).parameters / 1e6, 1) == millions, source


def test_the_second_order_network_has_the_parameters_that_its_code_prints() -> None:
    assert count(genotypes.DARTS_V2, **CIFAR).parameters == 3_349_342


def test_constrained_asha_keeps_the_bounds_it_was_found_with() -> None:
    assert 2.5e6 <= count(genotypes.CONSTRAINED_ASHA, **CIFAR).parameters <= 4.5e6


# Built. The network of Liu et al. 2019 in the fewest lines: every convolution and batch norm is there, at its own resolution.


class Reference:
    """A network whose layers are made where they are needed, so that building and running it are one function."""

    def __init__(self, genotype: Genotype, channels: int, layers: int, classes: int, auxiliary: bool) -> None:
        self.genotype, self.channels, self.layers, self.classes = genotype, channels, layers, classes
        self.with_auxiliary, self.parameters_seen, self.macs = auxiliary, 0, 0

    def apply_layer(self, layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """Run a new layer and note what it has and does."""
        y: torch.Tensor = layer.eval()(x)
        self.parameters_seen += sum(parameter.numel() for parameter in layer.parameters())
        if isinstance(layer, nn.Conv2d):
            window = layer.kernel_size[0] * layer.kernel_size[1] * layer.in_channels // layer.groups
            self.macs += window * y[0].numel()
        if isinstance(layer, nn.Linear):
            self.macs += layer.in_features * layer.out_features
        return y

    def conv(self, x: torch.Tensor, outputs: int, kernel: Any, stride: Any = 1, **options: Any) -> torch.Tensor:
        return self.apply_layer(nn.Conv2d(x.shape[1], outputs, kernel, stride, bias=False, **options), x)

    def norm(self, x: torch.Tensor) -> torch.Tensor:
        return self.apply_layer(nn.BatchNorm2d(x.shape[1]), x)

    def halve(self, x: torch.Tensor, outputs: int) -> torch.Tensor:
        """Factorised reduction; the second half sees the image moved by a pixel, padded so that odd sizes round up."""
        moved = nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        halves = [self.conv(x, outputs // 2, 1, 2), self.conv(moved, outputs // 2, 1, 2)]
        return self.norm(torch.cat(halves, 1))

    def operation(self, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        channels = x.shape[1]
        if name == "none":
            return torch.zeros_like(x[:, :, ::stride, ::stride])
        if "pool" in name:
            pool = nn.functional.max_pool2d if name[0] == "m" else nn.functional.avg_pool2d
            return pool(x, 3, stride, 1)
        if name == "skip_connect":
            return x if stride == 1 else self.halve(x, channels)
        if name == "conv_7x1_1x7":
            x = self.conv(x, channels, (1, 7), (1, stride), padding=(0, 3))
            return self.norm(self.conv(x, channels, (7, 1), (stride, 1), padding=(3, 0)))
        kernel, dilation = int(name[-1]), 2 if name.startswith("dil") else 1
        for step in (stride, 1)[: 3 - dilation]:
            padding = dilation * (kernel // 2)
            x = self.conv(x, channels, kernel, step, padding=padding, dilation=dilation, groups=channels)
            x = self.norm(self.conv(x, channels, 1))
        return x

    def cell(self, older: torch.Tensor, newer: torch.Tensor, channels: int, reduction: bool) -> torch.Tensor:
        edges = self.genotype.reduce if reduction else self.genotype.normal
        concat = self.genotype.reduce_concat if reduction else self.genotype.normal_concat
        shrunk = older.shape[2:] != newer.shape[2:]
        older = self.halve(older, channels) if shrunk else self.norm(self.conv(older, channels, 1))
        states = [older, self.norm(self.conv(newer, channels, 1))]
        for i in range(0, len(edges), 2):
            a, b = (self.operation(n, states[p], 2 if reduction and p < 2 else 1) for n, p in edges[i : i + 2])
            states.append(a + b)
        return torch.cat([states[i] for i in concat], 1)

    def auxiliary(self, x: torch.Tensor) -> None:
        x = nn.functional.avg_pool2d(x, 5, 3, count_include_pad=False)
        x = self.norm(self.conv(self.norm(self.conv(x, 128, 1)), 768, 2))
        self.apply_layer(nn.Linear(768, self.classes), x.flatten(1))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        channels = self.channels
        older = newer = self.norm(self.conv(x, 3 * channels, 3, padding=1))
        for i in range(self.layers):
            reduction = i in (self.layers // 3, 2 * self.layers // 3)
            channels *= 2 if reduction else 1
            older, newer = newer, self.cell(older, newer, channels, reduction)
            if self.with_auxiliary and i == 2 * self.layers // 3:
                self.auxiliary(newer)
        return self.apply_layer(nn.Linear(newer.shape[1], self.classes), newer.mean((2, 3)))


@torch.no_grad()
def built(
    genotype: Genotype,
    *,
    init_channels: int,
    layers: int,
    classes: int,
    input_size: tuple[int, int, int],
    auxiliary: bool = False,
) -> Size:
    network = Reference(genotype, init_channels, layers, classes, auxiliary)
    network(torch.zeros(1, *input_size))
    return Size(network.parameters_seen, network.macs)


@pytest.mark.parametrize("name", named_genotypes("cnn_nas", Genotype))
def test_every_named_network_is_counted_as_it_is_built(name: str) -> None:
    size: dict[str, Any] = {**CIFAR, "init_channels": 4}
    for auxiliary in (False, True):
        assert count(SPACE.by_name(name), **size, auxiliary=auxiliary) == built(
            SPACE.by_name(name), **size, auxiliary=auxiliary
        )


def test_the_published_size_is_counted_as_it_is_built() -> None:
    assert count(genotypes.DARTS_V2, **CIFAR) == built(genotypes.DARTS_V2, **CIFAR)


@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(1, 8),
    st.integers(1, 12),
    st.tuples(st.integers(1, 4), st.integers(1, 19), st.integers(1, 19)),
)
@settings(max_examples=40, deadline=None)
def test_random_networks_of_any_size_are_counted_as_they_are_built(
    seed: int, channels: int, layers: int, classes: int, image: tuple[int, int, int]
) -> None:
    genotype = sample(seed, operations=ALL_OPERATIONS, distinct_predecessors=False)
    size: dict[str, Any] = {"init_channels": channels, "layers": layers, "classes": classes, "input_size": image}
    if min(image[1:]) < 5:  # the reference tells a reduced input by its size, which one pixel keeps
        size["input_size"] = (image[0], 8, 9)
    assert count(genotype, **size) == built(genotype, **size)


# The project's own network, with hooks.


@torch.no_grad()
def trained_network(
    genotype: Genotype, channels: int, layers: int, image: tuple[int, int, int], auxiliary: bool
) -> Size:
    model = pytest.importorskip("cnn_nas.model")
    config = model.ModelConfig(
        init_channels=channels, layers=layers, auxiliary=auxiliary, auxiliary_weight=0.4, drop_path_prob=0.2
    )
    network = model.Network(config, genotype, 7, image[0], image[1:], torch.Generator())
    macs = 0

    def note(layer: Any, _: Any, y: torch.Tensor) -> None:
        nonlocal macs
        macs += layer.weight[0].numel() * y[0].numel()

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(note)
    network.train()(torch.zeros(2, *image))
    return Size(sum(parameter.numel() for parameter in network.parameters()), macs)


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("image", [(3, 32, 32), (1, 28, 28), (2, 17, 70)])
@pytest.mark.parametrize("name", ["DARTS_V2", "NASNET", "AMOEBANET", "PC_DARTS", "random"])
def test_the_network_that_is_trained_has_these_counts(name: str, image: tuple[int, int, int], auxiliary: bool) -> None:
    genotype = sample(3, operations=ALL_OPERATIONS) if name == "random" else SPACE.by_name(name)
    counted = count(genotype, init_channels=3, layers=5, classes=7, input_size=image, auxiliary=auxiliary)
    assert counted == trained_network(genotype, 3, 5, image, auxiliary)


# Edges


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_short_networks_are_counted_as_they_are_built(layers: int) -> None:
    size: dict[str, Any] = {"init_channels": 2, "layers": layers, "classes": 3, "input_size": (3, 16, 9)}
    assert count(genotypes.NASNET, **size) == built(genotypes.NASNET, **size)


def test_an_image_size_given_as_a_list_counts_the_same() -> None:
    assert count(genotypes.DARTS, **{**CIFAR, "input_size": [3, 32, 32]}) == count(genotypes.DARTS, **CIFAR)


def test_costs_of_operations_are_what_choosing_them_adds() -> None:
    """Those of a path are the MACs of its genotype beyond those of one with `none` everywhere; 1 on average."""
    size = {"init_channels": 4, "layers": 5, "classes": 10, "input_size": (3, 17, 16)}
    costs = operation_costs(size)
    nothing = Genotype(normal=(("none", 0),) * 8, reduce=(("none", 0),) * 8)
    rest, found, macs = count(nothing, **size).macs, [], []
    for seed in range(400):
        genotype = sample(seed, "costs", operations=OPERATIONS)
        paths = paths_of(genotype)
        chosen = [costs[cell][edge][k] for cell, path in paths.items() for edge, ks in enumerate(path) for k in ks]
        found.append(sum(chosen))
        macs.append(count(genotype, **size).macs - rest)
    assert np.corrcoef(found, macs)[0, 1] > 1 - 1e-12
    assert found[0] / macs[0] == pytest.approx(sum(found) / sum(macs), rel=1e-9)
    assert sum(found) / len(found) == pytest.approx(1, rel=0.05)
