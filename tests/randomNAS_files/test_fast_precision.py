"""The fast form with products of fewer digits: against the plain form whose products are rounded by hand, and float64."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.cuda_flags import preserved_flags
from support.recurrent import CELLS, build_model, config, fast_net, generator, same_masks
from support.rounding import AllProductsRounded, assert_begin_at_multiples_of_16_bytes
from support.runs import read_config

from model_def import RecurrentTrial
from nas.core.errors import ConfigError
from randomNAS_files.fast import decoder, precision, rounded_decoder
from randomNAS_files.fast import sequence as fast_sequence
from randomNAS_files.fast.kernels import eager
from randomNAS_files.fast.model import FastLanguageModel
from randomNAS_files.fast.precision import FULL, HALF, TF32
from randomNAS_files.memory import estimate
from randomNAS_files.model import LanguageModel, activation_penalty
from randomNAS_files.slices import IGNORED

TIME, COLUMNS, HIDDEN, WORDS = 5, 3, 13, 21  # none of them a multiple of 8
RATES = {"dropout": 0.3, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}
DIGITS = 2.0**-8  # two factors, each off by 2^-9 of itself at most
HADAMARD = "HadamardGenotype([('product', 'tanh', 0, 'c'), ('sum', 0, 1)], 2)"
PUBLISHED = ("ENAS", "DARTS_V1", "DARTS_V2", "ASHA")
Step = tuple[torch.Tensor, list[torch.Tensor | None]]


def model(name: str, depth: int = 1, hidden: int = HIDDEN, words: int = WORDS, share: float = 0.4) -> LanguageModel:
    net = build_model(config(hidden, depth, **RATES), CELLS[name], words, fast=False).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator(parameter.numel())).mul_(share)
    return net


def step(net: LanguageModel, time: int = TIME, columns: int = COLUMNS) -> Step:
    """The objective of a training step, and all gradients; a factor of the loss that rounds nothing."""
    words, targets = torch.randint(len(net.embedding), (2, time, columns), generator=generator(4)).to(
        net.embedding.device
    )
    targets[1, 2] = IGNORED
    output = net(words, net.initial_state(columns), same_masks(net, columns), targets=targets)
    value = output.loss / 16 + activation_penalty(output, 2.0, 1.0)
    return value.detach(), list(torch.autograd.grad(value, list(net.parameters()), allow_unused=True))


def fast(net: LanguageModel, name: str) -> FastLanguageModel:
    twin = fast_net(net)
    twin.use_precision(name)
    return twin


def assert_same(ours: Step, theirs: Step, bound: float) -> None:
    torch.testing.assert_close(ours[0], theirs[0], rtol=bound, atol=bound)
    for a, b in zip(ours[1], theirs[1], strict=True):
        assert (a is None or not a.any()) if b is None else a is not None
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=bound, atol=bound)


@pytest.fixture(params=[1120, 8], ids="chunks of {}".format)
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "CHUNK", request.param)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("name", CELLS)
def test_products_take_rounded_factors_and_nothing_else_is_rounded(name: str, depth: int, chunk: None) -> None:
    """In float64 but for the rounding, so that a rounding too many or too few, or a zero that counts, is seen."""
    net = model(name, depth)
    with AllProductsRounded():
        expected = step(net)
    assert_same(step(fast(net, HALF)), expected, 1e-10)
    exact = step(net)
    assert abs(exact[0] - expected[0]) > 1e-6  # rounding is seen at all


@pytest.mark.parametrize(("name", "roundings"), [("ASHA", 16), ("DARTS_V2", 48), ("DARTS_V1", 48), ("ENAS", 48)])
def test_the_error_of_bfloat16_is_that_of_its_digits(name: str, roundings: int) -> None:
    """In float32, against float64: the objective to one rounding, each gradient as a whole to some of them.

    An error may pass through all nodes in a row and 20 time steps, and turn relus on or off, of which three cells have most.
    """
    exact = model(name, hidden=32, words=200, share=0.1)
    expected, wanted = step(exact, 20, 8)
    value, grads = step(fast(copy.deepcopy(exact).float(), HALF), 20, 8)
    assert abs(value - expected) < DIGITS * expected
    for ours, theirs in zip(grads, wanted, strict=True):
        assert ours is not None and theirs is not None and ours.dtype == torch.float32
        assert (ours.double() - theirs).norm() <= roundings * DIGITS * theirs.norm()


@pytest.mark.parametrize("name", PUBLISHED)
def test_tf32_has_all_digits_on_a_cpu(name: str) -> None:
    net = model(name, 2)
    assert_same(step(fast(net, TF32)), step(net), 1e-10)
    single = copy.deepcopy(net).float()
    assert_same(step(fast(single, TF32)), step(fast(single, FULL)), 1e-4)


def test_only_products_may_use_tensor_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    products, seen = torch.backends.cuda.matmul, list[bool]()

    def noting(inner: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            seen.append(products.allow_tf32)
            return inner(*args, **kwargs)

        return noted

    for owner, name in ((precision, "multiply"), (rounded_decoder, "multiply"), (eager, "activate")):
        monkeypatch.setattr(owner, name, noting(getattr(owner, name)))
    with preserved_flags():
        products.allow_tf32 = False
        for name in (TF32, HALF, FULL):
            seen.clear()
            step(fast(model("ASHA"), name))
            assert seen and set(seen) == {name == TF32} and not products.allow_tf32
        with pytest.raises(KeyError), precision.tensor_cores(TF32):
            raise KeyError
        assert not products.allow_tf32


@pytest.mark.parametrize("name", [HALF, TF32])
def test_factors_begin_at_multiples_of_16_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 50 units, where they would not, as at 850: in every product of a step, rows and what is contiguous of them."""
    factors, multiply = list[torch.Tensor](), precision.multiply

    def noted(a: torch.Tensor, b: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        factors.extend((a, b))
        return multiply(a, b, dtype)

    for module in (precision, rounded_decoder, fast_sequence):
        monkeypatch.setattr(module, "multiply", noted)
    net = FastLanguageModel(config(50, **RATES), CELLS["ASHA"], 1001, generator()).to("meta")
    net.use_precision(name)
    words, masks = torch.zeros(3, 16, dtype=torch.int64, device="meta"), net.draw_masks(generator(), 16, slice(None))
    net(words, net.initial_state(16), masks, targets=words).loss.backward()
    kinds = {torch.bfloat16} if name == HALF else {torch.float32}
    assert len(factors) > 20 and {each.dtype for each in factors} == kinds
    assert_begin_at_multiples_of_16_bytes(factors)


def test_evaluation_has_all_digits() -> None:
    net = model("ASHA")
    words = torch.randint(WORDS, (TIME, COLUMNS), generator=generator(4))
    with torch.no_grad():
        full, half = (fast(net, name)(words, net.initial_state(COLUMNS), targets=words).loss for name in (FULL, HALF))
    assert torch.equal(full, half)


def test_memory_that_was_reserved_serves_rounded_products_too() -> None:
    net = fast(model("with_none", 2).float(), HALF)
    net.reserve(TIME, COLUMNS)
    spaces = [cell._workspaces._free[0].space for cell in net.cells]  # type: ignore[union-attr, index]
    first, second = step(net), step(net)
    assert [cell._workspaces._free[0].space for cell in net.cells] == spaces  # type: ignore[union-attr, index]
    for a, b in zip(first[1], second[1], strict=True):
        assert (a is None and b is None) or torch.equal(a, b)  # type: ignore[arg-type]


def test_passes_of_both_precisions_take_turns_in_one_arena() -> None:
    net = fast_net(model("DARTS_V2"))
    found = []
    for name in (FULL, HALF, FULL, HALF):
        net.use_precision(name)
        found.append(step(net))
    assert_same(found[2], found[0], 0.0)
    assert_same(found[3], found[1], 0.0)
    assert not torch.equal(found[0][0], found[1][0])


# The setting


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fast": False}, "got fast false; leave one of them out"),
        ({"arch_to_use": HADAMARD}, "which a Hadamard cell has not; leave it out"),
    ],
    ids=["plain", "Hadamard"],
)
def test_what_has_no_fast_form_refuses_other_precisions(changes: dict[str, Any], why: str) -> None:
    hparams = {**read_config("train_small.yaml")["hyperparameters"], **changes}
    for name in (HALF, TF32):
        with pytest.raises(ConfigError) as caught:
            RecurrentTrial.check({**hparams, "precision": name}, {"corpus": "ptb"}, 1)
        (problem,) = caught.value.problems
        assert problem == f"hyperparameters.precision {name} needs the fast form, {why}"
    RecurrentTrial.check({**hparams, "precision": FULL}, {"corpus": "ptb"}, 1)


