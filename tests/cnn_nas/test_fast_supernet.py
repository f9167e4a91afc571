"""The fast form of the supernet against `Supernet`: values and gradients, in every mode, at every size and format."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from support.fast_networks import TIGHT, assert_near, generator, moved, normal, nudged

from cnn_nas.architecture import CELLS, OPERATIONS
from cnn_nas.fast.supernet import FastSupernet
from cnn_nas.genotypes import DARTS_V2
from cnn_nas.memory import estimate_supernet
from cnn_nas.relaxation import RELAXATION, paths_of
from cnn_nas.supernet import Supernet, SupernetConfig, draw_skip_masks
from nas.core.arch_weights import ArchWeights, as_numbers, one_path
from nas.core.memory import MemoryEstimate
from nas.core.relaxation import Paths

PLAIN = SupernetConfig(4, 4)
CONFIGS = [
    PLAIN,
    SupernetConfig(5, 3),
    SupernetConfig(4, 3, partial=2),
    SupernetConfig(3, 4, auxiliary_skip=True),
    SupernetConfig(8, 3, partial=4, auxiliary_skip=True),
]
SIZES = [(8, 8), (9, 7), (5, 12)]
FORMATS = (torch.channels_last, torch.contiguous_format)
by_format = pytest.mark.parametrize("memory", FORMATS, ids=str)


def both(config: SupernetConfig, memory: torch.memory_format = torch.channels_last) -> tuple[Supernet, FastSupernet]:
    plain, fast = (kind(config, 5, 3, generator(1)).double() for kind in (Supernet, FastSupernet))
    return plain, fast.to(memory_format=memory)  # type: ignore[return-value]


unchanged = functools.cache(both)  # for those who only run them: to build them takes longer than a step


def table(*shape: int, seed: int) -> dict[str, torch.Tensor]:
    """Positive and negative weights, other ones for each kind of cell."""
    return {cell: normal(*shape, seed=seed + i).requires_grad_() for i, cell in enumerate(CELLS)}


def some_paths(seed: int) -> Paths:
    """None, one or two operations on each edge, `none` among them."""
    draw = random.Random(seed)
    return {
        cell: tuple(tuple(sorted(draw.sample(range(8), draw.choice([0, 0, 1, 1, 2])))) for _ in range(14))
        for cell in CELLS
    }


def step(net: Supernet, x: torch.Tensor, weights: ArchWeights, masks: Any = None) -> dict[str, torch.Tensor | None]:
    """All that a step computes, by name; the weights of the architecture are given anew."""
    net.zero_grad()
    x = x.clone().requires_grad_()
    weights = weights.with_tensors([tensor.detach().clone().requires_grad_() for tensor in weights.tensors()])
    logits = net(x, weights, masks).logits
    (logits * normal(*logits.shape, seed=7)).sum().backward()
    own = {f"gradient of {name}": parameter.grad for name, parameter in net.named_parameters()}
    return {"logits": logits, "x": x.grad, **own, **dict(enumerate(t.grad for t in weights.tensors()))}  # type: ignore[dict-item]


def assert_same(
    config: SupernetConfig,
    size: tuple[int, int],
    weights: ArchWeights,
    masks: Any = None,
    formats: Sequence[torch.memory_format] = (torch.channels_last,),
) -> None:
    """Equal up to rounding, and to what plain makes of images that are a few roundings away."""
    plain, x = unchanged(config)[0], normal(4, 3, *size)
    theirs, aside = step(plain, x, weights, masks), step(plain, nudged(x), weights, masks)
    for memory in formats:
        ours = step(unchanged(config, memory)[1], x, weights, masks)
        for name, value in theirs.items():
            assert_near(ours[name], value, f"{memory}: {name}", TIGHT + moved(value, aside[name]))


def skip_masks(config: SupernetConfig) -> Any:
    return draw_skip_masks(generator(2), config.layers, 4, slice(0, 4), 0.4, torch.float64)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_mixture_is_the_same_in_both_formats(config: SupernetConfig, size: tuple[int, int]) -> None:
    assert_same(config, size, ArchWeights(table(14, 8, seed=10)), formats=FORMATS)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("kind", ["edges", "edges alone", "no weights", "masks", "masks without weights", "auxiliary"])
def test_every_kind_of_weights_is_the_same(config: SupernetConfig, kind: str) -> None:
    operations = None if kind in ("edges alone", "no weights", "masks without weights") else table(14, 8, seed=10)
    edges = table(14, seed=20) if kind.startswith("edges") else None
    weights = ArchWeights(operations, edges, auxiliary=0.7 if kind in ("auxiliary", "masks") else 0.0)
    assert_same(config, (9, 7), weights, skip_masks(config) if "masks" in kind else None)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("seed", range(8))
def test_paths_are_the_same_with_and_without_weights(config: SupernetConfig, seed: int) -> None:
    """Also: an operation that does not run has no gradient, where the plain one has none."""
    operations = table(14, 8, seed=10) if seed % 2 else None
    edges = table(14, seed=20) if seed % 4 > 1 else None
    weights = ArchWeights(operations, edges, some_paths(seed), auxiliary=0.5 * (seed % 3))
    assert_same(config, (8, 9), weights, skip_masks(config) if seed > 4 else None)


@pytest.mark.parametrize("k", range(len(OPERATIONS)), ids=OPERATIONS)
@pytest.mark.parametrize("weighted", [True, False])
def test_every_operation_alone_is_the_same(k: int, weighted: bool) -> None:
    """On all edges, and on a single one, whose batch norm has the weights of one edge."""
    for paths in (dict.fromkeys(CELLS, ((k,),) * 14), dict.fromkeys(CELLS, ((k,), *(((),) * 13)))):
        assert_same(PLAIN, (8, 8), ArchWeights(table(14, 8, seed=10) if weighted else None, paths=paths))


def test_nothing_at_all_is_the_same() -> None:
    nothing: Paths = dict.fromkeys(CELLS, ((),) * 14)
    assert_same(PLAIN, (9, 7), ArchWeights(paths=nothing))
    assert_same(SupernetConfig(4, 3, partial=2), (9, 7), ArchWeights(paths=nothing))


@pytest.mark.parametrize("together", [1, 700, 10**9])
def test_how_many_edges_run_together_changes_nothing(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cnn_nas.fast.edges.TOGETHER", together)
    assert_same(PLAIN, (9, 7), ArchWeights(table(14, 8, seed=10), table(14, seed=20)))


def test_gradients_of_weights_reach_the_entries_of_the_path_only() -> None:
    _, fast = both(PLAIN)
    paths = paths_of(DARTS_V2)
    operations = table(14, 8, seed=10)
    fast(normal(4, 3, 8, 8), ArchWeights(operations, paths=paths)).logits.square().sum().backward()
    for cell, entries in as_numbers(paths, RELAXATION, torch.zeros(1)).items():
        gradient = operations[cell].grad
        assert gradient is not None and torch.equal(gradient != 0, entries != 0)


def test_what_does_not_run_gets_no_gradient_at_all() -> None:
    plain, fast = both(PLAIN)
    for net in (plain, fast):
        net(normal(4, 3, 8, 8), one_path(paths_of(DARTS_V2))).logits.sum().backward()
    running = [[p.grad is not None for p in net.parameters()] for net in (plain, fast)]
    assert running[0] == running[1] and 0 < sum(running[1]) < len(running[1]) / 2


def test_gradients_of_the_architecture_alone_are_the_same() -> None:
    _, fast = both(PLAIN)
    weights, x = ArchWeights(table(14, 8, seed=10)), normal(4, 3, 8, 8)
    whole = torch.autograd.grad(fast(x, weights).logits.square().sum(), [*weights.tensors(), *fast.parameters()])
    fast.requires_grad_(False)
    alone = torch.autograd.grad(fast(x, weights).logits.square().sum(), weights.tensors())
    for ours, theirs in zip(alone, whole, strict=False):
        assert_near(ours, theirs)


def test_the_state_and_its_names_are_the_same_and_a_forward_pass_changes_nothing() -> None:
    plain, fast = both(SupernetConfig(8, 3, partial=4, auxiliary_skip=True))
    before = copy.deepcopy(fast.state_dict())
    assert [*before] == [*plain.state_dict()]
    x, weights = normal(4, 3, 8, 8), ArchWeights(table(14, 8, seed=10), auxiliary=0.5)
    train = fast(x, weights).logits
    assert torch.equal(fast.eval()(x, weights).logits, train)
    assert all(torch.equal(value, before[name]) for name, value in fast.state_dict().items())


def test_a_copy_is_a_network_of_its_own() -> None:
    _, fast = both(PLAIN)
    x, weights, other = normal(4, 3, 8, 8), ArchWeights(table(14, 8, seed=10)), copy.deepcopy(both(PLAIN)[1])
    first = fast(x, weights).logits
    with torch.no_grad():
        for parameter in fast.parameters():
            parameter.mul_(2)
    assert torch.equal(other(x, weights).logits, first)


@pytest.mark.parametrize("size", [(8, 8), (9, 7)], ids=str)
@by_format
def test_second_derivatives_are_the_same(size: tuple[int, int], memory: torch.memory_format) -> None:
    """A gradient of a function of all gradients, as the exact second order of a search needs it."""
    found = []
    for net in both(SupernetConfig(2, 3), memory):
        weights = ArchWeights(table(14, 8, seed=10), table(14, seed=20))
        inputs = [*weights.tensors(), *net.parameters()]
        loss = net(normal(4, 3, *size), weights).logits.square().sum()
        gradients = torch.autograd.grad(loss, inputs, create_graph=True)
        scalar = sum((g * normal(*g.shape, seed=i)).sum() for i, g in enumerate(gradients))
        found.append(torch.autograd.grad(scalar, inputs))  # type: ignore[arg-type]
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert_near(ours, theirs, bound=1e-7)


@by_format
def test_bfloat16_is_near(memory: torch.memory_format) -> None:
    plain, fast = (net.float() for net in both(PLAIN, memory))
    x, weights = normal(4, 3, 8, 8).float(), ArchWeights({cell: torch.full((14, 8), 0.125) for cell in CELLS})
    found = []
    for net in (plain, fast):
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(x, weights).logits
        logits.float().square().sum().backward()
        found.append(logits.float().detach())
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
    exact = plain(x, weights).logits.detach()
    assert float((found[1] - exact).abs().max()) < 2 * float((found[0] - exact).abs().max()) + 0.02


def test_it_runs_on_the_meta_device() -> None:
    with torch.device("meta"):
        net = FastSupernet(SupernetConfig(8, 3, partial=4), 5, 3, torch.Generator())
        weights = ArchWeights({cell: torch.zeros(14, 8, requires_grad=True) for cell in CELLS})
        logits = net(torch.zeros(2, 3, 9, 9), weights).logits
        logits.sum().backward()
    assert logits.shape == (2, 5) and weights.tensors()[0].grad is not None


# Memory


def estimated(config: SupernetConfig, **changes: Any) -> MemoryEstimate:
    settings: dict[str, Any] = {"fast": True, "momentum": True, "order": "first", "crop_padding": 4, "flip": True}
    return estimate_supernet(config, 10, (3, 16, 16), 8, **(settings | changes))


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("order", [None, "first", "exact"])
@pytest.mark.parametrize("config", [SupernetConfig(4, 3), SupernetConfig(8, 3, partial=4)], ids=str)
def test_tensors_without_contents_are_as_many_as_real_ones(
    config: SupernetConfig, order: str | None, fast: bool
) -> None:
    """The step of order "unrolled" is that of "first", with more copies: see the next test."""
    meta, real = (estimated(config, fast=fast, order=order, device=device) for device in ("meta", "cpu"))
    assert meta.activations == pytest.approx(real.activations, rel=0.01)
    assert (meta.parameters, meta.optimizer, meta.inputs) == (real.parameters, real.optimizer, real.inputs)


def test_the_larger_of_both_steps_is_estimated() -> None:
    totals = [estimated(PLAIN, order=order).total for order in (None, "first", "unrolled", "exact")]
    assert totals == sorted(totals) and totals[3] > 1.5 * totals[1]
    weights, copies = estimated(PLAIN, order=None), estimated(PLAIN, order="unrolled")
    # gradient and momentum; the second order holds the weights as they were, and a direction, too
    assert weights.optimizer == 2 * weights.parameters and copies.optimizer == 4 * weights.parameters
    one = estimated(PLAIN, order=None, paths=paths_of(DARTS_V2))
    assert one.activations < weights.activations / 4
    mixed, whole = (estimated(PLAIN, paths=paths_of(DARTS_V2), whole_cells=each) for each in (False, True))
    assert mixed.activations == estimated(PLAIN).activations
    assert one.activations <= whole.activations < 1.1 * one.activations  # and what the logits' gradient keeps
    real = estimated(PLAIN, paths=paths_of(DARTS_V2), whole_cells=True, device="cpu")
    assert whole.activations == pytest.approx(real.activations, rel=0.01)


def test_channels_that_are_passed_on_cost_no_activations_of_operations() -> None:
    every, some = (estimated(SupernetConfig(16, 4, partial=k)) for k in (1, 4))
    assert some.activations < every.activations / 2


def test_an_order_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="order must be one of first, unrolled, exact or None, got 'second'"):
        estimated(PLAIN, order="second")
