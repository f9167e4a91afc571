"""Dropout masks: the same for every division of the batch, and drawn from the seed and the batch alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recurrent import CELLS, WORDS, build, config, generator, masks_of, tokens

from nas.core.seeds import torch_generator
from randomNAS_files.architecture import sample
from randomNAS_files.dropout import DropoutMasks, apply, draw_masks
from randomNAS_files.slices import shard_columns

RATES = {"dropout": 0.5, "dropouth": 0.2, "dropoutx": 0.4, "dropouti": 0.1, "dropoute": 0.25}


def masks(
    batch: int = 0,
    seed: int = 0,
    batch_size: int = 8,
    columns: slice = slice(None),
    *,
    words: int = 64,
    hidden: int = 16,
    depth: int = 2,
    dtype: torch.dtype = torch.float32,
    **rates: float,
) -> DropoutMasks:
    """Those of a batch, as a trial draws them; all rates a half unless said."""
    chosen = {**dict.fromkeys(RATES, 0.5), **rates}
    drawn = torch_generator("cpu", seed, "dropout", batch)
    return draw_masks(config(hidden, depth, **chosen), words, drawn, batch_size, columns, dtype=dtype)


def all_of(drawn: DropoutMasks) -> list[torch.Tensor]:
    """Every mask there is; the words' comes first."""
    found = [drawn.embedding, drawn.input, *drawn.cell_inputs, *drawn.hidden, drawn.output]
    return [mask for mask in found if mask is not None]


@given(st.integers(1, 13), st.integers(1, 5), st.integers(0, 2**31), st.sampled_from(list(RATES)))
@settings(max_examples=40, deadline=None)
def test_processes_together_draw_the_masks_of_the_whole_batch(
    batch_size: int, processes: int, seed: int, absent: str
) -> None:
    def of(columns: slice) -> list[torch.Tensor]:
        return all_of(masks(3, seed, batch_size, columns, **{absent: 0.0}))

    whole = of(slice(None))
    parts = [of(shard_columns(batch_size, rank, processes)) for rank in range(processes)]
    if absent != "dropoute":
        words = whole.pop(0)
        assert all(torch.equal(part.pop(0), words) for part in parts)
    for mask, *shards in zip(whole, *parts, strict=True):
        assert torch.equal(torch.cat(shards), mask)


def test_no_two_masks_and_no_two_halves_of_a_batch_are_the_same() -> None:
    halves = [masks(columns=shard_columns(8, rank, 2), hidden=64) for rank in range(2)]
    of_columns = [mask for half in halves for mask in all_of(half)[1:]]
    assert len(of_columns) == 2 * (2 + 2 * 2)
    assert all(mask.shape == (4, 64) and mask.is_contiguous() for mask in of_columns)
    assert len({mask.numpy().tobytes() for mask in of_columns}) == len(of_columns)


def test_masks_are_the_same_whatever_was_drawn_before() -> None:
    earlier = all_of(masks(4, 7))
    torch.rand(10)
    torch.manual_seed(3)
    assert all(map(torch.equal, earlier, all_of(masks(4, 7))))


@pytest.mark.parametrize(("batch", "seed"), [(5, 7), (4, 8), (7, 4), (0, 0)])
def test_masks_differ_between_batches_and_seeds(batch: int, seed: int) -> None:
    assert not any(map(torch.equal, all_of(masks(4, 7)), all_of(masks(batch, seed))))


def test_drawing_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    masks()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_masks_have_the_type_of_what_they_multiply_and_drop_the_same_in_every_type(dtype: torch.dtype) -> None:
    for single, other in zip(all_of(masks(**RATES)), all_of(masks(**RATES, dtype=dtype)), strict=True):
        assert single.dtype == torch.float32 and other.dtype == dtype
        assert torch.equal(single == 0, other == 0)
        torch.testing.assert_close(other.double(), single.double(), rtol=max(torch.finfo(dtype).eps, 1e-7), atol=0)
    for net_dtype in (torch.float32, dtype):
        net = build(CELLS["ASHA"], **RATES).to(net_dtype)
        assert {mask.dtype for mask in all_of(net.draw_masks(generator(), 3, slice(None)))} == {net_dtype}


