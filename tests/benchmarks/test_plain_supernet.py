"""The baseline of `supernet_step` against ours in float64: logits, and the gradients of weights and architecture."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from support.fast_networks import assert_near, generator, normal

from benchmarks.image_search import OurSearch
from benchmarks.plain_supernet import Batch, PlainSearch, PlainSupernet
from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.supernet import Supernet, SupernetConfig
from nas.core.arch_weights import ArchWeights

KINDS = pytest.mark.parametrize("kind", [Supernet, FastSupernet])


def setup(kind: type[Supernet], channels: int = 4, layers: int = 4) -> tuple[Supernet, PlainSupernet, list[Batch]]:
    """Ours and the baseline with equal weights and logits, and two batches."""
    net = kind(SupernetConfig(channels, layers), 5, 3, generator(1)).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    alphas = [normal(14, 8, seed=5), normal(14, 8, seed=6)]
    plain = PlainSupernet(channels, layers, 5, 3).double().copy_weights(net).copy_alphas(alphas)
    classes = torch.tensor([0, 1, 2, 3, 4, 0])
    return net, plain, [(normal(6, 3, 8, 8, seed=8), classes), (normal(6, 3, 8, 8, seed=9), classes.flip(0))]


def loss_of(net: Supernet, plain: PlainSupernet, batch: Batch) -> torch.Tensor:
    """Ours with the baseline's logits of the architecture."""
    weights = dict(zip(("normal", "reduce"), (F.softmax(alpha, -1) for alpha in plain.alphas), strict=True))
    return F.cross_entropy(net(batch[0], ArchWeights(weights)).logits, batch[1])


@KINDS
def test_the_baseline_computes_the_same(kind: type[Supernet]) -> None:
    net, plain, (batch, _) = setup(kind)
    theirs = plain.loss(batch)
    ours = loss_of(net, plain, batch)
    assert_near(ours, theirs)
    found = torch.autograd.grad(ours, [*plain.alphas, *net.parameters()])
    expected = torch.autograd.grad(theirs, [*plain.alphas, *plain.parameters()])
    for mine, other in zip(found, expected, strict=True):
        assert_near(mine, other, bound=1e-8)


@KINDS
def test_the_second_order_of_the_baseline_is_the_central_difference(kind: type[Supernet]) -> None:
    """With ours: the gradient at the weights after a step, minus lr times a difference of gradients, and Adam's step."""
    net, plain, (train, valid) = setup(kind, channels=2, layers=3)
    search, lr, decay, radius = PlainSearch(plain), 0.025, 3e-4, 0.01
    search.weights(train)  # from here on there are momenta
    with torch.no_grad():
        for mine, other in zip(net.parameters(), plain.parameters(), strict=True):
            mine.copy_(other)
    start = [parameter.detach().clone() for parameter in net.parameters()]

    def gradients(weights: list[torch.Tensor], batch: Batch) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            for parameter, weight in zip(net.parameters(), weights, strict=True):
                parameter.copy_(weight)
        return torch.autograd.grad(loss_of(net, plain, batch), [*plain.alphas, *net.parameters()])

    momenta = [search.sgd.state[parameter]["momentum_buffer"] for parameter in plain.parameters()]
    ahead = [
        w - lr * (g + decay * w + 0.9 * m) for w, g, m in zip(start, gradients(start, train)[2:], momenta, strict=True)
    ]
    direct = gradients(ahead, valid)
    eps = radius / torch.cat([g.flatten() for g in direct[2:]]).norm()
    up, down = (
        gradients([w + sign * eps * g for w, g in zip(start, direct[2:], strict=True)], train) for sign in (1, -1)
    )
    search.second_order(train, valid)
    for k, alpha in enumerate(plain.alphas):
        assert alpha.grad is not None
        assert_near(alpha.grad, direct[k] - lr * (up[k] - down[k]) / (2 * eps), bound=1e-7)
    for mine, before in zip(plain.parameters(), start, strict=True):
        assert_near(mine, before)  # the weights are where they were


@pytest.mark.parametrize("order", ["first", "unrolled"])
@KINDS
def test_the_searches_that_are_timed_compute_the_same(kind: type[Supernet], order: str) -> None:
    """A weight step, an architecture step, and a weight step again; the gradients are never so large that they are clipped."""
    net, plain, (train, valid) = setup(kind, channels=2, layers=3)
    theirs, ours = PlainSearch(plain), OurSearch(net, plain.alphas)
    for _ in range(2):
        theirs.weights(train), ours.weights(train)
        theirs.first_order(valid) if order == "first" else theirs.second_order(train, valid)
        ours.architecture(train, valid, order)
        for mine, other in zip(ours.alphas, plain.alphas, strict=True):
            assert_near(mine.grad, other.grad, bound=1e-6)
            assert_near(mine, other, bound=1e-6)
        for mine, other in zip(net.parameters(), plain.parameters(), strict=True):
            assert_near(mine, other, bound=1e-7)
