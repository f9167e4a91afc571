"""One rule for what is best."""

from __future__ import annotations

import math

import pytest

from nas.runs.ranking import best, best_value, rank

BAD = [math.nan, math.inf, -math.inf, None]


@pytest.mark.parametrize(("smaller", "expected"), [(True, [1.0, 2.0, 3.0]), (False, [3.0, 2.0, 1.0])])
def test_values_that_are_no_numbers_have_no_rank(smaller: bool, expected: list[float]) -> None:
    values = [math.nan, 2.0, -math.inf, 3.0, None, 1.0, math.inf]
    assert rank(values, lambda value: value, smaller_is_better=smaller) == expected
    assert best_value(values, smaller_is_better=smaller) == expected[0]
    assert best_value(BAD, smaller_is_better=smaller) is None


@pytest.mark.parametrize("smaller", [True, False])
def test_of_equal_ones_the_first_is_the_better(smaller: bool) -> None:
    items = [("a", 1.0), ("b", 1.0), ("c", 1.0)]
    assert rank(items, lambda item: item[1], smaller_is_better=smaller) == items
    assert best(items, lambda item: item[1], smaller_is_better=smaller) == items[0]


@pytest.mark.parametrize("smaller", [True, False])
def test_what_stands_for_nan_is_no_measurement(smaller: bool) -> None:
    """A trial reports it in place of NaN, with the sign that makes it the worst, or without."""
    for placeholder in (1e10, -1e10):
        assert best_value([placeholder, 3.0, placeholder], smaller_is_better=smaller) == 3.0
        assert best_value([placeholder], smaller_is_better=smaller) is None
    assert rank([5.0, 9e9, -9e9], lambda value: value, smaller_is_better=True) == [-9e9, 5.0, 9e9]
