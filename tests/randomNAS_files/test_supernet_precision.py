"""The fast supernet with products of fewer digits: against the plain one whose products are rounded by hand, and float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.cuda_flags import preserved_flags
from support.recurrent import same_masks
from support.rounding import AllProductsRounded, assert_begin_at_multiples_of_16_bytes

from nas.core.arch_weights import ArchWeights, one_path
from randomNAS_files.fast import decoder, precision, rounded_decoder, rounded_mixture
from randomNAS_files.fast import supernet as fast_supernet
from randomNAS_files.fast.precision import FULL, HALF, TF32
from randomNAS_files.fast.supernet import FastSupernet
from randomNAS_files.genotypes import DARTS_V2
from randomNAS_files.memory import estimate_supernet
from randomNAS_files.model import ModelConfig, activation_penalty
from randomNAS_files.relaxation import CELL, paths_of
from randomNAS_files.slices import IGNORED
from randomNAS_files.supernet import Supernet, SupernetConfig

WORDS, COLUMNS, LENGTH, HIDDEN = 21, 5, 4, 13  # none of them a multiple of 8
EDGES, KINDS = 36, 5
DIGITS = 2.0**-8  # two factors, each off by 2^-9 of itself at most
Found = tuple[torch.Tensor, list[torch.Tensor | None]]


def uniform(*shape: int, seed: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_edges(share: float) -> dict[str, Any]:
    keep = uniform(EDGES, KINDS, seed=2) < share
    return {CELL: tuple(tuple(k for k in range(KINDS) if keep[edge, k]) for edge in range(EDGES))}


def architecture(name: str) -> ArchWeights:
    p, e = (
        {CELL: uniform(EDGES, KINDS, seed=8).mul(0.3).requires_grad_()},
        {CELL: uniform(EDGES, seed=9).requires_grad_()},
    )
    found = {
        "mixture": ArchWeights(p),
        "mixture with edges": ArchWeights(p, e),
        "constants": ArchWeights(p, e).detach(),
        "little of it": ArchWeights(p, None, some_edges(0.1)),
        "one cell": one_path(paths_of(DARTS_V2)),
        "one cell with weights": ArchWeights(p, paths=paths_of(DARTS_V2)),
    }
    return found[name]


NAMES = ("mixture", "mixture with edges", "constants", "little of it", "one cell", "one cell with weights")


def supernet(
    state_norm: bool, depth: int = 1, hidden: int = HIDDEN, words: int = WORDS, share: float = 0.4, **beside: Any
) -> Supernet:
    config = ModelConfig(hidden, hidden, hidden, depth, 0.3, 0.2, 0.25, 0.1, 0.1, "tanh")
    generator = torch.Generator().manual_seed(1)
    net = Supernet(config, words, generator, SupernetConfig(state_norm, **beside)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator).mul_(share)
    return net


def fast(net: Supernet, name: str) -> FastSupernet:
    twin = FastSupernet(net.config, len(net.embedding), torch.Generator(), net.supernet).to(net.embedding.dtype)
    twin.load_state_dict(net.state_dict())
    twin.use_precision(name)
    return twin


def step(net: Supernet, weights: ArchWeights, masked: bool = True, time: int = LENGTH, columns: int = COLUMNS) -> Found:
    """The objective of a training step, and its gradients of all weights, of supernet and architecture."""
    generator, device = torch.Generator().manual_seed(4), net.embedding.device
    words, targets = (torch.randint(len(net.embedding), (2, time, columns), generator=generator)).to(device)
    targets[1, 2] = IGNORED
    masks = same_masks(net, columns) if masked else None
    tensors = [each.detach().to(net.embedding).requires_grad_(each.requires_grad) for each in weights.tensors()]
    leaves = [*net.parameters(), *(each for each in tensors if each.requires_grad)]
    output = net(words, net.initial_state(columns), weights.with_tensors(tensors), masks, targets)
    value = output.loss / 16 + activation_penalty(output, 2.0, 1.0)
    return value.detach(), list(torch.autograd.grad(value, leaves, allow_unused=True))


def assert_same(ours: Found, theirs: Found, bound: float) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=bound, atol=bound)
    for i, (a, b) in enumerate(zip(ours[1], theirs[1], strict=True)):
        assert (a is None) == (b is None), i
        if a is not None:
            torch.testing.assert_close(a, b, rtol=bound, atol=bound, msg=lambda text, i=i: f"{i}: {text}")


@pytest.mark.parametrize("state_norm", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_products_take_rounded_factors_and_nothing_else_is_rounded(name: str, state_norm: bool) -> None:
    """In float64 but for the rounding, so that a rounding too many or too few, or a zero that counts, is seen."""
    net, weights = supernet(state_norm, 2), architecture(name)
    for masked in (True, False):
        with AllProductsRounded():
            expected = step(net, weights, masked)
        assert_same(step(fast(net, HALF), weights, masked), expected, 1e-9)
        assert abs(step(net, weights, masked)[0] - expected[0]) > 1e-7  # rounding is seen at all


@pytest.mark.parametrize("of_architecture", [True, False], ids=["states first", "all at once"])
def test_the_loss_in_several_chunks(of_architecture: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "CHUNK", 8)
    net, weights = supernet(True), architecture("mixture" if of_architecture else "constants")
    with AllProductsRounded():
        expected = step(net, weights)
    assert_same(step(fast(net, HALF), weights), expected, 1e-9)


@pytest.mark.parametrize(("beside", "size"), [({"sharing": "edge"}, None), ({"hidden_choices": (5, HIDDEN)}, 5)])
def test_cells_with_matrices_and_sizes_of_their_own(beside: dict[str, Any], size: int | None) -> None:
    net, paths = supernet(False, **beside), paths_of(DARTS_V2)
    weights = one_path(paths if size is None else {**paths, "hidden": ((0,),)})
    with AllProductsRounded():
        expected = step(net, weights)
    assert_same(step(fast(net, HALF), weights), expected, 1e-9)


@pytest.mark.parametrize(
    ("name", "state_norm", "roundings"),
    [("mixture with edges", False, 8), ("one cell with weights", False, 24), ("mixture with edges", True, 48)],
)
def test_the_error_of_bfloat16_is_that_of_its_digits(name: str, state_norm: bool, roundings: int) -> None:
    """In float32, against float64: the objective to one rounding, each gradient as a whole to some of them.

    An error may pass through all nodes in a row and 20 time steps; batch norm divides it by the spread of few columns.
    """
    net = supernet(state_norm, hidden=32, words=200, share=0.1)
    weights = architecture(name)
    expected, wanted = step(net, weights, True, 20, 8)
    value, grads = step(fast(net.float(), HALF), weights, True, 20, 8)
    assert abs(value - expected) < DIGITS * expected
    assert sum(each is not None for each in wanted) > 8
    for ours, theirs in zip(grads, wanted, strict=True):
        if theirs is not None:
            assert ours is not None and ours.dtype == torch.float32
            assert (ours.double() - theirs).norm() <= roundings * DIGITS * theirs.norm()


@pytest.mark.parametrize("name", ["mixture with edges", "little of it", "one cell"])
def test_tf32_has_all_digits_on_a_cpu(name: str) -> None:
    net = supernet(False, 2)
    assert_same(step(fast(net, TF32), architecture(name)), step(net, architecture(name)), 1e-9)


def test_only_products_may_use_tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    products, seen = torch.backends.cuda.matmul, dict[str, set[bool]]()
    for owner, name in (
        *((rounded_mixture, each) for each in ("multiply", "multiply_into")),
        *((rounded_decoder, each) for each in ("multiply", "multiply_into")),
        (fast_supernet, "apply"),
    ):
        inner, key = getattr(owner, name), f"{owner.__name__.rpartition('.')[2]}.{name}"

        def noted(*args: Any, inner: Any = inner, key: str = key) -> Any:
            seen.setdefault(key, set()).add(products.allow_tf32)
            return inner(*args)

        monkeypatch.setattr(owner, name, noted)
    with preserved_flags():
        products.allow_tf32 = False
        for reduced in (TF32, HALF):
            seen.clear()
            step(fast(supernet(True), reduced), architecture("mixture"), columns=4)
            assert seen.pop("supernet.apply") == {False} and len(seen) == 4
            assert set.union(*seen.values()) == {reduced == TF32} and not products.allow_tf32


@pytest.mark.parametrize("reduced", [HALF, TF32])
def test_factors_begin_at_multiples_of_16_bytes(reduced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 50 units, where they would not, as at 850: in every product of a step, rows and what is contiguous of them."""
    factors = list[torch.Tensor]()

    def noting(inner: Any, place: int) -> Any:
        def noted(*args: Any) -> Any:
            factors.extend(args[place : place + 2])
            return inner(*args)

        return noted

    for module in (precision, rounded_decoder, rounded_mixture):
        for name, place in (("multiply", 0), ("multiply_into", 1)):
            monkeypatch.setattr(module, name, noting(getattr(module, name), place))
    net = fast(supernet(True, hidden=50, words=1001).float(), reduced).to("meta")
    words, masks = (
        torch.zeros(2, 16, dtype=torch.int64, device="meta"),
        net.draw_masks(torch.Generator(), 16, slice(None)),
    )
    weights = ArchWeights({CELL: torch.zeros(EDGES, KINDS, device="meta").requires_grad_()})
    net(words, net.initial_state(16), weights, masks, words).loss.backward()
    kinds = {torch.bfloat16} if reduced == HALF else {torch.float32}
    assert len(factors) > 100 and {each.dtype for each in factors} == kinds
    assert_begin_at_multiples_of_16_bytes(factors)


