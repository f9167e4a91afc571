"""One backward pass over several forward passes of the fast convolutional network, against `Network` in float64."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from support.fast_networks import TIGHT, assert_near, both, drop, generator, loss_of, moved, normal, nudged

from cnn_nas.architecture import ALL_OPERATIONS, Genotype
from cnn_nas.fast.depthwise import depthwise
from cnn_nas.model import Network, Output, draw_path_masks
from cnn_nas.space import SPACE

Images = tuple[torch.Tensor, torch.Tensor]
Passes = Callable[[Network, Images], None]


def masks_of(net: Network, seed: int) -> torch.Tensor | None:
    return draw_path_masks(generator(seed), net.droppable_edges, 3, slice(None), 0.3, torch.float64)


def forward(net: Network, images: Images, which: int) -> torch.Tensor:
    output: Output = net(images[which], masks_of(net, which))
    return loss_of(output)


def sum_of_two(net: Network, images: Images) -> None:
    (forward(net, images, 0) + 3 * forward(net, images, 1)).backward()


def accumulated(net: Network, images: Images) -> None:
    for which in (0, 1):
        forward(net, images, which).backward()


def later_one_first(net: Network, images: Images) -> None:
    first, second = forward(net, images, 0), forward(net, images, 1)
    second.backward()
    first.backward()


def retained(net: Network, images: Images) -> None:
    loss = forward(net, images, 0)
    loss.backward(retain_graph=True)
    loss.backward(retain_graph=True)
    (2 * loss).backward()


def each_head_alone(net: Network, images: Images) -> None:
    logits, auxiliary = net(images[0], masks_of(net, 0))
    logits.square().sum().backward(retain_graph=True)
    auxiliary.square().sum().backward()


def penalised(net: Network, images: Images) -> None:
    """The weights are in the graph twice; those without a gradient of the loss have one of the penalty."""
    penalty = torch.stack([parameter.square().sum() for parameter in net.parameters()]).sum()
    (forward(net, images, 0) + 0.1 * penalty + forward(net, images, 1)).backward()


def images_through_images(net: Network, images: Images) -> None:
    """The second batch depends on what the first one gave."""
    logits = net(images[0], masks_of(net, 0)).logits
    loss_of(net(images[1] * logits.mean(), masks_of(net, 1))).backward()


def evaluated_between(net: Network, images: Images) -> None:
    loss = forward(net, images, 0)
    net.eval()
    with torch.no_grad():
        net(images[1])
    extra = net(images[1]).logits.square().sum()
    net.train()
    (loss + forward(net, images, 1) + extra).backward()


PASSES: tuple[Passes, ...] = (
    *(sum_of_two, accumulated, later_one_first, retained, each_head_alone, penalised, images_through_images),
    evaluated_between,
)


def everything(net: Network, images: Images, passes: Passes) -> dict[str, torch.Tensor | None]:
    """Gradients of weights and images, and the buffers, after these passes."""
    leaves = (images[0].clone().requires_grad_(), images[1].clone().requires_grad_())
    passes(net, leaves)
    named = {name: parameter.grad for name, parameter in net.named_parameters()}
    buffers = {name: value.double() for name, value in net.named_buffers()}
    return {"images 0": leaves[0].grad, "images 1": leaves[1].grad, **named, **buffers}


def assert_same_passes(genotype: Genotype, passes: Passes, last: bool = True) -> None:
    plain, fast = both(genotype, layers=3, last=last)
    images = normal(3, 3, 16, 16), normal(3, 3, 16, 16, seed=2)
    start = copy.deepcopy(plain)
    theirs, ours = everything(plain, images, passes), everything(fast, images, passes)
    aside = everything(start, (nudged(images[0]), nudged(images[1])), passes)
    for name, value in theirs.items():
        assert_near(ours[name], value, name, TIGHT + moved(value, aside[name]))


@pytest.mark.parametrize("passes", PASSES)
@pytest.mark.parametrize("last", [True, False])
def test_published_networks_have_the_same_gradients(passes: Passes, last: bool) -> None:
    for name in ("CONSTRAINED_ASHA", "DARTS_V2", "NASNET"):
        assert_same_passes(SPACE.by_name(name), passes, last)


@pytest.mark.parametrize("passes", PASSES)
def test_every_operation_has_the_same_gradients(passes: Passes) -> None:
    """A cell that has them all, in two orders: each reads inputs and nodes."""
    orders = ALL_OPERATIONS, ALL_OPERATIONS[::-1]
    normal_cell, reduction = (tuple((name, k % (2 + k // 2)) for k, name in enumerate(order)) for order in orders)
    assert_same_passes(Genotype(normal=normal_cell, reduce=reduction), passes)


def test_the_gradient_of_a_sum_is_the_sum_of_gradients() -> None:
    """Without the plain form: the passes of batch norm in training know nothing of each other."""
    _, fast = both(SPACE.by_name("CONSTRAINED_ASHA"), layers=4)
    images = [normal(3, 3, 16, 16, seed=seed) for seed in (1, 2)]
    masks = drop(fast, 3)

    def gradients(*which: int) -> list[torch.Tensor]:
        fast.zero_grad()
        torch.stack([loss_of(fast(images[i], masks)) for i in which]).sum().backward()
        return [parameter.grad.clone() for parameter in fast.parameters() if parameter.grad is not None]

    for whole, first, second in zip(gradients(0, 1), gradients(0), gradients(1), strict=True):
        assert_near(whole, first + second)


# The depthwise convolution, whose gradient is written by hand

SHAPES = [(1, 1), (2, 1), (1, 2), (2, 2)]  # stride and dilation
by_shape = pytest.mark.parametrize(("stride", "dilation"), SHAPES, ids=str)
by_kernel = pytest.mark.parametrize("kernel", [3, 5, 7])
by_format = pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format], ids=str)


@by_shape
@by_kernel
@by_format
def test_a_depthwise_convolution_used_twice(
    stride: int, dilation: int, kernel: int, memory: torch.memory_format
) -> None:
    """Finite differences of two uses of the same weight and the same images, of an even and an odd size."""
    padding = (dilation * (kernel // 2),) * 2
    weight = normal(2, 1, kernel, kernel, seed=2).requires_grad_()
    for size in ((6, 6), (5, 6)):
        x = normal(2, 2, *size).contiguous(memory_format=memory).requires_grad_()

        def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            uses = (depthwise(each, weight, (stride,) * 2, padding, (dilation,) * 2) for each in (x, x * x))
            return next(uses) * next(uses) + weight.square().sum()

        assert torch.autograd.gradcheck(run, (x, weight))


@by_shape
@by_kernel
@by_format
def test_under_autocast_its_gradients_are_as_near_as_those_of_torch(
    stride: int, dilation: int, kernel: int, memory: torch.memory_format
) -> None:
    x, weight = (
        normal(3, 4, 10, 9).float().contiguous(memory_format=memory),
        normal(4, 1, kernel, kernel, seed=2).float(),
    )
    padding = (dilation * (kernel // 2),) * 2
    grad = normal(3, 4, 10, 9, seed=3)[:, :, ::stride, ::stride]

    def gradients(run: Callable[..., torch.Tensor], *leaves: torch.Tensor) -> list[torch.Tensor]:
        leaves = tuple(leaf.detach().requires_grad_() for leaf in leaves)
        y = run(*leaves)
        y.backward(grad.to(y.dtype))
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    def torchs(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, weight, None, stride, padding, dilation, len(weight))

    exact = gradients(torchs, x.double(), weight.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = gradients(torchs, x, weight)
        ours = gradients(lambda x, weight: depthwise(x, weight, (stride,) * 2, padding, (dilation,) * 2), x, weight)
    for near, other, right in zip(ours, theirs, exact, strict=True):
        assert near.dtype == other.dtype == torch.float32
        assert (near - right).norm() <= 1.5 * (other - right).norm() < 0.03 * right.norm()


def test_a_gradient_of_the_gradient_is_complete() -> None:
    """The backward pass is made of torch's operations, whose derivatives are torch's: nothing is left out."""
    for (padding, dilation), kernel in itertools.product((((2, 2), (1, 1)), ((4, 4), (2, 2))), (5, 3)):
        found = []
        for convolve in (depthwise, lambda x, weight, *how: F.conv2d(x, weight, None, *how, len(weight))):
            x, weight = normal(2, 2, 6, 6).requires_grad_(), normal(2, 1, kernel, kernel, seed=2).requires_grad_()
            same = (padding[0] - (5 - kernel) // 2 * dilation[0],) * 2
            y = convolve(x, weight, (1, 1), same, dilation)
            first = torch.autograd.grad(y.sin().sum(), (x, weight), create_graph=True)
            found.append(torch.autograd.grad(sum(each.cos().sum() for each in first), (x, weight)))
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
