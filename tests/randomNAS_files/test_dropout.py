"""Dropout masks: the same for every division of the batch, and drawn from the seed and the batch alone."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from randomNAS_files.dropout import Masks, apply, masks_for
from randomNAS_files.slices import shard_columns

CPU = torch.device("cpu")


def masks(batch: int = 0, seed: int = 0, batch_size: int = 8, columns: slice = slice(None)) -> Masks:
    return masks_for(batch, seed, CPU, batch_size, columns)


def drawn(m: Masks, p: float = 0.5, width: int = 16) -> torch.Tensor:
    mask = m.per_column(p, width)
    assert mask is not None
    return mask


def drawn_rows(m: Masks, p: float = 0.5, rows: int = 64) -> torch.Tensor:
    mask = m.per_row(p, rows)
    assert mask is not None
    return mask


@given(st.integers(1, 13), st.integers(1, 5), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_processes_together_draw_the_masks_of_the_whole_batch(batch_size: int, processes: int, seed: int) -> None:
    whole = masks(3, seed, batch_size)
    parts = [masks(3, seed, batch_size, shard_columns(batch_size, rank, processes)) for rank in range(processes)]
    for p, width in ((0.5, 6), (0.2, 3), (0.5, 6)):  # one draw after another, as the model does
        torch.testing.assert_close(torch.cat([drawn(m, p, width) for m in parts]), drawn(whole, p, width))
        words = drawn_rows(whole, p, 20)
        assert all(torch.equal(drawn_rows(m, p, 20), words) for m in parts)


def test_the_two_halves_of_a_batch_do_not_share_a_mask() -> None:
    first, second = (drawn(masks(columns=shard_columns(8, rank, 2)), width=64) for rank in range(2))
    assert first.shape == second.shape == (4, 64) and not torch.equal(first, second)


def test_masks_are_the_same_whatever_was_drawn_before() -> None:
    earlier = masks(4, 7)
    torch.rand(10)
    torch.manual_seed(3)
    assert torch.equal(drawn(earlier), drawn(masks(4, 7)))


@pytest.mark.parametrize(("batch", "seed"), [(5, 7), (4, 8), (7, 4), (0, 0)])
def test_masks_differ_between_batches_and_seeds(batch: int, seed: int) -> None:
    assert not torch.equal(drawn(masks(4, 7)), drawn(masks(batch, seed)))
    assert not torch.equal(drawn_rows(masks(4, 7)), drawn_rows(masks(batch, seed)))


def test_one_draw_differs_from_the_next() -> None:
    m = masks()
    assert not torch.equal(drawn(m), drawn(m))


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    drawn(masks())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.75, 0.9])
def test_a_share_p_is_zero_and_the_rest_keeps_the_expectation(p: float) -> None:
    mask = drawn(masks(batch_size=100), p, 500).double()
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / (1 - p), rel=1e-6)]
    count, dropped = mask.numel(), (mask == 0).double().mean().item()
    assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / count)
    assert abs(mask.mean().item() - 1) < 5 * math.sqrt(p / (1 - p) / count)


def test_rows_are_dropped_at_their_rate() -> None:
    mask = drawn_rows(masks(), 0.1, 20_000)
    assert mask.shape == (20_000, 1)
    assert abs((mask == 0).double().mean().item() - 0.1) < 5 * math.sqrt(0.09 / 20_000)


def test_places_of_a_mask_are_independent() -> None:
    mask = (drawn(masks(batch_size=200), 0.5, 200) == 0).double() * 2 - 1
    for other in (mask.roll(1, 0), mask.roll(1, 1)):
        assert abs((mask * other).mean().item()) < 5 / math.sqrt(mask.numel())


def test_without_a_rate_there_is_no_mask_and_nothing_is_drawn() -> None:
    m = masks()
    assert m.per_column(0, 4) is None and m.per_row(0.0, 4) is None
    assert torch.equal(drawn(m), drawn(masks()))


def test_applying_no_mask_is_the_input_itself() -> None:
    x = torch.ones(2, 3)
    assert apply(x, None) is x


def test_a_column_mask_is_the_same_at_all_time_steps() -> None:
    x, mask = torch.arange(1.0, 25.0).view(4, 2, 3), torch.tensor([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0]])
    by_hand = [[[x[t, b, i] * mask[b, i] for i in range(3)] for b in range(2)] for t in range(4)]
    assert apply(x, mask).tolist() == by_hand