@pytest.mark.parametrize("name", ["mixture", "one cell"])
def test_scores_have_all_digits_and_so_has_what_is_asked_for_them(name: str) -> None:
    net = supernet(False)
    full, half = fast(net, FULL), fast(net, HALF)
    words, weights = (
        torch.randint(WORDS, (LENGTH, COLUMNS), generator=torch.Generator().manual_seed(4)),
        architecture(name),
    )
    with torch.no_grad():
        losses = [each(words, each.initial_state(COLUMNS), weights, None, words).loss for each in (full, half)]
    assert torch.equal(*losses)
    expected, rounded = step(full, weights), step(half, weights)
    with half.all_digits():
        assert_same(step(half, weights), expected, 0.0)
    assert_same(step(half, weights), rounded, 0.0)
    assert not torch.equal(expected[0], rounded[0])
    with pytest.raises(KeyError), half.all_digits():
        raise KeyError
    assert half.precision == half.cells[0].precision == HALF


def test_gradients_of_the_weights_are_computed_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, own = [], fast_supernet.rounded_weight_gradients
    monkeypatch.setattr(fast_supernet, "rounded_weight_gradients", lambda *args: asked.append(1) or own(*args))
    net, weights = fast(supernet(True), HALF), architecture("mixture")
    expected = step(net, weights)[1][-1]
    assert len(asked) == 1
    net.requires_grad_(False)
    words, targets = torch.randint(WORDS, (2, LENGTH, COLUMNS), generator=torch.Generator().manual_seed(4))
    assert expected is not None
    net(words, net.initial_state(COLUMNS), weights, None, targets).loss.backward()
    assert len(asked) == 1 and weights.tensors()[0].grad is not None


