"""Streams as columns and slices: nothing is lost, nothing counted twice, and every plan is a function of its seed."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.core.errors import ConfigError
from nas.core.seeds import numpy_generator
from randomNAS_files.slices import IGNORED, Columns, RandomSlices, fixed_slices, shard_columns

ALL = slice(None)
STREAMS = st.lists(st.integers(0, 5), min_size=2, max_size=80)


def columns(tokens: list[int], batch_size: int, shard: slice = ALL, *, pad: bool) -> Columns:
    return Columns(torch.tensor(tokens), batch_size, shard, pad=pad)


def test_a_stream_is_read_down_its_columns_and_predicts_the_next_word() -> None:
    data = columns(list(range(10, 18)), 3, pad=False)  # 7 words to predict, 2 rows of 3, one word left out
    assert data.inputs.tolist() == [[10, 12, 14], [11, 13, 15]]
    assert data.targets.tolist() == [[11, 13, 15], [12, 14, 16]]
    assert len(data) == 2
    assert data.inputs.dtype == data.targets.dtype == torch.int64


def test_padding_keeps_the_last_words_and_ignores_the_rest() -> None:
    data = columns(list(range(10, 18)), 3, pad=True)
    assert data.inputs.tolist() == [[10, 13, 16], [11, 14, 0], [12, 15, 0]]
    assert data.targets.tolist() == [[11, 14, 17], [12, 15, IGNORED], [13, 16, IGNORED]]


def test_padding_adds_nothing_to_a_stream_that_fits() -> None:
    data, same = (columns(list(range(7)), 3, pad=pad) for pad in (True, False))
    assert data.inputs.tolist() == same.inputs.tolist() == [[0, 2, 4], [1, 3, 5]]
    assert data.targets.tolist() == same.targets.tolist() == [[1, 3, 5], [2, 4, 6]]


def test_the_mark_of_a_padded_place_is_what_cross_entropy_ignores() -> None:
    logits, targets = torch.tensor([[1.0, 0.0], [0.0, 9.0]]), torch.tensor([0, IGNORED])
    loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
    assert loss.item() == pytest.approx(np.log(1 + np.exp(-1)), rel=1e-6)


def test_narrow_types_are_read_as_whole_numbers() -> None:
    data = Columns(torch.tensor([1, 200, 3, 4], dtype=torch.uint8), 2, ALL, pad=True)
    assert data.targets.tolist() == [[200, 4], [3, IGNORED]]


@settings(deadline=None)
@given(STREAMS, st.integers(1, 12), st.integers(1, 4))
def test_every_word_is_predicted_once_with_padding(stream: list[int], batch_size: int, processes: int) -> None:
    if len(stream) - 1 < batch_size:
        return
    predicted: Counter[tuple[int, int]] = Counter()
    for rank in range(processes):
        data = columns(stream, batch_size, shard_columns(batch_size, rank, processes), pad=True)
        kept = data.targets != IGNORED
        predicted.update(zip(data.inputs[kept].tolist(), data.targets[kept].tolist(), strict=True))
    assert predicted == Counter((stream[i], stream[i + 1]) for i in range(len(stream) - 1))


@settings(deadline=None)
@given(STREAMS, st.integers(1, 12))
def test_training_leaves_out_fewer_words_than_the_batch_has_columns(stream: list[int], batch_size: int) -> None:
    if len(stream) - 1 < batch_size:
        return
    data = columns(stream, batch_size, pad=False)
    count = data.targets.numel()
    assert 0 <= len(stream) - 1 - count < batch_size
    assert data.targets.t().flatten().tolist() == stream[1 : count + 1]
    assert data.inputs.t().flatten().tolist() == stream[:count]


@pytest.mark.parametrize("pad", [False, True])
def test_processes_side_by_side_read_the_whole_batch(pad: bool) -> None:
    stream = list(range(40))
    parts = [columns(stream, 5, shard_columns(5, rank, 2), pad=pad) for rank in range(2)]
    whole = columns(stream, 5, pad=pad)
    assert torch.equal(torch.cat([part.inputs for part in parts], 1), whole.inputs)
    assert torch.equal(torch.cat([part.targets for part in parts], 1), whole.targets)


def test_a_slice_is_a_run_of_rows() -> None:
    data = columns(list(range(11)), 2, pad=False)
    inputs, targets = data[(1, 3)]
    assert inputs.tolist() == [[1, 6], [2, 7], [3, 8]]
    assert targets.tolist() == [[2, 7], [3, 8], [4, 9]]


@pytest.mark.parametrize(("words", "most"), [(0, 0), (1, 0), (4, 3)])
@pytest.mark.parametrize("pad", [False, True])
def test_a_stream_too_short_for_a_row_is_refused_by_field_and_value(words: int, most: int, pad: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        Columns(torch.zeros(words, dtype=torch.long), 4, ALL, pad=pad, name="eval_batch_size")
    (problem,) = caught.value.problems
    assert problem.startswith(f"eval_batch_size must be at most {most}") and problem.endswith("got 4")


def test_a_stream_of_a_single_row_is_enough() -> None:
    assert columns(list(range(5)), 4, pad=False).targets.tolist() == [[1, 2, 3, 4]]


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 20))
def test_processes_own_every_column_once_and_evenly(batch_size: int, processes: int) -> None:
    owned = [list(range(batch_size))[shard_columns(batch_size, rank, processes)] for rank in range(processes)]
    assert list(chain.from_iterable(owned)) == list(range(batch_size))
    assert max(map(len, owned)) - min(map(len, owned)) <= 1


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(1, 40))
def test_fixed_slices_cover_each_row_once_in_order(rows: int, length: int) -> None:
    pieces = fixed_slices(rows, length)
    assert [row for start, count in pieces for row in range(start, start + count)] == list(range(rows))
    assert all(count == length for _, count in pieces[:-1])
    assert all(0 < count <= length for _, count in pieces)


# Random slices

ROWS, BPTT, DELTA = 1000, 35, 20


def covered(plan: list[tuple[int, int]]) -> list[int]:
    return [row for start, count in plan for row in range(start, start + count)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 70), st.integers(0, 40), st.integers(0, 2**31), st.integers(0, 1000))
def test_a_plan_covers_each_row_once_in_slices_of_allowed_length(
    rows: int, bptt: int, max_delta: int, seed: int, epoch: int
) -> None:
    slices = RandomSlices(rows, bptt, max_delta, seed)
    plan = slices.plan(epoch)
    assert covered(plan) == list(range(rows))
    assert len(plan) == len(slices)
    longest = bptt + max_delta
    assert all(min(5, longest) <= count <= longest for _, count in plan[:-1])
    assert 1 <= plan[-1][1] <= longest


def test_every_epoch_has_the_same_number_of_slices() -> None:
    slices = RandomSlices(ROWS, BPTT, DELTA, seed=1)
    plans = [slices.plan(epoch) for epoch in range(200)]
    assert {len(plan) for plan in plans} == {len(slices)}
    assert len(set(map(tuple, plans))) == 200


def test_the_number_of_slices_does_not_depend_on_the_seed() -> None:
    assert len({len(RandomSlices(ROWS, BPTT, DELTA, seed)) for seed in range(5)}) == 1


def test_lengths_are_spread_around_bptt_and_sometimes_around_its_half() -> None:
    slices = RandomSlices(20_000, BPTT, DELTA, seed=0)
    lengths = np.array([count for epoch in range(20) for _, count in slices.plan(epoch)[:-1]])
    # int() of a normal variable of spread 5 around 35, and in a twentieth of the cases around 17.5
    assert abs(lengths.mean() - (0.95 * 35 + 0.05 * 17.5 - 0.5)) < 0.35
    assert abs(np.mean(lengths < 26) - (0.05 * 0.9554 + 0.95 * 0.0359)) < 0.01  # P(z < 1.7), P(z < -1.8)
    assert abs(np.mean(lengths >= 40) - 0.95 * 0.1587) < 0.015  # P(z > 1)
    assert abs(np.mean(lengths >= 45) - 0.95 * 0.0228) < 0.007  # P(z > 2)
    # whole epochs: as many slices as the rows and the mean length allow
    assert abs(len(slices) - 20_000 / lengths.mean()) < 6


def test_no_length_exceeds_bptt_by_more_than_max_delta() -> None:
    lengths = [count for epoch in range(20) for _, count in RandomSlices(ROWS, BPTT, 3, 0).plan(epoch)]
    assert max(lengths) == BPTT + 3


def test_a_plan_is_a_function_of_seed_and_epoch() -> None:
    used, fresh = RandomSlices(ROWS, BPTT, DELTA, 5), RandomSlices(ROWS, BPTT, DELTA, 5)
    for epoch in range(10):
        used.plan(epoch)
    np.random.seed(1)
    assert used.plan(3) == fresh.plan(3)


def test_plans_differ_over_epochs_and_seeds() -> None:
    plans = {tuple(RandomSlices(ROWS, BPTT, DELTA, seed).plan(epoch)) for seed in range(4) for epoch in range(4)}
    assert len(plans) == 16


def test_iterating_gives_one_epoch_after_another_as_batches_of_one_slice() -> None:
    slices = RandomSlices(ROWS, BPTT, DELTA, 5)
    expected = [[piece] for epoch in range(3) for piece in slices.plan(epoch)]
    assert list(islice(slices, 3 * len(slices))) == expected


def test_iterating_twice_starts_over() -> None:
    slices = RandomSlices(ROWS, BPTT, DELTA, 5)
    assert list(islice(slices, 5)) == list(islice(slices, 5))


@pytest.mark.parametrize("rows", range(1, 61))
def test_tiny_streams_have_a_plan(rows: int) -> None:
    slices = RandomSlices(rows, BPTT, DELTA, 0)
    for epoch in range(3):
        assert covered(slices.plan(epoch)) == list(range(rows))
        assert len(slices.plan(epoch)) == len(slices)


def test_slices_index_columns() -> None:
    data = columns(list(range(301)), 3, pad=False)
    plan = RandomSlices(len(data), 20, 5, 0).plan(0)
    targets = torch.cat([data[piece][1] for piece in plan])
    assert targets.t().flatten().tolist() == list(range(1, 301))


def test_a_plan_is_the_same_with_every_version_of_every_library() -> None:
    assert [count for _, count in RandomSlices(200, 20, 5, 7).plan(0)] == [20, 17, 23, 16, 23, 23, 13, 23, 12, 18, 12]


@pytest.mark.parametrize(("bptt", "max_delta"), [(35, 20), (1, 0), (5, 0), (6, 40), (200, 3)])
def test_the_lengths_of_an_epoch_are_those_of_one_long_draw(bptt: int, max_delta: int) -> None:
    """Which is how versions before drew them: the same seed gives the same slices."""
    for rows, attempt in product((1, 7, 300, 5000), range(20)):
        generator = numpy_generator(0, "slices", 3, 1, attempt)
        longest = bptt + max_delta
        shortest = min(5, longest)
        centre = np.where(generator.random_sample(-(-rows // shortest)) < 0.05, bptt / 2, bptt)
        lengths = np.clip(generator.normal(centre, 5).astype(np.int64), shortest, longest)
        ends = np.minimum(np.cumsum(lengths), rows)
        expected = np.diff(ends[: int(np.searchsorted(ends, rows)) + 1], prepend=0)
        assert RandomSlices(rows, bptt, max_delta, 3)._draw(3, 1, attempt).tolist() == expected.tolist()


def test_some_rows_are_a_stream_of_their_own() -> None:
    columns = Columns(torch.arange(23), 3, slice(0, 2), pad=True)
    part = columns.some_rows(2, 3)
    assert len(part) == 3 and len(columns) == 8
    assert torch.equal(part.inputs, columns.inputs[2:5]) and torch.equal(part[0, 3][1], columns.targets[2:5])
