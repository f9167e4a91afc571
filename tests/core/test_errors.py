from __future__ import annotations

import pytest

from nas.core.errors import closest, unknown


@pytest.mark.parametrize(
    ("name", "nearest"), [("darts_v2", "DARTS_V2"), ("DARTS-V1", "DARTS_V1"), ("ANAS", "ENAS"), ("ahsa", "ASHA")]
)
def test_the_nearest_name_comes_first_whatever_its_case(name: str, nearest: str) -> None:
    assert closest(name, ["ENAS", "DARTS_V1", "DARTS_V2", "ASHA"])[0] == nearest


def test_nothing_is_near_a_name_unlike_all() -> None:
    assert closest("zzzzzz", ["ENAS", "ASHA"]) == []


def test_an_unknown_name_among_none_says_so() -> None:
    assert unknown("op 'x'", "x", []) == "op 'x' is not known; known: none"


def test_several_near_names_are_all_offered() -> None:
    sentence = unknown("genotype 'DARTS_V'", "DARTS_V", ["DARTS_V1", "DARTS_V2"])
    assert sentence.startswith("genotype 'DARTS_V' is not known; did you mean ")
    assert "DARTS_V1" in sentence and " or " in sentence and "DARTS_V2" in sentence