def test_the_estimate_of_memory_knows_of_it() -> None:
    """The same on a device with contents; and masked states that are kept are half as large."""
    config = ModelConfig(40, 40, 40, 1, 0.3, 0.2, 0.25, 0.1, 0.1)

    def found(name: str, mixture: bool, device: str = "meta") -> Any:
        options: dict[str, Any] = {"fast": True, "alpha": 0.0, "beta": 1.0, "order": None, "mixture": mixture}
        return estimate_supernet(config, SupernetConfig(mixture), 50, 64, 2, precision=name, device=device, **options)

    for mixture in (True, False):
        half, full = found(HALF, mixture), found(FULL, mixture)
        assert half == found(HALF, mixture, "cpu") and half.activations < full.activations and half != full


@pytest.mark.gpu
@pytest.mark.parametrize("reduced", [HALF, TF32])
@pytest.mark.parametrize(("name", "state_norm"), [("mixture with edges", True), ("one cell with weights", False)])
def test_a_gpu_computes_what_the_cpu_does(name: str, state_norm: bool, reduced: str) -> None:
    """To the digits of the factors, which are rounded there in another order of sums."""
    net, weights = supernet(state_norm, hidden=64, words=200, share=0.1).float(), architecture(name)
    here = step(fast(net, HALF), weights, True, 20, 8)
    value, grads = step(fast(net, reduced).to("cuda"), weights, True, 20, 8)
    assert abs(value.cpu() - here[0]) < DIGITS * here[0]
    for ours, theirs in zip(grads, here[1], strict=True):
        if theirs is not None:
            assert ours is not None and ours.isfinite().all()
            assert (ours.cpu() - theirs).norm() <= 48 * DIGITS * theirs.norm()
