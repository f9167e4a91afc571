"""The memory estimate of a search with the recurrent supernet: without data as with it, and what it grows with."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import recurrent_supernet
from benchmarks.peak import in_a_process
from nas.core.memory import MemoryEstimate
from randomNAS_files import memory
from randomNAS_files.memory import estimate_supernet
from randomNAS_files.model import ModelConfig
from randomNAS_files.supernet import SupernetConfig

HIDDEN, WORDS = 8, 30


def estimate(
    columns: int = 4,
    length: int = 3,
    *,
    state_norm: bool = True,
    fast: bool = True,
    order: str | None = None,
    **more: Any,
) -> MemoryEstimate:
    config = ModelConfig(HIDDEN, HIDDEN, HIDDEN, 1, 0.3, 0.2, 0.25, 0.1, 0.1)
    norm = SupernetConfig(state_norm)
    return estimate_supernet(config, norm, WORDS, columns, length, fast=fast, alpha=1.0, beta=1.0, order=order, **more)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("order", [None, "first", "unrolled", "exact"])
@pytest.mark.parametrize("mixture", [True, False])
@pytest.mark.parametrize("state_norm", [True, False])
def test_a_step_without_contents_takes_what_a_real_one_does(
    fast: bool, order: str | None, mixture: bool, state_norm: bool
) -> None:
    if fast and order == "exact":
        pytest.skip("is refused")
    meta, real = (
        estimate(fast=fast, order=order, mixture=mixture, state_norm=state_norm, device=device)
        for device in ("meta", "cpu")
    )
    assert (meta.parameters, meta.optimizer, meta.working, meta.inputs) == (
        *(real.parameters, real.optimizer, real.working, real.inputs),
    )
    assert meta.activations == pytest.approx(real.activations, rel=0.02)


def test_what_a_mixture_keeps_is_three_numbers_an_edge_and_the_states() -> None:
    """And of an architecture's gradient the three values of which activations are made."""
    columns, length = 4, 5
    of_edges = 36 * columns * HIDDEN * length * 4
    states = 9 * columns * HIDDEN * length * 4  # before and after the normalisation, and masked
    weights, first = (estimate(columns, length, order=order).activations for order in (None, "first"))
    assert 0 <= weights - 3 * of_edges - 3 * states < 0.3 * weights
    assert first - weights == pytest.approx(3 * of_edges, rel=0.05)


def test_one_cell_takes_less_than_a_mixture_and_the_fast_form_less_than_the_plain_one() -> None:
    for fast in (True, False):
        one, mixture = (estimate(fast=fast, mixture=mixture) for mixture in (False, True))
        assert one.activations < 0.5 * mixture.activations
    for order in (None, "first", "unrolled"):
        assert estimate(order=order).total < estimate(order=order, fast=False).total


def test_orders_take_more_and_more() -> None:
    none, first, unrolled, exact = (estimate(fast=False, order=order) for order in (None, "first", "unrolled", "exact"))
    assert none.total <= first.total < unrolled.total < exact.total
    assert unrolled.total - first.total == 3 * first.parameters  # of the weights, which are as large as a gradient
    assert exact.activations > 2 * first.activations
    assert first.inputs == 2 * none.inputs


@pytest.mark.parametrize(
    ("fast", "order", "mixture"),
    [
        *[(True, None, False), (True, None, True), (True, "first", True)],
        *[(False, None, False), (False, None, True), (False, "exact", True)],
    ],
)
def test_what_is_kept_grows_in_proportion_to_the_length(
    fast: bool, order: str | None, mixture: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reckoned = estimate(length=5, fast=fast, order=order, mixture=mixture)
    monkeypatch.setattr(memory, "_MEASURED", (5, 6))
    measured = estimate(length=5, fast=fast, order=order, mixture=mixture)
    assert reckoned.activations == pytest.approx(measured.activations, rel=0.01)


def test_the_exact_order_needs_the_plain_form() -> None:
    with pytest.raises(ValueError, match="fast must be false"):
        estimate(order="exact")


def test_the_estimate_is_near_what_a_real_step_allocates() -> None:
    """All tensors at their peak, as torch's profiler notes them, of a step of the weights."""
    _, words = recurrent_supernet.SIZES["64"]
    found = 1e6 * in_a_process("benchmarks.recurrent_supernet:steps", 1, ("weights", "64", "cpu"))
    config, norm = ModelConfig(64, 64, 64, 1, 0.2, 0.067, 0.2, 0.053, 0.0), SupernetConfig(True)
    expected = estimate_supernet(config, norm, words, 64, 35, fast=True, alpha=0.0, beta=1e-3, order=None)
    assert 0.6 < expected.total / found < 1.6
