"""Seeds: the same numbers with every version of every library, and different ones for every purpose."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.core.seeds import derive, numpy_generator, torch_generator

LABELS = st.lists(st.one_of(st.integers(-(2**40), 2**40), st.text(max_size=8)), max_size=4)


@pytest.mark.parametrize(
    ("text", "seed", "labels", "digest"),
    [  # the digests are what `printf "(7, 'masks', 3)" | sha256sum` prints, the first 16 digits of it
        ("(7, 'masks', 3)", 7, ("masks", 3), "0c1e34d1e58939ee"),
        ("(0,)", 0, (), "91d6039a01f57163"),
    ],
)
def test_a_derived_seed_is_half_the_first_eight_bytes_of_a_sha256(
    text: str, seed: int, labels: tuple[str | int, ...], digest: str
) -> None:
    assert derive(seed, *labels) == int.from_bytes(bytes.fromhex(digest), "little") // 2, text


@settings(deadline=None)
@given(st.integers(-(2**70), 2**70), LABELS)
def test_derived_seeds_have_63_bits_and_depend_on_their_arguments_only(seed: int, labels: list[str | int]) -> None:
    value = derive(seed, *labels)
    assert 0 <= value < 2**63
    assert value == derive(seed, *labels)
    expected = hashlib.sha256(repr((seed, *labels)).encode()).digest()[:8]
    assert value == int.from_bytes(expected, "little") // 2


def test_no_two_purposes_share_a_seed() -> None:
    purposes = [(seed, *labels) for seed in range(20) for labels in ((), ("a",), ("b",), ("a", 1), ("a", 2), (1, "a"))]
    purposes += [(0, "ab"), (0, "a", "b"), (0, "1"), (0, 1)]
    assert len({derive(*purpose) for purpose in purposes}) == len(purposes)


@pytest.mark.parametrize("draws", [5])
def test_the_numpy_generator_is_the_frozen_mersenne_twister(draws: int) -> None:
    seed = derive(3, "slices")
    expected = np.random.RandomState([seed % 2**32, seed // 2**32]).randint(2**31, size=draws)
    np.testing.assert_array_equal(numpy_generator(3, "slices").randint(2**31, size=draws), expected)


def test_numpy_numbers_are_the_same_with_every_version() -> None:
    assert numpy_generator(7, "a").randint(1000, size=4).tolist() == [309, 386, 797, 454]


def test_torch_numbers_of_the_cpu_are_the_same_with_every_version() -> None:
    drawn = torch.rand(3, generator=torch_generator("cpu", 7, "a"))
    torch.testing.assert_close(drawn, torch.tensor([0.7170, 0.4984, 0.6214]), atol=1e-4, rtol=0)


def test_generators_neither_read_nor_disturb_the_global_ones() -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    first = (numpy_generator(0, "x").random_sample(), torch.rand(1, generator=torch_generator("cpu", 0, "x")).item())
    after = (np.random.random_sample(), torch.rand(1).item())
    np.random.seed(1)
    torch.manual_seed(1)
    assert (np.random.random_sample(), torch.rand(1).item()) == after
    again = (numpy_generator(0, "x").random_sample(), torch.rand(1, generator=torch_generator("cpu", 0, "x")).item())
    assert again == first
