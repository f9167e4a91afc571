"""The operations of convolutional cells against plain formulas, and the rules that hold for each of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnn_nas.architecture import ALL_OPERATIONS
from cnn_nas.operations import OPERATIONS, FactorizedReduce, build, initialise, relu_conv_norm
from nas.core.errors import ConfigError

CHANNELS = 4
SIZES = [(27, 35), (30, 80), (8, 8), (7, 4), (2, 3), (1, 1)]
every_operation = pytest.mark.parametrize("name", sorted(OPERATIONS))
either_stride = pytest.mark.parametrize("stride", [1, 2])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


def made(name: str, stride: int = 1, channels: int = CHANNELS, pool_bn: bool = False) -> nn.Module:
    """An operation of float64 with weights for which batch norm is more than normalisation."""
    return shaken(build(name, channels, stride, affine=True, pool_bn=pool_bn))


def shaken(module: nn.Module) -> nn.Module:
    module.double()
    initialise(module, generator())
    for i, layer in enumerate(module.modules()):
        if isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.uniform_(layer.weight, 0.5, 2.0, generator=generator(i))
            nn.init.uniform_(layer.bias, -1.0, 1.0, generator=generator(i + 100))
    return module


def weights(module: nn.Module) -> list[torch.Tensor]:
    """Weights of the convolutions, in order."""
    return [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def halved(size: int, stride: int) -> int:
    return math.ceil(size / stride)


# Rules for all


def test_there_is_an_operation_for_every_name_that_a_genotype_may_use() -> None:
    assert set(OPERATIONS) == set(ALL_OPERATIONS)


@every_operation
@either_stride
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_shapes_halve_and_round_up(name: str, stride: int, size: tuple[int, int]) -> None:
    x = normal(2, CHANNELS, *size)
    out = made(name, stride)(x)
    assert out.shape == (2, CHANNELS, halved(size[0], stride), halved(size[1], stride))
    assert out.dtype == x.dtype and out.isfinite().all()


@every_operation
@either_stride
@pytest.mark.parametrize("affine", [True, False])
def test_every_parameter_and_the_input_get_a_gradient(name: str, stride: int, affine: bool) -> None:
    operation = build(name, CHANNELS, stride, affine).double()
    initialise(operation, generator())
    x = normal(3, CHANNELS, 7, 6).requires_grad_()
    out = operation(x)
    if name == "none":
        assert not out.requires_grad and not out.any() and not list(operation.parameters())
        return
    (out * normal(*out.shape, seed=2)).sum().backward()
    for gradient in [x.grad, *(parameter.grad for parameter in operation.parameters())]:
        assert gradient is not None and gradient.isfinite().all() and gradient.any()
    assert all(layer.affine == affine for layer in norms(operation))


@every_operation
@either_stride
def test_the_input_is_left_alone(name: str, stride: int) -> None:
    x = normal(2, CHANNELS, 5, 5)
    before = x.clone()
    made(name, stride)(x)
    assert torch.equal(x, before)


@every_operation
@either_stride
def test_channels_last_gives_the_same(name: str, stride: int) -> None:
    operation, x = made(name, stride), normal(2, CHANNELS, 7, 6)
    expected = operation(x)
    out = operation.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=torch.channels_last)


@every_operation
@either_stride
def test_autocast_stays_near_full_precision(name: str, stride: int) -> None:
    operation, x = made(name, stride).float(), normal(2, CHANNELS, 7, 6).float()
    expected = operation(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = operation(x)
    torch.testing.assert_close(out.float(), expected, atol=0.15, rtol=0.05)


def test_an_operation_that_does_not_exist_is_refused_with_the_nearest_that_do() -> None:
    with pytest.raises(ConfigError, match=r"operation 'sep_conv_3x4' is not an operation; did you mean sep_conv_3x3"):
        build("sep_conv_3x4", CHANNELS, 1, affine=True)


def test_strides_and_widths_that_do_not_work_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="stride of skip_connect must be 1 or 2, got 3"):
        build("skip_connect", CHANNELS, 3, affine=True)
    with pytest.raises(ConfigError, match="channels of a skip_connect of stride 2 must be at least 2, got 1"):
        build("skip_connect", 1, 2, affine=True)


# Each against its formula


def normalised(x: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    """Batch norm in training, written out."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    scaled = (x - mean) / (variance + 1e-5).sqrt()
    return scaled if not norm.affine else scaled * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1)


