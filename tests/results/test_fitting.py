"""Tables in narrow terminals."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from nas.results.fitting import fitted

COLUMNS = {
    "rank": ["1", "2"],
    "best perplexity": ["104.507", "1.2345e+06"],
    "ended": ["completed", "stopped early"],
    "hyperparameters": ["arch_seed 732152370, learning_rate 0.001", ""],
}
LAST = ("hyperparameters", "ended", "rank", "best perplexity")


def printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(fitted(COLUMNS, width, LAST[:3], "hyperparameters"))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("width", range(14, 130))
def test_no_number_is_cut_and_no_line_too_long(width: int) -> None:
    lines = printed(width)
    text = "\n".join(lines)
    assert "104.507" in text and "1.2345e+06" in text
    assert max(map(len, lines)) <= max(width, 14)


def test_what_is_least_missed_goes_first() -> None:
    there = {
        width: [name for name in COLUMNS if name.split()[-1] in "\n".join(printed(width))]
        for width in (120, 60, 40, 22, 15)
    }
    assert there == {
        120: list(COLUMNS),
        60: list(COLUMNS),
        40: ["rank", "best perplexity", "ended"],
        22: ["rank", "best perplexity"],
        15: ["best perplexity"],
    }


@pytest.mark.parametrize("width", [56, 60, 70, 80])
def test_a_folded_column_beside_one_as_wide_makes_room(width: int) -> None:
    columns = {
        "change": ["without node 7, identity(5)"],
        "value": ["+0.2882"],
        "network": ["same as without node 4, tanh(0)"],
    }
    console = Console(file=io.StringIO(), width=width)
    console.print(fitted(columns, width, (), "network"))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    text = "\n".join(lines)
    assert lines[0].endswith("┓") and "without node 7, identity(5)" in text and "+0.2882" in text