def test_a_model_of_float64_gets_exact_masks() -> None:
    for mask, p in zip(all_of(masks(**RATES, dtype=torch.float64, depth=1)), (0.25, 0.1, 0.4, 0.2, 0.5), strict=True):
        assert mask.unique().tolist() == [0.0, 1 / (1 - p)]


@pytest.mark.parametrize("p", [0.05, 0.25, 0.5, 0.75, 0.9])
def test_a_share_p_is_zero_and_the_rest_keeps_the_expectation(p: float) -> None:
    """Each place at its own rate, while the others have another."""
    for place in ("input", "cell_inputs", "hidden", "output", "embedding"):
        name = {"input": "dropouti", "cell_inputs": "dropoutx", "hidden": "dropouth", "output": "dropout"}
        rates = {**dict.fromkeys(RATES, 0.35), name.get(place, "dropoute"): p}
        found: Any = getattr(masks(batch_size=100, hidden=500, words=20_000, depth=2, **rates), place)
        for mask in found if isinstance(found, tuple) else (found,):
            assert mask.unique().tolist() == [0.0, pytest.approx(1 / (1 - p), rel=1e-6)]
            count, dropped = mask.numel(), (mask == 0).double().mean().item()
            assert abs(dropped - p) < 5 * math.sqrt(p * (1 - p) / count)
            assert abs(mask.double().mean().item() - 1) < 5 * math.sqrt(p / (1 - p) / count)


def test_places_of_a_mask_are_independent() -> None:
    drawn = masks(batch_size=200, hidden=200).output
    assert drawn is not None
    mask = (drawn == 0).double() * 2 - 1
    for other in (mask.roll(1, 0), mask.roll(1, 1)):
        assert abs((mask * other).mean().item()) < 5 / math.sqrt(mask.numel())


@pytest.mark.parametrize("absent", RATES)
def test_without_a_rate_there_is_no_mask(absent: str) -> None:
    drawn = masks(**{absent: 0.0})
    missing = {"dropouti": "input", "dropoutx": "cell_inputs", "dropouth": "hidden", "dropout": "output"}
    for field in dataclasses.fields(DropoutMasks):
        value = getattr(drawn, field.name)
        there = [mask is not None for mask in (value if isinstance(value, tuple) else (value,))]
        assert there == [field.name != missing.get(absent, "embedding")] * len(there)


def test_without_any_rate_nothing_is_drawn() -> None:
    used = generator()
    drawn = draw_masks(config(depth=3), WORDS, used, 4, slice(None))
    assert drawn == DropoutMasks.nothing(3) and torch.equal(used.get_state(), generator().get_state())


def test_a_step_draws_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the words and once for everything else, however deep the model is; the forward pass draws nothing."""
    calls, rand = list[Any](), torch.rand
    monkeypatch.setattr(torch, "rand", lambda *args, **kwargs: calls.append(args) or rand(*args, **kwargs))
    masks(depth=5)
    assert calls == [(64, 1), (12, 8, 16)]


def test_any_genotype_and_any_number_of_passes_take_the_same_masks() -> None:
    """The forward pass has tensors: two cells in a step are dropped alike, and in what order they run does not matter."""
    net = build(sample(0), depth=2, **RATES)
    words, drawn = tokens(), masks_of(net)
    cells = [sample(seed) for seed in (1, 2)]

    def outputs(order: list[int]) -> dict[int, torch.Tensor]:
        return {k: net(words, net.initial_state(3), drawn, cells[k]).dropped.detach() for k in order}

    forwards, backwards = outputs([0, 1]), outputs([1, 0])
    for k in (0, 1):
        assert torch.equal(forwards[k], backwards[k])
        assert drawn.output is not None
        assert torch.equal((forwards[k] == 0).all(0), drawn.output == 0)


def test_applying_no_mask_is_the_input_itself() -> None:
    x = torch.ones(2, 3)
    assert apply(x, None) is x


def test_a_column_mask_is_the_same_at_all_time_steps() -> None:
    x, mask = torch.arange(1.0, 25.0).view(4, 2, 3), torch.tensor([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0]])
    by_hand = [[[x[t, b, i] * mask[b, i] for i in range(3)] for b in range(2)] for t in range(4)]
    assert apply(x, mask).tolist() == by_hand