def depthwise_separable(
    x: torch.Tensor, depthwise: torch.Tensor, pointwise: torch.Tensor, norm: nn.BatchNorm2d, stride: int, dilation: int
) -> torch.Tensor:
    """ReLU, a convolution for each channel on its own, with a kernel spread out by zeros, then a matrix product."""
    kernel = depthwise.new_zeros(len(depthwise), 1, *[dilation * (side - 1) + 1 for side in depthwise.shape[2:]])
    kernel[:, :, ::dilation, ::dilation] = depthwise
    pad = kernel.shape[-1] // 2
    x = F.pad(x.clamp(min=0), (pad, pad, pad, pad))
    channels = [F.conv2d(x[:, [i]], kernel[[i]], stride=stride) for i in range(x.shape[1])]
    return normalised(torch.einsum("oi,bihw->bohw", pointwise[:, :, 0, 0], torch.cat(channels, 1)), norm)


@either_stride
@pytest.mark.parametrize(("name", "kernel"), [("sep_conv_3x3", 3), ("sep_conv_5x5", 5), ("sep_conv_7x7", 7)])
def test_separable_convolutions_are_applied_twice_and_strided_once(name: str, kernel: int, stride: int) -> None:
    operation, x = made(name, stride), normal(2, CHANNELS, 9, 8)
    (depth1, point1, depth2, point2), (norm1, norm2) = weights(operation), norms(operation)
    assert depth1.shape == depth2.shape == (CHANNELS, 1, kernel, kernel)
    middle = depthwise_separable(x, depth1, point1, norm1, stride, dilation=1)
    expected = depthwise_separable(middle, depth2, point2, norm2, stride=1, dilation=1)
    torch.testing.assert_close(operation(x), expected)


@either_stride
@pytest.mark.parametrize(("name", "kernel"), [("dil_conv_3x3", 3), ("dil_conv_5x5", 5)])
def test_dilated_convolutions_are_applied_once_with_holes(name: str, kernel: int, stride: int) -> None:
    operation, x = made(name, stride), normal(2, CHANNELS, 9, 8)
    (depth, point), (norm,) = weights(operation), norms(operation)
    assert depth.shape == (CHANNELS, 1, kernel, kernel)
    torch.testing.assert_close(operation(x), depthwise_separable(x, depth, point, norm, stride, dilation=2))


@either_stride
def test_conv_7x1_1x7_is_a_row_then_a_column(stride: int) -> None:
    operation, x = made("conv_7x1_1x7", stride), normal(2, CHANNELS, 9, 8)
    (row, column), (norm,) = weights(operation), norms(operation)
    assert row.shape[2:] == (1, 7) and column.shape[2:] == (7, 1)
    rows = F.conv2d(F.pad(x.clamp(min=0), (3, 3, 0, 0)), row)[:, :, :, ::stride]
    both = F.conv2d(F.pad(rows, (0, 0, 3, 3)), column)[:, :, ::stride]
    torch.testing.assert_close(operation(x), normalised(both, norm))


