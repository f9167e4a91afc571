"""The network of cells: published sizes, wiring by hand, drop path, initial weights and unused parameters."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.convolutional import cell, genotypes_with_gaps
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cnn_nas import model
from cnn_nas.architecture import ALL_OPERATIONS, Genotype, sample
from cnn_nas.model import Cell, ModelConfig, Network, draw_path_masks, map_size, reductions
from cnn_nas.operations import FactorizedReduce
from nas.core.errors import ConfigError
from nas.core.fields import read

# As published, for the network sizes to be independent of what cnn_nas/genotypes.py says.
DARTS_V2 = Genotype(
    normal=cell(
        "sep_conv_3x3 0, sep_conv_3x3 1, sep_conv_3x3 0, sep_conv_3x3 1, "
        "sep_conv_3x3 1, skip_connect 0, skip_connect 0, dil_conv_3x3 2"
    ),
    reduce=cell(
        "max_pool_3x3 0, max_pool_3x3 1, skip_connect 2, max_pool_3x3 1, "
        "max_pool_3x3 0, skip_connect 2, skip_connect 2, max_pool_3x3 1"
    ),
)
DARTS_V1 = Genotype(
    normal=cell(
        "sep_conv_3x3 1, sep_conv_3x3 0, skip_connect 0, sep_conv_3x3 1, "
        "skip_connect 0, sep_conv_3x3 1, sep_conv_3x3 0, skip_connect 2"
    ),
    reduce=cell(
        "max_pool_3x3 0, max_pool_3x3 1, skip_connect 2, max_pool_3x3 0, "
        "max_pool_3x3 0, skip_connect 2, skip_connect 2, avg_pool_3x3 0"
    ),
)
PC_DARTS = Genotype(
    normal=cell(
        "sep_conv_3x3 1, skip_connect 0, sep_conv_3x3 0, dil_conv_3x3 1, "
        "sep_conv_5x5 0, sep_conv_3x3 1, avg_pool_3x3 0, dil_conv_3x3 1"
    ),
    reduce=cell(
        "sep_conv_5x5 1, max_pool_3x3 0, sep_conv_5x5 1, sep_conv_5x5 2, "
        "sep_conv_3x3 0, sep_conv_3x3 3, sep_conv_3x3 1, sep_conv_3x3 2"
    ),
)
GAEA_PC_DARTS = Genotype(
    normal=cell(
        "sep_conv_3x3 1, skip_connect 0, sep_conv_3x3 1, skip_connect 2, "
        "sep_conv_3x3 1, sep_conv_3x3 2, sep_conv_3x3 0, dil_conv_3x3 4"
    ),
    reduce=cell(
        "max_pool_3x3 0, max_pool_3x3 1, sep_conv_5x5 0, sep_conv_5x5 2, "
        "dil_conv_3x3 3, sep_conv_5x5 2, sep_conv_5x5 4, sep_conv_3x3 1"
    ),
)
NASNET = Genotype(
    normal=cell(
        "sep_conv_5x5 1, sep_conv_3x3 0, sep_conv_5x5 0, sep_conv_3x3 0, avg_pool_3x3 1, "
        "skip_connect 0, avg_pool_3x3 0, avg_pool_3x3 0, sep_conv_3x3 1, skip_connect 1"
    ),
    normal_concat=(2, 3, 4, 5, 6),
    reduce=cell(
        "sep_conv_5x5 1, sep_conv_7x7 0, max_pool_3x3 1, sep_conv_7x7 0, avg_pool_3x3 1, "
        "sep_conv_5x5 0, skip_connect 3, avg_pool_3x3 2, sep_conv_3x3 2, max_pool_3x3 1"
    ),
    reduce_concat=(4, 5, 6),
)
AMOEBANET = Genotype(
    normal=cell(
        "avg_pool_3x3 0, max_pool_3x3 1, sep_conv_3x3 0, sep_conv_5x5 2, sep_conv_3x3 0, "
        "avg_pool_3x3 3, sep_conv_3x3 1, skip_connect 1, skip_connect 0, avg_pool_3x3 1"
    ),
    normal_concat=(4, 5, 6),
    reduce=cell(
        "avg_pool_3x3 0, sep_conv_3x3 1, max_pool_3x3 0, sep_conv_7x7 2, sep_conv_7x7 0, "
        "avg_pool_3x3 1, max_pool_3x3 0, max_pool_3x3 1, conv_7x1_1x7 0, sep_conv_3x3 5"
    ),
    reduce_concat=(3, 4, 6),
)
ONE_NODE = cell("sep_conv_3x3 0, skip_connect 1")


def config(channels: int = 4, layers: int = 3, auxiliary: bool = False) -> ModelConfig:
    return ModelConfig(channels, layers, auxiliary, auxiliary_weight=0.4, drop_path_prob=0.2)


def build(
    genotype: Genotype = DARTS_V2,
    channels: int = 4,
    layers: int = 3,
    auxiliary: bool = False,
    outputs: int = 10,
    in_channels: int = 3,
    size: tuple[int, int] = (16, 16),
    seed: int = 0,
) -> Network:
    return Network(config(channels, layers, auxiliary), genotype, outputs, in_channels, size, generator(seed))


def on_meta(genotype: Genotype, channels: int, auxiliary: bool = False, layers: int = 20) -> Network:
    """Without memory or time for weights."""
    with torch.device("meta"):
        return build(genotype, channels, layers, auxiliary, size=(32, 32))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed))


def drop(
    net: Network | Cell,
    p: float,
    batch_size: int = 8,
    shard: slice = slice(None),
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor | None:
    edges = net.droppable_edges if isinstance(net, Network) else len(net.droppable)
    return draw_path_masks(generator(seed), edges, batch_size, shard, p, dtype)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# Sizes


@pytest.mark.parametrize(
    ("genotype", "channels", "parameters", "published"),
    [
        (DARTS_V2, 36, 3_349_342, 3.3),  # Liu et al. 2019, table 1
        (PC_DARTS, 36, 3_634_678, 3.6),  # Xu et al. 2020, table 1
        (GAEA_PC_DARTS, 36, 3_688_246, 3.7),  # Li et al. 2021, table 1
        (AMOEBANET, 36, 3_145_078, 3.1),  # Liu et al. 2019, table 1, trained in the setting of DARTS
        (NASNET, 32, 3_061_738, 3.1),  # likewise; 32 channels are those of NASNet-A (6 @ 768)
    ],
    ids=["DARTS_V2", "PC_DARTS", "GAEA_PC_DARTS", "AMOEBANET", "NASNET"],
)
def test_published_networks_have_their_published_size(
    genotype: Genotype, channels: int, parameters: int, published: float
) -> None:
    assert count(on_meta(genotype, channels)) == parameters
    assert round(parameters / 1e6, 1) == published


def test_darts_v1_has_3_2_million_parameters_where_the_paper_says_3_3() -> None:
    assert count(on_meta(DARTS_V1, 36)) == 3_169_414


def test_the_auxiliary_head_of_darts_has_its_size() -> None:
    channels = 4 * 4 * 36
    head = channels * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 10 + 10
    assert count(on_meta(DARTS_V2, 36, auxiliary=True)) - count(on_meta(DARTS_V2, 36)) == head == 476_426


@pytest.mark.parametrize(
    ("layers", "expected"), [(1, (0,)), (2, (0, 1)), (3, (1, 2)), (4, (1, 2)), (5, (1, 3)), (8, (2, 5)), (20, (6, 13))]
)
def test_reductions_are_at_one_and_two_thirds_of_the_depth(layers: int, expected: tuple[int, ...]) -> None:
    assert reductions(layers) == expected
    net = build(layers=layers)
    strided = [i for i, part in enumerate(net.cells) if halves(part, "operations")]
    halving = [i for i, part in enumerate(net.cells) if halves(part, "preprocess0")]
    assert strided == list(expected)
    assert halving == [i + 1 for i in expected if i + 1 < layers]  # what comes before the reduction is twice as large


def halves(part: nn.Module, name: str) -> bool:
    layers = list(getattr(part, name).modules())
    strides = [layer.stride for layer in layers if hasattr(layer, "stride")]
    return any(stride in (2, (2, 2)) for stride in strides) or any(
        isinstance(layer, FactorizedReduce) for layer in layers
    )


@pytest.mark.parametrize("genotype", [DARTS_V2, NASNET, AMOEBANET], ids=["DARTS_V2", "NASNET", "AMOEBANET"])
def test_channels_double_and_sides_halve_at_reductions(genotype: Genotype) -> None:
    net, shapes = build(genotype, channels=4, layers=6, size=(27, 35)), []
    for part in net.cells:
        part.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    net.eval()(normal(1, 3, 27, 35))
    width = {False: len(genotype.normal_concat), True: len(genotype.reduce_concat)}
    expected = []
    for i, (channels, rows, columns) in enumerate([(4, 27, 35)] * 2 + [(8, 14, 18)] * 2 + [(16, 7, 9)] * 2):
        expected.append((channels * width[i in (2, 4)], rows, columns))
        assert map_size((27, 35), 6, i) == (rows, columns)
    assert shapes == expected


# Shapes


@pytest.mark.parametrize("size", [(27, 35), (30, 80), (8, 8), (28, 28), (32, 32), (33, 1)], ids=str)
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_any_image_gives_logits_from_both_heads(size: tuple[int, int], in_channels: int, layers: int) -> None:
    net = build(channels=2, layers=layers, auxiliary=True, outputs=7, in_channels=in_channels, size=size)
    x = normal(2, in_channels, *size)
    logits, auxiliary = net(x)
    assert auxiliary is not None and logits.shape == auxiliary.shape == (2, 7)
    assert logits.isfinite().all() and auxiliary.isfinite().all()
    assert net.eval()(x).auxiliary_logits is None


def test_a_regression_has_one_output_and_without_the_switch_there_is_no_second_head() -> None:
    out = build(outputs=1)(normal(2, 3, 16, 16))
    assert out.logits.shape == (2, 1) and out.auxiliary_logits is None


def test_images_of_another_size_than_announced_work_too() -> None:
    net = build(size=(16, 16)).eval()
    assert net(normal(2, 3, 21, 9)).logits.shape == (2, 10)


def test_the_auxiliary_head_pools_as_darts_where_its_window_fits_and_by_quarters_elsewhere() -> None:
    x = normal(2, 6, 8, 8)
    head = model.auxiliary_head(6, (8, 8), 10)
    corners = [(slice(i, i + 5), slice(j, j + 5)) for i in (0, 3) for j in (0, 3)]
    windows = torch.stack([x[:, :, rows, columns].mean((2, 3)) for rows, columns in corners], -1).view(2, 6, 2, 2)
    torch.testing.assert_close(head[1](x), windows)
    for size in ((7, 7), (2, 20), (1, 1), (11, 8), (16, 16)):
        head = model.auxiliary_head(6, size, 10)
        assert head[1](normal(2, 6, *size)).shape == (2, 6, 2, 2)
        assert head(normal(2, 6, *size)).shape == (2, 10)
    for size in ((7, 7), (2, 20), (1, 1), (11, 8), (16, 16), (1, 6)):
        x = normal(2, 6, *size).double().requires_grad_()
        ours, torchs = model.QuarterMeans()(x), nn.functional.adaptive_avg_pool2d(x, 2)
        torch.testing.assert_close(ours, torchs)
        weights = normal(2, 6, 2, 2, seed=2).double()
        gradients = [torch.autograd.grad((value * weights).sum(), x)[0] for value in (ours, torchs)]
        torch.testing.assert_close(*gradients)
    quarters = normal(2, 6, 16, 4).unflatten(3, (2, 2)).unflatten(2, (2, 8)).mean((3, 5))
    torch.testing.assert_close(model.auxiliary_head(6, (16, 4), 10)[1](normal(2, 6, 16, 4)), quarters)


# Wiring


def test_a_cell_adds_two_edges_a_node_and_concatenates() -> None:
    edges = cell("sep_conv_3x3 0, skip_connect 1, max_pool_3x3 2, dil_conv_3x3 0, avg_pool_3x3 3, none 1")
    part = Cell(Genotype(normal=edges, normal_concat=(4, 2), reduce=ONE_NODE), (5, 6), 4, False, False)
    x0, x1 = normal(2, 5, 6, 7), normal(2, 6, 6, 7, seed=2)
    a, b = part.preprocess0(x0), part.preprocess1(x1)
    ops = part.operations
    node2 = ops[0](a) + b
    node3 = ops[2](node2) + ops[3](a)
    node4 = ops[4](node3)
    torch.testing.assert_close(part(x0, x1), torch.cat([node4, node2], 1))
    assert part.channels_out == 8


def test_a_reduction_strides_only_the_edges_from_its_inputs() -> None:
    edges = cell("sep_conv_3x3 0, skip_connect 1, skip_connect 2, dil_conv_3x3 1")
    part = Cell(Genotype(normal=ONE_NODE, reduce=edges), (5, 6), 4, True, True)
    x0, x1 = normal(2, 5, 14, 13), normal(2, 6, 7, 7, seed=2)  # the cell before has reduced
    a, b = part.preprocess0(x0), part.preprocess1(x1)
    ops = part.operations
    node2 = ops[0](a) + ops[1](b)
    assert a.shape == b.shape == (2, 4, 7, 7) and isinstance(ops[2], nn.Identity)
    torch.testing.assert_close(part(x0, x1), torch.cat([node2, node2 + ops[3](b)], 1))


def test_each_cell_sees_the_two_before_it_and_the_head_the_mean_of_the_last() -> None:
    net = build(layers=4, auxiliary=True, size=(16, 16))
    x = normal(3, 3, 16, 16)
    stem = net.stem(x)
    outputs = [stem, stem]
    for part in net.cells:
        outputs.append(part(outputs[-2], outputs[-1]))
    assert net.auxiliary is not None
    expected = net.classifier(outputs[-1].flatten(2).mean(-1)), net.auxiliary(outputs[2 + 8 // 3])
    for value, by_hand in zip(net(x), expected, strict=True):
        torch.testing.assert_close(value, by_hand)


# Gradients


def test_gradients_of_a_cell_equal_finite_differences() -> None:
    edges = cell("sep_conv_3x3 0, skip_connect 1, dil_conv_3x3 2, max_pool_3x3 1, avg_pool_3x3 3, skip_connect 0")
    part = Cell(Genotype(normal=ONE_NODE, reduce=edges), (2, 3), 2, True, True).double()
    model.initialise(part, generator())
    inputs = normal(2, 2, 8, 7).double().requires_grad_(), normal(2, 3, 4, 4, seed=2).double().requires_grad_()
    parameters = tuple(part.parameters())

    def run(x0: torch.Tensor, x1: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        return part(x0, x1)  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(run, (*inputs, *parameters))


@pytest.mark.parametrize(
    "genotype", [DARTS_V2, NASNET, AMOEBANET, sample(3)], ids=["DARTS", "NASNET", "AMOEBA", "sample"]
)
def test_every_parameter_of_the_network_gets_a_finite_gradient(genotype: Genotype) -> None:
    net = build(genotype, layers=5, auxiliary=True)
    logits, auxiliary = net(normal(4, 3, 16, 16), drop(net, 0.2, 4))
    assert auxiliary is not None
    (logits.square().mean() + 0.4 * auxiliary.square().mean()).backward()
    assert net.unused_parameters() == []
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("auxiliary", [False, True])
def test_unused_parameters_are_those_without_a_gradient(auxiliary: bool) -> None:
    found = []
    for genotype in genotypes_with_gaps():
        for layers in (1, 2, 3, 4, 6):
            net = build(genotype, 2, layers, auxiliary, size=(8, 8))
            logits, extra = net(normal(2, 3, 8, 8))
            (logits.sum() if extra is None else logits.sum() + extra.sum()).backward()
            unused = {id(parameter) for parameter in net.unused_parameters()}
            without = {id(parameter) for parameter in net.parameters() if parameter.grad is None}
            assert unused == without, (genotype, layers)
            found.append(len(unused))
    assert 0 in found and max(found) > 40  # both kinds were tried


# Drop path


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_a_share_p_of_the_images_is_dropped_and_the_rest_keeps_the_expectation(p: float, dtype: torch.dtype) -> None:
    edges, images = 5, 40_000
    masks = draw_path_masks(generator(), edges, images, slice(None), p, dtype)
    assert masks is not None and masks.shape == (edges, images, 1, 1, 1) and masks.dtype == dtype
    kept = 1 / (1 - p)
    assert masks.unique().tolist() == [0.0, pytest.approx(kept, rel=2 * torch.finfo(dtype).eps)]
    dropped = (masks == 0).double().flatten(1)
    bound = 4.5 * math.sqrt(p * (1 - p) / images)
    assert dropped.mean(1).tolist() == [pytest.approx(p, abs=bound)] * edges  # of every edge
    both = (dropped @ dropped.T / images).fill_diagonal_(p * p)  # edges know nothing of each other
    assert (both - p * p).abs().max() < 4.5 * math.sqrt(p * p * (1 - p * p) / images)
    neighbours = (dropped[:, 1:] * dropped[:, :-1]).mean(1)  # nor do images
    assert (neighbours - p * p).abs().max() < 6 * math.sqrt(p * p * (1 - p * p) / images)


def test_a_probability_of_zero_draws_nothing() -> None:
    draws = generator()
    state = draws.get_state()
    assert draw_path_masks(draws, 3, 8, slice(None), 0.0) is None
    assert torch.equal(draws.get_state(), state)


@given(st.integers(1, 13), st.integers(0, 13), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_two_processes_draw_the_masks_of_the_whole_batch(batch_size: int, cut: int, seed: int) -> None:
    cut = min(cut, batch_size)
    whole, *parts = (
        draw_path_masks(generator(seed), 3, batch_size, shard, 0.4)
        for shard in (slice(None), slice(0, cut), slice(cut, None))
    )
    assert torch.equal(torch.cat([part for part in parts if part is not None], dim=1), whole)  # type: ignore[arg-type]


def test_masks_go_to_their_edges() -> None:
    """Edge by edge: dropping one row of the masks is dropping that edge."""
    net, x = build(sample(1), layers=3).eval(), normal(2, 3, 16, 16)
    edges = [(part, k) for part in net.cells for k in part.droppable]
    assert net.droppable_edges == len(edges)
    assert sum(isinstance(op, nn.Identity) for part in net.cells for op in part.operations) + len(edges) == 3 * 8
    for row, (part, k) in enumerate(edges):
        masks = torch.ones(len(edges), 2, 1, 1, 1)
        masks[row, 1] = 0
        without = part.operations[k].register_forward_hook(
            lambda _, __, out: out * torch.tensor([1.0, 0.0])[:, None, None, None]
        )
        expected = net(x).logits
        without.remove()
        torch.testing.assert_close(net(x, masks).logits, expected)


class Operations(TorchDispatchMode):
    """Notes the names of the operations that run, views left out."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view:
            self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_a_step_draws_once_and_multiplies_once_an_edge() -> None:
    net, x = build(layers=4, auxiliary=True), normal(4, 3, 16, 16)
    with Operations() as without:
        net(x)
    with Operations() as drawing:
        masks = drop(net, 0.2, 4)
    with Operations() as dropping:
        net(x, masks)
    assert len(drawing.names) <= 5 and drawing.names.count("rand") == 1
    extra = Counter(dropping.names) - Counter(without.names)
    assert extra == {"mul": net.droppable_edges}