def test_a_device_without_such_products_refuses_them() -> None:
    for name in (HALF, TF32):
        for device in ("cpu", "cuda"):
            precision.check_precision(name, torch.device(device))
        with pytest.raises(ConfigError, match=f"precision must be fp32 or left out on mps, .* got '{name}'"):
            precision.check_precision(name, torch.device("mps"))
    precision.check_precision(FULL, torch.device("mps"))


def test_the_estimate_of_memory_knows_of_it() -> None:
    """The same on a device with contents; and what is kept of each word and column is less than in fp32."""

    def found(name: str, columns: int = 4, device: str = "meta") -> Any:
        settings: dict[str, Any] = {"fast": True, "alpha": 0.0, "beta": 1.0, "precision": name, "device": device}
        return estimate(config(40, **RATES), CELLS["ASHA"], 50, columns, 6, **settings)

    assert found(HALF) == found(HALF, device="cpu") != found(FULL)
    growth = {name: found(name, 64).activations - found(name, 8).activations for name in (FULL, HALF)}
    assert growth[HALF] < growth[FULL]


@pytest.mark.gpu
@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("reduced", [HALF, TF32])
def test_a_gpu_computes_what_the_cpu_does(name: str, reduced: str) -> None:
    """To the digits of the factors, which are rounded there in another order of sums."""
    net = model(name, hidden=64, words=200, share=0.1).float()
    here = step(fast(net, HALF), 20, 8)
    value, grads = step(fast(net, reduced).to("cuda"), 20, 8)  # type: ignore[arg-type]
    assert abs(value.cpu() - here[0]) < DIGITS * here[0]
    for ours, theirs in zip(grads, here[1], strict=True):
        assert ours is not None and theirs is not None and ours.isfinite().all()
        assert (ours.cpu() - theirs).norm() <= 48 * DIGITS * theirs.norm()