def pooled(x: torch.Tensor, stride: int, reduce: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Reduces each 3x3 window, cut off at the borders, to a number a channel."""
    height, width = x.shape[2:]
    rows = [
        [reduce(x[:, :, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].flatten(2)) for j in range(0, width, stride)]
        for i in range(0, height, stride)
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@either_stride
@pytest.mark.parametrize("size", [(6, 5), (1, 4), (2, 2)], ids=str)
def test_pools_see_only_the_pixels_that_exist(stride: int, size: tuple[int, int]) -> None:
    x = normal(2, CHANNELS, *size) - 5  # negative, so that a padded zero would win a maximum
    averages = pooled(x, stride, lambda window: window.mean(-1))
    torch.testing.assert_close(made("avg_pool_3x3", stride)(x), averages)
    torch.testing.assert_close(made("max_pool_3x3", stride)(x), pooled(x, stride, lambda window: window.amax(-1)))


@every_operation
@either_stride
def test_pool_bn_normalises_pools_without_parameters_and_changes_nothing_else(name: str, stride: int) -> None:
    x = normal(3, CHANNELS, 6, 5)
    plain, changed = made(name, stride), made(name, stride, pool_bn=True)
    assert [p.shape for p in changed.parameters()] == [p.shape for p in plain.parameters()]
    expected = normalised(plain(x), norms(changed)[-1]) if "pool" in name else plain(x)
    torch.testing.assert_close(changed(x), expected)


def test_a_skip_of_stride_1_is_the_input_itself() -> None:
    x = normal(2, CHANNELS, 5, 4)
    assert made("skip_connect")(x) is x


@pytest.mark.parametrize("size", [*SIZES, (5, 5), (5, 6), (6, 5)], ids=str)
@pytest.mark.parametrize("channels_out", [2, 5, 6])
def test_a_factorised_reduction_sees_even_and_odd_pixels(size: tuple[int, int], channels_out: int) -> None:
    reduction = FactorizedReduce(3, channels_out)
    shaken(reduction)
    x = normal(2, 3, *size)
    even, odd = (weight[:, :, 0, 0] for weight in weights(reduction))
    rows, columns = halved(size[0], 2), halved(size[1], 2)
    padded = x.new_zeros(2, 3, 2 * rows, 2 * columns)
    padded[:, :, : size[0], : size[1]] = x.clamp(min=0)
    halves = [
        torch.einsum("oi,bihw->bohw", even, padded[:, :, 0::2, 0::2]),
        torch.einsum("oi,bihw->bohw", odd, padded[:, :, 1::2, 1::2]),
    ]
    assert len(even) == channels_out // 2 and len(even) + len(odd) == channels_out
    expected = normalised(torch.cat(halves, 1), reduction.norm)
    torch.testing.assert_close(reduction(x), expected)


def test_relu_conv_norm_is_its_formula() -> None:
    module = shaken(relu_conv_norm(3, 5))
    x = normal(2, 3, 4, 5)
    product = torch.einsum("oi,bihw->bohw", weights(module)[0][:, :, 0, 0], x.clamp(min=0))
    torch.testing.assert_close(module(x), normalised(product, norms(module)[0]))


# Initial weights


def layers() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.Conv2d(6, 6, 3, groups=6, bias=False),
        nn.BatchNorm2d(6),
        nn.Sequential(nn.Linear(7, 4)),
        nn.Conv2d(6, 2, 1),
    )


@pytest.mark.parametrize("seed", [0, 7])
def test_initialise_draws_exactly_what_torch_draws_by_default(seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = layers()
    module = layers()
    initialise(module, generator(seed))
    for name, value in expected.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name


def test_initialise_depends_on_its_generator_alone() -> None:
    module = layers()
    before, global_state = copy.deepcopy(module), torch.get_rng_state()
    initialise(module, generator(1))
    assert torch.equal(torch.get_rng_state(), global_state)
    torch.rand(5)
    again = layers()
    initialise(again, generator(1))
    other = layers()
    initialise(other, generator(2))
    assert torch.equal(module[0].weight, again[0].weight) and torch.equal(module[0].bias, again[0].bias)
    assert not torch.equal(module[0].weight, other[0].weight) and not torch.equal(module[0].bias, other[0].bias)
    assert not torch.equal(module[0].weight, before[0].weight)


def test_weights_are_uniform_within_one_over_the_root_of_the_fan_in() -> None:
    layer = nn.Conv2d(16, 200, 3)
    initialise(layer, generator())
    bound = 1 / math.sqrt(16 * 9)
    shares = torch.histc(layer.weight.detach(), 10, -bound, bound) / layer.weight.numel()
    assert layer.weight.abs().max() <= bound and layer.bias is not None and layer.bias.abs().max() <= bound
    torch.testing.assert_close(shares, torch.full((10,), 0.1), atol=0.01, rtol=0)


def test_on_the_meta_device_initialise_does_nothing() -> None:
    with torch.device("meta"):
        module = layers()
    initialise(module, generator())
    assert all(parameter.is_meta for parameter in module.parameters())