def test_the_network_compiles_whole() -> None:
    """Without a graph break, with drop path as without; nothing is drawn within it."""
    net, x = build(layers=3, auxiliary=True), normal(4, 3, 16, 16)
    masks = drop(net, 0.2, 4)
    expected = copy.deepcopy(net)(x, masks)
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    for value, plain in zip(compiled(x, masks), expected, strict=True):
        torch.testing.assert_close(value, plain)


def test_two_halves_of_a_batch_equal_the_whole() -> None:
    net, x = build(layers=4).eval(), normal(8, 3, 16, 16)
    whole = net(x, drop(net, 0.5)).logits
    halves = [net(x[shard], drop(net, 0.5, shard=shard)).logits for shard in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(torch.cat(halves), whole)
    assert not torch.allclose(net(x).logits, whole)


def test_whole_edges_of_single_images_are_dropped_and_identities_never() -> None:
    part = Cell(Genotype(normal=ONE_NODE, reduce=ONE_NODE), (3, 3), 4, False, False).eval()
    x0, x1 = normal(400, 3, 4, 4), normal(400, 3, 4, 4, seed=2)
    kept, edge = part.preprocess1(x1), part.operations[0](part.preprocess0(x0))
    out = part(x0, x1, drop(part, 0.3, 400))
    dropped = (out - kept).flatten(1).abs().amax(1) < 1e-6
    assert 80 < int(dropped.sum()) < 160
    torch.testing.assert_close(out[dropped], kept[dropped])
    torch.testing.assert_close(out[~dropped], (kept + edge / 0.7)[~dropped])


def test_a_cell_of_identities_drops_nothing() -> None:
    edges = cell("skip_connect 0, skip_connect 1, skip_connect 2, skip_connect 0")
    part = Cell(Genotype(normal=edges, reduce=edges), (3, 3), 4, False, False).eval()
    inputs = normal(8, 3, 4, 4), normal(8, 3, 4, 4, seed=2)
    assert torch.equal(part(*inputs, drop(part, 0.9)), part(*inputs))


def test_a_strided_skip_is_no_identity_and_is_dropped() -> None:
    edges = cell("skip_connect 0, skip_connect 1")
    part = Cell(Genotype(normal=edges, reduce=edges), (3, 3), 4, True, False).eval()
    inputs = normal(64, 3, 4, 4), normal(64, 3, 4, 4, seed=2)
    out = part(*inputs, drop(part, 0.5, 64)).flatten(1)
    assert 4 < int((out == 0).all(1).sum()) < 32  # both edges, of a quarter of the images


def test_each_edge_is_dropped_on_its_own() -> None:
    edges = cell("sep_conv_3x3 0, sep_conv_3x3 1")
    part = Cell(Genotype(normal=edges, reduce=edges), (3, 3), 4, False, False).eval()
    x0, x1 = normal(400, 3, 4, 4), normal(400, 3, 4, 4, seed=2)
    first, second = part.operations[0](part.preprocess0(x0)), part.operations[1](part.preprocess1(x1))
    out = part(x0, x1, drop(part, 0.5, 400))
    found = torch.zeros(400)
    for sum_of_kept in (0 * first, 2 * first, 2 * second, 2 * first + 2 * second):
        same = (out - sum_of_kept).flatten(1).abs().amax(1) < 1e-5
        assert 60 < int(same.sum()) < 140  # a quarter each
        found += same
    assert found.eq(1).all()


@pytest.mark.parametrize("name", ALL_OPERATIONS)
def test_under_autocast_what_is_dropped_has_the_type_of_the_masks(name: str) -> None:
    edges = ((name, 0), (name, 1), (name, 2), (name, 0))
    part = Cell(Genotype(normal=edges, reduce=edges), (3, 3), 4, True, False)
    found = set()
    for operation in part.operations:
        operation.register_forward_hook(lambda _, __, out: found.add(out.dtype))
    inputs = normal(4, 3, 8, 8).bfloat16(), normal(4, 3, 8, 8, seed=2).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = part(*inputs, drop(part, 0.5, 4, dtype=torch.bfloat16))
    assert found == {torch.bfloat16} and out.dtype == torch.bfloat16


# Initial weights


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether a and b agree in all that both have."""
    others = b.state_dict()
    return all(torch.equal(value, others[name]) for name, value in a.state_dict().items() if name in others)


def test_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    net = build(auxiliary=True)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = build(auxiliary=True)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(net, again) and not same(net, build(seed=1))


def test_the_auxiliary_head_does_not_change_the_other_weights() -> None:
    assert same(build(), build(auxiliary=True))


def test_all_weights_come_from_the_generator() -> None:
    first, second = (dict(build(auxiliary=True, seed=seed).named_parameters()) for seed in (0, 1))
    equal = {name for name in first if torch.equal(first[name], second[name])}
    net = build(auxiliary=True)
    norms = {name for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert {name.rpartition(".")[0] for name in equal} <= norms  # ones and zeros


# Precision and memory format


@pytest.mark.parametrize("genotype", [DARTS_V2, NASNET], ids=["DARTS_V2", "NASNET"])
def test_channels_last_gives_the_same(genotype: Genotype) -> None:
    net, x = build(genotype, layers=4, auxiliary=True).double(), normal(4, 3, 15, 16).double()
    masks = drop(net, 0.2, 4, dtype=torch.float64)
    expected = net(x, masks)
    out = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), masks)
    for value, plain in zip(out, expected, strict=True):
        torch.testing.assert_close(value, plain)


def test_autocast_trains_in_half_precision() -> None:
    net = build(layers=4, auxiliary=True).to(memory_format=torch.channels_last)
    x = normal(4, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    widths = set()
    for part in net.cells:
        part.register_forward_hook(lambda _, __, out: widths.add(out.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, auxiliary = net(x, drop(net, 0.2, 4, dtype=torch.bfloat16))
        loss = logits.float().square().mean() + auxiliary.float().square().mean()
    loss.backward()
    assert widths == {torch.bfloat16} and loss.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in net.parameters())


# Hyperparameters and arguments


def as_given(**changes: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(config()), **changes}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("init_channels", 0),
        ("layers", 0),
        ("auxiliary", 1),
        ("auxiliary_weight", -0.1),
        ("drop_path_prob", -0.1),
        ("drop_path_prob", 1.0),
    ],
)
def test_hyperparameters_out_of_range_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"hyperparameters\.{field} must be "):
        read(as_given(**{field: value}), ModelConfig)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ModelConfig)])
def test_every_hyperparameter_must_be_given(field: str) -> None:
    values = as_given()
    del values[field]
    with pytest.raises(ConfigError, match=rf"hyperparameters\.{field} is missing"):
        read(values, ModelConfig)


def test_sizes_below_one_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Network(config(), DARTS_V2, 0, 0, (0, 5), generator())
    assert [problem.split()[0] for problem in caught.value.problems] == ["outputs", "in_channels", "height"]
