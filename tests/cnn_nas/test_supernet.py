"""The supernet of the convolutional space: one path equals the discrete network, and the rest is left alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from cnn_nas import architecture
from cnn_nas.architecture import CELLS, OPERATIONS, Genotype
from cnn_nas.genotypes import DARTS_V1, DARTS_V2
from cnn_nas.model import Cell, ModelConfig, Network
from cnn_nas.relaxation import RELAXATION, genotype_of, paths_of
from cnn_nas.space import SPACE
from cnn_nas.supernet import Supernet, SupernetConfig, draw_skip_masks, shuffle
from nas.core.arch_weights import ArchWeights, as_numbers, one_path
from nas.core.errors import ConfigError

SHAPE = (3, 9, 7)  # odd, so that halving rounds up
LIKE = torch.zeros((), dtype=torch.float64)


def supernet(config: SupernetConfig | None = None, seed: int = 1, kind: Any = Supernet) -> Supernet:
    net = kind(config or SupernetConfig(4, 4), 5, SHAPE[0], torch.Generator().manual_seed(seed))
    return net.double()


def uniform_cell(operation: str) -> Genotype:
    """One operation on the first two edges of every node."""
    edges = tuple((operation, state) for _ in range(4) for state in (0, 1))
    return Genotype(normal=edges, reduce=edges)


def discrete(net: Supernet, genotype: Genotype) -> tuple[Network, dict[str, nn.Parameter]]:
    """The ordinary network of a genotype with pooling normalised as in the search, and the supernet's weights.

    Also: for each of its parameters, by name, the supernet's.
    """
    config = ModelConfig(net.config.init_channels, net.config.layers, False, 0.0, 0.0)
    plain = Network(config, genotype, 5, SHAPE[0], SHAPE[1:], torch.Generator()).double()
    twins: dict[str, nn.Parameter] = {}

    def pair(prefix: str, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            twins[f"{prefix}.{name}"] = parameter

    for head in ("stem", "classifier"):
        pair(head, getattr(net, head))
    for i, (cell, super_cell) in enumerate(zip(plain.cells, net.cells, strict=True)):
        assert isinstance(cell, Cell)
        for name in ("preprocess0", "preprocess1"):
            pair(f"cells.{i}.{name}", getattr(super_cell, name))
        for k, (name, state) in enumerate(cell.edges):
            module = super_cell.edges[super_cell.shape.edge(k // 2, state)].operations[OPERATIONS.index(name)]
            pair(f"cells.{i}.operations.{k}", module)
            if "pool" in name:
                cell.operations[k] = nn.Sequential(
                    cell.operations[k], nn.BatchNorm2d(cell.channels_out // 4, affine=False)
                )
    own = dict(plain.named_parameters())
    with torch.no_grad():
        for name, twin in twins.items():
            own[name].copy_(twin)
    assert all("norm" in name or name.split(".")[-2].isdigit() for name in own.keys() - twins.keys())  # batch norm's
    return plain.double(), twins


def images(count: int = 6) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def in_the_space(seed: int) -> Genotype:
    return architecture.sample(seed, "supernet", operations=OPERATIONS)


GENOTYPES = [*map(uniform_cell, OPERATIONS), DARTS_V1, DARTS_V2, *(in_the_space(seed) for seed in range(10))]


@pytest.mark.parametrize("genotype", GENOTYPES, ids=lambda genotype: str(genotype)[:30])
def test_one_path_is_the_discrete_network_in_values_and_gradients(genotype: Genotype) -> None:
    net = supernet()
    plain, twins = discrete(net, genotype)
    expected = plain(images()).logits
    expected.square().sum().backward()
    found = net(images(), one_path(paths_of(genotype))).logits
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    found.square().sum().backward()
    own = dict(plain.named_parameters())
    for name, twin in twins.items():
        if own[name].grad is None:
            assert twin.grad is None, name
        else:
            torch.testing.assert_close(twin.grad, own[name].grad, rtol=1e-9, atol=1e-9)
    used = {id(twin) for twin in twins.values()}
    assert all(parameter.grad is None for parameter in net.parameters() if id(parameter) not in used)


@pytest.mark.parametrize("genotype", [DARTS_V2, *(in_the_space(seed) for seed in range(4))], ids=lambda g: str(g)[:30])
def test_a_path_equals_its_weights_of_zeros_and_ones(genotype: Genotype) -> None:
    net, paths = supernet(), paths_of(genotype)
    numbers = ArchWeights(as_numbers(paths, RELAXATION, LIKE))
    torch.testing.assert_close(net(images(), numbers).logits, net(images(), one_path(paths)).logits)


def test_weights_mix_linearly_on_one_edge() -> None:
    """A network of one cell whose node sums 0.3 of one operation and 0.7 of another, computed by hand."""
    net = supernet(SupernetConfig(4, 1))
    weights = {cell: torch.zeros(14, 8, dtype=torch.float64) for cell in CELLS}
    for edge, operation, value in ((0, 4, 0.3), (0, 3, 0.7), (1, 1, -0.5), (4, 7, 2.0)):
        weights["reduce"][edge, operation] = value
    of_edges = {cell: torch.linspace(0.5, 1.5, 14, dtype=torch.float64) for cell in CELLS}
    found = net(images(), ArchWeights(weights, of_edges)).logits
    cell, x = net.cells[0], net.stem(images())
    s0, s1 = cell.preprocess0(x), cell.preprocess1(x)
    run = lambda edge, operation, s: cell.edges[edge].operations[operation](s)  # noqa: E731
    e = of_edges["reduce"]
    node1 = e[0] * (0.3 * run(0, 4, s0) + 0.7 * run(0, 3, s0)) + e[1] * -0.5 * run(1, 1, s1)
    node2 = e[4] * 2.0 * run(4, 7, node1)
    nothing = torch.zeros_like(node1)
    expected = net.classifier(torch.cat([node1, node2, nothing, nothing], 1).mean((2, 3)))
    torch.testing.assert_close(found, expected)


def test_a_forward_pass_changes_nothing_and_sees_no_mode() -> None:
    net = supernet()
    before, weights = copy.deepcopy(net.state_dict()), one_path(paths_of(DARTS_V2))
    train = net(images(), weights).logits
    net.eval()
    torch.testing.assert_close(net(images(), weights).logits, train, rtol=0, atol=0)
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_does_not_run_is_not_decayed_and_keeps_its_momentum() -> None:
    net = supernet()
    sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    dense = ArchWeights({cell: torch.full((14, 8), 0.125, dtype=torch.float64) for cell in CELLS})
    net(images(), dense).logits.square().sum().backward()
    sgd.step()  # now all have momentum
    sgd.zero_grad()
    before = copy.deepcopy(net.state_dict())
    net(images(), one_path(paths_of(DARTS_V2))).logits.square().sum().backward()
    running = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    sgd.step()
    moved = {name for name, value in net.named_parameters() if not torch.equal(value, before[name])}
    assert moved == running and 0 < len(running) < len(before) / 2


def test_partial_channels_pass_the_rest_through() -> None:
    """PC-DARTS with k = 2: one edge by hand, at both strides."""
    net = supernet(SupernetConfig(4, 3, partial=2))
    for i, kind, stride in ((0, "normal", 1), (1, "reduce", 2)):
        edge, channels = net.cells[i].edges[0], 4 * stride
        assert net.cells[i].kind == kind
        x = torch.randn(2, channels, 5, 6, dtype=torch.float64)
        weights = torch.rand(8, dtype=torch.float64)
        mixed = sum(w * op(x[:, : channels // 2]) for w, op in zip(weights, edge.operations, strict=True))
        rest = x[:, channels // 2 :]
        rest = nn.functional.max_pool2d(nn.functional.pad(rest, (0, 0, 0, 1), value=-1e9), 2) if stride == 2 else rest
        found = edge(x, tuple(range(8)), weights)
        order = [c for pair in zip(range(channels // 2), range(channels // 2, channels), strict=True) for c in pair]
        torch.testing.assert_close(found, torch.cat([mixed, rest], 1)[:, order])


def test_shuffle_interleaves_groups() -> None:
    x = torch.arange(12.0).view(1, 12, 1, 1)
    assert shuffle(x, 4).flatten().tolist() == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]


def test_auxiliary_skips_are_added_with_their_weight() -> None:
    net = supernet(SupernetConfig(4, 3, auxiliary_skip=True))
    x, nothing = torch.randn(2, 4, 6, 6, dtype=torch.float64), torch.zeros(8, dtype=torch.float64)
    edge = net.cells[0].edges[0]
    torch.testing.assert_close(edge(x, tuple(range(8)), nothing, auxiliary=0.25), 0.25 * x)
    assert torch.equal(edge(x, tuple(range(8)), nothing, auxiliary=0.0), torch.zeros_like(x))


def test_skip_masks_drop_skip_connections_of_single_images_only() -> None:
    masks = draw_skip_masks(torch.Generator().manual_seed(0), 4, 6, slice(0, 6), 0.5, torch.float64)
    assert masks is not None and set(masks[0].unique().tolist()) == {0.0, 2.0}
    parts = [draw_skip_masks(torch.Generator().manual_seed(0), 4, 6, part, 0.5) for part in (slice(0, 2), slice(2, 6))]
    torch.testing.assert_close(torch.cat([part[3] for part in parts if part], 1).double(), masks[3])
    assert draw_skip_masks(torch.Generator(), 4, 6, slice(0, 6), 0.0) is None
    net = supernet()
    without_skips = one_path(paths_of(uniform_cell("sep_conv_3x3")))
    plain, dropped = net(images(), without_skips).logits, net(images(), without_skips, masks).logits
    assert torch.equal(plain, dropped)
    edge = net.cells[0].edges[0]
    x = torch.randn(6, 4, 5, 5, dtype=torch.float64)
    torch.testing.assert_close(edge(x, (3,), None, masks[0][0]), x * masks[0][0])


def test_paths_and_genotypes_are_each_others_inverse() -> None:
    for seed in range(100):
        genotype = architecture.sample(seed)
        assert SPACE.canonical(genotype_of(paths_of(genotype))) == SPACE.canonical(genotype)
        assert paths_of(genotype_of(paths_of(genotype))) == paths_of(genotype)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"normal": (("sep_conv_3x3", 0), ("sep_conv_3x3", 1))}, "normal must have 4 nodes"),
        ({"reduce_concat": (2, 3)}, "reduce must have 4 nodes and concatenate all"),
        ({"normal": (("sep_conv_7x7", 0), ("none", 1)) * 4}, "the supernet has no sep_conv_7x7"),
        ({"normal": (("none", 0), ("none", 0)) * 4}, "node 1 has none of state 0 twice"),
    ],
)
def test_what_does_not_lie_in_the_supernet_is_refused(change: dict[str, Any], says: str) -> None:
    fields = {"normal": DARTS_V2.normal, "reduce": DARTS_V2.reduce, **change}
    with pytest.raises(ConfigError, match=says):
        paths_of(Genotype(**fields))


def test_sizes_that_do_not_fit_are_named() -> None:
    assert "partial must divide init_channels 6, got 4" in SupernetConfig(6, 3, partial=4).problems()[0]
    assert "init_channels must be at least 8" in SupernetConfig(4, 3, partial=4).problems()[0]
    assert not SupernetConfig(8, 3, partial=4).problems()
